from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.training.building import TINY, write_blobs
from xfeat.errors import InputError
from xfeat.training.drcl import train
from xfeat.training.prior_files import export_prior, import_prior, read_class_names
from xfeat.training.run import Run
from xfeat.training.store import load_prior, save_prior, sha256

RNG = np.random.default_rng(0)
W = RNG.normal(size=(6, 3))
NAMES = "cow\nant\nbee\n"


@pytest.fixture
def names(tmp_path: Path) -> Path:
    (tmp_path / "names.txt").write_text(NAMES, encoding="utf-8")
    return tmp_path / "names.txt"


def import_error(*arguments: Any) -> str:
    with pytest.raises(InputError) as caught:
        import_prior(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_export_is_the_prior_byte_for_byte(together: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.safetensors"
    prior = export_prior(Run(together), out)
    assert out.read_bytes() == Run(together).prior_file.read_bytes()
    assert prior.sha256 == sha256(out)
    assert export_prior(Run(together), out).sha256 == prior.sha256  # the same again is no harm
    for name in ("image", "text", "audio"):
        one = tmp_path / f"{name}.safetensors"
        assert export_prior(Run(together), one, name).sha256 == sha256(one)
        assert one.read_bytes() == Run(together).candidate_file(name).read_bytes()


def test_an_export_overwrites_nothing(together: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.safetensors"
    save_prior(out, torch.eye(3), ["a", "b", "c"])
    before = out.read_bytes()
    (tmp_path / "folder.safetensors").mkdir()
    for target, words in (
        (out, "exists and holds something else"),
        (tmp_path / "folder.safetensors", "exists and holds something else"),
        (tmp_path / "no" / "p.safetensors", "the folder"),
        (tmp_path / "p.npz", "ends in .safetensors"),
    ):
        with pytest.raises(InputError, match=words):
            export_prior(Run(together), target)
    assert out.read_bytes() == before
    with pytest.raises(InputError, match=r"no candidate of 'video' \(there are: .*image.*\)"):
        export_prior(Run(together), tmp_path / "x.safetensors", "video")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.safetensors", "p.safetensors"]


def test_a_run_without_its_own_prior_is_refused(tmp_path: Path) -> None:
    train(write_blobs(tmp_path, "image"), tmp_path / "run", TINY)
    run = Run(tmp_path / "run")
    save_prior(run.prior_file, torch.eye(3), ["a", "b", "c"])
    with pytest.raises(InputError, match=r"is not the prior that prior\.json was written for"):
        export_prior(run, tmp_path / "p.safetensors")
    run.prior_file.unlink()
    with pytest.raises(InputError, match="has no prior"):
        export_prior(run, tmp_path / "p.safetensors")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_arrays_become_priors_with_columns_in_class_order(tmp_path: Path, names: Path, dtype: Any) -> None:
    np.save(tmp_path / "w.npy", W.astype(dtype))
    np.savez(tmp_path / "w.npz", W=W.astype(dtype), other=np.zeros(3))
    made = [
        import_prior(tmp_path / f"w.{suffix}", tmp_path / f"{suffix}.safetensors", names) for suffix in ("npy", "npz")
    ]
    expected = torch.from_numpy(W.astype(dtype).astype(np.float32)[:, [1, 2, 0]])
    for one, suffix in zip(made, ("npy", "npz"), strict=True):
        stored = load_prior(tmp_path / f"{suffix}.safetensors")
        assert stored.weight.dtype == torch.float32
        assert torch.equal(stored.weight, expected)
        assert stored.classes == ["ant", "bee", "cow"]
        assert stored.sha256 == one.prior.sha256
        assert (one.reordered, one.rank) == (True, 3)


def test_a_run_against_an_imported_prior_holds_the_imported_bytes(tmp_path: Path, names: Path) -> None:
    np.save(tmp_path / "w.npy", W)
    out = tmp_path / "p.safetensors"
    import_prior(tmp_path / "w.npy", out, names)
    settings = TINY.model_copy(update={"prior": str(out), "out": None})
    train(write_blobs(tmp_path, "image"), tmp_path / "run", settings)
    assert Run(tmp_path / "run").prior_file.read_bytes() == out.read_bytes()


def test_tensors_are_found_by_name_and_an_xfeat_prior_knows_its_classes(tmp_path: Path, names: Path) -> None:
    weight = torch.randn(4, 3, dtype=torch.bfloat16)
    save_file({"prototypes": weight, "bias": torch.ones(3)}, tmp_path / "w.safetensors")
    arguments = (tmp_path / "w.safetensors", tmp_path / "p.safetensors", names)
    assert "name one with --name (there are: bias, prototypes)" in import_error(*arguments)
    assert "has no array 'x'" in import_error(*arguments, "x")
    assert "must be a matrix" in import_error(*arguments, "bias")
    made = import_prior(*arguments, "prototypes")
    assert torch.equal(made.prior.weight, weight.float()[:, [1, 2, 0]])
    again = import_prior(tmp_path / "p.safetensors", tmp_path / "q.safetensors")
    assert (again.prior.sha256, again.reordered) == (made.prior.sha256, False)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.ones(3), "must be a matrix of O rows (dimensions) and C columns (classes), not 3"),
        (np.ones((2, 3, 1)), "not 2 x 3 x 1"),
        (np.array(1.0), "not a single number"),
        (np.ones((0, 3)), "not 0 x 3"),
        (np.ones((6, 3), np.int64), "floating-point"),
        (np.ones((6, 3), complex), "floating-point"),
        (np.array([["a", "b", "c"]]), "floating-point"),
        (W.T, "its columns are not the 3 classes named; its rows are: transpose it"),
        (np.ones((6, 4)), "W is 6 x 4, but its columns are not the 3 classes named"),
        (np.where(np.arange(18).reshape(6, 3) == 5, np.nan, W), "1 values that are not finite in float32 (row 1, col"),
        (np.where(np.arange(18).reshape(6, 3) == 4, 1e300, W), "not finite in float32 (row 1, column 1)"),
        (W * [1, 0, 1], "column of 'ant' is all zeros"),
    ],
)
def test_what_is_no_prior_is_one_line(tmp_path: Path, names: Path, array: Any, words: str) -> None:
    np.save(tmp_path / "w.npy", array)
    assert words in import_error(tmp_path / "w.npy", tmp_path / "p.safetensors", names)
    assert not (tmp_path / "p.safetensors").exists()


