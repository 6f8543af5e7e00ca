from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.checking.planting import Field, clean, keys, kinds, read
from xfeat.checking.near import near_duplicates, near_rule
from xfeat.checking.report import CheckSettings, Finding

SETTINGS = CheckSettings()


def found(*fields: Field, folder: Path) -> list[Finding]:
    return list(near_duplicates([read(field.write(folder)) for field in fields], SETTINGS))


def test_neighbours_are_no_near_duplicates(tmp_path: Path) -> None:
    # Few dimensions: cosines near 1 are everywhere.
    flat, wide = clean("flat", rows=240, dim=8), clean("wide", rows=60)
    flat.features += 100
    assert found(flat, wide, folder=tmp_path) == []


def test_few_dimensions_prove_nothing(tmp_path: Path) -> None:
    field = clean(rows=240, dim=5)
    field.features[field.of("test")[0]] = field.features[field.of("train")[0]] * np.float32(1.001)
    (finding,) = found(field, folder=tmp_path)
    assert kinds([finding]) == [("warning", "near-duplicates")]
    assert "In 5 dimensions this may be chance" in finding.lines[0]


def literal(train: np.ndarray, rows: np.ndarray, k: int = 5) -> list[int | None]:
    """The near duplicate of each row, or None."""
    mean = train.astype(np.float64).mean(0)
    twins: list[int | None] = []
    for row in rows.astype(np.float64) - mean:
        cosines = []
        for other in train.astype(np.float64) - mean:
            length = np.sqrt((row**2).sum() * (other**2).sum())
            cosines.append((row * other).sum() / length if length else 0.0)
        order = sorted(range(len(train)), key=lambda place: -cosines[place])
        first, last = cosines[order[0]], cosines[order[min(k, len(train)) - 1]]
        near = first >= 0.99 and 1 - first <= 0.03 * (1 - last)
        twins.append(order[0] if near else None)
    return twins


@given(seed=st.integers(0, 2**16), dim=st.integers(2, 8), offset=st.sampled_from([0.0, 50.0]))
@settings(max_examples=15)
def test_equals_the_literal_rule(tmp_path_factory: pytest.TempPathFactory, seed: int, dim: int, offset: float) -> None:
    rng = np.random.default_rng(seed)
    field = clean(rows=24, dim=dim, seed=seed)
    field.features += np.float32(offset)
    train, test = field.of("train"), field.of("test")
    for row in test[::2]:  # copies with noise of very different sizes
        noise = 10.0 ** rng.integers(-5, 1) * rng.normal(size=dim)
        field.features[row] = field.features[rng.choice(train)] + noise
    others = sorted(field.of("val") + test)
    twins = literal(field.features[train], field.features[others])
    expected = {
        (field.ids[row], field.ids[train[twin]]) for row, twin in zip(others, twins, strict=True) if twin is not None
    }
    findings = found(field, folder=tmp_path_factory.mktemp("cache"))
    assert sum(finding.counts["rows"] for finding in findings) == len(expected)
    told = {(e.row.id, e.other.id) for finding in findings for e in finding.examples if e.other}
    assert told <= expected
    assert len(told) == min(3, len(expected))


def test_a_changed_copy_is_a_leak_with_its_cosine(tmp_path: Path) -> None:
    field = clean()
    test, train = field.of("test"), field.of("train")
    field.features[test[2]] = field.features[train[4]] * np.float32(1.001)
    field.features[test[3]] = field.features[train[5]]  # equal: told by another check
    field.labels[test[2]], field.labels[train[4]] = 0, 1
    (leak,) = found(field, folder=tmp_path)
    assert kinds([leak]) == [("leak", "near-duplicates")]
    assert leak.title == "image: 1 of 20 test rows is nearly a train row"
    (example,) = leak.examples
    assert example.other is not None
    assert (example.row.id, example.other.id) == (field.ids[test[2]], field.ids[train[4]])
    assert example.score == pytest.approx(1, abs=1e-4)
    assert leak.counts["other_label"] == 1


def test_the_same_bytes_encoded_twice_are_told_by_another_check(tmp_path: Path) -> None:
    field = clean()
    test, train = field.of("test"), field.of("train")
    field.features[test[2]] = field.features[train[4]] * np.float32(1.001)
    field.content = keys(60)
    field.content[test[2]] = field.content[train[4]]
    assert found(field, folder=tmp_path) == []


def test_modalities_of_one_width_are_compared(tmp_path: Path) -> None:
    image, text, wide = clean("image"), clean("text"), clean("wide", dim=13)
    text.features[image.of("val")[0]] = image.features[image.of("train")[0]] * np.float32(1.001)
    (leak,) = found(image, text, wide, folder=tmp_path)
    assert leak.title == "text: 1 of 10 val rows is nearly a train row of image"


@pytest.mark.parametrize(("twins", "severity"), [(0, "leak"), (10, "warning"), (28, "note")])
def test_twins_that_are_usual_in_training_prove_less(tmp_path: Path, twins: int, severity: str) -> None:
    field = clean(rows=120)
    train, test = field.of("train"), field.of("test")
    near = 1 + np.float32(1e-3) * np.random.default_rng(0).random((60, 1), np.float32)
    for place in range(twins):
        field.features[train[2 * place + 1]] = field.features[train[2 * place]] * near[place]
    for place in range(4):
        field.features[test[place]] = field.features[train[59 - place]] * near[place + 30]
    (finding,) = found(field, folder=tmp_path)
    assert finding.severity == severity
    assert finding.counts["usual_share"] == pytest.approx(2 * twins / 60, abs=0.04)


def test_exact_copies_in_training_do_not_make_near_ones_usual(tmp_path: Path) -> None:
    field = clean(rows=120)
    train, test = field.of("train"), field.of("test")
    for place in range(10):
        field.features[train[2 * place + 1]] = field.features[train[2 * place]]
    for place in range(4):
        field.features[test[place]] = field.features[train[59 - place]] * np.float32(1.001)
    (finding,) = found(field, folder=tmp_path)
    assert finding.severity == "leak"
    assert finding.counts["usual_share"] == 0


def test_rows_of_zeros_are_nobodys_copies(tmp_path: Path) -> None:
    field = clean()
    field.features[[field.of("train")[0], field.of("test")[0]]] = 0
    assert found(field, folder=tmp_path) == []


def test_the_rule_asks_for_a_gap() -> None:
    scores = np.array([[0.999, 0.99], [0.999, 0.5], [0.98, 0.0], [1.0, 1.0]])
    assert near_rule(scores, SETTINGS).tolist() == [False, True, False, True]


def test_numbers_at_the_end_of_the_range_do_not_overflow(tmp_path: Path) -> None:
    field = clean()
    field.features *= np.float32(3e38) / np.abs(field.features).max()
    assert found(field, folder=tmp_path) == []
