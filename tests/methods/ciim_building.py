"""A small CIIM network of three modalities, some of which lack classes, and batches for it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from xfeat.methods.ciim import CiimNetwork, Labelled
from xfeat.methods.ciim_settings import CiimSettings

WIDTHS = {"image": 5, "text": 4, "audio": 3}
NAMES = tuple(WIDTHS)
CLASSES, OUT = 5, 4
# No row of class 4 is in any modality.
KNOWN = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 0, 1, 0], [0, 1, 1, 0, 0]], dtype=torch.bool)
WEIGHTS = {
    "single": 0.7,
    "hybrid": 1.3,
    "interaction": 0.4,
    "pairs": 0.9,
    "invariance": 1.1,
    "separation": 0.6,
    "independence": 0.2,
    "sufficiency": 0.8,
}
SAMPLE_WISE = ("single", "hybrid", "interaction", "pairs")


def a_setting(**changes: Any) -> CiimSettings:
    """Every setting that a test here depends on; every part has a weight of its own."""
    chosen: dict[str, Any] = {"hidden": 6, "out": OUT, "reconstructor": 5, "skip": False}
    chosen |= {"dropout": 0.0, "input_noise": 0.0, "standardize": False, "intervention": True, **WEIGHTS}
    chosen |= {"interventions": 3}
    chosen |= {"scale": 6.0, "margin": 0.15, "within": 0.5, "epsilon": 0.1, "alpha": 2.0, "beta": 7.0, "base": 0.3}
    chosen |= {"batch_classes": 3, "batch_samples": 2, "epochs": 4, "lr": 0.02, "lr_schedule": "cosine"}
    chosen |= {"weight_decay": 0.0, "select": "last", "val_fraction": 0.2}
    return CiimSettings(**{**chosen, **changes})


def a_network(names: Sequence[str] = NAMES, *, seed: int = 0, **changes: Any) -> CiimNetwork:
    """In float64, with parameters and statistics that are all random."""
    torch.manual_seed(seed)
    known = KNOWN[[NAMES.index(name) for name in names]]
    network = CiimNetwork(
        {name: WIDTHS[name] for name in names}, dict.fromkeys(names, 20), CLASSES, a_setting(**changes), known
    ).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, dtype=torch.float64))
    for place in range(len(names)):
        network.head.bank.update(place, torch.randn(6, OUT, dtype=torch.float64))
    return network


def rows_of(name: str, labels: Sequence[int], *, seed: int = 1) -> Labelled:
    """Random rows of a modality with these classes, float64."""
    g = torch.Generator().manual_seed(seed + NAMES.index(name))
    values = torch.randn(len(labels), WIDTHS[name], generator=g, dtype=torch.float64)
    return Labelled(values, torch.tensor(labels, dtype=torch.int64))


def a_batch(classes: Sequence[int], names: Sequence[str] = NAMES, *, samples: int = 2) -> list[Labelled]:
    """Rows of the classes from every modality that has them; none where it has none of them."""
    return [
        rows_of(name, [label for label in classes if KNOWN[NAMES.index(name), label] for _ in range(samples)])
        for name in names
    ]


def some_noise(network: CiimNetwork, rows: int, *, seed: int = 2) -> dict[str, Tensor]:
    """Dropout masks, noise on features and drawn biases for more rows than a batch of ``rows`` has."""
    g, found = torch.Generator().manual_seed(seed), {}
    drawn = min(network.settings.interventions or 99, network.head.bank.modalities)
    for name in network.names:
        keep = torch.rand(rows + 2, network.settings.hidden, generator=g, dtype=torch.float64) > 0.2
        found[f"drop/{name}"] = keep.double() / 0.8
        found[f"features/{name}"] = 0.3 * torch.randn(rows + 2, WIDTHS[name], generator=g, dtype=torch.float64)
        found[f"bias/{name}"] = torch.randn(drawn, rows + 2, OUT, generator=g, dtype=torch.float64)
    found["chosen"] = torch.randperm(network.head.bank.modalities, generator=g)[:drawn]
    return found
