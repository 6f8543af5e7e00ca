import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.samples.test_importers_embeddings import write as write_embeddings
from xfeat.cache import FeatureCache
from xfeat.cache.verify import verify
from xfeat.cli.main import app

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "cli.py"), "import", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def say(*arguments: str | Path) -> list[str]:
    result = CliRunner().invoke(app, ["import", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    path = tmp_path / "small.npz"
    labels = [f"class number {number}" for number in range(50)] * 2
    np.savez(path, features=np.ones((100, 3), np.uint8), labels=labels, split=["test"] * 60 + ["train"] * 40)
    return path


def test_says_what_it_wrote(npz: Path, tmp_path: Path) -> None:
    lines = say(npz, "--modality", "image", "--out", tmp_path / "out", "--pair", "rows")
    assert lines[0] == "image: 100 rows x 3 features, float32 (from uint8)"
    assert lines[1] == "splits    train 40, test 60"
    assert lines[2].startswith("classes   50 (single-label): class number 0, class number 1,")
    assert lines[4].endswith(" ...")
    assert lines[5] == "ids       000000 ... 000099, 100 pair keys"
    assert lines[6] == f"cache     {tmp_path / 'out'}"
    assert max(map(len, lines[:6])) <= 80
    assert verify(tmp_path / "out") == []
    assert say(npz, "--modality", "image", "--out", tmp_path / "out", "--pair", "rows") == [
        f"{tmp_path / 'out'} is already complete: nothing to do",
        *lines,
    ]


def test_default_folder_and_dtype(npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XFEAT_CACHE", str(tmp_path / "home"))
    lines = say(npz, "-m", "text", "--dtype", "float16", "--labels", "none")
    assert "not used: labels" in lines[0]
    assert lines[-3] == "classes   none (no labels)"
    assert lines[-2].endswith("unpaired")
    assert lines[-1] == f"cache     {tmp_path / 'home' / 'small' / 'text.import'}"
    assert FeatureCache(tmp_path / "home" / "small" / "text.import").manifest.dtype == "float16"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--features", "x"], "has no array 'x' for --features; it has: features, labels, split"),
        (["--split", "train:1"], "counts 1 rows, the features have 100"),
        (["--modality", "a/b"], "modality 'a/b': use letters"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(npz: Path, tmp_path: Path, options: list[str], message: str) -> None:
    result = run(npz, "--modality", "image", "--out", tmp_path / "out", *options)
    assert result.returncode == 2
    assert result.stderr.startswith("xfeat: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_tokens_by_name_and_what_becomes_of_missing_features(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", words=np.ones((3, 4, 2)), there=[[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]])
    arguments = (tmp_path / "t.npz", "-m", "text", "--tokens", "words", "--mask", "there")
    lines = say(*arguments, "--out", tmp_path / "c")
    assert lines[1:4] == [
        "text: 3 rows x 2 features, float32",
        "tokens    7 x 2, 1 to 4 a sample",
        "features  each sample's are the mean of its tokens",
    ]
    assert FeatureCache(tmp_path / "c").manifest.tokens == 7
    result = run(*arguments, "--lengths", "n", "--out", tmp_path / "d")
    assert (result.returncode, result.stderr) == (2, "xfeat: --lengths and --mask say the same: give one of them\n")


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    result = run(tmp_path / "a.csv", "--modality", "image")
    assert result.returncode == 2
    assert "files and folders of embeddings can be imported, not '.csv'" in result.stderr


def test_two_modalities_of_a_folder_of_embeddings(tmp_path: Path) -> None:
    write_embeddings(tmp_path / "emb")
    for modality in ("image", "text"):
        lines = say(
            tmp_path / "emb", "-m", modality, "--split", "subset", "--labels", "kind", "--out", tmp_path / modality
        )
        assert lines[0] == "note: ids and pairs, where not given: image_path"
        assert "splits    train 6, test 3" in lines
        assert max(map(len, lines[:-1])) <= 80
        assert verify(tmp_path / modality) == []
    image, text = (FeatureCache(tmp_path / modality).load() for modality in ("image", "text"))
    assert (image.features.shape, text.features.shape) == ((9, 5), (9, 4))
    assert image.pair == text.pair == image.ids


def test_without_pyarrow_the_line_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "pyarrow.py").write_text("raise ModuleNotFoundError('no pyarrow here')")
    (tmp_path / "a.parquet").touch()
    command = [sys.executable, str(ROOT / "cli.py"), "import", str(tmp_path / "a.parquet"), "-m", "image"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "hidden")}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 2
    assert result.stderr == (
        'xfeat: .parquet files need pyarrow, which is not installed: pip install "xfeat[parquet]"\n'
    )


def test_two_modalities_of_wikipedia(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shared_data / "wikipedia")
    for modality, letter in (("image", "I"), ("text", "T")):
        lines = say(
            "raw_features.mat",
            *("--modality", modality, "--features", f"{letter}_tr,{letter}_te", "--classes", "categories.list"),
            *("--labels", "trainset_txt_img_cat.list#3,testset_txt_img_cat.list#3"),
            *("--split", "train:2173,val:231,test:462", "--pair", "rows", "--out", tmp_path / modality),
        )
        assert "splits    train 2173, val 231, test 462" in lines
    image, text = (FeatureCache(tmp_path / modality).load() for modality in ("image", "text"))
    assert image.features.shape == (2866, 128)
    assert text.features.shape == (2866, 10)
    assert image.pair == text.pair
    np.testing.assert_array_equal(image.labels, text.labels)
