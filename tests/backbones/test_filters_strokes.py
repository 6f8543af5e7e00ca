"""The maps are checked against a point-by-point sum, the features by laws of drawing and by real drawings."""

import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from xfeat.backbones.filters_strokes import BLUR, MAX_STEPS, STEP, WEIGHTS, StrokesBackbone
from xfeat.errors import SampleError

STROKES = StrokesBackbone()
SIGNED, UNSIGNED, COURSE = slice(0, 512), slice(512, 768), slice(768, 832)
PLACES, STARTS, STOPS = slice(832, 848), slice(848, 864), slice(864, 880)
LIFTS, SIZE = slice(880, 912), slice(912, 916)

Drawing = list[list[tuple[float, float]]]
CROSS: Drawing = [[(0.0, 0.0), (10.0, 10.0)], [(0.0, 10.0), (10.0, 0.0)]]
SEVEN: Drawing = [[(0.0, 20.0), (12.0, 20.0), (5.0, 0.0)]]


def features(folder: Path, drawing: Drawing) -> NDArray[np.float32]:
    text = "START\n" + "".join("".join(f"{x!r},{y!r},0\n" for x, y in one) + "BREAK\n" for one in drawing)
    (folder / "s.txt").write_text(text)
    return STROKES.encode([STROKES.load(folder / "s.txt")])[0]


def test_maps_follow_the_definition(tmp_path: Path) -> None:
    drawing = [[(0.0, 0.0), (24.0, 7.0), (11.0, 13.0)], [(3.0, 20.0), (20.0, 21.0)]]
    row = features(tmp_path, drawing)
    signed = np.zeros((8, 8, 8))
    for stroke in STROKES.load(tmp_path / "s.txt"):
        for (x0, y0), (x1, y1) in pairwise(stroke):
            angle = math.atan2(y1 - y0, x1 - x0) / (2 * math.pi) * 8
            for direction in range(8):
                away = abs((angle - direction + 4) % 8 - 4)  # on the circle of 8
                for v in range(8):
                    for u in range(8):
                        across = ((x0 + x1) / 2 + 1) / 2 * 8 - 0.5 - u
                        down = ((y0 + y1) / 2 + 1) / 2 * 8 - 0.5 - v
                        near = math.exp(-(across**2 + down**2) / (2 * BLUR**2))
                        signed[direction, v, u] += max(0.0, 1 - away) * math.hypot(x1 - x0, y1 - y0) * near
    unsigned = signed[:4] + signed[4:]
    np.testing.assert_allclose(row[SIGNED], WEIGHTS["signed"] * np.sqrt(signed / signed.sum()).ravel(), atol=1e-5)
    np.testing.assert_allclose(
        row[UNSIGNED], WEIGHTS["unsigned"] * np.sqrt(unsigned / unsigned.sum()).ravel(), atol=1e-5
    )


def test_points_are_evenly_spaced_and_keep_their_ends(tmp_path: Path) -> None:
    features(tmp_path, [[(0.0, 0.0), (1.0, 0.0), (1.0, 0.0), (48.0, 0.0)]])
    (stroke,) = STROKES.load(tmp_path / "s.txt")
    assert stroke[[0, -1]].tolist() == [[-1, 0], [1, 0]]
    np.testing.assert_allclose(np.diff(stroke[1:-1, 0]), 2 * STEP)


