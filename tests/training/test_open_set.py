"""New classes arrive: what must change does, and nothing else."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.training.building import CLASSES, blobs, files, settings, write_blobs
from tests.training.growing import grown, only, write_grown
from xfeat.cache import FeatureCache
from xfeat.evaluation.protocols import evaluate
from xfeat.methods.drcl import recast_matrix
from xfeat.methods.drcl_growth import Tune
from xfeat.training.drcl import add, train
from xfeat.training.embedding import embed_run
from xfeat.training.growth import load_growth
from xfeat.training.open_set import add_class
from xfeat.training.prior_report import prior_report
from xfeat.training.run import Run
from xfeat.training.store import load_branch, load_note, load_prior

CPU = torch.device("cpu")
PAIR = ("image", "text")
LONGER = settings(spl_epochs=25, epochs=60, hidden=48, dropout=0.1, select="loss")
SHORT = settings(select="loss")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Image, text and audio of three classes, to read only."""
    folder = tmp_path_factory.mktemp("run")
    train(write_blobs(folder, "image", "text", "audio"), folder / "run", LONGER)
    return folder / "run"


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same after a few epochs: for tests of what is written, not of what is learned."""
    folder = tmp_path_factory.mktemp("short")
    train(write_blobs(folder, "image", "text", "audio"), folder / "run", SHORT)
    return folder / "run"


@pytest.fixture(scope="module")
def bigger(tmp_path_factory: pytest.TempPathFactory) -> list[FeatureCache]:
    """Image and text with a fourth class."""
    return write_grown(tmp_path_factory.mktemp("bigger"), *PAIR)


def scores(run: Path, classes: list[str]) -> dict[str, float]:
    """Mean precision of test queries of single classes, text to image."""
    items = embed_run(run, "test", CPU).items
    found = {}
    for place, name in enumerate(Run(run).load_config().classes):
        one = {"text": items["text"], "image": items["image"]}
        mine = one["text"].labels == place
        if name in classes and mine.any():
            one["text"] = replace(one["text"], vectors=one["text"].vectors[mine], labels=one["text"].labels[mine])
            found[name] = evaluate(one).pairs["text->image"].metrics["mAP@all"]
    return found


@pytest.mark.parametrize("tune", ["output", "all"])
def test_new_classes_are_found_and_old_ones_stay(
    run: Path, bigger: list[FeatureCache], tmp_path: Path, tune: Tune
) -> None:
    before = scores(run, list(CLASSES))
    grown = add_class(bigger, run, tmp_path / "out", tune=tune)
    after = scores(tmp_path / "out", [*CLASSES, "asp"])
    assert after["asp"] > 0.7
    for name in CLASSES:
        assert after[name] > before[name] - 0.15, name
    mean = grown.report["mean"]
    assert mean["new"]["asp"] > 0.6
    assert mean["old"]["after"] > mean["old"]["before"] - 0.1


def test_the_prior_grows_behind_what_is_there(short: Path, bigger: list[FeatureCache], tmp_path: Path) -> None:
    out = tmp_path / "out"
    grown = add_class(bigger, short, out, tune="output")
    old, new = (load_prior(path / "prior.safetensors") for path in (short, out))
    assert new.classes == [*CLASSES, "asp"] == Run(out).load_config().classes
    assert torch.equal(new.weight[:, :3], old.weight)
    torch.testing.assert_close(recast_matrix(new.weight)[:3], recast_matrix(old.weight), atol=1e-6, rtol=0)
    assert load_growth(Run(out)) == [
        {
            "classes": ["asp"],
            "prior_sha256": old.sha256,
            "trained": {"image": ["asp"], "text": ["asp"]},
            "tune": "output",
        }
    ]
    assert grown.report == load_note(out / "add_class.json")


def test_the_new_column_points_to_the_class(short: Path, bigger: list[FeatureCache], tmp_path: Path) -> None:
    """It is the part of the mean of both modalities' mean embeddings that is orthogonal to the prior."""
    add_class(bigger, short, tmp_path / "out")
    old, new = (load_prior(path / "prior.safetensors").weight for path in (short, tmp_path / "out"))
    means = []
    for cache in bigger:
        branch, block = load_branch(short / "branches" / f"{cache.manifest.modality}.safetensors"), cache.load()
        held = set(load_rows(tmp_path / "out", cache.manifest.modality))
        mine = [row for row in range(len(block)) if block.labels[row] == 3 and block.split[row] == "train"]
        mine = [row for row in mine if row not in held]
        means.append(branch.head(branch.scale(block.features[mine])).mean(0))
    mean = torch.stack(means).mean(0).double()
    rest = mean - old.double() @ torch.linalg.lstsq(old.double(), mean[:, None]).solution[:, 0]
    cosine = torch.nn.functional.cosine_similarity(rest, new[:, 3].double(), dim=0)
    assert cosine.item() == pytest.approx(1, abs=1e-5)


