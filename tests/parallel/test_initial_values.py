"""Initial values depend on the seed, the table and the row alone."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasrec.tables.config import TableConfig
from kerasrec.tables.initializers import BLOCK_ROWS, initial_values

ROWS = 2 * BLOCK_ROWS + 100


@pytest.fixture(scope="module")
def whole():
    return initial_values(TableConfig("item", ROWS, 4), seed=7)


@settings(max_examples=30, deadline=None)
@given(start=st.integers(0, ROWS), length=st.integers(0, ROWS))
def test_any_part_equals_the_whole(whole, start, length):
    stop = min(ROWS, start + length)
    assert np.array_equal(initial_values(TableConfig("item", ROWS, 4), 7, start, stop), whole[start:stop])


def test_seed_name_and_block_matter(whole):
    assert not np.array_equal(initial_values(TableConfig("item", ROWS, 4), 8), whole)
    assert not np.array_equal(initial_values(TableConfig("user", ROWS, 4), 7), whole)
    assert not np.array_equal(whole[:100], whole[BLOCK_ROWS : BLOCK_ROWS + 100])


@pytest.mark.parametrize(
    "name",
    [
        "uniform",
        "random_normal",
        "truncated_normal",
        "glorot_uniform",
        "glorot_normal",
        "he_normal",
        "lecun_uniform",
    ],
)
def test_distribution_is_that_of_keras(name):
    table = TableConfig("t", 4000, 64, initializer=name)
    ours = initial_values(table, seed=1).astype("float64").ravel()
    theirs = keras.ops.convert_to_numpy(keras.initializers.get(name)((4000, 64))).astype("float64").ravel()
    # 256,000 draws: two samples' quantiles of one law differ by a few thousandths of a standard deviation.
    levels = np.linspace(0.01, 0.99, 21)
    assert np.abs(np.quantile(ours, levels) - np.quantile(theirs, levels)).max() < 0.02 * theirs.std()
    assert ours.std() == pytest.approx(theirs.std(), rel=0.01)


def test_constants():
    for initializer, value in (("zeros", 0), ("ones", 1), (keras.initializers.Constant(0.25), 0.25)):
        assert (initial_values(TableConfig("t", 3, 2, initializer=initializer), 0) == value).all()


def test_what_cannot_be_drawn_block_by_block():
    with pytest.raises(ValueError, match=r"table 't': initializer .* block by block"):
        initial_values(TableConfig("t", 4, 4, initializer="orthogonal"), 0)
