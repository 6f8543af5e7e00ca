"""The similarity of a prior's classes as a picture."""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xfeat.cache.files import whole_file
from xfeat.errors import InputError

CELL_INCHES = (0.17, 0.5)  # smallest and largest side of a class's cell
WIDEST = 17.0  # inches of the map itself
MOST_NAMES = 100
MOST_VALUES = 12  # classes up to which the cosines are written into the cells
NAME_LENGTH = 22
LEAST_RANGE = 0.1  # the colours of a nearly orthogonal prior must not blow up rounding errors
CJK_FONTS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Micro Hei", "PingFang SC", "Microsoft YaHei")


def draw_similarity(cosines: NDArray[np.float64], classes: Sequence[str], path: Path, title: str = "") -> None:
    """Draw the cosines between a prior's columns as a heat map: red is alike, blue is opposed, white is orthogonal.

    The diagonal, always 1, is grey, and the colours reach as far as the other values do.

    Args:
        cosines: (C, C) in [-1, 1].
        classes: (C,) names; long ones are cut, and of more than 100 only some are written.
        path: a ``.png``; replaced if it exists.
        title: above the map.

    Raises:
        InputError: another suffix, or no such folder.
    """
    check_picture(path)
    # Imported here: it takes longer than everything else, and only pictures need it.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it reports on its font cache
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = len(classes)
    cell = min(CELL_INCHES[1], max(CELL_INCHES[0], 5 / count))
    side = min(WIDEST, max(2.0, cell * count))
    others = cosines[~np.eye(count, dtype=bool)]
    reach = min(1.0, max(LEAST_RANGE, float(np.abs(others).max(initial=0))))
    with mpl.rc_context({"font.family": _fonts()}), warnings.catch_warnings():
        # A script that no installed font has is drawn as boxes, which says enough.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=(side + 3.4, side + 2.4), dpi=120, layout="compressed")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        colours = mpl.colormaps["RdBu_r"].with_extremes(bad="0.8")
        shown = np.ma.masked_where(np.eye(count, dtype=bool), cosines)
        image = axes.imshow(shown, cmap=colours, vmin=-reach, vmax=reach, interpolation="nearest")
        step = -(-count // MOST_NAMES)
        names = [_cut(name) for name in classes][::step]
        size = float(np.clip(cell * step * 72 * 0.62, 6, 10))
        # Class names may hold dollar signs: they are not formulas.
        axes.set_xticks(range(0, count, step), names, fontsize=size, rotation=90, parse_math=False)
        axes.set_yticks(range(0, count, step), names, fontsize=size, parse_math=False)
        axes.tick_params(length=2)
        if title:
            axes.set_title(title, fontsize=10, parse_math=False)
        if count <= MOST_VALUES:
            for row, column in zip(*np.nonzero(~np.eye(count, dtype=bool)), strict=True):
                value = cosines[row, column]
                ink = "white" if abs(value) > 0.65 * reach else "black"
                axes.text(column, row, f"{round(value, 2) + 0.0:.2f}", ha="center", va="center", fontsize=7, color=ink)
        figure.colorbar(image, ax=axes, shrink=0.8, fraction=0.04, aspect=30, label="cosine")
        with whole_file(path) as tmp:
            # Cut to what was drawn, whatever the names' length. No version in the file: equal priors, equal pictures.
            figure.savefig(tmp, format="png", bbox_inches="tight", pad_inches=0.15, metadata={"Software": None})


def check_picture(path: Path) -> None:
    """Refuse a picture that could not be written, before any work.

    Raises:
        InputError: not a .png, or no such folder.
    """
    if path.suffix.lower() != ".png":
        raise InputError(f"--picture {path}: a picture's file name ends in .png")
    if not path.parent.is_dir():
        raise InputError(f"--picture {path}: the folder {path.parent} does not exist")


def _cut(name: str) -> str:
    plain = " ".join(name.split())
    return plain if len(plain) <= NAME_LENGTH else plain[: NAME_LENGTH - 1] + "…"


def _fonts() -> list[str]:
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in CJK_FONTS if name in installed)]
