import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.cli.asking import QUICK, refused
from tests.cli.conftest import Xfeat
from tests.training.building import blobs
from xfeat.training.store import save_prior, sha256


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


def test_show_says_how_the_prior_was_chosen_and_draws_it(xfeat: Xfeat, run: Path) -> None:
    code, out, err = xfeat("prior", "show", run)
    assert (code, err) == (0, "")
    note = json.loads((run / "prior.json").read_text())
    assert f"candidate of {note['chosen']}, score {note['score']:.3f} (the highest)" in out
    for name, one in note["candidates"].items():
        mark = " *" if name == note["chosen"] else ""
        row = next(line for line in out.splitlines() if line.startswith(f"  {name}"))
        wanted = [*(name + mark).split(), f"{one['score']:.3f}", "train", str(one["epoch"]), one["sha256"][:8]]
        assert row.split() == wanted
    assert "12 dimensions x 3 classes" in out
    assert note["sha256"] in out
    assert "rank 3 of 3" in out
    assert out.splitlines()[-1] == f"picture   {run / 'prior.png'}"
    assert (run / "prior.png").read_bytes().startswith(b"\x89PNG")


def test_show_of_a_file_draws_only_when_asked(xfeat: Xfeat, run: Path, tmp_path: Path) -> None:
    file = shutil.copy(run / "prior.safetensors", tmp_path / "p.safetensors")
    code, out, err = xfeat("prior", "show", file)
    assert (code, err) == (0, "")
    assert "a file of its own" in out
    assert "picture" not in out
    assert not list(tmp_path.rglob("*.png"))
    assert xfeat("prior", "show", file, "--picture", tmp_path / "x.png")[0] == 0
    assert (tmp_path / "x.png").is_file()


def test_show_as_json(xfeat: Xfeat, run: Path, tmp_path: Path) -> None:
    code, out, _ = xfeat("prior", "show", run, "--json", "-")
    assert code == 0
    document = json.loads(out)
    assert document["classes"] == ["ant", "bee", "cow"]
    assert document["candidates"].keys() == {"image", "text"}
    assert xfeat("prior", "show", run, "--json", tmp_path / "p.json")[0] == 0
    assert json.loads((tmp_path / "p.json").read_text()) == document


def test_show_fits_80_columns(xfeat: Xfeat, tmp_path: Path) -> None:
    names = tuple(f"a class with\nquite a long name, number {number}" for number in range(3))
    cache = replace(blobs("m" * 48), classes=names).write(tmp_path / "c").path
    assert xfeat("train", "drcl", cache, "--out", tmp_path / "run", *QUICK)[0] == 0
    code, out, err = xfeat("prior", "show", tmp_path / "run")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines()[1:-1])) <= 80


def test_how_other_priors_came_about(xfeat: Xfeat, caches: dict[str, Path], run: Path, tmp_path: Path) -> None:
    for number, (prior, words) in enumerate(
        (
            ("orthogonal", "orthogonal, random and fixed"),
            ("candidate:image", "(as set)"),
            (run / "prior.safetensors", "taken from a file"),
        )
    ):
        out = tmp_path / str(number)
        assert xfeat("train", "drcl", caches["image"], "--out", out, *QUICK, "--set", f"prior={prior}")[0] == 0
        assert words in xfeat("prior", "show", out)[1]
    # A newcomer whose candidate beats the prior changes nothing, and the table says so.
    note = json.loads((run / "prior.json").read_text())
    note["candidates"]["better"] = {**note["candidates"]["image"], "score": 0.999}
    (run / "prior.json").write_text(json.dumps(note))
    assert "no longer the highest" in xfeat("prior", "show", run)[1]


def test_a_prior_goes_out_and_another_run_trains_against_it(
    xfeat: Xfeat, caches: dict[str, Path], run: Path, tmp_path: Path
) -> None:
    file = tmp_path / "p.safetensors"
    code, out, err = xfeat("prior", "export", run, "--out", file)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"{file}: 12 x 3, sha256 {sha256(run / 'prior.safetensors')}",
        f"Next: xfeat train drcl CACHE... --out RUN --set prior={file}",
    ]
    words = ("--out", tmp_path / "b", *QUICK, "--set", f"prior={file}")
    assert xfeat("train", "drcl", caches["audio"], *words)[0] == 0
    assert sha256(tmp_path / "b" / "prior.safetensors") == sha256(file)


def test_a_candidate_that_is_not_the_prior_goes_out_with_a_note(xfeat: Xfeat, run: Path, tmp_path: Path) -> None:
    chosen = json.loads((run / "prior.json").read_text())["chosen"]
    for name in ("image", "text"):
        file = tmp_path / f"{name}.safetensors"
        code, _, err = xfeat("prior", "export", run, "--candidate", name, "--out", file)
        assert code == 0
        assert ("branches do not meet it" in err) == (name != chosen)
        assert sha256(file) == sha256(run / "candidates" / f"{name}.safetensors")


def test_a_matrix_comes_in(xfeat: Xfeat, caches: dict[str, Path], tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", np.eye(8, dtype=np.float32)[:, :3])
    (tmp_path / "names.txt").write_text("cow\nant\nbee\n")
    file = tmp_path / "p.safetensors"
    words = ("prior", "import", tmp_path / "w.npy", "--out", file, "--classes", tmp_path / "names.txt")
    code, out, err = xfeat(*words)
    assert code == 0
    assert out.splitlines()[0] == f"{file}: 8 x 3, sha256 {sha256(file)}"
    assert err == "note: the columns were put in the order of the class names, as training keeps them\n"
    quick = [word.replace("out=12", "out=8") for word in QUICK]
    assert xfeat("train", "drcl", caches["text"], "--out", tmp_path / "r", *quick, "--set", f"prior={file}")[0] == 0
    assert sha256(tmp_path / "r" / "prior.safetensors") == sha256(file)


def test_a_deficient_matrix_comes_in_with_a_note(xfeat: Xfeat, tmp_path: Path) -> None:
    save_prior(tmp_path / "w.safetensors", torch.randn(2, 3), ["a", "b", "c"])
    code, _, err = xfeat("prior", "import", tmp_path / "w.safetensors", "--out", tmp_path / "p.safetensors")
    assert code == 0
    assert err == "note: rank 2, 2 dimensions for 3 classes: some classes are mixtures of others\n"


def test_bad_input_is_one_line(xfeat: Xfeat, run: Path, caches: dict[str, Path], tmp_path: Path) -> None:
    out = ("--out", tmp_path / "p.safetensors")
    refused(xfeat("prior", "show", tmp_path / "no"), "does not exist: not a run")
    refused(xfeat("prior", "show", caches["image"]), "has no config.yaml: not a run")
    refused(xfeat("prior", "show", run, "--picture", tmp_path / "p.gif"), "ends in .png")
    refused(xfeat("prior", "show", run, "--json", tmp_path / "no" / "p.json"), "does not exist")
    refused(xfeat("prior", "export", run, "--candidate", "video", *out), "no candidate of 'video'")
    refused(xfeat("prior", "export", run, "--out", tmp_path / "no" / "p.safetensors"), "does not exist")
    refused(xfeat("prior", "import", tmp_path / "no.npy", *out), "does not exist")
    refused(xfeat("prior", "import", run / "config.yaml", *out), "not '.yaml'")
    assert not (tmp_path / "p.safetensors").exists()
