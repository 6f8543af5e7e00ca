from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.training.building import MODALITIES, TINY, write_blobs
from xfeat.cache import FeatureCache
from xfeat.training.drcl import train


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """The nets here are tiny: more threads only cost."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="package")
def caches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FeatureCache]:
    folder = tmp_path_factory.mktemp("caches")
    return dict(zip(MODALITIES, write_blobs(folder, *MODALITIES), strict=True))


@pytest.fixture(scope="package")
def together(caches: dict[str, FeatureCache], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three modalities trained in one run; its prior is some candidate."""
    run = tmp_path_factory.mktemp("runs") / "together"
    train(list(caches.values()), run, TINY)
    return run
