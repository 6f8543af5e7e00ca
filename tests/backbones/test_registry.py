import sys
from pathlib import Path

import pytest

from xfeat.backbones.registry import backbone_kinds, list_backbones, open_backbone
from xfeat.errors import InputError

PLUGIN = """
import numpy as np
from xfeat.backbones.registry import Family, Model

class Length:
    kind, name, dim = "text", "measures:length", 1
    def fingerprint(self): return {"backbone": self.name}
    def load(self, source): return len(source)
    def encode(self, items): return np.array(items, np.float32)[:, None]

family = Family(lambda spec, kind, setup: Length(), (Model("length", ("text",), "1", "characters"),))
not_a_family = Length
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A distribution on sys.path with four entry points: one good, three broken ones."""
    (tmp_path / "xfeat_measures.py").write_text(PLUGIN)
    info = tmp_path / "xfeat_measures-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: xfeat-measures\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[xfeat.backbones]\nmeasures = xfeat_measures:family\nodd = xfeat_measures:not_a_family\n"
        "gone = xfeat_no_such_module:family\nfilters = xfeat_measures:family\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "xfeat_measures", raising=False)
    return tmp_path


@pytest.mark.parametrize("row", [row for row in list_backbones() if row[0] == "filters"], ids=lambda row: row[1].name)
def test_filters_are_what_the_list_says(row) -> None:  # type: ignore[no-untyped-def]
    family, model = row
    backbone = open_backbone(f"{family}:{model.name}")
    assert (backbone.name, (backbone.kind,), str(backbone.dim)) == (f"{family}:{model.name}", model.kinds, model.dim)
    assert backbone_kinds(f"{family}:{model.name}") == model.kinds


@pytest.mark.parametrize(
    ("spec", "kind", "message"),
    [
        ("hog", None, "family:model"),
        ("filter:hog", None, r"did you mean filters\?.*there is clap, filters, open_clip"),
        ("filters:hogs", None, r"did you mean hog\?.*there is hog, hashing, logmel, strokes"),
        ("filters:hog", "text", "reads image, not text; for text: .*filters:hashing"),
        ("filters:hog@weights.pt", None, "no weights"),
        ("open_clip:ViT-B-32@openai", None, "--kind"),
        ("open_clip:ViT-B-32@openai", "audio", "not audio; for audio: .*filters:logmel"),
        ("filters:hog", "strokes", "reads image, not strokes; for strokes: filters:strokes"),
    ],
)
def test_refuses_in_words(spec: str, kind: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_backbone(spec, kind)


def test_another_package_adds_a_family(installed: Path) -> None:
    backbone = open_backbone("measures:length")
    assert backbone.encode([backbone.load("four")]).tolist() == [[4.0]]
    assert ("measures", "length") in [(family, model.name) for family, model in list_backbones()]


def test_a_broken_package_is_named_and_hides_no_other(installed: Path) -> None:
    with pytest.raises(InputError, match=r"'gone' .*cannot be imported: ModuleNotFoundError"):
        open_backbone("gone:x")
    with pytest.raises(InputError, match=r"not an xfeat\.backbones\.registry\.Family"):
        open_backbone("odd:x")
    listed = {family: model.about for family, model in list_backbones()}
    assert listed["gone"].startswith("broken: ")
    assert "measures" in listed


def test_a_package_cannot_replace_a_built_in_family(installed: Path) -> None:
    assert open_backbone("filters:hog").kind == "image"
