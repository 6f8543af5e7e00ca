from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xfeat.errors import InputError
from xfeat.training.prior_picture import draw_similarity


def drawn(path: Path, cosines: np.ndarray, classes: list[str]) -> np.ndarray:
    draw_similarity(cosines, classes, path)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def share(pixels: np.ndarray, strong: int, weak: int) -> float:
    """Share of pixels in which one channel clearly outweighs another."""
    return float((pixels[..., strong] > pixels[..., weak] + 60).mean())


def test_alike_is_red_and_opposed_is_blue(tmp_path: Path) -> None:
    pictures = {}
    for sign in (-1, 1):
        cosines = np.full((4, 4), sign * 0.5)
        np.fill_diagonal(cosines, 1)
        pictures[sign] = drawn(tmp_path / f"{sign}.png", cosines, list("abcd"))
    assert share(pictures[1], 0, 2) > 0.15 > 0.05 > share(pictures[1], 2, 0)
    assert share(pictures[-1], 2, 0) > 0.15 > 0.05 > share(pictures[-1], 0, 2)


def test_rounding_errors_of_an_orthogonal_prior_stay_white(tmp_path: Path) -> None:
    cosines = np.eye(4) + 1e-7 * (1 - np.eye(4))
    pixels = drawn(tmp_path / "p.png", cosines, list("abcd"))
    assert share(pixels, 0, 2) < 0.05  # the colour bar alone


@pytest.mark.parametrize("count", [1, 2, 40, 130])
def test_a_picture_grows_with_the_classes_up_to_a_limit(tmp_path: Path, count: int) -> None:
    height, width, _ = drawn(tmp_path / "p.png", np.eye(count), [f"class {number}" for number in range(count)]).shape
    assert 300 < height < 2600
    assert 300 < width < 2600
    if count == 40:
        assert height > 40 * 15


@pytest.mark.parametrize("count", [3, 10, 60])
def test_nothing_is_cut_off_at_the_edges(tmp_path: Path, count: int) -> None:
    pixels = drawn(tmp_path / "p.png", np.eye(count), [f"{number} of the long names" for number in range(count)])
    for edge in (pixels[:8], pixels[-8:], pixels[:, :8], pixels[:, -8:]):
        assert (edge == 255).all()


def test_any_class_name_can_be_drawn(tmp_path: Path) -> None:
    names = ["$x_{", "a_b^c$", "鳥の写真", "\u0e01 \U0001f600", "two\nlines", "long " * 40, ""]
    height, width, _ = drawn(tmp_path / "p.png", np.eye(len(names)), names).shape
    assert max(height, width) < 1200


def test_equal_priors_give_equal_pictures(tmp_path: Path) -> None:
    draw_similarity(np.eye(3), list("abc"), tmp_path / "a.png")
    draw_similarity(np.eye(3), list("abc"), tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_picture_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "p.jpg", "ends in .png"), (tmp_path / "no" / "p.png", "does not exist")):
        with pytest.raises(InputError, match=words):
            draw_similarity(np.eye(3), list("abc"), path)
    (tmp_path / "f.png").mkdir()
    with pytest.raises(InputError, match="not a plain file"):
        draw_similarity(np.eye(3), list("abc"), tmp_path / "f.png")
    assert [path.name for path in tmp_path.iterdir()] == ["f.png"]
