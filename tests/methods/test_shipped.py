from pathlib import Path

import pytest
import yaml

from xfeat.errors import InputError
from xfeat.methods.drcl_settings import DrclSettings
from xfeat.methods.registry import METHODS
from xfeat.methods.settings import read_config, read_settings, validated
from xfeat.methods.shipped import find_config, shipped_configs

EPOCHS = {"wikipedia": 200, "nus-wide": 100, "inria-websearch": 100, "xmedianet": 100, "xmedia": 300}
RATES = {
    "wikipedia": {"image": 6e-6, "text": 5e-3},
    "xmedia": {"image": 8e-4, "text": 3e-4, "audio": 8e-4, "3d": 3e-3, "video": 4e-4},
}
ABOUT = ["dataset", "paper", "features", "splits", "expected", "sources", "run", "commands"]
SHIPPED = sorted(EPOCHS)


def settings_of(name: str) -> DrclSettings:
    return validated(DrclSettings, read_settings(Path(name), []))


def test_every_config_belongs_to_a_method() -> None:
    assert sorted(shipped_configs()) == [f"drcl/{name}" for name in SHIPPED]
    assert {name.split("/")[0] for name in shipped_configs()} <= set(METHODS)
    assert shipped_configs("drcl") == shipped_configs()
    assert shipped_configs("no-such-method") == {}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_config_is_the_papers_settings(name: str) -> None:
    for rows in (500, 100_000):
        found = settings_of(name).resolved(rows, classes=10)
        assert (found.hidden, found.out, found.batch_size, found.dropout) == (4096, 2048, 1024, 0.0)
        assert (found.spl_epochs, found.epochs) == (EPOCHS[name], EPOCHS[name])
        assert (found.q_ramp(EPOCHS[name]), found.spl_lr, found.lr_schedule) == (100, 5e-4, "constant")
        assert (found.alpha, found.beta, found.eta, found.gamma, found.standardize) == (0.1, 0.1, 1.0, 0.9, False)
        assert found.modality_lr == RATES.get(name, {})


@pytest.mark.parametrize("name", SHIPPED)
def test_a_config_says_what_it_is_about(name: str) -> None:
    about = read_config(Path(name)).about
    assert list(about) == ABOUT
    assert all(about.values())
    assert set(about["expected"]) == {"protocol", "pairs"}
    pairs = about["expected"]["pairs"]
    if isinstance(pairs, dict):
        for pair, values in pairs.items():
            assert set(pair.split("->")) <= set(about["features"])
            assert set(values) == {"mAP@all", "mAP@50"}
            assert all(0 < value < 1 for value in values.values())


def test_the_numbers_of_wikipedia_are_the_papers() -> None:
    assert read_config(Path("wikipedia")).about["expected"]["pairs"] == {
        "image->text": {"mAP@all": 0.562, "mAP@50": 0.560},
        "text->image": {"mAP@all": 0.538, "mAP@50": 0.685},
    }


def test_a_name_with_and_without_its_method() -> None:
    assert read_settings(Path("drcl/wikipedia"), []) == read_settings(Path("wikipedia"), [])
    assert read_settings(Path("wikipedia"), ["hidden=8"])["hidden"] == 8


def test_a_file_counts_before_a_shipped_config_and_a_folder_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "xmedia").mkdir()
    assert find_config(Path("xmedia")) == shipped_configs()["drcl/xmedia"]
    (tmp_path / "wikipedia").write_text("hidden: 3\n", encoding="utf-8")
    assert read_settings(Path("wikipedia"), []) == {"hidden": 3}


@pytest.mark.parametrize("name", ["wikipaedia", "drcl/mscoco", "drcl", "", "*"])
def test_an_unknown_name_lists_those_there_are(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        find_config(Path(name))
    assert "\n" not in str(caught.value)
    assert ", ".join(f"drcl/{known}" for known in SHIPPED) in str(caught.value)


def test_a_name_that_two_methods_have_must_be_written_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for method in ("drcl", "other"):
        (tmp_path / method).mkdir()
        (tmp_path / method / "digits.yaml").write_text("hidden: 3\n", encoding="utf-8")
    monkeypatch.setattr("xfeat.methods.shipped.CONFIGS", tmp_path)
    with pytest.raises(InputError, match=r"^config digits is several: choose drcl/digits or other/digits$"):
        find_config(Path("digits"))
    assert find_config(Path("other/digits")) == tmp_path / "other" / "digits.yaml"


def test_about_is_no_setting_and_must_be_a_mapping(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({"about": {"dataset": "mine"}, "hidden": 3}), encoding="utf-8")
    assert read_settings(file, []) == {"hidden": 3}
    assert read_config(file).about == {"dataset": "mine"}
    file.write_text("about:\nhidden: 3\n", encoding="utf-8")
    assert read_config(file).about == {}
    for wrong, kind in (("mine", "str"), ("[mine]", "list"), ("3", "int")):
        file.write_text(f"about: {wrong}\nhidden: 3\n", encoding="utf-8")
        with pytest.raises(InputError, match=f"mine.yaml: about must be a mapping, got {kind}$"):
            read_settings(file, [])
