import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfeat.cache.fingerprint import canonical_json, difference, digest

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=4), json_values, max_size=5))
def test_digest_does_not_depend_on_the_order_of_keys(value: dict[str, object]) -> None:
    turned = dict(reversed(value.items()))
    assert digest(value) == digest(turned) == hashlib.sha256(canonical_json(value).encode()).hexdigest()
    assert json.loads(canonical_json(value)) == value


@given(
    st.dictionaries(st.text(max_size=3), json_values, max_size=4),
    st.dictionaries(st.text(max_size=3), json_values, max_size=4),
)
def test_difference_is_empty_exactly_when_the_digests_agree_on_flat_leaves(
    a: dict[str, object], b: dict[str, object]
) -> None:
    assert difference(a, a) == ""
    if digest(a) == digest(b):
        assert difference(a, b) == ""


def test_difference_names_the_nested_leaf_and_counts_the_rest() -> None:
    old = {"model": {"size": 224, "mean": [0.5]}, "precision": "fp32", "x": 1}
    new = {"model": {"size": 336, "mean": [0.5]}, "precision": "bf16", "y": 1}
    assert difference(old, new, limit=3) == (
        "model.size: 224 -> 336; precision: 'fp32' -> 'bf16'; x: 1 -> '(absent)' (+1 more)"
    )


def test_nan_has_no_canonical_form() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        canonical_json({"x": float("nan")})
