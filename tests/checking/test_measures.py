import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfeat.checking.measures import Measuring, row_keys


@given(seed=st.integers(0, 2**16), cuts=st.lists(st.integers(0, 40), max_size=4), offset=st.sampled_from([0.0, 1e6]))
def test_parts_together_are_the_whole(seed: int, cuts: list[int], offset: float) -> None:
    rows = (np.random.default_rng(seed).normal(size=(40, 5)) + offset).astype(np.float32)
    rows[:, 3] = rows[:, 1]
    rows[:, 4] = 2.5
    measuring = Measuring(5)
    for part in np.split(rows, sorted(cuts)):
        measuring.add(part)
    found = measuring.dimensions()
    assert found.rows == 40
    np.testing.assert_array_equal(found.low, rows.min(0))
    np.testing.assert_array_equal(found.high, rows.max(0))
    np.testing.assert_allclose(found.variance, rows.var(0, dtype=np.float64), rtol=1e-9, atol=1e-12)
    assert found.keys[3] == found.keys[1]
    assert len(set(found.keys)) == 4


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_equal_rows_have_equal_keys(dtype: type) -> None:
    rows = np.array([[1, 2], [2, 1], [1, 2], [0, -0.0], [0.0, 3], [-0.0, 3]], dtype)
    found = row_keys(rows)
    assert found.dtype == np.uint64
    assert found[0] == found[2] == row_keys(rows.astype(np.float32))[0]
    assert found[3] == 0
    assert found[4] == found[5]
    assert len(set(found.tolist())) == 4
