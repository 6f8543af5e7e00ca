"""What a report is on: a run or a group of seeds, evaluated once for all sections."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch

from xfeat.report.media import Media
from xfeat.training.asked import Asked
from xfeat.training.embedding import Blocks, Embeddings, embed_run
from xfeat.training.evaluating import Answer, evaluate_path
from xfeat.training.group import is_group, members
from xfeat.training.run import Run, RunConfig

QUERIES = 8  # shown of each ordered pair of modalities


@dataclass(frozen=True)
class Subject:
    """A run or a group, with its evaluation.

    Attributes:
        path: of the run or the group.
        runs: by seed; of a single run, itself.
        config: of the first run.
        asked: what was evaluated.
        answer: the numbers.
        device: where to compute.
        blocks: rows that were read.
        media: what samples look and sound like, where that is known.
        queries: to show of each ordered pair of modalities.
    """

    path: Path
    runs: Mapping[int, Path]
    config: RunConfig
    asked: Asked
    answer: Answer
    device: torch.device
    blocks: Blocks = field(default_factory=Blocks)
    media: Media = field(default_factory=Media)
    queries: int = QUERIES

    @property
    def name(self) -> str:
        """Of its folder."""
        return self.path.absolute().name

    @property
    def first(self) -> Run:
        """The run that pictures are of."""
        return Run(next(iter(self.runs.values())))

    @property
    def several(self) -> bool:
        """Whether there are several seeds."""
        return len(self.runs) > 1

    @cached_property
    def pictured(self) -> Embeddings:
        """The evaluated rows by the first run; the answer's are by the last."""
        if not self.several:
            return self.answer.found
        return embed_run(
            self.first.path,
            self.asked.split,
            self.device,
            allow_changed=self.asked.allow_changed,
            blocks=self.blocks,
            protocol=self.asked.protocol,
            weights=self.asked.weights,
            classes=self.asked.classes,
            on=self.asked.on,
            gallery_classes=self.asked.gallery_classes or "unseen",
            modalities=self.asked.modalities,
        )


def open_subject(
    path: Path,
    asked: Asked,
    device: torch.device,
    *,
    media: Media | None = None,
    queries: int = QUERIES,
    blocks: Blocks | None = None,
) -> Subject:
    """Read and evaluate a run or a group.

    Args:
        path: of either.
        asked: of the evaluation.
        device: where to compute.
        media: what samples look and sound like.
        queries: to show of each ordered pair of modalities.
        blocks: rows that were read for other runs.

    Raises:
        InputError: no such run, one that is not finished, or rows that are not there.
    """
    blocks = blocks or Blocks()
    answer = evaluate_path(path, asked, device, blocks)
    runs = members(path) if is_group(path) else {Run(path).load_config().seed: path}
    config = Run(next(iter(runs.values()))).load_config()
    return Subject(path, runs, config, asked, answer, device, blocks, media or Media(), queries)
