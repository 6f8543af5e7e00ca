import shlex
from pathlib import Path

import pytest
import typer

from tests.cli.asking import refused
from tests.cli.conftest import Xfeat
from xfeat.cli.main import app
from xfeat.methods.registry import METHODS
from xfeat.methods.settings import read_config
from xfeat.methods.shipped import shipped_configs


def test_methods_are_listed(xfeat: Xfeat) -> None:
    code, out, err = xfeat("methods")
    assert (code, err) == (0, "")
    for name in METHODS:
        assert f"{name}: " in out


@pytest.mark.parametrize("name", list(METHODS))
def test_every_setting_of_a_method_is_shown(xfeat: Xfeat, name: str) -> None:
    code, out, _ = xfeat("methods", name)
    assert code == 0
    settings = out.partition("\nShipped configs")[0]
    shown = [line.split("=")[0] for line in settings.splitlines() if line and not line.startswith(" ")]
    assert shown == list(METHODS[name].settings.model_fields)
    assert max(map(len, out.splitlines())) <= 100


def test_an_unknown_method_is_one_line(xfeat: Xfeat) -> None:
    refused(xfeat("methods", "drlc"), "unknown method 'drlc': did you mean drcl?")


def test_shipped_configs_are_listed_with_the_numbers_of_their_papers(xfeat: Xfeat) -> None:
    code, out, err = xfeat("methods", "drcl")
    assert (code, err) == (0, "")
    lines = out.partition("\nShipped configs")[2].splitlines()
    assert max(map(len, lines)) <= 80
    rows = [line.split() for line in lines]
    for name, file in shipped_configs().items():
        assert [name, str(read_config(file).settings["epochs"])] in [row[:2] for row in rows]
    assert ["drcl/wikipedia", "200", "image->text", "0.562", "0.560"] in rows
    assert ["text->image", "0.538", "0.685"] in rows
    assert ["drcl/xmedia", "300", "-", "-", "-"] in rows


@pytest.mark.parametrize("name", sorted(shipped_configs()))
def test_a_config_is_shown_with_commands_to_copy(xfeat: Xfeat, name: str) -> None:
    code, out, err = xfeat("methods", "drcl", "--config", name)
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    about = read_config(Path(name)).about
    for key in about:
        assert f"{key}:" in out
    shown = [line.strip() for line in out.splitlines()]
    for command in about["commands"]:
        assert all(line.strip() in shown for line in command.splitlines())
    assert out.partition("settings:")[2].split()[:2] == ["size:", "paper"]


def test_a_config_of_ones_own_is_shown(xfeat: Xfeat, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("about: {dataset: mine}\ngce: false\n")
    assert xfeat("methods", "--config", tmp_path / "mine.yaml")[1] == "dataset: mine\nsettings:\n  gce: false\n"
    (tmp_path / "bare.yaml").write_text("hidden: 3\n")
    assert "says nothing about itself" in xfeat("methods", "--config", tmp_path / "bare.yaml")[1]
    refused(xfeat("methods", "drcl", "--config", "wikipaedia"), "config wikipaedia does not exist", "drcl/wikipedia")
    refused(xfeat("methods", "drlc", "--config", "wikipedia"), "unknown method 'drlc'")


def options_of(words: list[str]) -> dict[str, object]:
    """What a command makes of its words, without running it."""
    commands = typer.main.get_group(app).commands
    return commands[words[0]].make_context(words[0], words[1:]).params


@pytest.mark.parametrize("name", sorted(shipped_configs()))
def test_the_commands_of_a_config_are_commands_that_there_are(name: str) -> None:
    config = read_config(Path(name))
    written, trained, evaluated = {}, None, None
    for command in config.about["commands"]:
        assert max(map(len, command.splitlines())) <= 78
        words = shlex.split(command.replace("\\\n", " "))
        if words[0] != "xfeat":
            continue
        options = options_of(words[1:])
        if words[1] == "import":
            written[options["out"]] = options["modality"]
        elif words[1] == "train":
            assert options["method"] == "drcl"
            assert options["config"] == Path(name)
            assert options["caches"] == list(written)
            trained = options["out"]
        else:
            assert words[1] == "eval"
            evaluated = options["paths"]
    assert evaluated == [trained]
    assert set(written.values()) <= set(config.about["features"])
    assert set(config.settings.get("modality_lr", {})) <= set(written.values())
