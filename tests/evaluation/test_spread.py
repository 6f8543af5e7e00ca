import json
from typing import Any

import numpy as np
import pytest

from xfeat.errors import InputError
from xfeat.evaluation.embedded import Embedded
from xfeat.evaluation.protocols import evaluate
from xfeat.evaluation.results import Evaluation
from xfeat.evaluation.spread import SeedEvaluations

NAMES = ("mAP@all", "mAP@50", "R@5", "P@50", "nDCG@50", "MedR", "chance mAP@all", "chance nDCG@50")


def seeded(seed: int, rows: int = 20, third: str = "") -> Evaluation:
    rng = np.random.default_rng(seed)
    labels = {"image": np.arange(rows) % 3, "text": np.arange(rows) % 4, **({third: np.arange(5) + 3} if third else {})}
    return evaluate({name: Embedded(rng.normal(size=(len(own), 4)), own) for name, own in labels.items()})


def as_json(members: dict[int, Evaluation]) -> dict[str, Any]:
    return json.loads(json.dumps(SeedEvaluations(members).to_json(), allow_nan=False))


def test_means_and_sample_deviations_over_seeds() -> None:
    members = {seed: seeded(seed) for seed in (3, 0, 7)}
    document = as_json(members)
    single = members[3].to_json()
    assert list(document) == ["protocol", "seconds", "pairs", "mean", "spread", "seeds", "members"]
    assert document["protocol"] == single["protocol"]
    assert document["seeds"] == [3, 0, 7]
    assert document["seconds"] == pytest.approx(sum(one.seconds for one in members.values()))
    for pair in single["pairs"]:
        assert list(document["pairs"][pair]) == list(single["pairs"][pair])
        assert document["pairs"][pair]["queries"] == 20
        for name in NAMES:
            values = [one.to_json()["pairs"][pair][name] for one in members.values()]
            assert document["pairs"][pair][name] == pytest.approx(np.mean(values))
            assert document["spread"]["pairs"][pair][name] == pytest.approx(np.std(values, ddof=1))
    for name in NAMES:
        values = [one.mean[name] for one in members.values()]
        assert document["mean"][name] == pytest.approx(np.mean(values))
        assert document["spread"]["mean"][name] == pytest.approx(np.std(values, ddof=1))
        assert [document["members"][str(seed)][name] for seed in (3, 0, 7)] == values
    assert document["spread"]["mean"]["mAP@all"] > 0 == document["spread"]["mean"]["chance mAP@all"]


def test_a_single_seed_has_no_spread() -> None:
    document = as_json({4: seeded(4)})
    assert list(document) == ["protocol", "seconds", "pairs", "mean", "seeds", "members"]
    assert document["mean"] == document["members"]["4"] == seeded(4).mean


def test_pairs_that_could_not_be_measured_stay_without_number() -> None:
    document = as_json({seed: seeded(seed, third="audio") for seed in (0, 1)})
    assert document["pairs"]["image->audio"]["mAP@all"] is None
    assert document["spread"]["pairs"]["image->audio"]["mAP@all"] is None
    assert document["pairs"]["image->text"]["mAP@all"] > 0


def test_seeds_of_other_rows_or_modalities_are_refused() -> None:
    with pytest.raises(InputError, match=r"seeds 0 and 2 were .*\(image 20, text 20; image 20, text 20, audio 5\)"):
        SeedEvaluations({0: seeded(0), 1: seeded(1), 2: seeded(2, third="audio")})
    with pytest.raises(InputError, match="seeds 0 and 1 were not evaluated on the same rows"):
        SeedEvaluations({0: seeded(0), 1: seeded(1, rows=21)})


def test_seeds_that_held_out_rows_of_their_own_are_told_apart() -> None:
    def held(classes: int) -> Evaluation:
        vectors = np.eye(4)
        labels = {"image": np.arange(4), "text": np.arange(4) % classes}
        return evaluate({name: Embedded(vectors, own) for name, own in labels.items()})

    with pytest.raises(InputError, match="evaluate the runs of the group one by one"):
        SeedEvaluations({0: held(4), 1: held(3)})
