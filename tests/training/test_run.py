import json
import sys
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from tests.training.building import TINY, blobs
from xfeat.errors import InputError
from xfeat.training.run import Run, RunConfig, Source, check_resumable, source_of, versions

PROCESSES = get_context("fork" if sys.platform == "linux" else "spawn")  # a fork imports nothing again


def hold(path: Path, pipe: Connection) -> None:
    with Run(path).locked():
        pipe.send("locked")
        pipe.recv()


def config() -> RunConfig:
    sources = {
        "image": Source("/c/größe", "../größe", "f" * 64, "c" * 64, 12, 60),
        "yes": Source("/c/y", "y", "a", "b", 1, 2),
    }
    settings = {**TINY.model_dump(), "lr": 1e-5, "modality_lr": {"image": 6e-6}}
    return RunConfig("drcl", 3, settings, ["1", "no", "鳥", "null"], sources, versions())


def test_a_configuration_comes_back(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.save_config(config())
    assert run.load_config() == config()
    assert list(run.load_config().modalities) == ["image", "yes"]


def test_versions_say_what_decides_the_numbers() -> None:
    assert versions().keys() == {"xfeat", "python", "torch", "numpy"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"- 1\n",
        b"text\n",
        b"{",
        b"\xff\xfe\xfa\xff",
        b"method: drcl\n",
        b"modalities: {image: {cache: x}}\n",
        b"modalities: {image: 3}\n",
        b"modalities: {}\nmethod: drcl\nseed: 0\nsettings: {}\nclasses: []\nextra: 1\n",
        b"!!python/object/apply:os.getcwd []\n",
    ],
)
def test_a_damaged_configuration_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.yaml").write_bytes(content)
    with pytest.raises(InputError, match=r"config\.yaml is damaged") as caught:
        Run(tmp_path).load_config()
    assert "\n" not in str(caught.value)


def test_what_is_no_run_says_which(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no config\.yaml: not a run"):
        Run(tmp_path).load_config()
    with pytest.raises(InputError, match="does not exist: not a run"):
        Run(tmp_path / "no").load_config()


def log_of(run: Run, *rows: tuple[str, str, int]) -> None:
    for modality, stage, epoch in rows:
        run.append_log({"modality": modality, "stage": stage, "epoch": epoch})


def test_trimming_the_log_drops_later_epochs_of_one_stage_and_a_torn_line(tmp_path: Path) -> None:
    run = Run(tmp_path)
    log_of(run, ("größe", "spl", 1), ("größe", "spl", 2), ("größe", "rsc", 1), ("text", "spl", 2), ("größe", "rsc", 2))
    torn = json.dumps({"modality": "größe", "stage": "rsc"}, ensure_ascii=False).encode()
    cut = torn.index("ö".encode()) + 1  # in the middle of a character
    with run.log_file.open("ab") as file:
        file.write(torn[:cut])
    run.trim_log("größe", "rsc", 1)
    rows = [json.loads(line) for line in run.log_file.read_text(encoding="utf-8").splitlines()]
    assert [(row["modality"], row["stage"], row["epoch"]) for row in rows] == [
        ("größe", "spl", 1),
        ("größe", "spl", 2),
        ("größe", "rsc", 1),
        ("text", "spl", 2),
    ]
    log_of(run, ("text", "rsc", 1))
    assert len(run.log_file.read_text(encoding="utf-8").splitlines()) == 5


def test_trimming_a_log_that_is_not_there(tmp_path: Path) -> None:
    Run(tmp_path).trim_log("image", "spl", 3)
    assert list(tmp_path.iterdir()) == []


def test_one_process_trains_in_a_run(tmp_path: Path) -> None:
    mine, its = PROCESSES.Pipe()
    holder = PROCESSES.Process(target=hold, args=(tmp_path / "run", its))
    holder.start()
    assert mine.recv() == "locked"
    run = Run(tmp_path / "run")
    with pytest.raises(InputError, match="another process is training in"), run.locked():
        pass
    mine.send("end")
    holder.join()
    assert holder.exitcode == 0
    with run.locked():
        pass


def test_a_lock_is_left_by_a_process_that_was_killed(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with run.locked():
        pass
    with run.locked():  # the lock file that lies there is not the lock
        assert not run.begun


def test_a_file_is_no_place_for_a_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file is a file"), Run(tmp_path / "file").locked():
        pass


def test_a_run_resumes_with_its_own_configuration(tmp_path: Path) -> None:
    wanted = config()
    wanted.versions = {"xfeat": "another"}
    wanted.modalities = dict(reversed(wanted.modalities.items()))
    check_resumable(tmp_path, config(), wanted)  # raises nothing; with one value changed it does
    wanted.seed += 1
    with pytest.raises(InputError, match="seed"):
        check_resumable(tmp_path, config(), wanted)


def test_a_run_resumes_with_no_other_configuration(tmp_path: Path) -> None:
    changes = {
        "settings": ({**config().settings, "hidden": 17}, "settings.hidden: 16 -> 17"),
        "seed": (4, "seed: 3 -> 4"),
        "classes": (["1", "no"], "classes: "),
        "modalities": ({"image": replace(config().modalities["image"], content="d" * 64)}, "modalities.image.content"),
    }
    for name, (value, message) in changes.items():
        wanted = config()
        setattr(wanted, name, value)
        with pytest.raises(InputError, match="was started with other settings") as caught:
            check_resumable(tmp_path, config(), wanted)
        assert message in str(caught.value)


def test_a_cache_that_was_remade_is_refused(tmp_path: Path) -> None:
    cache = blobs("image").write(tmp_path / "image")
    source = source_of(cache, tmp_path / "run")
    assert (source.cache, source.dim, source.rows) == (str((tmp_path / "image").resolve()), 12, 60)
    assert Run(tmp_path / "run").open_cache("image", source).path == (tmp_path / "image").resolve()
    with pytest.raises(InputError, match="was made anew since run was trained"):
        Run(tmp_path / "run").open_cache("image", replace(source, fingerprint="0" * 64))


def test_a_cache_that_was_rewritten_is_refused_unless_that_is_accepted(tmp_path: Path) -> None:
    cache = blobs("image").write(tmp_path / "image")
    stale = replace(source_of(cache, tmp_path / "run"), content="0" * 64)
    with pytest.raises(InputError, match=r"was rewritten since run was trained.*--allow-changed"):
        Run(tmp_path / "run").open_cache("image", stale)
    assert Run(tmp_path / "run").open_cache("image", stale, allow_changed=True).path == cache.path.resolve()


def test_a_run_finds_its_cache_after_both_have_moved(tmp_path: Path) -> None:
    (tmp_path / "a" / "run").mkdir(parents=True)
    source = source_of(blobs("image").write(tmp_path / "a" / "caches" / "image"), tmp_path / "a" / "run")
    (tmp_path / "a").rename(tmp_path / "b")
    moved = Run(tmp_path / "b" / "run")
    assert moved.open_cache("image", source).path.resolve() == tmp_path / "b" / "caches" / "image"
    (tmp_path / "b" / "caches").rename(tmp_path / "elsewhere")
    with pytest.raises(
        InputError, match=r"the cache of image is no longer at .* correct its `cache` in .*config\.yaml"
    ):
        moved.open_cache("image", source)
