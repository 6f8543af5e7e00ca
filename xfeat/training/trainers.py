"""How every method is trained, for one seed and for many."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from xfeat.methods.baseline_settings import CLOSED_FORMS
from xfeat.training import baselines, ciim, ciim_group, drcl, drcl_group, sspc, sspc_group


@dataclass(frozen=True)
class Trainer:
    """What trains a method.

    Attributes:
        one: takes caches, the run's folder and settings; ``seed``, ``device`` and ``resume`` by name.
        group: takes caches, the group's folder, settings and seeds; ``device`` and ``resume`` by name; gives what
            ``one`` gives, by seed.
    """

    one: Callable[..., Any]
    group: Callable[..., dict[int, Any]]


TRAINERS = {
    "drcl": Trainer(drcl.train, drcl_group.train_group),
    "ciim": Trainer(ciim.train, ciim_group.train_group),
    "sspc": Trainer(sspc.train, sspc_group.train_group),
    "orthogonal": Trainer(drcl.train, drcl_group.train_group),
    **{name: Trainer(baselines.train, baselines.train_group) for name in CLOSED_FORMS},
}
"""By the name of the method, as in `xfeat.methods.registry.METHODS`."""
