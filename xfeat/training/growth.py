"""Which classes joined a run later, and so which classes each branch knows.

``prior.json`` keeps one entry per growth under ``growth``: ``classes`` that were added, ``prior_sha256`` of the prior
before, ``trained``: the modalities whose branch was trained then, with the classes each learned. The note of a branch
that was not trained stays as it is; what it does not know follows from the prior that it was trained against.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from xfeat.training.run import Run
from xfeat.training.store import load_note

GROWTH = "growth"


def load_growth(run: Run) -> list[dict[str, Any]]:
    """The entries of a run, oldest first; none where it never grew."""
    return list(load_note(run.prior_note).get(GROWTH, [])) if run.prior_note.is_file() else []


def classes_then(run: Run, classes: Sequence[str], note: Mapping[str, Any]) -> list[str]:
    """Classes that the run had when a branch was trained, in the run's order.

    Args:
        run: whose ``prior.json`` tells what joined after the branch was trained.
        classes: of the run.
        note: of the branch.
    """
    later: set[str] = set()
    since = False
    for entry in load_growth(run):
        since = since or entry["prior_sha256"] == note.get("prior_sha256")
        later.update(entry["classes"] if since else ())
    return [name for name in classes if name not in later]


def untrained_classes(run: Run, classes: Sequence[str], note: Mapping[str, Any]) -> list[str]:
    """Classes of the run that a branch had no training rows of, in the run's order; see ``classes_then``."""
    known = set(classes_then(run, classes, note)) - set(note.get("untrained_classes", []))
    return [name for name in classes if name not in known]
