"""Extraction in parts: by hand, and as jobs of this machine."""

import os
import signal
from pathlib import Path

import pytest

from tests.cli.asking import refused
from tests.cli.conftest import Xfeat
from tests.cli.parts import before_part, pictures, same, texts
from xfeat.cache import FeatureCache
from xfeat.cache.merge import find_parts, merge
from xfeat.cli.extract_launch import Jobs, command
from xfeat.cli.extract_work import stopping_keeps
from xfeat.extraction.feed import available_cores

TEXT = ("--modality", "text", "--backbone", "filters:hashing", "--device", "cpu", "--workers", "0")
IMAGE = ("--modality", "image", "--backbone", "filters:hog", "--device", "cpu", "--workers", "0")


@pytest.mark.parametrize("parts", [1, 3, 11])
def test_parts_by_hand_join_to_the_whole(xfeat: Xfeat, tmp_path: Path, parts: int) -> None:
    manifest, out = texts(tmp_path), tmp_path / "c"
    for part in range(parts):
        code, said, err = xfeat("extract", manifest, *TEXT, "--out", out, "--shard", f"{part}/{parts}")
        assert (code, err) == (0, "")
        assert f"Next: when all {parts} parts are there, xfeat cache merge {out}" in said
        assert FeatureCache(tmp_path / f"c.part-{part}-of-{parts}").manifest.complete
    merge(find_parts(out), out)
    assert xfeat("extract", manifest, *TEXT, "--out", tmp_path / "whole")[0] == 0
    same(out, tmp_path / "whole")


def test_a_part_resumes_and_does_not_grow(xfeat: Xfeat, tmp_path: Path) -> None:
    words = ("extract", texts(tmp_path, 11), *TEXT, "--out", tmp_path / "c", "--shard", "1/3")
    assert "4 in " in xfeat(*words)[1]
    assert "nothing to do" in xfeat(*words)[1]
    texts(tmp_path, 14)
    refused(xfeat(*words), "c.part-1-of-3", "another number of rows (4 instead of 5)")


def test_a_part_without_a_readable_sample_is_a_part(xfeat: Xfeat, tmp_path: Path) -> None:
    words = ("extract", pictures(tmp_path), *IMAGE, "--out", tmp_path / "c", "--shard", "1/7")
    code, said, err = xfeat(*words)
    assert (code, err) == (0, "")
    assert "0 of 1 samples ok, 1 failed" in said


@pytest.mark.parametrize("shard", ["3/3", "-1/3", "1", "1/", "a/b", "0/0", "1/3/4", "½/3"])
def test_shards_that_are_none(xfeat: Xfeat, tmp_path: Path, shard: str) -> None:
    refused(xfeat("extract", texts(tmp_path), *TEXT, f"--shard={shard}"), "--shard", "I/N")


def test_more_parts_than_samples(xfeat: Xfeat, tmp_path: Path) -> None:
    words = ("extract", texts(tmp_path, 3), *TEXT, "--out", tmp_path / "c")
    refused(xfeat(*words, "--shard", "0/4"), "3 samples cannot be divided into 4 parts")
    refused(xfeat(*words, "--on", "local", "--parts", "4"), "3 samples cannot be divided into 4 parts")


def test_a_part_of_what_is_there_already(xfeat: Xfeat, tmp_path: Path) -> None:
    words = ("extract", texts(tmp_path), *TEXT, "--out", tmp_path / "c")
    xfeat(*words)
    refused(xfeat(*words, "--shard", "0/2"), "is a cache already", "without --shard", "--out")