def load_rows(run: Path, modality: str) -> list[int]:
    from xfeat.training.checkpoint import read_tensors

    rows: list[int] = read_tensors(run / "held_out" / f"{modality}.safetensors")[0]["rows"].tolist()
    return rows


def test_the_given_run_and_branches_without_new_rows_keep_their_bytes(
    short: Path, bigger: list[FeatureCache], tmp_path: Path
) -> None:
    before = files(short)
    grown = add_class(bigger, short, tmp_path / "out", tune="output")
    assert files(short) == before
    after = files(tmp_path / "out")
    kept = {"branches/audio.safetensors", "branches/audio.json", *(name for name in before if "candidates/" in name)}
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    for name in PAIR:
        assert after[f"branches/{name}.safetensors"] != before[f"branches/{name}.safetensors"]
        assert grown.report["branches"][name]["changed"]
        old, new = (load_branch(path / "branches" / f"{name}.safetensors") for path in (short, tmp_path / "out"))
        assert torch.equal(old.scale.mean, new.scale.mean)
        assert torch.equal(old.scale.std, new.scale.std)
        assert torch.equal(old.head.input.weight, new.head.input.weight)
        assert new.note["grown_from"] == old.note["sha256"]
    assert not grown.report["branches"]["audio"]["changed"]
    assert after["log.jsonl"].startswith(before["log.jsonl"])
    rows = [json.loads(line) for line in after["log.jsonl"].splitlines()]
    assert {row["modality"] for row in rows if row["stage"] == "add-class"} == set(PAIR)


def test_the_same_command_gives_the_same_bytes(short: Path, bigger: list[FeatureCache], tmp_path: Path) -> None:
    for name in ("one", "two"):
        add_class(bigger, short, tmp_path / name)
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_a_branch_does_not_depend_on_which_others_learn_where_the_prior_is_the_same(
    run: Path, bigger: list[FeatureCache], tmp_path: Path
) -> None:
    """Image learns, then text learns what image knows; text alone decides its bytes."""
    first, second = tmp_path / "first", tmp_path / "second"
    add_class(bigger[:1], run, first)
    assert embed_run(first, "test", CPU).untrained == {"image": [], "text": ["asp"], "audio": ["asp"]}
    audio = grown("audio").write(tmp_path / "audio")
    one = add_class([bigger[1]], first, second)
    both = add_class([bigger[1], audio], first, tmp_path / "both")
    assert one.report["added"] == []
    assert one.report["new"] == ["asp"]
    assert one.report["prior_sha256"]["before"] == one.report["prior_sha256"]["after"]
    text = "branches/text.safetensors"
    assert (second / text).read_bytes() == (tmp_path / "both" / text).read_bytes()
    assert embed_run(second, "test", CPU).untrained == {"image": [], "text": [], "audio": ["asp"]}
    assert embed_run(tmp_path / "both", "test", CPU).untrained == {"image": [], "text": [], "audio": []}
    assert both.report["mean"]["new"]["asp"] > 0.5


