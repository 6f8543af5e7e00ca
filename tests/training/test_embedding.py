import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.cache.building import write_cache
from tests.evaluation.pairs import CLASSES as CLASSES_OF_PAIRS
from tests.evaluation.pairs import QUICK, paired, write_paired
from tests.training.building import TINY, Blobs, blobs
from xfeat.cache import Columns, FeatureCache, Plan
from xfeat.errors import InputError
from xfeat.training.drcl import train
from xfeat.training.embedding import Blocks, Embeddings, embed_run, embed_zero_shot
from xfeat.training.run import Run
from xfeat.training.sspc import train as train_pairs
from xfeat.training.store import load_branch

CPU = torch.device("cpu")


def with_unlabelled_test_rows(samples: Blobs) -> tuple[Blobs, list[int]]:
    rows = [row for row, split in enumerate(samples.split) if split == "test"][:3]
    labels = samples.labels.copy()
    labels[rows] = -1
    return replace(samples, labels=labels), rows


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Text has its classes in another order, and three test rows without a label."""
    text, _ = with_unlabelled_test_rows(blobs("text").with_classes(("cow", "ant", "bee")))
    caches = [blobs("image").write(tmp_path / "image"), text.write(tmp_path / "text")]
    train(caches, tmp_path / "run", TINY)
    return tmp_path / "run"


def test_rows_labels_and_the_runs_class_order(run: Path) -> None:
    found = embed_run(run, "test", CPU)
    assert list(found.items) == ["image", "text"]
    assert not found.multi_label
    assert found.unlabelled == {"image": 0, "text": 3}
    for name in ("image", "text"):
        samples = blobs(name)
        rows = [row for row, split in enumerate(samples.split) if split == "test"]
        rows = rows[found.unlabelled[name] :]
        assert found.ids[name] == [f"{name}/{row:03d}" for row in rows]
        np.testing.assert_array_equal(found.items[name].labels, samples.labels[rows])
        branch = load_branch(run / "branches" / f"{name}.safetensors")
        assert branch.readout is not None
        with torch.no_grad():
            expected = branch.readout(branch.head(branch.scale(samples.features[rows])))
        vectors = torch.as_tensor(found.items[name].vectors)
        torch.testing.assert_close(vectors, expected)
        assert (vectors.norm(dim=1) <= 1 + 1e-6).all()
        assert found.items[name].similarity == "inner product"


def test_another_split(run: Path) -> None:
    assert len(embed_run(run, "train", CPU).ids["image"]) == 40


def test_a_split_that_is_not_there(run: Path) -> None:
    with pytest.raises(InputError, match=r"image: no rows in split 'dev' \(splits there: test, train\)"):
        embed_run(run, "dev", CPU)


def test_a_cache_that_was_remade_with_another_fingerprint(run: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "image")
    replace(blobs("image"), backbone="other blobs").write(tmp_path / "image")
    with pytest.raises(InputError, match="was made anew since run was trained"):
        embed_run(run, "test", CPU)


def test_a_branch_that_is_missing(run: Path) -> None:
    (run / "branches" / "text.json").unlink()
    with pytest.raises(InputError, match=r"text\.json does not exist: the run is not finished"):
        embed_run(run, "test", CPU)


def rewritten(run: Path, samples: Blobs) -> Embeddings:
    """The run's embeddings after a cache was written again with other samples."""
    shutil.rmtree(run.parent / samples.modality)
    samples.write(run.parent / samples.modality)
    return embed_run(run, "test", CPU, allow_changed=True)


def test_rows_of_classes_that_the_run_does_not_know_are_left_out_and_counted(run: Path) -> None:
    samples = replace(blobs("text"), classes=("ant", "elk", "dog"))
    found = rewritten(run, samples)
    rows = [row for row, split in enumerate(samples.split) if split == "test"]
    ants = [row for row in rows if samples.labels[row] == 0]
    assert found.ids["text"] == [f"text/{row:03d}" for row in ants]
    assert set(found.items["text"].labels) == {0}
    assert found.unknown == {"image": 0, "text": len(rows) - len(ants)}
    assert found.unknown_classes == {"image": [], "text": ["elk", "dog"]}
    assert found.unlabelled["text"] == 0
    assert len(found.items["text"].vectors) == len(ants)


