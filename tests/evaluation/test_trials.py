import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xfeat.evaluation.results import Evaluation, PairResult
from xfeat.evaluation.trials import draw, over_trials


def literal(ids: list[str], kinds: list[tuple[int, int]], shots: int, trial: int) -> set[str]:
    chosen = set()
    for kind in set(kinds):
        own = [name for name, other in zip(ids, kinds, strict=True) if other == kind]
        chosen |= set(sorted(own, key=lambda name: hashlib.sha256(f"{trial}:{name}".encode()).hexdigest())[:shots])
    return chosen


@given(seed=st.integers(0, 9999), shots=st.integers(1, 4), trial=st.integers(0, 3))
def test_draws_by_name_whatever_the_order(seed: int, shots: int, trial: int) -> None:
    rng = np.random.default_rng(seed)
    ids = [f"größe/{row}" for row in range(20)]
    kinds = rng.integers(-1, 2, (20, 2))
    expected = literal(ids, [tuple(row) for row in kinds.tolist()], shots, trial)
    for order in (np.arange(20), rng.permutation(20)):
        rows = draw([ids[row] for row in order], torch.from_numpy(kinds[order]), shots, trial)
        assert rows.tolist() == sorted(rows.tolist())
        assert {ids[order[row]] for row in rows.tolist()} == expected


def test_every_row_of_a_kind_is_drawn_about_as_often() -> None:
    ids, kinds = [f"{row}" for row in range(8)], torch.tensor([[0], [1]]).repeat_interleave(4, 0)
    rows = torch.cat([draw(ids, kinds, 1, trial) for trial in range(2000)])
    assert len(rows) == 4000
    np.testing.assert_allclose(rows.bincount(minlength=8) / 2000, 1 / 4, atol=0.05)


def evaluation(values: dict[str, list[float]]) -> list[Evaluation]:
    trials = []
    for number in range(len(next(iter(values.values())))):
        pairs = {}
        for pair, own in values.items():
            without = 4 if np.isnan(own[number]) else 1
            pairs[pair] = PairResult({"m": own[number]}, {"m": 0.25}, 4, 9, without, excluded=2)
        trials.append(Evaluation({"name": "p"}, 1.5, pairs))
    return trials


def test_means_and_sample_deviations_over_trials() -> None:
    values = {"a->b": [0.1, 0.4, 0.7], "b->a": [0.5, 0.1, 0.3], "a->c": [np.nan] * 3}
    document = over_trials(evaluation(values)).to_json()
    assert list(document) == ["protocol", "seconds", "pairs", "mean", "trials spread"]
    pair = document["pairs"]["a->b"]
    assert pair["m"] == pytest.approx(0.4)
    assert pair["trials spread"] == {"m": pytest.approx(np.std(values["a->b"], ddof=1))}
    counts = {"queries": 4, "gallery": 9, "without_relevant": 1, "excluded": 2}
    assert {name: pair[name] for name in ("chance m", *counts)} == {"chance m": 0.25, **counts}
    assert (document["pairs"]["a->c"]["m"], document["pairs"]["a->c"]["trials spread"]) == (None, {"m": None})
    means = np.mean([values["a->b"], values["b->a"]], axis=0)
    assert document["mean"] == {"m": pytest.approx(means.mean()), "chance m": 0.25}
    assert document["trials spread"] == {"m": pytest.approx(np.std(means, ddof=1))}
    assert document["seconds"] == 4.5


def test_one_trial_has_no_deviation() -> None:
    document = over_trials(evaluation({"a->b": [0.1]})).to_json()
    assert "trials spread" not in document
    assert "trials spread" not in document["pairs"]["a->b"]
