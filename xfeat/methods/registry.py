"""The methods on offer."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel

from xfeat.errors import InputError
from xfeat.methods.baseline_settings import (
    CcaSettings,
    OrthogonalSettings,
    RawSettings,
    RidgeSettings,
    SemanticSettings,
)
from xfeat.methods.ciim_settings import CiimSettings
from xfeat.methods.drcl_settings import DrclSettings
from xfeat.methods.sspc_settings import SspcSettings


@dataclass(frozen=True)
class Method:
    """A method that ``xfeat train`` knows.

    Attributes:
        name: on the command line.
        about: one line.
        settings: its settings, with defaults and descriptions.
        baseline: whether it is there for the others to be compared with.
        closed_form: whether nothing is drawn at random, so that all seeds give the same.
    """

    name: str
    about: str
    settings: type[BaseModel]
    baseline: bool = False
    closed_form: bool = False

    def describe(self) -> Iterator[tuple[str, str, str]]:
        """Name, default and description of every setting."""
        for name, field in self.settings.model_fields.items():
            default = "by size" if field.default is None else str(field.default)
            yield name, default.lower() if isinstance(field.default, bool) else default, field.description or ""


METHODS = {
    "drcl": Method(
        "drcl",
        "independent branches against a quality-scored prior; no pairs needed (arXiv 2501.05686)",
        DrclSettings,
    ),
    "ciim": Method(
        "ciim",
        "labelled modalities, no pairs; proxies and causal intervention (doi 10.1109/TPAMI.2024.3379752)",
        CiimSettings,
    ),
    "sspc": Method(
        "sspc",
        "paired modalities, no labels; multi-anchor structure preservation (arXiv 2308.13077)",
        SspcSettings,
    ),
    "raw": Method("raw", "features as they are, of one width", RawSettings, baseline=True, closed_form=True),
    "cca": Method(
        "cca",
        "canonical correlations of rows of one pair key, or of one class",
        CcaSettings,
        baseline=True,
        closed_form=True,
    ),
    "semantic-matching": Method(
        "semantic-matching",
        "class posteriors of one logistic regression per modality",
        SemanticSettings,
        baseline=True,
        closed_form=True,
    ),
    "ridge": Method(
        "ridge", "label scores of one ridge regression per modality", RidgeSettings, baseline=True, closed_form=True
    ),
    "orthogonal": Method(
        "orthogonal", "drcl against a fixed random orthogonal prior", OrthogonalSettings, baseline=True
    ),
}


def find_method(name: str) -> Method:
    """A method by name.

    Raises:
        InputError: there is none; the closest names are given.
    """
    if name not in METHODS:
        close = difflib.get_close_matches(name, METHODS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there is {', '.join(METHODS)}"
        raise InputError(f"unknown method {name!r}: {hint}")
    return METHODS[name]
