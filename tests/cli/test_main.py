import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.asking import refused
from tests.cli.conftest import Xfeat
from xfeat import __version__

ROOT = Path(__file__).parents[2]
COMMANDS = [
    "demo",
    "extract",
    "import",
    "check",
    "train",
    "add",
    "join",
    "eval",
    "compare",
    "search",
    "methods",
    "backbones",
    "prior",
    "cache",
]
GROUPS = {"prior": ("show", "export", "import"), "cache": ("info", "verify", "export")}
HEAVY = {"torch", "open_clip", "sklearn", "scipy", "numpy", "h5py", "pydantic", "rich", "PIL", "safetensors"}


def test_help_loads_nothing_heavy() -> None:
    script = "import sys, xfeat.cli.main; print(*{name.partition('.')[0] for name in sys.modules})"
    found = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "typer" in found.stdout.split()
    assert not HEAVY & set(found.stdout.split())


@pytest.mark.parametrize(
    "words",
    [[], *([name] for name in COMMANDS), *([group, name] for group, names in GROUPS.items() for name in names)],
)
def test_every_help_fits_80_columns(xfeat: Xfeat, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = xfeat(*words, "--help")
    assert (code, err) == (0, "")
    assert out.startswith("Usage: ")
    assert max(map(len, out.splitlines())) <= 80
    assert "..." not in out.partition("Commands:")[2], "a summary is cut off"
    assert xfeat(*words, "-h")[1] == out
    for name in COMMANDS if not words else GROUPS.get(words[-1], ()):
        assert f"\n  {name} " in out


def test_no_command_shows_the_help(xfeat: Xfeat) -> None:
    code, out, err = xfeat()
    assert code in (0, 2)
    assert "Commands:" in out + err


def test_the_version(xfeat: Xfeat) -> None:
    assert xfeat("--version") == (0, f"xfeat {__version__}\n", "")


@pytest.mark.parametrize("words", [["trian"], ["train"], ["train", "--no-such"], ["train", "drcl", "c", "--seed", "x"]])
def test_usage_errors_exit_with_two_and_no_traceback(xfeat: Xfeat, words: list[str]) -> None:
    code, out, err = xfeat(*words)
    assert (code, out) == (2, "")
    assert "Error" in err
    assert "Traceback" not in err


def test_a_traceback_is_shown_to_those_who_ask(xfeat: Xfeat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(xfeat("eval", tmp_path), "not a run")
    monkeypatch.setenv("XFEAT_DEBUG", "1")
    code, _, err = xfeat("eval", tmp_path)
    assert code == 2
    assert "Traceback" in err
    assert "InputError" in err
    assert err.splitlines()[-1].startswith("xfeat: ")


def test_a_reader_that_leaves_is_no_error() -> None:
    command = f"{sys.executable} cli.py methods drcl | head -n 1"
    found = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.stdout.startswith("size=")
    assert found.stderr == ""
