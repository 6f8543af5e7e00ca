from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.checking.planting import clean, kinds, read
from xfeat.checking.report import CheckSettings
from xfeat.checking.suspects import doubtful, label_suspects, standardised

SETTINGS = CheckSettings()


def literal(
    vectors: np.ndarray, classes: list[set[int]], judged: np.ndarray, k: int, agreeing: int
) -> set[tuple[int, int]]:
    """Rows that are doubtful, and how many neighbours agree on another class."""
    found = set()
    for row in range(len(vectors)):
        cosines = {}
        for other in range(len(vectors)):
            if other != row:
                length = np.sqrt((vectors[row] ** 2).sum() * (vectors[other] ** 2).sum())
                cosines[other] = (vectors[row] * vectors[other]).sum() / length
        nearest = sorted(cosines, key=lambda place: -cosines[place])[:k]
        votes: dict[int, int] = {}
        for place in nearest:
            for name in classes[place] - classes[row]:
                votes[name] = votes.get(name, 0) + 1
        alone = not any(classes[place] & classes[row] for place in nearest)
        if judged[row] and alone and max(votes.values(), default=0) >= agreeing:
            found.add((row, max(votes.values())))
    return found


@given(seed=st.integers(0, 2**16), k=st.integers(1, 6), multi=st.booleans())
def test_equals_the_literal_rule(seed: int, k: int, multi: bool) -> None:
    rng = np.random.default_rng(seed)
    n, agreeing = 30, max(1, k - 1)
    labels = rng.integers(0, 3, n)
    vectors = 2 * rng.normal(size=(3, 4))[labels] + rng.normal(size=(n, 4))
    hot = np.eye(3, dtype=np.uint8)[labels]
    hot[rng.integers(0, n, 6)] = np.eye(3, dtype=np.uint8)[rng.integers(0, 3, 6)]
    if multi:
        hot |= (rng.random((n, 3)) < 0.2).astype(np.uint8)
    judged = rng.random(n) < 0.8
    found = doubtful(vectors.astype(np.float32), hot, judged, k, agreeing)
    classes = [set(np.flatnonzero(row).tolist()) for row in hot]
    assert {(row, votes) for row, _, votes in found} == literal(vectors, classes, judged, k, agreeing)
    assert [votes for *_, votes in found] == sorted((votes for *_, votes in found), reverse=True)


def test_planted_wrong_labels_are_named_and_right_ones_are_not(tmp_path: Path) -> None:
    field = clean(rows=120)
    field.features[:, 3] *= 1e4  # standardised before they are compared
    assert list(label_suspects(read(field.write(tmp_path / "right")), SETTINGS)) == []
    wrong = field.of("train")[::12]
    before = field.labels.copy()
    field.labels[wrong] = (field.labels[wrong] + 1) % 3
    field.labels[field.of("test")] = 0  # nobody looks at these
    (finding,) = label_suspects(read(field.write(tmp_path / "wrong")), SETTINGS)
    assert kinds([finding]) == [("note", "label-suspects")]
    assert finding.counts == {"rows": len(wrong), "of": 60}
    assert {example.row.id for example in finding.examples} <= {field.ids[row] for row in wrong}
    row = field.ids.index(finding.examples[0].row.id)
    assert finding.examples[0].word.endswith(f"of 10 neighbours: {field.classes[before[row]]}")
    assert "Only suspects" in finding.lines[0]


def test_several_classes_agree_where_one_is_shared(tmp_path: Path) -> None:
    field = clean(rows=120)
    hot = np.eye(3, dtype=np.uint8)[field.labels]
    hot[field.of("train")[0]] = [0, 1, 1]  # it was an ant
    hot[field.of("train")[6]] = [1, 0, 1]  # it was a cow, and is one
    field.labels = hot
    (finding,) = label_suspects(read(field.write(tmp_path)), SETTINGS)
    assert [example.row.label for example in finding.examples] == ["bee|cow"]


def test_a_class_that_cannot_fill_a_neighbourhood_is_not_doubted(tmp_path: Path) -> None:
    field = clean(rows=120)
    rare = field.of("train")[:3]
    field.labels[rare] = 3
    field.classes = (*field.classes, "dodo")
    assert list(label_suspects(read(field.write(tmp_path)), SETTINGS)) == []


def test_too_little_to_tell(tmp_path: Path) -> None:
    few, bare = clean("few", rows=18), clean("bare")
    bare.labels = None
    unlabelled = clean("unlabelled")
    unlabelled.labels[:] = -1
    for field in (few, bare, unlabelled):
        assert list(label_suspects(read(field.write(tmp_path)), SETTINGS)) == []


def test_standardised() -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32) * [1, 1e6, 0] + [0, 5e6, 7]
    found = standardised(vectors.astype(np.float32))
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(found.std(0), [1, 1, 0], rtol=1e-4)
