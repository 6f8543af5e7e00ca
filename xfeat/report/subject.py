"""What a report is on: a run or a group of seeds, evaluated once for all sections."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from xfeat.training.asked import Asked
from xfeat.training.embedding import Blocks
from xfeat.training.evaluating import Answer, evaluate_path
from xfeat.training.group import is_group, members
from xfeat.training.run import Run, RunConfig


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
    """

    path: Path
    runs: Mapping[int, Path]
    config: RunConfig
    asked: Asked
    answer: Answer
    device: torch.device
    blocks: Blocks = field(default_factory=Blocks)

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


def open_subject(path: Path, asked: Asked, device: torch.device) -> Subject:
    """Read and evaluate a run or a group.

    Args:
        path: of either.
        asked: of the evaluation.
        device: where to compute.

    Raises:
        InputError: no such run, one that is not finished, or rows that are not there.
    """
    blocks = Blocks()
    answer = evaluate_path(path, asked, device, blocks)
    runs = members(path) if is_group(path) else {Run(path).load_config().seed: path}
    return Subject(path, runs, Run(next(iter(runs.values()))).load_config(), asked, answer, device, blocks)
