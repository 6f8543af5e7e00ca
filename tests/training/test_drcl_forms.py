"""DRCL in both of its forms, from caches to retrieval: as it is by default, and as it was published."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.training.building import PUBLISHED, TINY, against, blobs, files, log_rows, settings
from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.evaluation.embedded import Embedded
from xfeat.evaluation.protocols import evaluate
from xfeat.methods.drcl_settings import DrclSettings
from xfeat.training.checkpoint import read_tensors
from xfeat.training.drcl import train
from xfeat.training.embedding import embed_run
from xfeat.training.joining import join
from xfeat.training.run import Run
from xfeat.training.store import load_branch, load_note, load_prior

CPU = torch.device("cpu")
FORMS: dict[str, dict[str, Any]] = {"small": {}, "published": PUBLISHED}
TENSORS = {
    "small": {"head/input.weight", "head/input.bias", "head/output.weight", "head/output.bias", "input_scale/mean"}
    | {"input_scale/std", "readout/prior", "readout/axes"},
    "published": {"head/input.weight", "head/input.bias", "head/hidden.weight", "head/hidden.bias"}
    | {"head/output.weight", "input_scale/mean", "input_scale/std"},
}


def posteriors(z: np.ndarray, prior: np.ndarray) -> np.ndarray:
    grown = np.exp(16 * z @ prior)
    return np.asarray(grown / grown.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("form", FORMS)
def test_from_caches_to_retrieval(caches: dict[str, FeatureCache], tmp_path: Path, form: str) -> None:
    run = tmp_path / "run"
    given = settings(**FORMS[form], spl_epochs=8, epochs=12) if form == "small" else settings(**FORMS[form], epochs=40)
    train(list(caches.values()), run, given)
    found, prior = embed_run(run, "test", CPU), load_prior(run / "prior.safetensors").weight.double().numpy()
    turned, _, back = np.linalg.svd(prior, full_matrices=False)
    by_posterior = {}
    for name, cache in caches.items():
        path = run / "branches" / f"{name}.safetensors"
        assert set(read_tensors(path)[0]) == TENSORS[form]
        branch, rows = load_branch(path), cache.load(("test",))
        with torch.no_grad():
            z = branch.head(branch.scale(rows.features)).double().numpy()
        np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, atol=1e-6)
        p = posteriors(z, prior)
        expected = p @ (turned @ back).T if form == "small" else z
        np.testing.assert_allclose(found.items[name].vectors, expected, atol=1e-5)
        by_posterior[name] = Embedded(p, found.items[name].labels, "inner product")
        assert found.items[name].similarity == ("inner product" if form == "small" else "cosine")
    result = evaluate(found.items)
    assert result.protocol["similarity"] == ("inner product" if form == "small" else "cosine")
    assert min(pair.metrics["mAP@all"] for pair in result.pairs.values()) > 0.8
    if form == "small":
        # What is ranked by is the probability that two samples are of one class.
        for pair, one in evaluate(by_posterior, dtype=torch.float64).pairs.items():
            assert result.pairs[pair].metrics == pytest.approx(dict(one.metrics), abs=1e-3)


@pytest.mark.parametrize("form", FORMS)
def test_company_changes_no_byte(caches: dict[str, FeatureCache], tmp_path: Path, form: str) -> None:
    given = settings(**FORMS[form])
    train([caches["image"], caches["text"]], tmp_path / "both", given)
    train([caches["text"]], tmp_path / "alone", replace_prior(given, tmp_path / "both"))
    name = "branches/text.safetensors"
    assert files(tmp_path / "alone")[name] == files(tmp_path / "both")[name]


def replace_prior(given: DrclSettings, run: Path) -> DrclSettings:
    return given.model_copy(update={"prior": str(run / "prior.safetensors")})


class CrashError(Exception):
    pass


@pytest.mark.parametrize(
    ("given", "moments"),
    [(DrclSettings(), (60,)), (settings(**PUBLISHED, spl_epochs=50, epochs=30), (2, 60, 70))],
)
def test_an_interrupted_run_resumes_to_the_same_bytes(
    caches: dict[str, FeatureCache],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: DrclSettings,
    moments: tuple[int, ...],
) -> None:
    """The defaults as they are, too. The first 50 rows of the log are those of stage 1."""
    train([caches["image"]], tmp_path / "whole", given)
    whole = files(tmp_path / "whole")
    append = Run.append_log
    for after in moments:
        run, left = tmp_path / f"run{after}", [after]

        def append_and_crash(self: Run, row: dict[str, object], left: list[int] = left) -> None:
            append(self, row)
            left[0] -= 1
            if left[0] == 0:
                raise CrashError

        with monkeypatch.context() as patched:
            patched.setattr(Run, "append_log", append_and_crash)
            with pytest.raises(CrashError):
                train([caches["image"]], run, given, checkpoint_seconds=0)
        assert {stage for _, stage, _ in log_rows(run)} == ({"spl"} if after == 2 else {"spl", "rsc"})
        train([caches["image"]], run, given, resume=True, checkpoint_seconds=0)
        assert files(run) == whole, after


@pytest.mark.parametrize(
    ("given", "counts", "with_val"),
    [
        ({}, (40, 0), (40, 10)),
        ({"select": "last", "val_fraction": 0.5}, (40, 0), (40, 10)),
        ({"select": "loss"}, (36, 4), (40, 10)),
        ({"score_on": "val"}, (36, 4), (40, 10)),
        (PUBLISHED, (36, 4), (40, 10)),
    ],
)
def test_rows_are_held_out_only_where_they_decide_something(
    tmp_path: Path, given: dict[str, Any], counts: tuple[int, int], with_val: tuple[int, int]
) -> None:
    for name, samples, expected in (("plain", blobs("image"), counts), ("val", blobs("image", val=True), with_val)):
        note = train([samples.write(tmp_path / "c" / name)], tmp_path / name, settings(**given)).branches["image"]
        assert (note["train_rows"], note["val_rows"]) == expected


def test_a_row_to_train_on_is_enough_where_nothing_is_held_out(tmp_path: Path) -> None:
    samples = blobs("image")
    first = [samples.labels.tolist().index(label) for label in range(3)]
    split = ["train" if row in first else "test" for row in range(len(samples.split))]
    cache = replace(samples, split=split).write(tmp_path / "c")
    assert train([cache], tmp_path / "run", TINY).branches["image"]["train_rows"] == 3
    with pytest.raises(InputError, match="every class has one training row"):
        train([cache], tmp_path / "held", settings(select="loss"))


def test_the_last_epoch_of_stage_1_is_kept_with_its_own_score(tmp_path: Path) -> None:
    """Nothing here depends on a stage's length: so its best epoch is the last one of a stage that ends there."""
    cache = blobs("image", noise=3.0).write(tmp_path / "image")
    wild = {"lr_schedule": "constant", "q_epochs": 3, "spl_lr": 1.0, "prior": "candidate:image"}

    def candidate(name: str, **more: Any) -> tuple[dict[str, Any], Tensor]:
        train([cache], tmp_path / name, settings(**wild, **more))
        path = tmp_path / name / "candidates" / "image.safetensors"
        return load_note(path.with_suffix(".json")), load_prior(path).weight

    best, best_weight = candidate("best", spl_epochs=12)
    last, last_weight = candidate("last", spl_epochs=12, spl_keep="last")
    cut, cut_weight = candidate("cut", spl_epochs=best["epoch"], spl_keep="last")
    assert best["epoch"] < 12
    assert (last["epoch"], cut["epoch"]) == (12, best["epoch"])
    assert torch.equal(cut_weight, best_weight)
    assert not torch.equal(last_weight, best_weight)
    assert cut["score"] == pytest.approx(best["score"], abs=1e-5)
    assert 0 < last["score"] < best["score"] - 0.01
    assert 0 < best["score"] < 1


