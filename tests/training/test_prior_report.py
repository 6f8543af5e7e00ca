import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xfeat.errors import InputError
from xfeat.training.prior_report import PriorReport, prior_report
from xfeat.training.store import load_note, save_prior


def report_of(folder: Path, weight: torch.Tensor) -> PriorReport:
    save_prior(folder / "p.safetensors", weight, [f"c{number}" for number in range(weight.shape[1])])
    return prior_report(folder / "p.safetensors")


def literal_cosines(weight: torch.Tensor) -> list[list[float]]:
    """One pair of columns at a time, in Python's own numbers."""
    columns = [[float(value) for value in column] for column in weight.T]
    lengths = [math.sqrt(sum(value * value for value in column)) for column in columns]
    return [
        [sum(x * y for x, y in zip(a, b, strict=True)) / (p * q) for b, q in zip(columns, lengths, strict=True)]
        for a, p in zip(columns, lengths, strict=True)
    ]


@given(st.integers(1, 7), st.integers(1, 6), st.integers(0, 99))
def test_numbers_are_those_of_a_literal_computation(
    tmp_path_factory: pytest.TempPathFactory, out: int, classes: int, seed: int
) -> None:
    weight = torch.randn(out, classes, generator=torch.Generator().manual_seed(seed)) + 0.1
    report = report_of(tmp_path_factory.mktemp("p"), weight)
    expected = np.array(literal_cosines(weight))
    np.testing.assert_allclose(report.cosines, expected, atol=1e-12)
    # Squared singular values are the eigenvalues of the smaller Gram matrix.
    double = weight.double().numpy()
    gram = double @ double.T if out < classes else double.T @ double
    np.testing.assert_allclose(report.singular_values**2, np.linalg.eigvalsh(gram)[::-1], atol=1e-10)
    pairs = [(a, b) for a in range(classes) for b in range(a + 1, classes)]
    if not pairs:
        assert report.mean_abs_cosine is None
        assert report.closest(3) == []
        return
    assert report.mean_abs_cosine == pytest.approx(sum(abs(expected[a][b]) for a, b in pairs) / len(pairs))
    best = sorted(pairs, key=lambda pair: -report.cosines[pair])[:3]
    assert report.closest(3) == [(f"c{a}", f"c{b}", report.cosines[a, b]) for a, b in best]


def test_an_orthonormal_prior_is_well_conditioned_and_its_classes_are_unlike(tmp_path: Path) -> None:
    report = report_of(tmp_path, 3 * torch.eye(5)[:, :3])
    assert (report.shape, report.rank, report.condition, report.mean_abs_cosine) == ((5, 3), 3, 1.0, 0.0)


def test_classes_that_mix_others_cost_rank(tmp_path: Path) -> None:
    weight = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    weight[:, 2] = weight[:, 0] - weight[:, 1]
    report = report_of(tmp_path, weight)
    assert report.rank == 2
    assert report.condition > 1e6
    same = report_of(tmp_path, torch.ones(4, 2))
    assert same.closest(5) == [("c0", "c1", pytest.approx(1.0))]
    assert same.rank == 1


def test_a_column_of_zeros_is_like_nothing(tmp_path: Path) -> None:
    weight = torch.eye(4)[:, :3]
    weight[:, 1] = 0
    report = report_of(tmp_path, weight)
    assert report.cosines[1].tolist() == [0, 0, 0]
    assert math.isinf(report.condition)
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))["condition"] is None


def test_a_run_tells_of_its_candidates(together: Path) -> None:
    report = prior_report(together)
    note = load_note(together / "prior.json")
    document = report.to_json()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["candidates"] == note["candidates"]
    assert (document["chosen"], document["score"]) == (note["chosen"], note["score"])
    assert document["sha256"] == note["sha256"]
    assert document["shape"] == [12, 3]
    # The same matrix from its file alone has no history.
    alone = prior_report(together / "prior.safetensors").to_json()
    assert alone["candidates"] == {}
    assert alone["singular_values"] == document["singular_values"]


def test_what_is_no_prior_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"x")
    for path, words in (
        (tmp_path, "not a run"),
        (tmp_path / "no", "does not exist"),
        (tmp_path / "x.safetensors", "not a whole safetensors file"),
    ):
        with pytest.raises(InputError, match=words):
            prior_report(path)
