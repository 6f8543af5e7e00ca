from pathlib import Path
from typing import Any

import pytest

from tests.sweep.building import QUICK, write_caches, write_config
from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.sweep.config import check_trial, check_trials, read_sweep


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> list[FeatureCache]:
    """Caches without a split val."""
    return write_caches(tmp_path_factory.mktemp("plain"), val=False)


def test_paths_start_from_the_files_folder_and_numbers_are_numbers(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("method: drcl\ncaches: [a/image, /b/text]\nout: here\nspace: {lr: [1e-4, 2E-3], prior: [spl]}\n")
    config = read_sweep(file)
    assert config.caches == [tmp_path / "a/image", Path("/b/text")]
    assert config.out == tmp_path / "here"
    assert config.space == {"lr": [1e-4, 2e-3], "prior": ["spl"]}
    assert (config.search, config.seeds, config.measure, config.lower) == ("grid", [0], "mAP@all", False)


@pytest.mark.parametrize(
    ("changes", "measure", "lower"),
    [
        ({"protocol": "instance"}, "R@1", False),
        ({"method": "sspc", "settings": {}, "space": {"lr": [1]}}, "R@1", False),
        ({"method": "sspc", "settings": {}, "space": {"lr": [1]}, "protocol": "category"}, "mAP@all", False),
        ({"protocol": "zero-shot"}, "top-1", False),
        ({"protocol": "instance", "metric": "MedR"}, "MedR", True),
    ],
)
def test_what_trials_are_compared_by(tmp_path: Path, changes: dict[str, Any], measure: str, lower: bool) -> None:
    config = read_sweep(write_config(tmp_path, **changes))
    assert (config.measure, config.lower) == (measure, lower)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"split": "test"}, "a sweep chooses by rows of split val; test rows are for `xfeat eval`"),
        ({"spase": {}}, "unknown entry 'spase': did you mean space?"),
        ({"method": None}, "'method' is missing"),
        ({"method": "drlc"}, "unknown method 'drlc': did you mean drcl?"),
        ({"caches": []}, "caches=[]"),
        ({"search": "bayes"}, "search='bayes'"),
        ({"space": {"learning": [1]}}, "space.learning: unknown setting of drcl: did you mean"),
        ({"space": {"val_fraction": [0.1, 0.2]}}, "trials with different val_fraction are not comparable"),
        ({"space": {"epochs": [1, 2]}}, "epochs is under settings and under space"),
        ({"space": {"lr": 1}}, "one value is for settings"),
        ({"settings": {"epochs": 0}}, "setting epochs=0"),
        ({"seeds": [1, 1]}, "each once"),
        ({"seeds": [-1]}, "whole numbers of 0 or more"),
        ({"metric": "map@all"}, "metric='map@all': write it as `xfeat eval` does: mAP@all, R@1"),
        ({"trials": 3}, "a grid tries every combination"),
        ({"storage": "sqlite:///x"}, "`storage` is for search: tpe"),
        ({"protocol": "map"}, "unknown protocol map"),
        ({"settings": {"lr": float("nan")}}, "plain YAML"),
    ],
)
def test_what_is_refused_in_one_line(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    file = write_config(tmp_path, **changes)
    with pytest.raises(InputError) as caught:
        read_sweep(file)
    assert str(caught.value).startswith(str(file))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text("- 1")
    (tmp_path / "torn.yaml").write_text("a: [")
    for name, words in (
        ("list", "must hold a mapping"),
        ("torn", "cannot be read as YAML"),
        ("gone", r"gone\.yaml cannot be read: No such file"),
    ):
        with pytest.raises(InputError, match=words):
            read_sweep(tmp_path / f"{name}.yaml")


def test_trials_need_rows_to_validate_on(tmp_path: Path, plain: list[FeatureCache]) -> None:
    config = read_sweep(write_config(tmp_path, space={"select": ["last", "loss"]}))
    assert check_trial(config, plain, {"select": "loss"}).model_dump()["select"] == "loss"
    with pytest.raises(InputError, match=r"no rows in split 'val', and training held none out: train with select=loss"):
        check_trial(config, plain, {"select": "last"})
    check_trials(config, plain)  # one of them can be scored
    for changes in ({}, {"search": "tpe"}, {"search": "random", "trials": 2}):
        with pytest.raises(InputError, match="training held none out"):
            check_trials(read_sweep(write_config(tmp_path, **changes)), plain)
    check_trials(read_sweep(write_config(tmp_path, settings={**QUICK, "select": "loss"})), plain)


def test_pairs_cannot_be_held_out(tmp_path: Path, plain: list[FeatureCache]) -> None:
    changes = {"settings": {**QUICK, "select": "loss"}, "protocol": "instance"}
    with pytest.raises(InputError, match="held none out: give the cache a val split"):
        check_trials(read_sweep(write_config(tmp_path, **changes)), plain)
