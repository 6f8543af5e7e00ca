"""What DRCL promises of a run: branches that feel no company, additions that touch nothing, kills that cost nothing."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.building import CLASSES, TINY, Blobs, blobs, files, multi_label_blobs, write_blobs
from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.evaluation.protocols import evaluate
from xfeat.methods.drcl_settings import DrclSettings
from xfeat.samples.importers import Names, read_arrays
from xfeat.training.drcl import Outcome, add, train
from xfeat.training.embedding import embed_run
from xfeat.training.store import load_note, load_prior, save_prior

CPU = torch.device("cpu")
MODALITIES = ("image", "text", "audio")


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FeatureCache]:
    folder = tmp_path_factory.mktemp("caches")
    return dict(zip(MODALITIES, write_blobs(folder, *MODALITIES), strict=True))


@pytest.fixture(scope="module")
def together(caches: dict[str, FeatureCache], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three modalities trained in one run; its prior is some candidate."""
    run = tmp_path_factory.mktemp("runs") / "together"
    train(list(caches.values()), run, TINY)
    return run


def settings(**changes: Any) -> DrclSettings:
    return DrclSettings(**{**TINY.model_dump(), **changes})


def against(run: Path) -> DrclSettings:
    return settings(prior=str(run / "prior.safetensors"))


def note_without_prior_setting(run: Path, modality: str) -> dict[str, Any]:
    note = load_note(run / "branches" / f"{modality}.json")
    note["settings"].pop("prior")
    return note


def log_rows(run: Path) -> list[tuple[str, str, int]]:
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return [(row["modality"], row["stage"], row["epoch"]) for row in rows]


