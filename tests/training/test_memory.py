import sys
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch

from xfeat.errors import InputError
from xfeat.training.memory import memory_budget

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("words", "bytes_"),
    [
        ("0", 0),
        ("12345", 12345),
        ("12345B", 12345),
        ("1K", 1 << 10),
        ("500M", 500 << 20),
        ("500 MB", 500 << 20),
        ("500MiB", 500 << 20),
        ("2GB", 2 << 30),
        ("2gb", 2 << 30),
        (" 1.5 g ", 3 << 29),
        (".5G", 1 << 29),
        ("3T", 3 << 40),
    ],
)
def test_sizes_are_powers_of_1024(words: str, bytes_: int) -> None:
    assert memory_budget(words, CPU) == bytes_


@pytest.mark.parametrize(
    "words",
    ["", "GB", "much", "-1G", "2GG", "2 P", "1.2.3G", ".", ".G", "1e9", "inf", "nan", "2G\n2G", "Auto", "9" * 400],
)
def test_what_is_no_size_is_one_line(words: str) -> None:
    with pytest.raises(InputError, match="write a size, for example 2GB, or auto") as caught:
        memory_budget(words, CPU)
    assert "\n" not in str(caught.value)
    assert "memory=" in str(caught.value)


def test_auto_is_some_of_what_there_is() -> None:
    assert 0 < memory_budget("auto", CPU) <= 1 << 61


ROOM = 256 << 20


def limited(pipe: Connection) -> None:
    import resource

    used = int(Path("/proc/self/status").read_text().split("VmSize:")[1].split()[0]) << 10
    free = memory_budget("auto", CPU)
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, resource.RLIM_INFINITY))
    pipe.send((free, memory_budget("auto", CPU), memory_budget("2GB", CPU)))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads a limit of Linux")
def test_auto_obeys_the_limit_of_the_process() -> None:
    fork = get_context("fork")
    mine, its = fork.Pipe()
    process = fork.Process(target=limited, args=(its,))
    process.start()
    its.close()
    free, found, given = mine.recv()
    process.join()
    assert 0.8 * ROOM / 2 < found <= ROOM / 2
    assert found <= free
    assert given == 2 << 30


@pytest.mark.parametrize(
    ("most", "now", "expected"),
    [("4096000", "1096000", 1_500_000), ("max", "100", None), ("100", "4096", 0), ("", "", None)],
)
def test_auto_obeys_the_limit_of_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: str, now: str, expected: int | None
) -> None:
    (tmp_path / "memory.max").write_text(most + "\n")
    (tmp_path / "memory.current").write_text(now + "\n")
    without = memory_budget("auto", CPU)
    monkeypatch.setattr("xfeat.training.memory._CGROUP", tmp_path)
    found = memory_budget("auto", CPU)
    assert found == expected if expected is not None else found > without // 4