def test_a_grown_run_takes_modalities_and_classes_and_shows_its_prior(
    run: Path, bigger: list[FeatureCache], tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    add_class(bigger, run, first)
    video = grown("video").write(tmp_path / "video")
    assert add(video, first).branches["video"]["untrained_classes"] == []
    more = [grown(name, ("asp", "boa", "cat")).write(tmp_path / f"more-{name}") for name in ("text", "video")]
    report = add_class(more, first, second).report
    assert report["added"] == ["boa", "cat"]
    assert Run(second).load_config().classes == [*CLASSES, "asp", "boa", "cat"]
    found = embed_run(second, "test", CPU)
    assert found.untrained["image"] == ["boa", "cat"]
    assert found.untrained["audio"] == ["asp", "boa", "cat"]
    assert found.untrained["text"] == found.untrained["video"] == []
    assert report["mean"]["new"]["boa"] > 0.5
    shown = prior_report(second)
    assert list(shown.classes) == [*CLASSES, "asp", "boa", "cat"]
    assert shown.rank == 6


def test_rows_that_were_held_out_stay_held_out(short: Path, bigger: list[FeatureCache], tmp_path: Path) -> None:
    """Through two growths; else the branch would be judged by rows that it was trained on."""
    add_class(bigger, short, tmp_path / "one")
    first = load_rows(tmp_path / "one", "text")
    more = grown("text", ("asp", "boa")).write(tmp_path / "more")
    add_class([more], tmp_path / "one", tmp_path / "two")
    second = load_rows(tmp_path / "two", "text")
    assert set(first) < set(second)
    assert {row for row in second if row < 80} == set(first)
    labels = more.load().labels
    assert {int(labels[row]) for row in second} == {0, 1, 2, 3, 4}


def test_a_run_whose_caches_moved_with_it_grows_and_is_evaluated(tmp_path: Path) -> None:
    train(write_blobs(tmp_path / "a", *PAIR), tmp_path / "a" / "run", SHORT)
    (tmp_path / "b").mkdir()
    shutil.move(tmp_path / "a", tmp_path / "b" / "a")
    cache = grown("image").write(tmp_path / "b" / "bigger")
    grown_run = add_class([cache], tmp_path / "b" / "a" / "run", tmp_path / "b" / "out")
    assert grown_run.notes == []
    assert set(embed_run(tmp_path / "b" / "out", "test", CPU).items) == set(PAIR)


def test_a_cache_that_is_gone_is_left_out_of_the_comparison(tmp_path: Path) -> None:
    caches = write_blobs(tmp_path, *PAIR)
    train(caches, tmp_path / "run", SHORT)
    shutil.rmtree(caches[1].path)
    found = add_class([grown("image").write(tmp_path / "bigger")], tmp_path / "run", tmp_path / "out")
    assert len(found.notes) == 1
    assert found.notes[0].startswith("text is left out of the comparison: the cache of text is no longer at")
    assert found.report["pairs"] == {}


def test_multi_label_rows_of_old_and_new_classes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    train(write_blobs(tmp_path, *PAIR), tmp_path / "run", LONGER)
    bigger = []
    for name in PAIR:
        one = grown(name)
        hot = torch.nn.functional.one_hot(torch.from_numpy(one.labels), 4).numpy().astype("uint8")
        hot[-5:, 0] = 1
        bigger.append(replace(one, labels=hot).write(tmp_path / f"{name}-bigger"))
    report = add_class(bigger, tmp_path / "run", tmp_path / "out").report
    assert report["mean"]["new"]["asp"] > 0.6
    assert embed_run(tmp_path / "out", "test", CPU).multi_label


def test_embeddings_that_are_recast_posteriors_grow_too(tmp_path: Path) -> None:
    """A posterior over more classes, in the axes of before: branches that did not grow still meet it."""
    train(write_blobs(tmp_path, *PAIR), tmp_path / "run", LONGER.model_copy(update={"embedding": "recast"}))
    report = add_class([grown("image").write(tmp_path / "bigger")], tmp_path / "run", tmp_path / "out").report
    assert report["mean"]["old"]["after"] > report["mean"]["old"]["before"] - 0.1
    image, text = (load_branch(tmp_path / "out" / "branches" / f"{name}.safetensors").readout for name in PAIR)
    assert image is not None
    assert text is not None
    assert image.axes.shape == (4, 12)
    torch.testing.assert_close(image.axes[:3], text.axes, atol=1e-5, rtol=0)


def test_what_was_left_by_a_kill_is_in_nobodys_way(short: Path, bigger: list[FeatureCache], tmp_path: Path) -> None:
    left = tmp_path / ".out.add-class.tmp"
    left.mkdir()
    (left / "prior.json").write_text("half")
    (tmp_path / "out").mkdir()
    add_class(bigger, short, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_only_new_rows_are_not_enough(short: Path, tmp_path: Path) -> None:
    new = only(grown("image"), ["asp"]).write(tmp_path / "new")
    some = only(grown("image"), ["ant", "asp", "cow"]).write(tmp_path / "some")
    for cache, missing in ((new, "ant, bee, cow"), (some, "bee")):
        with pytest.raises(Exception, match=rf"none of {missing}, which the image branch would forget: .* as a whole"):
            add_class([cache], short, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_blobs_are_what_growing_says() -> None:
    assert (grown("image").features[:60] == blobs("image").features).all()
