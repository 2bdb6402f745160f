"""Buffers that are lent to batches and come back."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loader_data import make_table, write

from kerasrec.data import Loader
from kerasrec.data.decode.buffers import Buffers


@settings(max_examples=25, deadline=None)
@given(
    shape=st.lists(st.integers(0, 9), min_size=1, max_size=3),
    dtype=st.sampled_from(["bool", "int8", "float16", "int64"]),
    order=st.sampled_from(["C", "F"]),
)
def test_arrays_are_as_numpys_and_aligned(shape, dtype, order):
    buffers = Buffers()
    for _ in range(2):
        array, own = buffers.empty(shape, dtype, order), np.empty(shape, dtype, order)
        assert (array.shape, array.dtype) == (own.shape, own.dtype)
        assert array.strides == own.strides or not array.size
        assert array.ctypes.data % 64 == 0
        array[...] = 1
        assert array.all()
        del array


def test_lent_memory_is_nobody_elses_and_comes_back_once_free():
    buffers, held = Buffers(), []
    for size in (1000, 900, 70):  # 900 fits where 1000 was
        lent = [buffers.empty((size,), "float32") for _ in range(5)]
        for index, array in enumerate(lent):
            array[:] = index
        held = [array[1:].reshape(-1, 1) for array in lent[:3]]
        del array, lent
        assert len(buffers.unused) >= 2
        again = [buffers.empty((size,), "float32") for _ in range(4)]
        for array in again:
            array[:] = -1
        assert [float(view.min()) for view in held] == [0, 1, 2]
        del array, again, held
        assert len(buffers.unused) <= 7
    assert all(len(memory) < 10_000 for memory in buffers.unused)


def test_threads_never_share():
    buffers, wrong = Buffers(), []

    def work(number):
        for _ in range(300):
            array = buffers.empty((64,), "int64")
            array[:] = number
            if (array != number).any():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(buffers.unused) <= 8


@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_that_are_kept_keep_their_values(tmp_path, shuffle):
    """As arrays and as tensors, which have the same memory."""
    loader = Loader(write(tmp_path, make_table(1000)), 50, shuffle=shuffle, pool_rows=100)
    kept = [(features["row"], features["age"][::7], target) for features, target in loader]
    tensors = [features["row"] for features, _ in loader.get_tf_dataset()]
    for rows in ([row for row, *_ in kept], tensors):
        assert sorted(np.concatenate(rows)) == list(range(1000))
    ages = np.array(make_table(1000)["age"])
    assert all(np.array_equal(ages[row[::7]], age) for row, age, _ in kept)


def test_tensorflow_takes_a_batch_over_without_a_copy(tmp_path):
    loader = Loader(write(tmp_path, make_table(512)), 64, columns=["user"], targets=[])
    lent, empty = set(), loader._stream.layout.batches.empty

    def noting(*arguments):
        array = empty(*arguments)
        lent.add(array.ctypes.data)
        return array

    loader._stream.layout.batches.empty = noting
    batches = list(loader.get_tf_dataset())
    addresses = {np.asarray(memoryview(batch["user"])).ctypes.data for batch in batches}
    assert len(addresses) == 8
    assert addresses <= lent
