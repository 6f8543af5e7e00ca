import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.training.building import files
from xfeat.errors import InputError
from xfeat.heads import Branch, Recast
from xfeat.training.checkpoint import read_tensors
from xfeat.training.data import InputScale
from xfeat.training.store import is_done, load_branch, load_note, load_prior, save_branch, save_note, save_prior, sha256

CLASSES = ["ant", "größe", "鳥"]


def some_branch(
    path: Path,
    *,
    layers: int = 2,
    bias: float = 0.0,
    skip: bool = False,
    readout: Recast | None = None,
    **note: Any,
) -> tuple[Branch, InputScale]:
    torch.manual_seed(0)
    head = Branch(4, 6, 5, layers=layers, bias_length=bias, skip=skip)
    if head.skip:
        torch.nn.init.normal_(head.skip.weight)
    scale = InputScale(torch.randn(4), torch.rand(4) + 0.5)
    save_branch(path, head.state_dict(), scale, {"in_dim": 4, "hidden": 6, "out_dim": 5, **note}, readout)
    return head, scale


def test_a_prior_comes_back_with_its_classes(tmp_path: Path) -> None:
    weight = torch.randn(5, 3)
    sha = save_prior(tmp_path / "prior.safetensors", weight, CLASSES)
    prior = load_prior(tmp_path / "prior.safetensors")
    assert torch.equal(prior.weight, weight)
    assert prior.classes == CLASSES
    assert prior.sha256 == sha == sha256(tmp_path / "prior.safetensors")


def test_equal_priors_are_equal_files(tmp_path: Path) -> None:
    weight = torch.randn(5, 3)
    assert save_prior(tmp_path / "a", weight, CLASSES) == save_prior(tmp_path / "b", weight.clone(), CLASSES)
    assert save_prior(tmp_path / "c", weight, CLASSES[::-1]) != save_prior(tmp_path / "d", weight, CLASSES)


@pytest.mark.parametrize(
    ("tensors", "meta", "message"),
    [
        ({"V": torch.ones(4, 2)}, {"xfeat": '{"classes": ["a", "b"]}'}, "is not a prior"),
        ({"W": torch.ones(4, 2)}, None, "is not a prior"),
        ({"W": torch.ones(4, 2)}, {"xfeat": "{"}, "is not a prior"),
        ({"W": torch.ones(4, 2)}, {"xfeat": "[1]"}, "is not a prior"),
        ({"W": torch.ones(4, 2)}, {"xfeat": '{"classes": 3}'}, "is not a prior"),
        ({"W": torch.ones(4, 2)}, {"xfeat": '{"classes": ["a"]}'}, r"W is \(4, 2\) for 1 classes"),
        ({"W": torch.ones(2)}, {"xfeat": '{"classes": ["a", "b"]}'}, r"W is \(2,\) for 2 classes"),
        ({"W": torch.tensor([[1, torch.nan]])}, {"xfeat": '{"classes": ["a", "b"]}'}, "not finite"),
        ({"W": torch.tensor([[1, torch.inf]])}, {"xfeat": '{"classes": ["a", "b"]}'}, "not finite"),
    ],
)
def test_what_is_no_prior_is_refused(
    tmp_path: Path, tensors: dict[str, torch.Tensor], meta: dict[str, str] | None, message: str
) -> None:
    path = tmp_path / "w.safetensors"
    save_file(tensors, path, meta)
    with pytest.raises(InputError, match=message):
        load_prior(path)


