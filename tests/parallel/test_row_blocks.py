"""Blocks of rows against NumPy indexing, with blocks so small that every edge is met."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasrec.tables import row_io


@pytest.fixture(autouse=True, scope="module")
def small_blocks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_io, "BLOCK_BYTES", 64)
        yield


@given(count=st.integers(0, 200), row_bytes=st.integers(1, 200))
def test_blocks_cover_every_row_once(count, row_bytes):
    spans = list(row_io.row_blocks(count, row_bytes))
    assert [row for span in spans for row in range(*span)] == list(range(count))
    assert all((stop - start) * row_bytes <= 64 or stop - start == 1 for start, stop in spans)


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 40), width=st.sampled_from([1, 2, 5, 16, 20]), data=st.data())
def test_new_read_and_write(count, width, data):
    step = data.draw(st.integers(1, count))
    values = np.random.default_rng(count).normal(size=(count, width)).astype("float32")
    blocks = [(first, values[first : first + step]) for first in range(0, count, step)]
    variable = keras.Variable(
        lambda shape, dtype: row_io.new_rows(shape, dtype, blocks), shape=(count, width), dtype="float32"
    )
    start = data.draw(st.integers(0, count))
    stop = data.draw(st.integers(start, count))
    np.testing.assert_array_equal(row_io.read_rows(variable, start, stop), values[start:stop])
    row_io.write_rows(variable, [(start, -values[start:stop])])
    values[start:stop] *= -1
    np.testing.assert_array_equal(row_io.read_rows(variable, 0, count), values)


def test_other_dtypes():
    variable = keras.Variable(np.zeros((9, 3)), dtype="bfloat16")
    row_io.write_rows(variable, [(2, np.ones((7, 3), "float32"))])
    read = row_io.read_rows(variable, 1, 9)
    assert read.dtype.name == "bfloat16"
    assert read.astype("float32").sum(axis=1).tolist() == [0] + [3] * 7