def test_a_row_of_several_classes_keeps_those_that_the_run_knows(run: Path) -> None:
    single = blobs("text")
    hot = np.zeros((len(single.labels), 4), np.uint8)
    hot[np.arange(len(hot)), single.labels] = 1
    hot[:, 3] = 1
    found = rewritten(run, replace(single, labels=hot, classes=("ant", "elk", "cow", "dog")))
    rows = [row for row, split in enumerate(single.split) if split == "test" and single.labels[row] != 1]
    assert found.ids["text"] == [f"text/{row:03d}" for row in rows]
    np.testing.assert_array_equal(found.items["text"].labels, np.eye(3, dtype=np.uint8)[single.labels[rows]])
    assert found.unknown_classes["text"] == ["elk", "dog"]


def test_no_row_of_a_class_that_the_run_knows(run: Path) -> None:
    samples = blobs("text")
    with pytest.raises(
        InputError, match=r"text has classes 'elk', 'fox', 'gnu', none of the run's 'ant', 'bee', 'cow'"
    ):
        rewritten(run, replace(samples, classes=("elk", "fox", "gnu")))
    tested = np.array(samples.split) == "test"
    with pytest.raises(InputError, match="no row of split 'test' has a class that the run knows"):
        rewritten(run, replace(samples, labels=np.where(tested, 1, 0), classes=("ant", "elk")))


def test_a_branch_that_never_trained_on_a_class(tmp_path: Path) -> None:
    text = blobs("text")
    kept = [row for row, label in enumerate(text.labels) if label != 1]
    fewer = replace(
        text,
        features=text.features[kept],
        labels=text.labels[kept] // 2,
        split=[text.split[row] for row in kept],
        classes=("ant", "cow"),
    )
    train([blobs("image").write(tmp_path / "image"), fewer.write(tmp_path / "text")], tmp_path / "run", TINY)
    found = embed_run(tmp_path / "run", "test", CPU)
    assert found.untrained == {"image": [], "text": ["bee"]}
    assert set(found.items["text"].labels) == {0, 2}
    assert set(found.items["image"].labels) == {0, 1, 2}


def test_runs_share_the_rows_of_their_caches(run: Path) -> None:
    blocks = Blocks()
    first = embed_run(run, "test", CPU, blocks=blocks)
    for shard in (run.parent / "image").glob("*.h5"):
        shard.unlink()  # nothing is read a second time
    again = embed_run(run, "test", CPU, blocks=blocks)
    assert torch.equal(torch.as_tensor(again.items["image"].vectors), torch.as_tensor(first.items["image"].vectors))
    with pytest.raises(InputError, match="missing"):
        embed_run(run, "train", CPU, blocks=blocks)


