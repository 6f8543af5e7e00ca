"""The section of pictures: the embedding in two dimensions, by modality and by class, at every stage."""

from collections import Counter
from collections.abc import Mapping, Sequence

import torch

from xfeat.evaluation.similarity import unit_rows
from xfeat.progress import progress
from xfeat.report.blocks import COLOURS, Key, Picture, Pictures, Section
from xfeat.report.dots import dot_picture
from xfeat.report.projection import Projected, project
from xfeat.report.subject import Subject
from xfeat.training.gaps import Looked, rows_of_run, run_stages

MOST_ROWS = 1500  # of all modalities together


def maps(subject: Subject, most: int = MOST_ROWS) -> Section:
    """Unit rows of all modalities in one cloud, projected by PCA and t-SNE.

    Args:
        subject: the run.
        most: rows together; each modality has an equal part of them.
    """
    found = subject.answer.found
    each = max(1, most // len(found.items))
    looked = rows_of_run(subject.first.path, subject.asked, found, subject.blocks, each)
    stages = run_stages(subject.first.path, subject.asked, looked, subject.device)
    clouds: dict[str, Projected] = {}
    with progress("project", len(stages)) as advance:
        for name, vectors in stages.items():
            parts = [unit_rows(torch.as_tensor(vectors[modality]).cpu(), torch.float64) for modality in looked]
            clouds[name] = project(torch.cat(parts).numpy())
            advance(note=name)
    blocks = []
    colourings = {"modality": _by_modality(looked), "class": _by_class(looked)}
    for what, (colours, keys) in colourings.items():
        if keys:
            pictures = [
                _picture(name, cloud, projection, what, colours)
                for name, cloud in clouds.items()
                for projection in ("PCA", "t-SNE")
            ]
            several = what == "class" and any(len(own) > 1 for one in looked.values() for own in one.classes)
            title = f"Coloured by {what}" + (", rows of several by the first in the legend" if several else "")
            blocks.append(Pictures(pictures, keys, title, large=True))
    counts = ", ".join(f"{len(one.ids):,} of {name}" for name, one in looked.items())
    of = f" of {subject.first.path.name}" if subject.several else ""
    lead = [
        f"Rows{of} of split {subject.asked.split} ({counts}), scaled to unit length. Where a method takes the gap "
        "away, colours of modalities mix and colours of classes stay apart.",
        "PCA keeps distances as far as two dimensions can; t-SNE keeps neighbours, and its distances between groups "
        "and the sizes of groups mean nothing.",
    ]
    return Section("maps", "Pictures of the embedding", lead, blocks)


def _picture(stage: str, cloud: Projected, projection: str, what: str, colours: Sequence[int]) -> Picture:
    points = cloud.pca if projection == "PCA" else cloud.tsne
    more = f" ({cloud.explained:.0%} of the variance)" if projection == "PCA" else ""
    says = f"{len(points)} rows by {projection}, stage {stage}, coloured by {what}"
    return Picture(dot_picture(points, colours), f"{stage}, {projection}{more}", says)


def _by_modality(looked: Mapping[str, Looked]) -> tuple[list[int], list[Key]]:
    colours = [place % COLOURS for place, one in enumerate(looked.values()) for _ in one.ids]
    return colours, [Key(place % COLOURS, name) for place, name in enumerate(looked)]


def _by_class(looked: Mapping[str, Looked]) -> tuple[list[int], list[Key]]:
    """The ten most frequent classes in colours, in their caches' order; nothing where no row has a class.

    A row of several classes takes the first of them that has a colour.
    """
    rows = [own for one in looked.values() for own in one.classes]
    counts = Counter(name for own in rows for name in own)
    shown = {name for name, _ in counts.most_common(COLOURS)}
    order = dict.fromkeys(name for one in looked.values() for name in one.cache.manifest.classes)
    place = {name: number for number, name in enumerate(name for name in order if name in shown)}
    colours = [next((place[name] for name in own if name in place), -1) for own in rows]
    keys = [Key(number, name) for name, number in place.items() if number in colours]
    others = len(counts) - len(place)
    if -1 in colours and keys:
        keys.append(Key(-1, f"{others} other classes" if others > 1 else "another class" if others else "no class"))
    return colours, keys
