"""Settings of the baselines, and what their tests look at."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.methods.baseline_settings import (
    BaselineSettings,
    CcaSettings,
    RawSettings,
    RidgeSettings,
    SemanticSettings,
)
from xfeat.training.baselines import train

CCA, SEMANTIC, RIDGE, RAW = CcaSettings(), SemanticSettings(), RidgeSettings(), RawSettings()
LEARNED = (CCA, SEMANTIC, RIDGE)


def note(run: Path, modality: str = "text") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "branches" / f"{modality}.json").read_text(encoding="utf-8"))
    return found


def baseline_error(caches: Sequence[FeatureCache], out: Path, settings: BaselineSettings, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        train(caches, out, settings, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)
