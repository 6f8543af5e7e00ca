import re
from typing import Any

import pytest

from xfeat.errors import InputError
from xfeat.training.asked import PROTOCOLS, Asked


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"protocol": "reid"}, f"unknown protocol reid: choose one of {', '.join(PROTOCOLS)}"),
        ({"shots": 1}, "--gallery-shots is for --protocol re-id: give both"),
        ({"protocol": "instance", "trials": 2}, "--trials is for --protocol re-id: give both"),
        ({"protocol": "re-id", "trials": 2}, "--trials draws galleries anew: give --gallery-shots N too"),
        ({"denominator": "k"}, "--denominator k: choose hits or min"),
        ({"gain": "cubic"}, "--gain cubic: choose exponential or linear"),
        ({"protocol": "re-id", "shots": 1, "trials": 0}, "--trials 0: choose a number of 1 or more"),
        (
            {"protocol": "zero-shot", "gallery_classes": "all"},
            "--gallery-classes is for --protocol zero-shot-retrieval",
        ),
    ],
)
def test_refuses_what_another_protocol_is_needed_for(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        Asked(**settings)


def test_takes_what_fits() -> None:
    for settings in ({}, {"protocol": "re-id", "shots": 2, "trials": 3}, {"protocol": "re-id", "shots": 2}):
        assert Asked(**settings).split == "test"
    for name in PROTOCOLS:
        assert Asked(protocol=name).protocol == name