def test_files_that_cannot_be_read_are_one_line(tmp_path: Path, names: Path) -> None:
    out = tmp_path / "p.safetensors"
    np.save(tmp_path / "objects.npy", np.array([{}, {}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "objects.npz", W=np.array([{}, {}], dtype=object))
    for name in ("torn.npy", "torn.npz", "torn.safetensors"):
        (tmp_path / name).write_bytes(b"\x93NUMPY")
    np.save(tmp_path / "w.npy", W)
    np.savez(tmp_path / "several.npz", a=W, b=W)
    for name in ("objects.npy", "objects.npz"):
        assert "Python objects" in import_error(tmp_path / name, out, names)
    for name in ("torn.npy", "torn.npz", "torn.safetensors"):
        assert name in import_error(tmp_path / name, out, names)
    assert "(there are: a, b)" in import_error(tmp_path / "several.npz", out, names)
    assert "not '.csv'" in import_error(tmp_path / "w.csv", out, names)
    assert "does not exist" in import_error(tmp_path / "no.npy", out, names)
    assert "leave --name out" in import_error(tmp_path / "w.npy", out, names, "W")
    assert "give --classes FILE.txt" in import_error(tmp_path / "w.npy", out)
    assert "ends in .safetensors" in import_error(tmp_path / "w.npy", tmp_path / "p.npz", names)
    assert "the folder" in import_error(tmp_path / "w.npy", tmp_path / "no" / "p.safetensors", names)
    out.write_bytes(b"mine")
    assert "exists and holds something else" in import_error(tmp_path / "w.npy", out, names)
    assert out.read_bytes() == b"mine"


def test_rank_is_what_the_columns_span(tmp_path: Path, names: Path) -> None:
    np.save(tmp_path / "w.npy", np.column_stack([W[:, 0], W[:, 1], W[:, 0] + W[:, 1]]))
    assert import_prior(tmp_path / "w.npy", tmp_path / "p.safetensors", names).rank == 2
    np.save(tmp_path / "v.npy", W[:2])
    assert import_prior(tmp_path / "v.npy", tmp_path / "q.safetensors", names).rank == 2


def test_class_names_are_lines(tmp_path: Path) -> None:
    path = tmp_path / "c.txt"
    path.write_bytes("\ufeffgröße \r\n  鳥\r\na b\r\n\r\n".encode())
    assert read_class_names(path) == ["größe", "鳥", "a b"]
    for content, words in (
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"a\n\nb\n", "line 2: empty"),
        (b"a\nb\n a\n", "line 3: class 'a' was named in line 1 already"),
        (b"a\n\xff\n", "line 2: not UTF-8"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=words):
            read_class_names(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_class_names(tmp_path / "no.txt")
