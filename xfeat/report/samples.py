"""The classes of single samples, by their ids, whatever the protocol."""

import numpy as np

from xfeat.report.subject import Subject
from xfeat.training.embedded_rows import Part
from xfeat.training.loading import load_branch


class SampleClasses:
    """Names of the classes of evaluated samples.

    Args:
        subject: what was evaluated; its rows were read for it and are not read again.
    """

    def __init__(self, subject: Subject) -> None:
        run, asked = subject.first, subject.asked
        given = {cache.manifest.modality: cache for cache in asked.on or ()}
        self._names, self._labels, self._rows = {}, {}, {}
        for name in subject.pictured.ids:
            cache = given.get(name) or run.open_cache(
                name, subject.config.modalities[name], allow_changed=asked.allow_changed
            )
            tokens = Part(cache, load_branch(run.branch_file(name), asked.weights)).wants_tokens
            split = "train" if name in subject.pictured.held_out else asked.split
            block = subject.blocks.load(cache, split, tokens=tokens)
            self._names[name], self._labels[name] = cache.manifest.classes, block.labels
            self._rows[name] = {own: row for row, own in enumerate(block.ids)}

    def of(self, modality: str, sample: str) -> str:
        """Names of a sample's classes with commas between; empty without a label."""
        labels, names = self._labels[modality], self._names[modality]
        if labels is None:
            return ""
        own = labels[self._rows[modality][sample]]
        if labels.ndim == 1:
            return names[own] if own >= 0 else ""
        return ", ".join(names[place] for place in np.flatnonzero(own))
