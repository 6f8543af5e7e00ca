from pathlib import Path

import pytest
import torch

from tests.report.media import write_media
from tests.training.anchors_building import train_tiny, write_views
from tests.training.building import TINY, multi_label_blobs, write_blobs
from xfeat.cache import FeatureCache
from xfeat.methods.ciim_settings import CiimSettings
from xfeat.report.subject import Subject, open_subject
from xfeat.training.asked import Asked
from xfeat.training.ciim import train as train_ciim
from xfeat.training.drcl import train
from xfeat.training.drcl_group import train_group

CPU = torch.device("cpu")


@pytest.fixture(scope="package")
def caches(tmp_path_factory: pytest.TempPathFactory) -> list[FeatureCache]:
    torch.set_num_threads(1)
    return write_blobs(tmp_path_factory.mktemp("caches"), "image", "text")


@pytest.fixture(scope="package")
def trained(caches: list[FeatureCache], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "tiny"
    train(caches, run, TINY)
    return run


@pytest.fixture(scope="package")
def group(caches: list[FeatureCache], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("groups") / "several"
    train_group(caches, path, TINY, [3, 5])
    return path


@pytest.fixture(scope="package")
def causal(caches: list[FeatureCache], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose branches have two stages."""
    run = tmp_path_factory.mktemp("causal") / "run"
    settings = CiimSettings(hidden=16, out=8, reconstructor=16, epochs=3, batch_classes=3, batch_samples=4)
    train_ciim(caches, run, settings)
    return run


@pytest.fixture(scope="package")
def paired(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the instance protocol."""
    folder = tmp_path_factory.mktemp("paired")
    return train_tiny(write_views(folder / "caches", "image", "audio", "strokes"), folder / "run", epochs=2)


@pytest.fixture(scope="package")
def multi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of samples of several classes."""
    folder = tmp_path_factory.mktemp("multi")
    train([multi_label_blobs(name).write(folder / name) for name in ("image", "text")], folder / "run", TINY)
    return folder / "run"


@pytest.fixture(scope="package")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Of raw files of the samples."""
    return write_media(tmp_path_factory.mktemp("media"))


@pytest.fixture
def subject(trained: Path) -> Subject:
    return open_subject(trained, Asked("test"), CPU)
