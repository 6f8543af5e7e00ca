import sys
from pathlib import Path

import pytest

from xfeat.backbones.base import parse_spec
from xfeat.backbones.registry import open_backbone
from xfeat.backbones.saved import describe, files_sha256, find_folder, require_safetensors
from xfeat.backbones.weights import tensors_sha256
from xfeat.errors import InputError


@pytest.mark.parametrize(
    ("spec", "package", "extra"),
    [
        ("sentence-transformers:all-MiniLM-L6-v2", "sentence_transformers", "text"),
        ("clap:laion/clap-htsat-unfused", "transformers", "audio"),
        ("video:filters:hog", "av", "video"),
    ],
)
def test_a_missing_package_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, spec: str, package: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as Python itself marks a module that cannot be imported
    with pytest.raises(InputError, match=rf'{package} cannot be imported .*pip install "xfeat\[{extra}\]"'):
        open_backbone(spec, "audio" if package == "transformers" else None)


def test_a_folder_goes_by_its_last_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    assert find_folder(parse_spec(f"clap:laion/clap@{tmp_path / 'model'}")) == (tmp_path / "model", "laion/clap")
    assert find_folder(parse_spec(f"clap:{tmp_path / 'model'}")) == (tmp_path / "model", "model")
    monkeypatch.chdir(tmp_path)
    assert find_folder(parse_spec("clap:./model")) == (Path("model"), "model")
    assert find_folder(parse_spec("clap:model")) == (Path("model"), "model")


@pytest.mark.parametrize("model", ["{}/none", "./none", "name@{}/none", "one/two/three"])
def test_a_folder_that_is_not_there_is_not_looked_up(tmp_path: Path, model: str) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        find_folder(parse_spec(f"clap:{model.format(tmp_path)}"))


def test_a_model_that_cannot_be_fetched_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        InputError, match=r"somebody/some-model .*cannot be downloaded .*clap:some-model@/path/to/folder"
    ):
        find_folder(parse_spec("clap:some-model"), "somebody")


def test_weights_are_hashed_by_what_they_hold(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    first, second = {"a": torch.arange(3.0)}, {"b": torch.ones(2, 2)}
    (tmp_path / "1_Dense").mkdir()
    save_file(first, tmp_path / "one.safetensors")
    save_file(second, tmp_path / "two.safetensors")
    save_file(first, tmp_path / "1_Dense" / "x.safetensors")
    files = require_safetensors(tmp_path, ["", "1_Dense"])
    assert sorted(files) == ["1_Dense/x.safetensors", "one.safetensors", "two.safetensors"]
    expected = {"./a": first["a"], "./b": second["b"], "1_Dense/a": first["a"]}
    assert files_sha256(files) == tensors_sha256(expected)


def test_a_pickle_beside_safetensors_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(InputError, match=r"model\.bin is a pickle"):
        require_safetensors(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert list(require_safetensors(tmp_path)) == ["model.safetensors"]


def test_a_description_holds_no_places() -> None:
    config = {"_name_or_path": "/home/x", "size": (1, 2), "inner": {"dtype": "float16", "act": "gelu", 1: None}}
    assert describe(config) == {"size": [1, 2], "inner": {"act": "gelu", "1": None}}