def test_the_runs_rule_of_relevance(run: Path) -> None:
    assert embed_run(run, "test", CPU).relevance == "any"
    config = Run(run).load_config()
    config.settings["relevance"] = "exact"
    Run(run).save_config(config)
    assert embed_run(run, "test", CPU).relevance == "exact"


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A run of DRCL on paired caches."""
    train(write_paired(tmp_path, "image", "text"), tmp_path / "run", TINY)
    return tmp_path / "run"


def test_instances_of_a_run_need_no_labels(pairs: Path, tmp_path: Path) -> None:
    for name in ("image", "text"):
        shutil.rmtree(tmp_path / name)
        replace(paired(name), labels=None).write(tmp_path / name)
    found = embed_run(pairs, "test", CPU, protocol="instance", allow_changed=True)
    tested = [f"i{row}" for row in range(0, 96, 3)]
    assert found.protocol == "instance"
    for item in found.items.values():
        assert item.labels is None
        assert item.keys == tested
        assert item.vectors.shape == (32, 12)
    with pytest.raises(InputError, match="has no labels"):
        embed_run(pairs, "test", CPU, allow_changed=True)


def test_instances_need_pair_keys(run: Path) -> None:
    with pytest.raises(InputError, match=r"image has no pair keys: .*`pair` column.*`--pair` of `xfeat import`"):
        embed_run(run, "test", CPU, protocol="instance")


def test_an_unknown_protocol(run: Path) -> None:
    with pytest.raises(InputError, match=r"unknown protocol reid: choose one of category, .*, re-id, zero-shot, z"):
        embed_run(run, "test", CPU, protocol="reid")


@pytest.mark.parametrize("protocol", ["category", "instance"])
def test_rows_of_chosen_classes(pairs: Path, protocol: str) -> None:
    found = embed_run(pairs, "test", CPU, protocol=protocol, classes="bee,dog")
    rows = [row for row in range(0, 96, 3) if row // 3 % 4 in (1, 3)]
    assert found.chosen == ["bee", "dog"]
    assert found.others == {"image": 16, "text": 16}
    assert found.ids["text"] == [f"text/{row:03d}" for row in rows]
    whole = embed_run(pairs, "test", CPU, protocol=protocol)
    kept = [place for place, name in enumerate(whole.ids["text"]) if name in found.ids["text"]]
    assert torch.equal(torch.as_tensor(found.items["text"].vectors), torch.as_tensor(whole.items["text"].vectors)[kept])
    with pytest.raises(InputError, match="the run saw all 4 classes"):
        embed_run(pairs, "test", CPU, protocol=protocol, classes="unseen")


def test_a_run_of_pairs_is_evaluated_by_instances_on_what_it_saw_and_not(tmp_path: Path) -> None:
    text = replace(paired("text"), labels=None).write(tmp_path / "text")  # its rows are of the classes of their images
    image = paired("image").write(tmp_path / "image")
    train_pairs([image, text], tmp_path / "run", QUICK.model_copy(update={"classes": ["bee", "[cd]o*"]}))
    seen = embed_run(tmp_path / "run", "test", CPU, classes="seen")
    unseen = embed_run(tmp_path / "run", "test", CPU, classes="unseen")
    assert (seen.protocol, seen.chosen, unseen.chosen) == ("instance", ["bee", "cow", "dog"], ["ant"])
    assert unseen.ids["text"] == [f"text/{row:03d}" for row in range(0, 96, 12)]
    assert len(seen.ids["image"]) == len(seen.ids["text"]) == 24
    assert not seen.untrained
    assert (seen.weights, seen.both_weights) == ("ema", True)
    vectors = {
        kind: torch.as_tensor(embed_run(tmp_path / "run", "test", CPU, weights=kind).items["image"].vectors)
        for kind in ("kept", "raw", "ema")
    }
    assert torch.equal(vectors["kept"], vectors["ema"])
    assert not torch.equal(vectors["raw"], vectors["ema"])


def test_one_set_of_weights(pairs: Path) -> None:
    with pytest.raises(InputError, match="keeps one set of weights, not ema"):
        embed_run(pairs, "test", CPU, weights="ema")


def test_other_caches_than_those_of_the_run(pairs: Path, tmp_path: Path) -> None:
    classes = ("eel", "fox", "gnu", "hen")
    others = {name: replace(paired(name, instances=30, seed=5), classes=classes) for name in ("image", "text", "audio")}
    on = [others[name].write(tmp_path / "other" / name) for name in ("text", "image")]
    found = embed_run(pairs, "test", CPU, protocol="instance", on=on)
    assert list(found.items) == ["image", "text"]
    branch = load_branch(pairs / "branches" / "image.safetensors")
    expected = branch.embed(others["image"].features[::3], CPU)
    torch.testing.assert_close(torch.as_tensor(found.items["image"].vectors), expected)
    by_class = embed_run(pairs, "test", CPU, on=on)
    assert by_class.classes == list(classes)
    np.testing.assert_array_equal(by_class.items["image"].labels, others["image"].labels[::3])

    def refused(*caches: FeatureCache) -> str:
        with pytest.raises(InputError) as caught:
            embed_run(pairs, "test", CPU, on=caches)
        return str(caught.value)

    assert "holds audio, " in refused(others["audio"].write(tmp_path / "other" / "audio"))
    assert "two caches hold modality 'text'" in refused(on[0], on[0])
    narrow = replace(others["text"], features=others["text"].features[:, :4].copy())
    assert "has 4 dimensions, the text branch takes 9" in refused(narrow.write(tmp_path / "other" / "narrow"))
    remade = replace(others["text"], fingerprint={"backbone": "other"}).write(tmp_path / "other" / "remade")
    assert "(backbone: 'pairs' -> 'other')" in refused(remade)


def test_prototypes_of_class_means_and_of_prompts(pairs: Path, tmp_path: Path) -> None:
    queries, sources = embed_zero_shot(pairs, "test", CPU)
    assert (len(queries.ids["image"]), len(sources.ids["image"])) == (32, 64)
    assert queries.classes == sources.classes == list(CLASSES_OF_PAIRS)
    prompts = replace(paired("text").rows([3, 4, 6, 9]), classes=("eel", "dog", "cow", "bee"), keys=None)
    queries, sources = embed_zero_shot(pairs, "test", CPU, prompts=prompts.write(tmp_path / "prompts"))
    assert (list(queries.items), list(sources.items)) == (["image"], ["text"])
    assert queries.classes == ["ant", "bee", "cow", "dog", "eel"]
    assert [queries.classes[label] for label in sources.items["text"].labels] == ["dog", "dog", "cow", "bee"]
    chosen, prototypes = embed_zero_shot(
        pairs, "test", CPU, prompts=FeatureCache(tmp_path / "prompts"), classes="cow,bee"
    )
    assert len(chosen.ids["image"]) == 16
    assert prototypes.ids["text"] == ["text/002", "text/003"]


def without_training_rows(samples: Blobs, *names: str) -> Blobs:
    """Rows of these classes are for testing alone."""
    classes = [samples.classes.index(name) for name in names]
    split = ["test" if label in classes else own for label, own in zip(samples.labels, samples.split, strict=True)]
    return replace(samples, split=split)


def test_a_class_that_no_branch_had_rows_of_is_unseen(tmp_path: Path) -> None:
    image, text = without_training_rows(blobs("image"), "bee", "cow"), without_training_rows(blobs("text"), "bee")
    train([image.write(tmp_path / "image"), text.write(tmp_path / "text")], tmp_path / "run", TINY)
    found = embed_run(tmp_path / "run", "test", CPU, protocol="zero-shot-retrieval")
    assert (found.unseen, found.chosen, found.untrained) == (["bee"], ["bee"], {})
    assert found.others == {
        name: sum(own == "test" for own in some.split) - 20 for name, some in (("image", image), ("text", text))
    }
    among = embed_run(tmp_path / "run", "test", CPU, protocol="zero-shot-retrieval", gallery_classes="all")
    assert (among.unseen, among.chosen) == (["bee"], None)
    assert len(among.ids["image"]) == sum(own == "test" for own in image.split)
    assert embed_run(tmp_path / "run", "test", CPU, classes="seen").chosen == ["ant", "cow"]
    with pytest.raises(InputError, match="on the classes that the run did not see: no --classes"):
        embed_run(tmp_path / "run", "test", CPU, protocol="zero-shot-retrieval", classes="bee")


def test_unseen_classes_of_a_run_on_some_or_on_all(pairs: Path, tmp_path: Path) -> None:
    caches = [FeatureCache(tmp_path / name) for name in ("image", "text")]
    train_pairs(caches, tmp_path / "some", QUICK.model_copy(update={"classes": ["bee", "dog"]}))
    found = embed_run(tmp_path / "some", "test", CPU, protocol="zero-shot-retrieval")
    assert (found.unseen, len(found.ids["text"]), found.notes) == (["ant", "cow"], 16, [])
    with pytest.raises(InputError, match="the run saw all 4 classes of the caches: none is unseen"):
        embed_run(pairs, "test", CPU, protocol="zero-shot-retrieval")


def test_identities_that_the_run_need_not_know_with_their_cameras(tmp_path: Path) -> None:
    image, text = without_training_rows(blobs("image"), "bee"), without_training_rows(blobs("text"), "bee")
    caches = [image.write(tmp_path / "image"), text.write(tmp_path / "text")]
    train(caches, tmp_path / "run", TINY)
    on = replace(blobs("image"), classes=("gnu", "ant", "hen"))
    ids = [f"image/{row:03d}" for row in range(60)]
    cameras = [f"c{row % 2}" if row % 5 else "" for row in range(60)]
    columns = Columns(ids, on.split, on.classes, on.labels, camera=cameras)
    other = write_cache(tmp_path / "other", Plan("image", {"backbone": "blobs"}, 12, columns), on.features)
    found = embed_run(tmp_path / "run", "test", CPU, protocol="re-id", on=[other])
    rows = [row for row, split in enumerate(on.split) if split == "test"]
    assert found.items["image"].cameras == [cameras[row] for row in rows]
    assert found.items["image"].ids == [ids[row] for row in rows]
    assert found.classes == ["ant", "gnu", "hen"]
    own = embed_run(tmp_path / "run", "test", CPU, protocol="re-id")
    assert (own.items["text"].cameras, own.untrained) == (None, {})
    assert embed_run(tmp_path / "run", "test", CPU, on=[other]).items["image"].cameras is None