def test_a_straight_line_has_one_direction(tmp_path: Path) -> None:
    for direction, (x, y) in enumerate([(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]):
        row = features(tmp_path, [[(0.0, 0.0), (9.0 * x, 9.0 * y)]])
        assert np.flatnonzero(row[SIGNED].reshape(8, 64).max(axis=1) > 1e-4).tolist() == [direction]
        assert np.flatnonzero(row[UNSIGNED].reshape(4, 64).max(axis=1) > 1e-4).tolist() == [direction % 4]
        np.testing.assert_allclose(row[COURSE].reshape(8, 8)[:, direction], WEIGHTS["course"] / math.sqrt(8), rtol=0.01)


finite = st.floats(-50, 50)
drawings = st.lists(st.lists(st.tuples(finite, finite), min_size=1, max_size=6), min_size=1, max_size=4)


@given(drawings, st.floats(0.01, 100), finite, finite)
def test_position_and_size_do_not_matter(
    tmp_path_factory: pytest.TempPathFactory, drawing: Drawing, scale: float, right: float, down: float
) -> None:
    folder = tmp_path_factory.mktemp("s")
    # Coarse coordinates: what lies closer together than rounding is another drawing after it is moved.
    coarse = [[(round(x, 1), round(y, 1)) for x, y in one] for one in drawing]
    moved = [[(x * scale + right, y * scale + down) for x, y in one] for one in coarse]
    here, there = features(folder, coarse), features(folder, moved)
    # A histogram is the root of shares: a share of 1e-16 that rounding makes or loses is 1e-8.
    assert np.linalg.norm(here - there) < 1e-3


@given(drawings)
def test_rows_are_finite_bounded_and_normed(tmp_path_factory: pytest.TempPathFactory, drawing: Drawing) -> None:
    row = features(tmp_path_factory.mktemp("s"), drawing)
    assert row.shape == (STROKES.dim,) == (916,)
    assert row.dtype == np.float32
    assert np.abs(row).max() <= 1
    for part, name in ((SIGNED, "signed"), (UNSIGNED, "unsigned"), (COURSE, "course"), (LIFTS, "lifts")):
        norm = np.linalg.norm(row[part])
        assert norm == pytest.approx(WEIGHTS[name], rel=1e-4) or norm == 0
    assert np.linalg.norm(row[STARTS]) == pytest.approx(WEIGHTS["ends"], rel=1e-4)


def test_drawing_backwards_changes_what_knows_the_pen_and_nothing_else(tmp_path: Path) -> None:
    forth = features(tmp_path, SEVEN)
    back = features(tmp_path, [one[::-1] for one in SEVEN])
    np.testing.assert_allclose(forth[UNSIGNED], back[UNSIGNED], atol=1e-5)
    np.testing.assert_allclose(forth[SIGNED].reshape(2, 256), back[SIGNED].reshape(2, 256)[::-1], atol=1e-5)
    np.testing.assert_array_equal(forth[STARTS], back[STOPS])
    np.testing.assert_allclose(forth[SIZE], back[SIZE], atol=1e-6)
    for part in (SIGNED, COURSE, PLACES, STARTS):
        assert np.abs(forth[part] - back[part]).max() > 0.01


def test_the_order_of_strokes_changes_course_and_lifts_alone(tmp_path: Path) -> None:
    first, second = features(tmp_path, CROSS), features(tmp_path, CROSS[::-1])
    for part in (SIGNED, UNSIGNED, STARTS, STOPS, SIZE):
        np.testing.assert_allclose(first[part], second[part], atol=1e-6)
    for part in (COURSE, LIFTS):
        assert np.abs(first[part] - second[part]).max() > 0.1


def test_aspect_is_kept(tmp_path: Path) -> None:
    tall = features(tmp_path, [[(0.0, 0.0), (0.0, 20.0), (10.0, 20.0), (10.0, 0.0)]])
    np.testing.assert_allclose(tall[SIZE][2:], [0.5 * WEIGHTS["size"], WEIGHTS["size"]], rtol=0.03)


@pytest.mark.parametrize("drawing", [[[(3.0, 4.0)]], [[(3.0, 4.0)] * 5], [[(1e12, 1e12)], [(1e12, 1e12 - 1e-4)]]])
def test_a_lone_dot_is_a_place_without_direction(tmp_path: Path, drawing: Drawing) -> None:
    row = features(tmp_path, drawing)
    assert not row[SIGNED].any()
    assert not row[UNSIGNED].any()
    assert row[STARTS].any()


def test_an_endless_scribble_is_walked_in_longer_steps(tmp_path: Path) -> None:
    scribble = [(float(i % 2) * 100, i * 0.01) for i in range(10_000)]
    row = features(tmp_path, [scribble])
    assert np.isfinite(row).all()
    assert len(STROKES.load(tmp_path / "s.txt")[0]) <= MAX_STEPS + 2


@given(st.lists(drawings, min_size=1, max_size=3))
def test_a_row_does_not_depend_on_its_batch(tmp_path_factory: pytest.TempPathFactory, many: list[Drawing]) -> None:
    folder = tmp_path_factory.mktemp("s")
    alone = [features(folder, drawing) for drawing in many]
    items = []
    for drawing in many:
        features(folder, drawing)
        items.append(STROKES.load(folder / "s.txt"))
    np.testing.assert_array_equal(STROKES.encode(items), np.stack(alone))


def test_no_strokes_give_no_rows() -> None:
    assert STROKES.encode([]).shape == (0, STROKES.dim)


def test_a_damaged_file_says_why(tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_text("START\n1,2,0\nthree,4,0\n")
    with pytest.raises(SampleError, match="line 3 is not x,y or x,y,t"):
        STROKES.load(tmp_path / "s.txt")


def test_fingerprint_is_json() -> None:
    fingerprint = STROKES.fingerprint()
    assert json.loads(json.dumps(fingerprint)) == fingerprint


def test_characters_are_recognised_from_one_drawing_of_another_hand(shared_data: Path, tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(shared_data / "omniglot" / "strokes_background_small1.zip") as archive:
        names = [name for name in archive.namelist() if "/Greek/" in name and name.endswith(("_01.txt", "_02.txt"))]
        archive.extractall(tmp_path, [name for name in names if not name.startswith("__MACOSX")])
    hands = [sorted(tmp_path.rglob(f"*_0{hand}.txt")) for hand in (1, 2)]
    one, two = (STROKES.encode([STROKES.load(path) for path in paths]) for paths in hands)
    assert len(one) == len(two) == 24
    assert ((one @ two.T).argmax(axis=1) == np.arange(24)).mean() > 0.6
