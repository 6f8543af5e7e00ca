import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.training.building import TINY, write_blobs
from xfeat.cache import FeatureCache
from xfeat.cli.main import main
from xfeat.training.drcl import train

Xfeat = Callable[..., tuple[int, str, str]]


@pytest.fixture
def xfeat(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Xfeat:
    """Run a command as its entry point does: exit code, standard output, standard error."""
    monkeypatch.delenv("XFEAT_CACHE", raising=False)
    monkeypatch.delenv("XFEAT_DEBUG", raising=False)

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["xfeat", *map(str, words)])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture(scope="session")
def caches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Caches of three modalities, to read only."""
    folder = tmp_path_factory.mktemp("caches")
    return {cache.manifest.modality: cache.path for cache in write_blobs(folder, "image", "text", "audio")}


@pytest.fixture(scope="session")
def trained(caches: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of image and text, to read only."""
    run = tmp_path_factory.mktemp("runs") / "trained"
    torch.set_num_threads(1)
    train([FeatureCache(caches["image"]), FeatureCache(caches["text"])], run, TINY)
    return run
