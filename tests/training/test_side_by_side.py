"""Seeds in processes of their own, and the last one that is left without."""

import os
from pathlib import Path

import torch

from tests.training.building import write_blobs
from tests.training.side_by_side_building import Settings, train
from xfeat.training.side_by_side import train_members

CPU = torch.device("cpu")


def test_several_seeds_train_in_processes_of_their_own(tmp_path: Path) -> None:
    caches = write_blobs(tmp_path / "caches", "image", "text")
    found = train_members(train, caches, tmp_path / "group", Settings(word="b"), [3, 1, 2], CPU, processes=2)
    assert list(found) == [3, 1, 2]
    threads = max(1, len(os.sched_getaffinity(0)) // 2)
    for seed, (given, words) in found.items():
        process, *rest = words.split()
        assert given == seed
        assert rest == [str(threads), "b", str(seed), "image", "text"]
        assert process != str(os.getpid())
    assert len({words.split()[0] for _, words in found.values()}) <= 2


def test_a_single_seed_trains_here_with_its_share_of_the_cores(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    found = train_members(train, [], tmp_path / "group", Settings(), [5], CPU, processes=1)
    assert found[5][1].split() == [str(os.getpid()), str(len(os.sched_getaffinity(0))), "a", "5"]
    assert torch.get_num_threads() == before