def test_a_missing_or_damaged_prior_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"w\.safetensors does not exist"):
        load_prior(tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").write_text("no tensors")
    with pytest.raises(InputError, match=r"w\.safetensors is not a whole safetensors file"):
        load_prior(tmp_path / "w.safetensors")


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bias", [0.0, 4.0])
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("recast", [False, True])
def test_a_branch_comes_back_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layers: int, bias: float, skip: bool, recast: bool
) -> None:
    path = tmp_path / "image.safetensors"
    readout = Recast(torch.randn(5, 3), 16.0) if recast else None
    head, scale = some_branch(path, layers=layers, bias=bias, skip=skip, readout=readout, epoch=3)
    stored = load_branch(path)
    x = torch.randn(7, 4)
    assert torch.equal(stored.head(x), head(x))
    z = head(scale(x.numpy())).detach()
    expected = readout(z) if readout else z
    assert stored.similarity == ("inner product" if recast else "cosine")
    assert torch.equal(stored.embed(x.numpy(), torch.device("cpu")), expected)
    monkeypatch.setattr("xfeat.training.store.EMBED_ROWS", 3)
    torch.testing.assert_close(stored.embed(x.numpy(), torch.device("cpu")), expected)
    assert torch.equal(stored.scale.mean, scale.mean)
    assert torch.equal(stored.scale.std, scale.std)
    assert stored.note == {"in_dim": 4, "hidden": 6, "out_dim": 5, "epoch": 3, "sha256": sha256(path)}
    assert is_done(path)


def test_equal_branches_are_equal_files(tmp_path: Path) -> None:
    for readout in (None, Recast(torch.eye(5, 3), 16.0)):
        some_branch(tmp_path / "a" / "image.safetensors", readout=readout)
        some_branch(tmp_path / "b" / "image.safetensors", readout=readout)
        assert files(tmp_path / "a") == files(tmp_path / "b")


@pytest.mark.parametrize("missing", ["readout/prior", "readout/axes"])
def test_half_a_readout(tmp_path: Path, missing: str) -> None:
    path = tmp_path / "image.safetensors"
    some_branch(path, readout=Recast(torch.eye(5, 3), 16.0))
    save_file({name: t for name, t in read_tensors(path)[0].items() if name != missing}, path)
    save_note(path.with_suffix(".json"), {**load_note(path.with_suffix(".json")), "sha256": sha256(path)})
    with pytest.raises(InputError, match="does not fit its note"):
        load_branch(path)


def test_a_branch_and_a_note_that_do_not_belong_together(tmp_path: Path) -> None:
    path = tmp_path / "image.safetensors"
    some_branch(path)
    tensors, _ = read_tensors(path)
    save_file({**tensors, "head/output.weight": tensors["head/output.weight"] + 1}, path)
    assert not is_done(path)
    with pytest.raises(InputError, match=r"image\.safetensors is not the file that image\.json was written for"):
        load_branch(path)


@pytest.mark.parametrize("change", [{"hidden": 7}, {"in_dim": None}, {"out_dim": "5"}])
def test_a_note_of_other_sizes(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "image.safetensors"
    some_branch(path, **change)
    with pytest.raises(InputError, match=r"image\.safetensors does not fit its note") as caught:
        load_branch(path)
    assert "\n" not in str(caught.value)


def test_a_branch_without_its_scale(tmp_path: Path) -> None:
    path = tmp_path / "image.safetensors"
    some_branch(path)
    save_file({name: t for name, t in read_tensors(path)[0].items() if name.startswith("head/")}, path)
    save_note(path.with_suffix(".json"), {**load_note(path.with_suffix(".json")), "sha256": sha256(path)})
    with pytest.raises(InputError, match="does not fit its note"):
        load_branch(path)


def test_an_unfinished_branch_says_so(tmp_path: Path) -> None:
    path = tmp_path / "image.safetensors"
    some_branch(path)
    path.with_suffix(".json").unlink()
    assert not is_done(path)
    with pytest.raises(InputError, match=r"image\.json does not exist: the run is not finished"):
        load_branch(path)


@pytest.mark.parametrize("content", [b"{", b"[1]", b"3", b"\xff\xff", b""])
def test_a_damaged_note_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "n.json").write_bytes(content)
    with pytest.raises(InputError, match=r"n\.json is damaged"):
        load_note(tmp_path / "n.json")


def test_equal_notes_are_equal_files(tmp_path: Path) -> None:
    save_note(tmp_path / "a", {"x": 1, "ü": 2})
    save_note(tmp_path / "b", {"ü": 2, "x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert json.loads((tmp_path / "a").read_text(encoding="utf-8")) == {"x": 1, "ü": 2}
