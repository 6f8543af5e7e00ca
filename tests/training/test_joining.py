import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.training.building import TINY, against, blobs, files, log_rows, settings
from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.methods.baseline_settings import OrthogonalSettings
from xfeat.training.drcl import add, train
from xfeat.training.embedding import embed_run
from xfeat.training.joining import JOINED, join
from xfeat.training.prior_files import export_prior
from xfeat.training.run import Run
from xfeat.training.store import is_done

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def here(caches: dict[str, FeatureCache], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of image alone, whose candidate is the prior."""
    run = tmp_path_factory.mktemp("here") / "here"
    train([caches["image"]], run, TINY)
    return run


@pytest.fixture(scope="module")
def there(here: Path, caches: dict[str, FeatureCache], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of text and audio, elsewhere, against the exported prior, with another seed and rate."""
    folder = tmp_path_factory.mktemp("there")
    export_prior(Run(here), folder / "prior.safetensors")
    train([caches["text"], caches["audio"]], folder / "there", against(here).model_copy(update={"lr": 0.02}), seed=4)
    return folder / "there"


@pytest.fixture
def copies(here: Path, there: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Both runs, to be spoiled."""
    return shutil.copytree(here, tmp_path / "a" / "here"), shutil.copytree(there, tmp_path / "b" / "there")


def join_error(out: Path, *runs: Path) -> str:
    """The one line of a refusal, after which there is nothing new."""
    before = sorted(out.parent.iterdir()) if out.parent.is_dir() else None
    with pytest.raises(InputError) as caught:
        join(runs, out)
    assert (sorted(out.parent.iterdir()) if out.parent.is_dir() else None) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_file_that_was_trained_is_copied_byte_for_byte(here: Path, there: Path, tmp_path: Path) -> None:
    sources = [files(here), files(there)]
    joined = join([here, there], tmp_path / "new" / "joined")
    made = files(tmp_path / "new" / "joined")
    for name in ("branches", "candidates"):
        expected = {path: data for source in sources for path, data in source.items() if path.startswith(name)}
        assert {path: data for path, data in made.items() if path.startswith(name)} == expected
    assert made["prior.safetensors"] == sources[0]["prior.safetensors"] == sources[1]["prior.safetensors"]
    assert made["log.jsonl"] == sources[0]["log.jsonl"] + sources[1]["log.jsonl"]
    assert [files(here), files(there)] == sources
    assert list(tmp_path.joinpath("new").iterdir()) == [tmp_path / "new" / "joined"]
    assert joined.origins == {"image": here, "text": there, "audio": there}
    assert joined.branches.keys() == joined.origins.keys()
    assert joined.away == []


def test_runs_of_one_seed_share_a_random_prior_and_join(caches: dict[str, FeatureCache], tmp_path: Path) -> None:
    own = OrthogonalSettings(**{**TINY.model_dump(), "prior": "orthogonal"})
    for name in ("image", "text"):
        train([caches[name]], tmp_path / name, own)
    train([caches["image"], caches["text"]], tmp_path / "whole", own)
    join([tmp_path / "image", tmp_path / "text"], tmp_path / "joined")
    assert files(tmp_path / "joined" / "branches") == files(tmp_path / "whole" / "branches")
    train([caches["audio"]], tmp_path / "audio", own, seed=1)
    assert "were trained against different priors" in join_error(tmp_path / "j", tmp_path / "image", tmp_path / "audio")


@pytest.mark.parametrize("turned", [False, True])
def test_the_note_is_of_the_run_that_learned_the_prior(here: Path, there: Path, tmp_path: Path, turned: bool) -> None:
    assert json.loads((there / "prior.json").read_text())["chosen"] == "file"
    out = tmp_path / "joined"
    join([there, here] if turned else [here, there], out)
    assert files(out)["prior.json"] == files(here)["prior.json"]
    assert list(Run(out).load_config().modalities) == (
        ["text", "audio", "image"] if turned else ["image", "text", "audio"]
    )


def test_seed_and_settings_are_the_firsts_and_every_runs_own_are_kept(here: Path, there: Path, tmp_path: Path) -> None:
    joined = join([here, there], tmp_path / "j")
    config = Run(tmp_path / "j").load_config()
    assert (config.seed, config.settings) == (0, TINY.model_dump())
    assert joined.differences == {there: "seed: 0 -> 4; settings.lr: 0.03 -> 0.02"}
    entries = json.loads((tmp_path / "j" / JOINED).read_text())["runs"]
    assert [(one["run"], one["modalities"], one["seed"], one["settings"]["lr"]) for one in entries] == [
        ("here", ["image"], 0, 0.03),
        ("there", ["text", "audio"], 4, 0.02),
    ]


def test_a_joined_run_embeds_as_its_parts_do(here: Path, there: Path, tmp_path: Path) -> None:
    join([here, there], tmp_path / "j")
    whole = embed_run(tmp_path / "j", "test", CPU).items
    parts = {**embed_run(here, "test", CPU).items, **embed_run(there, "test", CPU).items}
    assert whole.keys() == parts.keys()
    for name, part in parts.items():
        assert torch.equal(torch.as_tensor(whole[name].vectors), torch.as_tensor(part.vectors))


def test_a_newcomer_is_scored_against_the_prior_and_a_third_run_joins_the_joined(
    here: Path, there: Path, tmp_path: Path
) -> None:
    out = tmp_path / "j"
    join([here, there], out)
    before = files(out / "branches")
    add(blobs("video").write(tmp_path / "video"), out)
    assert {name: data for name, data in files(out / "branches").items() if "video" not in name} == before
    assert json.loads((out / "prior.json").read_text())["candidates"].keys() == {"image", "video"}
    train([blobs("depth").write(tmp_path / "depth")], tmp_path / "more", against(out))
    join([tmp_path / "more", out], tmp_path / "all")
    assert list(Run(tmp_path / "all").load_config().modalities) == ["depth", "image", "text", "audio", "video"]
    entries = json.loads((tmp_path / "all" / JOINED).read_text())["runs"]
    assert [one["modalities"] for one in entries] == [["depth"], ["image"], ["text", "audio"], ["video"]]
    note = json.loads((tmp_path / "all" / "prior.json").read_text())
    assert (note["chosen"], set(note["candidates"])) == ("image", {"image", "video"})
    assert all(is_done(path) for path in (tmp_path / "all").glob("candidates/*.safetensors"))


def test_the_first_runs_command_still_resumes(
    here: Path, there: Path, caches: dict[str, FeatureCache], tmp_path: Path
) -> None:
    join([here, there], tmp_path / "j")
    before = files(tmp_path / "j", "*.safetensors")
    assert train([caches["image"]], tmp_path / "j", TINY, resume=True).fresh == []
    assert files(tmp_path / "j", "*.safetensors") == before


def test_caches_are_found_from_the_new_place(tmp_path: Path) -> None:
    image, text = (blobs(name).write(tmp_path / "old" / name) for name in ("image", "text"))
    train([image], tmp_path / "old" / "a", TINY)
    train([text], tmp_path / "old" / "b", against(tmp_path / "old" / "a"))
    (tmp_path / "old").rename(tmp_path / "new")  # now only the relative paths lead to the caches
    runs = [tmp_path / "new" / name for name in "ab"]
    assert join(runs, tmp_path / "deep" / "down" / "j").away == []
    sources = Run(tmp_path / "deep" / "down" / "j").load_config().modalities
    assert sources["text"].cache == str(tmp_path / "new" / "text")
    assert sources["text"].relative == "../../../new/text"
    assert (sources["image"].added, sources["text"].added) == (False, True)
    (tmp_path / "new" / "text").rename(tmp_path / "gone")
    assert join(runs, tmp_path / "new" / "k").away == ["text"]
    (tmp_path / "gone").rename(tmp_path / "new" / "text")
    assert set(embed_run(tmp_path / "new" / "k", "test", CPU).items) == {"image", "text"}


def test_other_priors_are_refused(here: Path, caches: dict[str, FeatureCache], tmp_path: Path) -> None:
    train([caches["text"]], tmp_path / "other", TINY)
    line = join_error(tmp_path / "j", here, tmp_path / "other")
    for run in (here, tmp_path / "other"):
        assert f"{run}: {json.loads((run / 'prior.json').read_text())['sha256'][:8]}" in line
    assert "xfeat prior export" in line
    assert "--set prior=" in line


def test_runs_that_do_not_belong_together_are_refused(here: Path, there: Path, tmp_path: Path) -> None:
    out = tmp_path / "j"
    assert "two runs or more" in join_error(out, here)
    assert "is named twice" in join_error(out, here, there, here.parent / "." / here.name)
    shutil.copytree(here, tmp_path / "again")
    line = join_error(out, here, there, tmp_path / "again")
    assert line == f"modality 'image' is in {here} and in {tmp_path / 'again'}: a run holds it once"
    assert "does not exist: not a run" in join_error(out, here, tmp_path / "no")
    renamed = blobs("text").with_classes(["ant", "bee", "cow"])
    other = type(renamed)("text", renamed.features, renamed.labels, renamed.split, ("ant", "bee", "dog"))
    train([other.write(tmp_path / "text")], tmp_path / "dogs", TINY)
    line = join_error(out, here, tmp_path / "dogs")
    assert "different classes: only the first has 'cow'; only the second has 'dog'" in line


def test_another_method_is_refused(copies: tuple[Path, Path], tmp_path: Path) -> None:
    config = copies[1] / "config.yaml"
    config.write_text(config.read_text().replace("method: drcl", "method: other"))
    line = join_error(tmp_path / "j", *copies)
    assert line == f"{copies[0]} was trained with drcl, {copies[1]} with other: one method joins"


@pytest.mark.parametrize("name", ["text.json", "text.safetensors"])
def test_an_unfinished_run_is_refused(copies: tuple[Path, Path], tmp_path: Path, name: str) -> None:
    (copies[1] / "branches" / name).unlink()
    assert "there is not finished (no branch of text)" in join_error(tmp_path / "j", *copies)


@pytest.mark.parametrize("name", ["branches/text.safetensors", "candidates/image.safetensors", "prior.safetensors"])
def test_a_damaged_file_is_refused(copies: tuple[Path, Path], tmp_path: Path, name: str) -> None:
    file = next(run / name for run in copies if (run / name).exists())
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert file.name in join_error(tmp_path / "j", *copies)


def test_a_branch_against_another_prior_is_refused(copies: tuple[Path, Path], tmp_path: Path) -> None:
    note = copies[1] / "branches" / "text.json"
    document = json.loads(note.read_text())
    note.write_text(json.dumps({**document, "prior_sha256": "f" * 64}))
    assert "branch text was trained against prior ffffffff" in join_error(tmp_path / "j", *copies)


def test_a_modality_that_is_a_path_is_refused(copies: tuple[Path, Path], tmp_path: Path) -> None:
    config = copies[1] / "config.yaml"
    config.write_text(config.read_text().replace("  text:\n", "  ../../text:\n"))
    assert "no name a modality can have" in join_error(tmp_path / "j", *copies)


def test_a_folder_that_holds_something_is_refused_and_an_empty_one_taken(
    here: Path, there: Path, tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    (tmp_path / "file").write_text("")
    for name in ("full", "file"):
        assert "holds something already" in join_error(tmp_path / name, here, there)
    (tmp_path / "empty").mkdir()
    # What a killed joining leaves beside it does not get in.
    (tmp_path / ".empty.join.tmp" / "branches").mkdir(parents=True)
    (tmp_path / ".empty.join.tmp" / "branches" / "old.json").write_text("{}")
    join([here, there], tmp_path / "empty")
    assert set(embed_run(tmp_path / "empty", "test", CPU).items) == {"image", "text", "audio"}
    assert not (tmp_path / "empty" / "branches" / "old.json").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file", "full"]


def test_the_log_leaves_behind_what_did_not_join(copies: tuple[Path, Path], tmp_path: Path) -> None:
    with (copies[0] / "log.jsonl").open("a") as log:
        log.write('{"modality": "text", "stage": "spl", "epoch": 1}\n{"modality": "image", "sta')
    join(copies, tmp_path / "j")
    assert log_rows(tmp_path / "j") == [*log_rows_of(copies[0], "image"), *log_rows(copies[1])]


def log_rows_of(run: Path, modality: str) -> list[tuple[str, str, int]]:
    lines = (run / "log.jsonl").read_text().splitlines()[:-2]
    (run / "log.jsonl").write_text("\n".join(lines) + "\n")
    rows = log_rows(run)
    assert {row[0] for row in rows} == {modality}
    return rows


def test_two_runs_against_one_random_prior_join(caches: dict[str, FeatureCache], tmp_path: Path) -> None:
    for name in ("image", "text"):
        train([caches[name]], tmp_path / name, settings(prior="orthogonal"))
    join([tmp_path / "image", tmp_path / "text"], tmp_path / "j")
    note = json.loads((tmp_path / "j" / "prior.json").read_text())
    assert (note["chosen"], note["candidates"]) == ("orthogonal", {})
