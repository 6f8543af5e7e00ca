import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfeat.errors import InputError
from xfeat.methods.drcl_settings import MIN_EPOCHS, SMALL_BATCHES, DrclSettings
from xfeat.methods.registry import METHODS, find_method
from xfeat.methods.settings import read_settings, validated

ONCE_RESOLVED_MAY_BE_NONE = {"spl_steps", "steps", "q_epochs"}


def error_of(*words: str, file: Path | None = None) -> str:
    with pytest.raises(InputError) as caught:
        validated(DrclSettings, read_settings(file, words))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def batches_of(rows: int, batch: int) -> int:
    """Batches of an epoch that is cut evenly: those closest to ``batch``, the larger number of two equally close."""
    return max(1, math.floor(Fraction(rows, batch) + Fraction(1, 2)))


@given(rows=st.integers(1, 10**6), dim=st.integers(1, 5000))
def test_small_sizes_follow_from_the_data(rows: int, dim: int) -> None:
    found = DrclSettings().resolved(rows, classes=10, dim=dim)
    assert (found.hidden, found.layers, found.bias_length, found.dropout) == (256, 1, 4.0, 0.5)
    assert (found.lr, found.spl_lr, found.lr_schedule) == (2e-3, 5e-4, "cosine")
    assert (found.logit_scale, found.q_max, found.embedding, found.select) == (16.0, 0.2, "recast", "last")
    batch = found.batch_size
    assert batch is not None
    assert SMALL_BATCHES[0] <= batch <= SMALL_BATCHES[1]
    assert batch.bit_count() == 1
    batches = batches_of(rows, batch)
    for epochs, steps in ((found.spl_epochs, 150), (found.epochs, min(400, max(200, rows)))):
        assert epochs == max(MIN_EPOCHS, math.ceil(steps / batches))
    noise = min(0.5, math.sqrt(dim / rows) * min(1, dim / 100))
    assert found.skip == (dim <= 32 and 10 * dim <= rows)
    assert found.input_noise == pytest.approx(noise if noise >= 0.05 else 0)


@pytest.mark.parametrize(
    ("rows", "dim", "noise"),
    [
        (400, 100, 0.5),
        (1000, 160, 0.4),
        (10_000, 100, 0.1),
        (10_000, 50, 0),  # 0.0707 / 2
        (400, 64, 0.256),
        (50_000, 124, 0),
        (50_000, 126, 0.0502),
        (5, 900, 0.5),
        (300, 12, 0),
    ],
)
def test_noise_blurs_few_rows_and_leaves_many_alone(rows: int, dim: int, noise: float) -> None:
    assert DrclSettings().resolved(rows, 10, dim=dim).input_noise == pytest.approx(noise, abs=1e-4)
    assert DrclSettings(standardize=False).resolved(rows, 10, dim=dim).input_noise == 0
    assert DrclSettings(input_noise=0.3).resolved(rows, 10, dim=dim).input_noise == 0.3
    assert DrclSettings(input_noise=0.3, standardize=False).resolved(rows, 10, dim=dim).input_noise == 0.3
    assert DrclSettings(size="paper").resolved(rows, 10, dim=dim).input_noise == 0


@pytest.mark.parametrize(
    ("rows", "epochs"), [(30, 200), (191, 200), (192, 100), (201, 101), (330, 110), (400, 134), (960, 50)]
)
def test_the_second_stage_takes_a_step_for_every_row_within_bounds(rows: int, epochs: int) -> None:
    """Batches of 128: one up to 191 rows, two up to 319, three up to 447, eight for 960."""
    assert DrclSettings(batch_size=128).resolved(rows, 10).epochs == epochs


@pytest.mark.parametrize(
    ("given", "holds"),
    [
        ({}, False),
        ({"select": "last"}, False),
        ({"select": "loss"}, True),
        ({"score_on": "val"}, True),
        ({"size": "paper"}, True),
        ({"size": "paper", "select": "last"}, False),
        ({"size": "paper", "select": "last", "score_on": "val"}, True),
    ],
)
def test_rows_are_held_out_only_where_they_decide_something(given: dict[str, Any], holds: bool) -> None:
    assert DrclSettings(**given).holds_out is holds
    assert DrclSettings(**given).resolved(100, 3).holds_out is holds


def test_paper_sizes_are_the_papers() -> None:
    found = DrclSettings(size="paper").resolved(rows=2173, classes=10)
    assert (found.hidden, found.out, found.batch_size, found.dropout) == (4096, 2048, 1024, 0.0)
    assert (found.spl_epochs, found.epochs, found.q_epochs) == (200, 200, 100)
    assert (found.spl_lr, found.lr_schedule, found.weight_decay) == (5e-4, "constant", 0.0)
    assert (found.alpha, found.beta, found.eta, found.gamma) == (0.1, 0.1, 1.0, 0.9)
    assert (found.gce, found.prior, found.score_on, found.select) == (True, "spl", "train", "loss")
    assert (found.layers, found.bias_length, found.input_noise, found.spl_keep) == (2, 0.0, 0.0, "best")
    assert found.skip is False
    assert (found.logit_scale, found.q_max, found.embedding) == (1.0, 1.0, "unit")


@pytest.mark.parametrize("size", ["small", "paper"])
@pytest.mark.parametrize("rows", [1, 7, 5000])
def test_nothing_stays_open(size: str, rows: int) -> None:
    found = DrclSettings(size=size).resolved(rows, 3)  # type: ignore[arg-type]
    assert {name for name, value in found.model_dump().items() if value is None} <= ONCE_RESOLVED_MAY_BE_NONE
    assert found.resolved(rows, 3) == found


