"""SSPC runs that are there already: kept, refused, or finished to the byte as if nothing had happened."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.building import files
from tests.training.paired_building import TINY, paired, sspc_error, tiny
from xfeat.cache import FeatureCache
from xfeat.methods.sspc_settings import SspcSettings
from xfeat.training.run import Run
from xfeat.training.sspc import train


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[FeatureCache]:
    return paired(tmp_path_factory.mktemp("two"), "image", "text", captions={"text": 2})


@pytest.fixture(scope="module")
def run(two: list[FeatureCache], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, to read only."""
    path = tmp_path_factory.mktemp("runs") / "run"
    torch.set_num_threads(1)  # as in the tests: the last bits depend on it
    train(two, path, TINY)
    return path


def note(path: Path, modality: str = "text") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "branches" / f"{modality}.json").read_text(encoding="utf-8"))
    return found


def test_the_order_of_the_caches_does_not_count_when_a_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Branches of one shape: a checkpoint that took them by place would put each in the other's."""
    caches = paired(tmp_path, "video", "touch", classes=("a", "b"))
    train(caches, tmp_path / "whole", TINY)
    interrupt(monkeypatch, caches, tmp_path / "run", TINY, after=2)
    train(caches[::-1], tmp_path / "run", TINY, resume=True)
    assert files(tmp_path / "run" / "branches") == files(tmp_path / "whole" / "branches")


def interrupt(
    monkeypatch: pytest.MonkeyPatch, caches: Sequence[FeatureCache], out: Path, settings: SspcSettings, after: int
) -> None:
    """Train, and stop when so many more epochs were logged."""
    append, left = Run.append_log, [after]

    def append_and_stop(self: Run, row: dict[str, Any]) -> None:
        append(self, row)
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Run, "append_log", append_and_stop)
        with pytest.raises(KeyboardInterrupt):
            train(caches, out, settings, resume=True, checkpoint_seconds=0)


@pytest.mark.parametrize(
    ("changes", "moments"),
    [
        ({}, [1]),
        ({}, [4]),
        ({"ema": 0.9, "dropout": 0.1, "input_noise": 0.1, "queue": 33}, [2, 2, 1]),
        ({"select": "best", "weights": "auto", "epochs": 8}, [3, 3]),
        ({"beta": 0.0, "ema": 0.0, "views": 2}, [2, 2]),
    ],
)
def test_an_interrupted_run_ends_as_if_it_had_not_been(
    two: list[FeatureCache],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    moments: list[int],
) -> None:
    settings = tiny(**changes)
    train(two, tmp_path / "whole", settings)
    for after in moments:
        interrupt(monkeypatch, two, tmp_path / "run", settings, after)
        assert not (tmp_path / "run" / "branches").exists()
    if sum(moments) > 1:
        assert (tmp_path / "run" / "checkpoints" / "all.sspc.safetensors").is_file()
    outcome = train(two, tmp_path / "run", settings, resume=True)
    assert outcome.fresh
    expected, found = files(tmp_path / "whole"), files(tmp_path / "run")
    assert set(found) - set(expected) <= {"checkpoints"}
    for name, content in expected.items():
        if name != "config.yaml":
            assert found[name] == content, name
    assert (tmp_path / "run" / "config.yaml").read_text() == (tmp_path / "whole" / "config.yaml").read_text()


def test_a_finished_run_is_kept_and_continued_only_as_it_was_begun(
    two: list[FeatureCache], run: Path, tmp_path: Path
) -> None:
    before = files(run)
    assert "holds a run already: continue it with --resume" in sspc_error(two, run)
    for settings, options, words in (
        (tiny(anchors=7), {}, "settings.anchors: 6 -> 7"),
        (TINY, {"seed": 2}, "seed: 0 -> 2"),
    ):
        found = sspc_error(two, run, settings, resume=True, **options)
        assert "was started with other settings" in found
        assert words in found
    other = paired(tmp_path, "image", "text", seed=5)
    assert "modalities.image" in sspc_error(other, run, resume=True)
    outcome = train(two, run, TINY, resume=True)
    assert not outcome.fresh
    assert outcome.branches == {"image": note(run, "image"), "text": note(run)}
    assert files(run) == before


def test_a_run_of_which_a_branch_is_lost_is_trained_again(two: list[FeatureCache], run: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    train(two, again, TINY)
    (again / "branches" / "text.json").unlink()
    image = again / "branches" / "image.safetensors"
    image.write_bytes(image.read_bytes()[:-1])
    assert train(two, again, TINY, resume=True).fresh
    assert files(again) == files(run) | {"config.yaml": (again / "config.yaml").read_bytes()}