def train_error(caches: Sequence[FeatureCache], out: Path, settings: DrclSettings = TINY, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        train(caches, out, settings, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_run_leaves_what_it_says(together: Path) -> None:
    names = {"config.yaml", "log.jsonl", "prior.json", "prior.safetensors"}
    names |= {
        f"{folder}/{m}.{end}"
        for folder in ("candidates", "branches")
        for m in MODALITIES
        for end in ("json", "safetensors")
    }
    assert set(files(together)) - {".lock"} == names
    expected = [(m, "spl", e) for m in MODALITIES for e in range(1, 5)]
    expected += [(m, "rsc", e) for m in MODALITIES for e in range(1, 7)]
    assert log_rows(together) == expected


@pytest.mark.parametrize("order", list(permutations(MODALITIES))[1:] + [("text", "image"), ("audio", "text")])
def test_company_and_order_change_no_byte(
    caches: dict[str, FeatureCache], together: Path, tmp_path: Path, order: tuple[str, ...]
) -> None:
    run = tmp_path / "run"
    train([caches[name] for name in order], run, TINY)
    theirs = files(together / "candidates")
    mine = files(run / "candidates")
    assert mine == {name: theirs[name] for name in mine}
    if len(order) == 3:
        assert files(run / "branches") == files(together / "branches")
        assert (run / "prior.safetensors").read_bytes() == (together / "prior.safetensors").read_bytes()


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_branch_trained_alone_against_the_same_prior_is_the_same_file(
    caches: dict[str, FeatureCache], together: Path, tmp_path: Path, modality: str
) -> None:
    outcome = train([caches[modality]], tmp_path / "alone", against(together))
    assert outcome.prior["chosen"] == "file"
    name = f"branches/{modality}.safetensors"
    assert (tmp_path / "alone" / name).read_bytes() == (together / name).read_bytes()
    assert note_without_prior_setting(tmp_path / "alone", modality) == note_without_prior_setting(together, modality)


def test_the_callers_randomness_changes_no_byte_and_is_left_alone(
    caches: dict[str, FeatureCache], together: Path, tmp_path: Path
) -> None:
    torch.manual_seed(123)
    before = torch.get_rng_state()
    train(list(caches.values()), tmp_path / "again", TINY)
    assert torch.equal(torch.get_rng_state(), before)
    assert files(tmp_path / "again" / "branches") == files(together / "branches")


def test_another_seed_is_another_run(caches: dict[str, FeatureCache], together: Path, tmp_path: Path) -> None:
    train(list(caches.values()), tmp_path / "other", TINY, seed=1)
    ours, theirs = files(together), files(tmp_path / "other")
    for name in ours:
        if name.endswith(".safetensors"):
            assert ours[name] != theirs[name]


def test_test_rows_and_their_labels_change_no_byte(together: Path, tmp_path: Path) -> None:
    samples = blobs("image")
    testing = np.array(samples.split) == "test"
    features = np.where(testing[:, None], np.float32(1e6), samples.features)
    wild = replace(samples, features=features, labels=np.where(testing, -1, samples.labels))
    train([wild.write(tmp_path / "image")], tmp_path / "run", against(together))
    name = "branches/image.safetensors"
    assert (tmp_path / "run" / name).read_bytes() == (together / name).read_bytes()


def test_adding_touches_no_other_file(caches: dict[str, FeatureCache], together: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train([caches["image"], caches["text"]], run, TINY)
    before = files(run)
    outcome = add(caches["audio"], run)
    after = files(run)
    assert set(after) - set(before) == {
        f"{d}/audio.{e}" for d in ("branches", "candidates") for e in ("json", "safetensors")
    }
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {"config.yaml", "log.jsonl", "prior.json"}
    assert after["log.jsonl"].startswith(before["log.jsonl"])
    assert outcome.fresh == ["audio"]
    assert list(outcome.branches) == ["audio"]

    # The newcomer is the one that training everything at once against the same prior gives.
    whole = tmp_path / "whole"
    train(list(caches.values()), whole, against(run))
    for modality in MODALITIES:
        name = f"branches/{modality}.safetensors"
        assert (whole / name).read_bytes() == after[name]
    assert after["candidates/audio.safetensors"] == (together / "candidates" / "audio.safetensors").read_bytes()


@pytest.mark.parametrize(("noise", "higher"), [(0.01, True), (20.0, False)])
def test_the_newcomers_score_is_noted_and_replaces_nothing(
    caches: dict[str, FeatureCache], tmp_path: Path, noise: float, higher: bool
) -> None:
    run = tmp_path / "run"
    longer = settings(spl_epochs=12)
    train([caches["image"], caches["text"]], run, longer)
    before = load_note(run / "prior.json")
    outcome = add(blobs("audio", noise=noise).write(tmp_path / "audio"), run)
    note = load_note(run / "prior.json")
    assert note == outcome.prior
    assert (note["candidates"].pop("audio")["score"] > before["score"]) is higher
    assert note == before
    assert load_prior(run / "prior.safetensors").sha256 == before["sha256"]


def test_adding_to_a_run_whose_prior_was_not_learned_learns_none(
    caches: dict[str, FeatureCache], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train([caches["image"]], run, settings(prior="orthogonal"))
    add(caches["audio"], run)
    assert not (run / "candidates").exists()
    assert (run / "branches" / "audio.safetensors").is_file()


def test_adding_is_refused_where_it_makes_no_sense(
    caches: dict[str, FeatureCache], together: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(together, run)
    before = files(run)
    other = replace(blobs("video"), classes=("ant", "bee", "dog")).write(tmp_path / "video")
    bare = replace(blobs("video"), labels=None).write(tmp_path / "bare")
    for cache, path, message in (
        (caches["audio"], run, "has a modality 'audio' already"),
        (other, run, "only here: 'dog'; missing here: 'cow'"),
        (bare, run, "classes differ|has no labels"),
        (caches["audio"], tmp_path / "no", "does not exist: not a run"),
        (caches["audio"], tmp_path, r"has no config\.yaml: not a run"),
    ):
        with pytest.raises(InputError, match=message):
            add(cache, path)
    assert files(run) == before


def test_an_addition_that_was_killed_and_comes_again_from_another_cache_starts_anew(
    caches: dict[str, FeatureCache], tmp_path: Path
) -> None:
    run, expected = tmp_path / "run", tmp_path / "expected"
    train([caches["image"]], run, TINY)
    shutil.copytree(run, expected)
    config = (run / "config.yaml").read_bytes()
    add(caches["audio"], run)
    (run / "config.yaml").write_bytes(config)  # as if killed in the last moment
    another = blobs("audio", seed=5).write(tmp_path / "another")
    add(another, run)
    add(another, expected)
    assert files(run / "branches") == files(expected / "branches")
    assert files(run / "candidates") == files(expected / "candidates")


def test_the_best_candidate_is_the_prior(caches: dict[str, FeatureCache], together: Path) -> None:
    note = load_note(together / "prior.json")
    scores = {name: candidate["score"] for name, candidate in note["candidates"].items()}
    assert set(scores) == set(MODALITIES)
    assert note["chosen"] == max(scores, key=lambda name: scores[name])
    assert note["score"] == scores[note["chosen"]]
    chosen = load_prior(together / "candidates" / f"{note['chosen']}.safetensors")
    prior = load_prior(together / "prior.safetensors")
    assert torch.equal(chosen.weight, prior.weight)
    assert (prior.sha256, note["shape"], note["classes"]) == (note["sha256"], [12, 3], list(CLASSES))


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_named_candidate_is_the_prior(
    caches: dict[str, FeatureCache], together: Path, tmp_path: Path, modality: str
) -> None:
    outcome = train(list(caches.values()), tmp_path / "run", settings(prior=f"candidate:{modality}"))
    assert outcome.prior["chosen"] == modality
    assert files(tmp_path / "run" / "candidates", "*.safetensors") == files(together / "candidates", "*.safetensors")
    chosen = load_prior(together / "candidates" / f"{modality}.safetensors")
    assert torch.equal(load_prior(tmp_path / "run" / "prior.safetensors").weight, chosen.weight)


def test_an_orthogonal_prior_is_fixed_and_no_first_stage_runs(caches: dict[str, FeatureCache], tmp_path: Path) -> None:
    outcome = train([caches["image"], caches["text"]], tmp_path / "run", settings(prior="orthogonal"))
    weight = load_prior(tmp_path / "run" / "prior.safetensors").weight
    torch.testing.assert_close(weight.T @ weight, torch.eye(3), atol=1e-6, rtol=0)
    assert outcome.prior["candidates"] == {}
    assert {stage for _, stage, _ in log_rows(tmp_path / "run")} == {"rsc"}
    train([caches["audio"]], tmp_path / "other", settings(prior="orthogonal"))
    assert torch.equal(load_prior(tmp_path / "other" / "prior.safetensors").weight, weight)


def test_a_prior_from_a_file_is_matched_by_class_names(
    caches: dict[str, FeatureCache], together: Path, tmp_path: Path
) -> None:
    weight = load_prior(together / "prior.safetensors").weight
    save_prior(tmp_path / "turned.safetensors", weight[:, [2, 0, 1]], [CLASSES[2], CLASSES[0], CLASSES[1]])
    train([caches["image"]], tmp_path / "run", settings(prior=str(tmp_path / "turned.safetensors")))
    for name in ("prior.safetensors", "branches/image.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (together / name).read_bytes()


def test_a_prior_that_cannot_be_used_is_one_line(caches: dict[str, FeatureCache], tmp_path: Path) -> None:
    image, out = [caches["image"]], tmp_path / "run"
    save_prior(tmp_path / "other.safetensors", torch.randn(12, 3), ["ant", "bee", "dog"])
    save_prior(tmp_path / "wide.safetensors", torch.randn(20, 3), CLASSES)
    save_prior(tmp_path / "nan.safetensors", torch.full((12, 3), torch.nan), CLASSES)
    for prior, message in (
        ("candidate:text", "prior 'candidate:text': no such modality here (there are image)"),
        ("orthgonal", "prior 'orthgonal': not spl, orthogonal, candidate:MODALITY, and no such file"),
        (str(tmp_path / "other.safetensors"), "only here: 'dog'; missing here: 'cow'"),
        (str(tmp_path / "wide.safetensors"), "out is 12, but the prior"),
        (str(tmp_path / "nan.safetensors"), "not finite"),
        (str(caches["image"].path / "manifest.json"), "is not a whole safetensors file"),
    ):
        assert message in train_error(image, out, settings(prior=prior))
    for prior in ("spl", "orthogonal", "candidate:image"):
        assert "out is 2, but 3 classes need" in train_error(image, out, settings(prior=prior, out=2))
    # None of these is a run that stands in the way of the right one.
    train(image, out, TINY)


def test_the_width_of_a_prior_from_a_file_is_taken_over(caches: dict[str, FeatureCache], tmp_path: Path) -> None:
    save_prior(tmp_path / "wide.safetensors", torch.randn(20, 3), CLASSES)
    outcome = train([caches["image"]], tmp_path / "run", settings(out=None, prior=str(tmp_path / "wide.safetensors")))
    assert outcome.branches["image"]["out_dim"] == 20


def test_the_last_epoch_may_be_the_one_that_is_kept(caches: dict[str, FeatureCache], tmp_path: Path) -> None:
    outcome = train([caches["image"]], tmp_path / "run", settings(select="last"))
    assert outcome.branches["image"]["epoch"] == outcome.branches["image"]["epochs"] == 6


def test_a_run_that_is_there_is_not_trained_over(caches: dict[str, FeatureCache], together: Path) -> None:
    before = files(together)
    everything = list(caches.values())
    assert "holds a run already: continue it with --resume" in train_error(everything, together)
    for wanted, options, message in (
        (settings(hidden=17), {}, "settings.hidden: 16 -> 17"),
        (TINY, {"seed": 4}, "seed: 0 -> 4"),
    ):
        assert message in train_error(everything, together, wanted, resume=True, **options)
    assert "modalities.audio" in train_error(everything[:2], together, resume=True)
    assert files(together) == before


def test_resuming_a_finished_run_trains_nothing(caches: dict[str, FeatureCache], together: Path) -> None:
    before = files(together)
    outcome = train(list(caches.values()), together, TINY, resume=True)
    assert outcome.fresh == []
    assert set(outcome.branches) == set(MODALITIES)
    assert files(together) == before


def test_a_damaged_branch_is_trained_again_on_resume(
    caches: dict[str, FeatureCache], together: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(together, run)
    path = run / "branches" / "text.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    outcome = train(list(caches.values()), run, TINY, resume=True)
    assert outcome.fresh == ["text"]
    assert files(run / "branches") == files(together / "branches")


def test_caches_that_do_not_fit_together_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    image = blobs("image").write(tmp_path / "image")
    twin = blobs("image", seed=1).write(tmp_path / "twin")
    other = replace(blobs("text"), classes=("ant", "bee", "dog")).write(tmp_path / "other")
    bare = replace(blobs("text"), labels=None).write(tmp_path / "bare")
    for given, message in (
        ([], "no caches given"),
        ([image, twin], "two caches hold modality 'image'"),
        ([image, other], r"classes differ from the run's \(only here: 'dog'; missing here: 'cow'\)"),
        ([image, bare], "bare has no labels"),
        ([bare, image], "bare has no labels"),
    ):
        assert re.search(message, train_error(given, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_folder_with_other_files_is_refused(caches: dict[str, FeatureCache], tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    image = [caches["image"]]
    assert "holds other files" in train_error(image, tmp_path)
    assert "thesis.tex is a file" in train_error(image, tmp_path / "thesis.tex")
    assert set(files(tmp_path)) == {"thesis.tex"}


def test_what_a_kill_leaves_before_anything_was_trained_is_no_obstacle(
    caches: dict[str, FeatureCache], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / ".lock").touch()
    (run / "config.yaml.tmp").write_text("method: dr")
    train([caches["image"]], run, TINY)


def test_classes_in_another_order_are_matched_by_name(together: Path, tmp_path: Path) -> None:
    turned = [
        blobs("image"),
        blobs("text").with_classes(("cow", "ant", "bee")),
        blobs("audio").with_classes(CLASSES[::-1]),
    ]
    for order in (turned, turned[::-1]):
        run = tmp_path / order[0].modality
        train([samples.write(tmp_path / "c" / samples.modality) for samples in order], run, TINY)
        assert files(run / "branches", "*.safetensors") == files(together / "branches", "*.safetensors")


def mean_average_precision(run: Path, protocol: str = "category") -> tuple[dict[str, float], float]:
    found = embed_run(run, "test", CPU)
    result = evaluate(found.items, protocol)
    return {pair: one.metrics["mAP@all"] for pair, one in result.pairs.items()}, result.mean["chance mAP@all"]


def test_unpaired_modalities_meet_in_one_space(caches: dict[str, FeatureCache], tmp_path: Path) -> None:
    run = tmp_path / "run"
    enough = settings(spl_epochs=20, epochs=40)
    train([caches["image"], caches["text"]], run, enough)
    add(caches["audio"], run)
    found, chance = mean_average_precision(run)
    assert len(found) == 6
    assert min(found.values()) > 0.8 > 2 * chance


def test_samples_of_several_classes(tmp_path: Path) -> None:
    caches = [multi_label_blobs(name).write(tmp_path / name) for name in ("image", "text")]
    outcome: Outcome = train(caches, tmp_path / "run", settings(spl_epochs=20, epochs=40))
    assert outcome.branches["image"]["train_rows"] + outcome.branches["image"]["val_rows"] == 60
    found, chance = mean_average_precision(tmp_path / "run", "multi-label")
    assert min(found.values()) > chance + 0.15


def digits(shared_data: Path, view: int, name: str) -> Blobs:
    found = read_arrays(
        shared_data / "mfeat" / "handwritten.mat",
        Names(
            features=f"X[{view}]",
            ids="rows",
            labels=f"{shared_data}/mfeat/split.csv#label",
            split=f"{shared_data}/mfeat/split.csv#split",
        ),
    )
    features = np.concatenate([found.features.rows(0, len(found.columns))])
    return Blobs(
        name, features.astype(np.float32), found.columns.labels, list(found.columns.split), found.columns.classes
    )


def test_two_views_of_handwritten_digits(shared_data: Path, tmp_path: Path) -> None:
    caches = [digits(shared_data, view, name).write(tmp_path / name) for view, name in ((0, "pixels"), (4, "shapes"))]
    quick = DrclSettings(hidden=64, out=32, spl_steps=60, spl_lr=2e-3, steps=100, lr=2e-3)
    train(caches, tmp_path / "run", quick)
    found, chance = mean_average_precision(tmp_path / "run")
    assert chance < 0.15
    assert min(found.values()) > 3 * chance


# Trains in children of its own, and kills each after as many more epochs as it is told; the last one may finish.
KILLER = """
import json, os, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.training.test_drcl import LONGER
from xfeat.cache import FeatureCache
from xfeat.training.drcl import train

folder, out = Path(sys.argv[1]), Path(sys.argv[2])
caches = [FeatureCache(folder / name) for name in sys.argv[3].split(",")]
log = out / "log.jsonl"

def size():
    return log.stat().st_size if log.exists() else 0

killed = 0
for more, delay in json.loads(sys.argv[4]):
    before = size()
    child = os.fork()
    if not child:
        train(caches, out, LONGER, resume=True, checkpoint_seconds=0)
        os._exit(0)
    done = 0
    while not done and size() < before + more:
        done, _ = os.waitpid(child, os.WNOHANG)
    if not done:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
train(caches, out, LONGER, resume=True, checkpoint_seconds=0)
print(killed)
"""
LONGER = settings(spl_epochs=25, epochs=35)
KILLS = 25


@pytest.mark.skipif(sys.platform == "win32", reason="kills children that it forks")
def test_kills_at_random_moments_change_no_byte_of_the_result(caches: dict[str, FeatureCache], tmp_path: Path) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    train(list(caches.values()), whole, LONGER)
    moments = np.random.default_rng(0)
    # Bytes that the log grows by before the kill (a row has about 150), then seconds: any point between two rows.
    kills = [[int(moments.integers(1, 1500)), float(moments.uniform(0, 0.006))] for _ in range(KILLS)]
    found = subprocess.run(
        [sys.executable, "-c", KILLER, caches["image"].path.parent, run, ",".join(MODALITIES), json.dumps(kills)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert int(found.stdout) > KILLS // 2, "most children should have been killed while they trained"
    expected, after = files(whole), files(run)
    assert log_rows(run) == log_rows(whole)
    assert set(after) == set(expected)
    assert {name for name in after if after[name] != expected[name]} <= {"log.jsonl"}
    assert sorted(after["log.jsonl"].splitlines()) == sorted(expected["log.jsonl"].splitlines())