@pytest.mark.parametrize("size", ["small", "paper"])
def test_what_is_given_replaces_the_preset_in_both_units(size: str) -> None:
    def durations(**given: int) -> tuple[int | None, int | None]:
        found = DrclSettings(size=size, batch_size=100, **given).resolved(1000, 3)  # type: ignore[arg-type]
        return found.spl_epochs, found.epochs

    preset = durations()
    assert durations(steps=25) == (preset[0], 3)
    assert durations(epochs=7) == (preset[0], 7)
    assert durations(epochs=7, steps=25) == (preset[0], 7)
    assert durations(spl_steps=20) == (2, preset[1])
    assert durations(spl_epochs=5, spl_steps=1) == (5, preset[1])


@given(rows=st.integers(1, 10**6), batch=st.integers(1, 5000), steps=st.integers(1, 10**5))
def test_steps_become_the_fewest_whole_epochs_that_hold_them(rows: int, batch: int, steps: int) -> None:
    epochs = DrclSettings(batch_size=batch, steps=steps).resolved(rows, 3).epochs
    assert epochs is not None
    assert (epochs - 1) * batches_of(rows, batch) < steps <= epochs * batches_of(rows, batch)


def test_the_shared_space_holds_every_class_and_a_given_prior_decides_its_width() -> None:
    for classes, out in ((10, 128), (64, 128), (65, 129), (300, 364)):
        assert DrclSettings().resolved(100, classes).out == out
    assert DrclSettings(out=64).resolved(100, 10).out == 64
    assert DrclSettings().resolved(100, 10, out=32).out == 32
    assert DrclSettings(size="paper").resolved(100, 10, out=32).out == 32


def test_a_file_is_overlaid_with_words(tmp_path: Path) -> None:
    file = tmp_path / "drcl.yaml"
    file.write_text("hidden: 32\nalpha: 0.5\nmodality_lr:\n  image: 0.1\n", encoding="utf-8")
    words = ["hidden=64", "lr=1e-4", "gce=false", "standardize=true", "modality_lr.text=6e-6", "prior=candidate:text"]
    assert read_settings(file, words) == {
        "hidden": 64,
        "alpha": 0.5,
        "lr": 1e-4,
        "gce": False,
        "standardize": True,
        "modality_lr": {"image": 0.1, "text": 6e-6},
        "prior": "candidate:text",
    }
    assert read_settings(None, ["out=null"]) == {"out": None}
    assert validated(DrclSettings, read_settings(file, words)).modality_lr == {"image": 0.1, "text": 6e-6}


def test_an_empty_file_sets_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing\n", encoding="utf-8")
    assert read_settings(tmp_path / "empty.yaml", []) == {}
    assert read_settings(None, []) == {}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("hiden=3", "unknown setting 'hiden': did you mean hidden?"),
        ("hidden=0", "setting hidden=0: input should be greater than or equal to 1"),
        ("hidden=many", "setting hidden='many': input should be a valid integer"),
        ("gamma=1.5", "setting gamma=1.5: input should be less than or equal to 1"),
        ("lr=0", "setting lr=0"),
        ("lr=nan", "setting lr=nan"),
        ("lr=inf", "setting lr=inf"),
        ("alpha=nan", "setting alpha=nan"),
        ("alpha=-1", "setting alpha=-1"),
        ("dropout=1", "setting dropout=1"),
        ("size=huge", "setting size='huge'"),
        ("prior=null", "setting prior=None"),
        ("modality_lr=3", "setting modality_lr=3"),
        ("modality_lr.image=-1", "setting modality_lr.image=-1"),
        ("modality_lr.image=fast", "setting modality_lr.image='fast'"),
        ("hidden", "--set 'hidden': write key=value"),
        ("=3", "--set '=3': write key=value"),
        ("hidden=[", "--set 'hidden=[': the value cannot be read"),
    ],
)
def test_a_bad_word_is_one_line(word: str, message: str) -> None:
    assert message in error_of(word)


def test_an_unknown_setting_like_no_other_lists_them_all() -> None:
    message = error_of("zzzzzz=3")
    assert all(name in message for name in DrclSettings.model_fields)


def test_a_dot_into_something_that_is_no_mapping() -> None:
    assert "hidden is not a mapping" in error_of("hidden=3", "hidden.x=4")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"- hidden\n", "must hold a mapping of settings, got list"),
        (b"hidden\n", "must hold a mapping of settings, got str"),
        (b"hidden: [1\n", "cannot be read as YAML"),
        (b"\xff\xfe\xfa", "cannot be read as YAML"),
        (b"!!python/object/apply:os.getcwd []\n", "cannot be read as YAML"),
        (b"3: 4\n", "unknown setting '3'"),
        (b"hiden: 4\n", "unknown setting 'hiden'"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_bytes(content)
    assert message in error_of(file=file)


def test_a_missing_file(tmp_path: Path) -> None:
    assert error_of(file=tmp_path / "no.yaml").startswith(f"config {tmp_path / 'no.yaml'} does not exist: name a file")


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    assert f"{tmp_path} is a folder: name a file" in error_of(file=tmp_path)


def test_every_setting_has_a_description_and_a_default_to_show() -> None:
    described = {name: (default, text) for name, default, text in METHODS["drcl"].describe()}
    assert set(described) == set(DrclSettings.model_fields)
    assert all(text for _, text in described.values())
    assert described["hidden"][0] == "by size"
    assert described["gce"][0] == "true"
    assert described["alpha"][0] == "0.1"


def test_an_unknown_method_names_the_closest() -> None:
    with pytest.raises(InputError, match=r"^unknown method 'drlc': did you mean drcl\?$"):
        find_method("drlc")
    with pytest.raises(InputError, match=r"^unknown method 'xyz': there is .*drcl"):
        find_method("xyz")
    assert find_method("drcl").name == "drcl"
