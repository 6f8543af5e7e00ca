"""Settings of CIIM: how the open ones follow from the data, and which values are refused."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfeat.errors import InputError
from xfeat.methods.batches import batch_count
from xfeat.methods.ciim_settings import CiimSettings
from xfeat.methods.settings import validated

OPEN = [name for name, field in CiimSettings.model_fields.items() if field.default is None]


def batches(rows: int, s: CiimSettings) -> int:
    return batch_count(rows, s.batch_classes * s.batch_samples)  # type: ignore[operator]


@given(rows=st.integers(2, 10**6), classes=st.integers(2, 5000))
def test_nothing_is_left_open_and_resolving_again_changes_nothing(rows: int, classes: int) -> None:
    s = CiimSettings().resolved(rows, classes)
    # By modality, or by how many there are; and steps are replaced by epochs.
    follows_elsewhere = {"skip", "input_noise", "interventions", "steps"}
    assert {name for name in OPEN if getattr(s, name) is None} <= follows_elsewhere
    assert s.resolved(rows, classes) == s
    assert 2 <= s.batch_classes <= classes  # type: ignore[operator]
    assert s.batch_samples >= 2, "a row needs another of its class"  # type: ignore[operator]
    assert s.batch_classes * s.batch_samples <= max(256 + s.batch_classes, 64)  # type: ignore[operator]


@given(rows=st.integers(10, 5000), p=st.integers(2, 20), s=st.integers(1, 10), steps=st.integers(1, 3000))
def test_steps_are_whole_epochs_of_batches_of_p_times_s(rows: int, p: int, s: int, steps: int) -> None:
    asked = CiimSettings(batch_classes=p, batch_samples=s, steps=steps)
    found = asked.resolved(rows, 20)
    s = min(s, max(2, math.ceil(rows / p)))  # at most an epoch
    assert (found.batch_classes, found.batch_samples) == (p, s)
    of_an_epoch = max(1, round(rows / (p * s)))
    assert found.epochs == math.ceil(steps / of_an_epoch)
    assert asked.model_copy(update={"epochs": 7}).resolved(rows, 20).epochs == 7


def test_few_rows_get_many_epochs_and_many_at_least_some() -> None:
    sizes = (20, 200, 2000, 10**6)
    found = [CiimSettings().resolved(rows, 10) for rows in sizes]
    epochs = [s.epochs or 0 for s in found]
    assert epochs == sorted(epochs, reverse=True)
    assert epochs[-1] >= 2
    assert all(batches(rows, s) * (s.epochs or 0) >= 100 for rows, s in zip(sizes, found, strict=True))


def test_a_batch_has_no_more_classes_than_there_are() -> None:
    s = CiimSettings(batch_classes=50, batch_samples=3).resolved(1000, 7)
    assert (s.batch_classes, s.batch_samples) == (7, 3)
    assert s.resolved(1000, 7) == s


def test_a_batch_has_no_more_rows_than_there_are_and_is_refused_where_that_is_too_many() -> None:
    assert CiimSettings(batch_samples=10**6).resolved(1000, 10).batch_samples == 100
    with pytest.raises(
        InputError, match=r"^batches of 10 classes x 1,000 rows: .* lower batch_classes or batch_samples$"
    ):
        CiimSettings(batch_samples=1000).resolved(10**5, 10)


def test_a_setting_that_is_given_counts_before_what_follows_from_the_data() -> None:
    given_ = {"batch_classes": 3, "batch_samples": 4, "epochs": 5, "skip": True, "input_noise": 0.25, "lr": 0.5}
    assert CiimSettings(**given_).resolved(1000, 7).model_dump().items() >= given_.items()  # type: ignore[arg-type]


def test_the_noise_of_a_modality_grows_with_its_dimensions_and_shrinks_with_its_rows() -> None:
    s = CiimSettings(standardize=True)
    noises = [s.noise(rows, 400) for rows in (100, 1000, 10_000, 10**6)]
    assert noises == sorted(noises, reverse=True)
    assert noises[0] == 0.5
    assert noises[2] == pytest.approx(0.2)
    assert noises[-1] == 0
    assert s.noise(100, 3) < s.noise(100, 50) < s.noise(100, 200)
    assert CiimSettings(input_noise=0.01).noise(10, 400) == 0.01
    assert CiimSettings(standardize=False).noise(10, 400) == 0, "what is not scaled has no size to compare with"


def test_a_linear_map_is_added_where_few_dimensions_have_many_rows() -> None:
    s = CiimSettings()
    assert s.skips(rows=1000, dim=10)
    assert not s.skips(rows=50, dim=10)
    assert not s.skips(rows=10**6, dim=512)
    assert CiimSettings(skip=True).skips(rows=2, dim=512)
    assert not CiimSettings(skip=False).skips(rows=1000, dim=10)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"hybird": 3}, "unknown setting 'hybird': did you mean hybrid"),
        ({"single": -1}, "setting single=-1"),
        ({"pairs": math.nan}, "setting pairs=nan"),
        ({"lr": math.inf}, "setting lr=inf"),
        ({"out": 1}, "setting out=1"),
        ({"scale": 0}, "setting scale=0"),
        ({"alpha": 0}, "setting alpha=0"),
        ({"beta": -2}, "setting beta=-2"),
        ({"base": 2}, "setting base=2"),
        ({"epsilon": -0.1}, "setting epsilon=-0.1"),
        ({"batch_classes": 1}, "setting batch_classes=1"),
        ({"batch_samples": 0}, "setting batch_samples=0"),
        ({"interventions": 0}, "setting interventions=0"),
        ({"reconstructor": -1}, "setting reconstructor=-1"),
        ({"dropout": 1.0}, "setting dropout=1.0"),
        ({"val_fraction": 1.0}, "setting val_fraction=1.0"),
        ({"intervention": "maybe"}, "setting intervention='maybe'"),
        ({"select": "first"}, "setting select='first'"),
        ({"lr_schedule": "exponential"}, "setting lr_schedule='exponential'"),
        ({"classes": [None]}, "setting classes"),
    ],
)
def test_values_out_of_range_are_one_line(values: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        validated(CiimSettings, values)
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("classes", [0, 1])
def test_a_metric_needs_two_classes(classes: int) -> None:
    with pytest.raises(InputError, match=f"^{classes} class.* to train on: a metric needs two or more$"):
        CiimSettings().resolved(20, classes)


def test_without_any_metric_loss_there_is_nothing_to_train_for() -> None:
    nothing = {"single": 0.0, "hybrid": 0.0, "pairs": 0.0}
    with pytest.raises(InputError, match=r"^single=0, hybrid=0 and pairs=0 leave nothing to train for"):
        CiimSettings(**nothing).resolved(20, 3)  # type: ignore[arg-type]
    for name in nothing:
        CiimSettings(**{**nothing, name: 0.1}).resolved(20, 3)  # type: ignore[arg-type]


def test_class_names_may_be_numbers_or_one_word() -> None:
    assert CiimSettings(classes=[0, "b"]).classes == ["0", "b"]  # type: ignore[list-item]
    assert CiimSettings(classes="Latin/*").classes == ["Latin/*"]  # type: ignore[arg-type]
    assert CiimSettings(classes=3).classes == ["3"]  # type: ignore[arg-type]
