"""Settings of SSPC: what is refused, and how those left open follow from the data."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfeat.errors import InputError
from xfeat.methods.batches import batch_count
from xfeat.methods.settings import validated
from xfeat.methods.sspc_settings import SspcSettings

OPEN = [name for name, field in SspcSettings.model_fields.items() if field.default is None]


def error(**values: Any) -> str:
    with pytest.raises(InputError) as caught:
        validated(SspcSettings, values)
    return str(caught.value)


@given(instances=st.integers(2, 10**6), views=st.integers(1, 5), size=st.sampled_from(["small", "paper"]))
def test_nothing_is_left_open_and_resolving_again_changes_nothing(instances: int, views: int, size: str) -> None:
    asked = SspcSettings(size=size, views=views)  # type: ignore[arg-type]
    if size == "paper" and instances * views < 216:
        with pytest.raises(InputError, match="batch_size=216 is larger"):
            asked.resolved(instances)
        return
    s = asked.resolved(instances)
    assert {name for name in OPEN if getattr(s, name) is None} <= {"steps"}
    assert s.resolved(instances) == s
    assert 2 <= s.batch_size <= instances * views
    assert 1 <= s.required <= s.anchors
    assert 0 <= s.ema < 1


def test_sizes_and_schedule_of_the_paper() -> None:
    s = SspcSettings(size="paper").resolved(10_000)
    assert (s.input_dim, s.joint_dim, s.anchors, s.required) == (4096, 6144, 64, 32)
    assert (s.eps, s.iterations, s.queue, s.batch_size) == (0.07, 20, 5500, 216)
    assert (s.lr, s.lr_schedule, s.lr_decay, s.epochs, s.ema) == (5e-5, "exponential", 0.9, 15, 0.9999)
    assert (s.temperature, s.cost_temperature, s.alpha, s.beta, s.views) == (0.05, 0.1, 1, 1, 1)


@given(
    instances=st.integers(10, 5000), batch_size=st.integers(2, 300), steps=st.integers(1, 3000), views=st.integers(1, 3)
)
def test_steps_are_whole_epochs_of_all_that_is_drawn(instances: int, batch_size: int, steps: int, views: int) -> None:
    if batch_size > instances * views:
        return
    s = SspcSettings(batch_size=batch_size, steps=steps, views=views).resolved(instances)
    batches = batch_count(instances * views, batch_size)
    assert s.epochs == math.ceil(steps / batches)
    assert SspcSettings(batch_size=batch_size, epochs=7, views=views).resolved(instances).epochs == 7


def test_a_duration_that_is_given_replaces_that_of_the_size_and_epochs_count_before_steps() -> None:
    assert SspcSettings(size="paper", batch_size=100, steps=30).resolved(1000).epochs == 3
    assert SspcSettings(epochs=3).resolved(1000).epochs == 3
    assert SspcSettings(epochs=3, steps=1000).resolved(1000).epochs == 3


def test_few_instances_get_many_epochs_and_many_at_least_some() -> None:
    sizes = [SspcSettings().resolved(instances) for instances in (10, 100, 1000, 10**6)]
    epochs = [s.epochs or 0 for s in sizes]
    assert epochs == sorted(epochs, reverse=True)
    assert epochs[-1] >= 2
    assert all(
        s.epochs * batch_count(n, s.batch_size) >= 100 for s, n in zip(sizes, (10, 100, 1000, 10**6), strict=True)
    )  # type: ignore[operator]


def test_a_setting_that_is_given_counts_before_what_follows_from_the_size() -> None:
    given_ = {"input_dim": 5, "joint_dim": 6, "queue": 0, "ema": 0.0, "required": 3, "lr": 0.5, "dropout": 0.25}
    for size in ("small", "paper"):
        s = SspcSettings(size=size, batch_size=4, **given_).resolved(50)  # type: ignore[arg-type]
        assert s.model_dump().items() >= given_.items()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"anchor": 3}, "unknown setting 'anchor': did you mean anchors"),
        ({"eps": 0}, "setting eps=0"),
        ({"eps": math.nan}, "setting eps=nan"),
        ({"lr": math.inf}, "setting lr=inf"),
        ({"ema": 1}, "setting ema=1"),
        ({"views": 0}, "setting views=0"),
        ({"anchors": 1}, "setting anchors=1"),
        ({"batch_size": 1}, "setting batch_size=1"),
        ({"required": 0}, "setting required=0"),
        ({"dropout": 1.0}, "setting dropout=1.0"),
        ({"modality_weight": {"audio": -1}}, "setting modality_weight.audio=-1"),
        ({"assignment": "many"}, "setting assignment='many'"),
        ({"weights": "average"}, "setting weights='average'"),
        ({"input_anchors": "cached"}, "setting input_anchors='cached'"),
        ({"classes": [None]}, "setting classes"),
    ],
)
def test_values_out_of_range_are_one_line(values: dict[str, Any], words: str) -> None:
    found = error(**values)
    assert found.startswith(words)
    assert "\n" not in found


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"batch_size": 21}, "batch_size=21 is larger than the 20 training instances"),
        ({"required": 65}, "required=65 anchors of 64"),
        ({"anchors": 4, "required": 5}, "required=5 anchors of 4"),
        ({"depth": 1, "input_dim": 10, "heads": 3}, "heads=3 do not divide input_dim=10"),
        ({"weights": "ema", "ema": 0}, "weights=ema"),
        ({"weights": "ema", "epochs": 1, "batch_size": 20}, "weights=ema"),
    ],
)
def test_settings_that_do_not_fit_the_data_or_each_other_are_one_line(values: dict[str, Any], words: str) -> None:
    settings = SspcSettings(**values)
    with pytest.raises(InputError) as caught:
        settings.resolved(20)
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


def test_what_only_looks_wrong_is_allowed() -> None:
    SspcSettings(depth=0, input_dim=10, heads=3).resolved(20)
    SspcSettings(batch_size=40, views=2).resolved(20)
    SspcSettings(required=64).resolved(20)
    SspcSettings(weights="ema", ema=0.5).resolved(20)


def test_the_weight_of_a_pair_is_the_product_of_its_modalities() -> None:
    s = SspcSettings(modality_weight={"audio": 0.1, "text": 0.5})
    assert s.pair_weight("image", "video") == 1
    assert s.pair_weight("audio", "text") == s.pair_weight("text", "audio") == pytest.approx(0.05)
    s.check_modalities(["image", "text", "audio"])
    with pytest.raises(InputError, match=r"^modality_weight.audio is set, but the caches hold image, text$"):
        s.check_modalities(["image", "text"])


def test_class_names_may_be_numbers_or_one_word() -> None:
    assert SspcSettings(classes=[0, "b"]).classes == ["0", "b"]  # type: ignore[list-item]
    assert SspcSettings(classes="Latin/*").classes == ["Latin/*"]  # type: ignore[arg-type]
    assert SspcSettings(classes=3).classes == ["3"]  # type: ignore[arg-type]