def test_branches_of_both_forms_share_a_prior_and_are_not_compared(
    caches: dict[str, FeatureCache], tmp_path: Path
) -> None:
    train([caches["image"]], tmp_path / "small", TINY)
    prior = against(tmp_path / "small").prior
    train([caches["text"]], tmp_path / "unit", settings(embedding="unit", prior=prior))
    with pytest.raises(InputError, match=r"embed in different ways \(image of .*: recast, text of .*: unit\)"):
        join([tmp_path / "small", tmp_path / "unit"], tmp_path / "joined")
    items = {
        name: embed_run(tmp_path / run, "test", CPU).items[name] for run, name in (("small", "image"), ("unit", "text"))
    }
    with pytest.raises(InputError, match=r"different similarities \(image by inner product, text by cosine\)"):
        evaluate(items)


def test_the_embedding_is_no_matter_of_training(caches: dict[str, FeatureCache], tmp_path: Path) -> None:
    """Posteriors and unit embeddings are two ways to read the same trained network."""
    train([caches["image"]], tmp_path / "recast", TINY)
    train([caches["image"]], tmp_path / "unit", settings(embedding="unit"))
    one, other = (load_branch(tmp_path / name / "branches" / "image.safetensors") for name in ("recast", "unit"))
    for name, tensor in one.head.state_dict().items():
        assert torch.equal(other.head.state_dict()[name], tensor)
    assert one.readout is not None
    assert other.readout is None