def test_jobs_of_this_machine_make_the_same_cache(
    xfeat: Xfeat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of them is killed at its first try."""
    manifest, out = pictures(tmp_path), tmp_path / "c"
    before_part(tmp_path, monkeypatch, "1/3", "kill -9 $$")
    monkeypatch.chdir(tmp_path)
    words = ("extract", manifest.name, *IMAGE, "--on", "local", "--parts", "3", "--out", "c")
    code, said, err = xfeat(*words)
    assert (code, err) == (0, "")
    assert "6 of 7 samples ok, 1 failed" in said
    assert "parts     3 on local, 1 submitted again" in said
    assert f"logs      {out}.logs" in said
    assert "Next: xfeat cache info c" in said
    assert xfeat("extract", manifest, *IMAGE, "--out", tmp_path / "whole")[0] == 0
    same(out, tmp_path / "whole")
    left = sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("c"))
    assert left == ["c", "c.logs"]
    logs = "".join(path.read_text() for path in (tmp_path / "c.logs").glob("*.out"))
    assert logs.count("image by filters:hog") == 3

    assert "nothing to do: all rows were there already" in xfeat(*words)[1]
    refused(xfeat(*words, "--retry-failed"), "is complete", "--retry-failed works on it without --on")
    pictures(tmp_path, 9)
    refused(xfeat(*words), "c holds other samples", "without --on to grow it")
    assert "2 rows are new: the cache grew by them" in xfeat("extract", manifest, *IMAGE, "--out", out)[1]
    assert "nothing to do" in xfeat(*words)[1]


def test_bad_input_of_a_part_is_told_and_not_tried_again(
    xfeat: Xfeat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = pictures(tmp_path)
    before_part(tmp_path, monkeypatch, "0/2", "echo tried >&2")
    words = ("extract", manifest, *IMAGE, "--out", tmp_path / "c", "--on", "local", "--parts", "2")
    refused(xfeat(*words, "--on-error", "fail"), "part 0 of 2: sample '1.png' (row 1)", "log: ")
    logs = [path.read_text() for path in (tmp_path / "c.logs").glob("*.err")]
    assert sum("xfeat: sample '1.png'" in log for log in logs) == 1
    assert not (tmp_path / "c").exists()

    code, said, _ = xfeat(*words)
    assert code == 0
    assert "1 of 2 parts to do" in said
    assert "6 of 7 samples ok, 1 failed" in said


def test_a_part_that_always_dies_is_given_up(xfeat: Xfeat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before_part(tmp_path, monkeypatch, "1/2", f"rmdir {tmp_path}/begun; echo 'no luck' >&2; exit 9")
    words = ("extract", texts(tmp_path), *TEXT, "--out", tmp_path / "c", "--on", "local", "--parts", "2")
    refused(xfeat(*words, "--retries", "1"), "part 1 of 2: died with exit code 9 (no luck)", "the same command goes on")
    logs = [path.read_text() for path in (tmp_path / "c.logs").glob("*.err")]
    assert sum("no luck" in log for log in logs) == 2
    assert FeatureCache(tmp_path / "c.part-0-of-2").manifest.complete


def test_ctrl_c_cancels_the_jobs(xfeat: Xfeat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before_part(tmp_path, monkeypatch, "1/2", f"kill -INT {os.getpid()}; exec sleep 600")
    words = ("extract", texts(tmp_path), *TEXT, "--out", tmp_path / "c", "--on", "local", "--parts", "2")
    code, _, err = xfeat(*words)
    assert code == 130
    assert err.startswith("xfeat: interrupted; ")
    assert "the same command resumes" in err
    assert xfeat(*words)[0] == 0
    assert len(FeatureCache(tmp_path / "c").load()) == 11


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--on", "cloud"), ("--on 'cloud'", "local, slurm")),
        (("--on", "local"), ("--on local needs --parts",)),
        (("--parts", "2"), ("need --on",)),
        (("--slurm", "partition=a"), ("need --on",)),
        (("--on", "local", "--parts", "2", "--slurm", "partition=a"), ("--slurm goes with --on slurm",)),
        (("--on", "local", "--parts", "2", "--shard", "0/2"), ("leave one out",)),
        (("--on", "slurm", "--parts", "2", "--slurm", "partitoin=a"), ("did you mean partition?",)),
        (("--on", "local", "--parts", "2", "--column", "none"), ("none",)),
    ],
)
def test_options_that_do_not_go_together(
    xfeat: Xfeat, tmp_path: Path, options: tuple[str, ...], words: tuple[str, ...]
) -> None:
    refused(xfeat("extract", texts(tmp_path), *TEXT, "--out", tmp_path / "c", *options), *words)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("c")]


@pytest.mark.parametrize(
    ("device", "visible", "expected"),
    [
        ("auto", None, ["0", "1", "0"]),
        ("cuda", "4,GPU-7,5", ["4", "GPU-7", "4"]),
        ("cuda:1", None, ["0,1", "0,1", "0,1"]),
        ("cpu", "4,5", ["", "", ""]),
    ],
)
def test_parts_of_one_machine_share_its_cores_and_gpus(
    monkeypatch: pytest.MonkeyPatch, device: str, visible: str | None, expected: list[str]
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    jobs = Jobs("local", 3, 0, {}, ["extract", "m.csv"], device)
    lines = [command(jobs, part, Path("/c")) for part in range(3)]
    assert [next(word for word in line if word.startswith("CUDA")).partition("=")[2] for line in lines] == expected
    threads = max(1, available_cores() // 3)
    assert all(f"OMP_NUM_THREADS={threads}" in line for line in lines)
    tail = ["-m", "xfeat", "extract", "m.csv", "--out", "/c", "--shard", "2/3", f"--workers={threads}"]
    assert lines[2][-len(tail) :] == tail


def test_parts_on_slurm_use_the_cores_they_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    asked = command(Jobs("slurm", 2, 0, {"cpus_per_task": 6}, ["extract", "m.csv"], "auto"), 0, Path("/c"))
    assert "OMP_NUM_THREADS=6" in asked
    assert asked[-1] == "--workers=6"
    own = command(Jobs("slurm", 2, 0, {"cpus_per_task": 6}, ["extract", "--workers=9"], "auto"), 0, Path("/c"))
    assert [word for word in own if word.startswith("--workers")] == ["--workers=9"]
    plain = command(Jobs("slurm", 2, 0, {}, ["extract", "m.csv"], "auto"), 1, Path("/c"))
    assert plain[-2:] == ["--shard", "1/2"]
    assert not any(word.startswith(("OMP", "CUDA")) for word in plain)


def test_slurm_where_there_is_none(xfeat: Xfeat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    words = ("extract", texts(tmp_path), *TEXT, "--out", tmp_path / "c", "--on", "slurm", "--parts", "2")
    refused(xfeat(*words), "no SLURM here", "srun")


def test_what_a_cluster_sends_before_it_kills_ends_work_as_ctrl_c_does() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGUSR2)
    kept = []

    def work() -> None:
        with stopping_keeps():
            try:
                os.kill(os.getpid(), signal.SIGUSR2)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)  # while what is kept is being written
                kept.append("all")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert kept == ["all"]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGUSR2)) == before


def test_what_was_ignored_at_the_start_is_ignored_still() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stopping_keeps():
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
