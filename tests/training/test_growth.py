from pathlib import Path

import pytest

from xfeat.training.growth import classes_then, load_growth, untrained_classes
from xfeat.training.run import Run
from xfeat.training.store import save_note

CLASSES = ["ant", "bee", "asp", "boa", "cat"]
GROWTH = [
    {"classes": ["asp"], "prior_sha256": "p0"},
    {"classes": [], "prior_sha256": "p1"},
    {"classes": ["boa", "cat"], "prior_sha256": "p1"},
]


@pytest.mark.parametrize(("prior", "known"), [("p0", 2), ("p1", 3), ("p2", 5)])
def test_a_branch_knows_the_classes_of_its_prior(tmp_path: Path, prior: str, known: int) -> None:
    run = Run(tmp_path)
    save_note(run.prior_note, {"growth": GROWTH})
    note = {"prior_sha256": prior, "untrained_classes": ["bee"]}
    assert classes_then(run, CLASSES, note) == CLASSES[:known]
    assert untrained_classes(run, CLASSES, note) == ["bee", *CLASSES[known:]]


def test_a_run_that_never_grew(tmp_path: Path) -> None:
    assert load_growth(Run(tmp_path)) == []
    save_note(Run(tmp_path).prior_note, {"sha256": "p0"})
    assert load_growth(Run(tmp_path)) == []
    assert untrained_classes(Run(tmp_path), CLASSES, {"prior_sha256": "p0"}) == []
