"""Makes, reads and writes a large variable some rows at a time, so that it is never in memory twice.

On TensorFlow, reading a variable in full copies it once rows of it have been updated; these functions read only
the rows that they are asked for.
"""

from __future__ import annotations

import ctypes
import math
import mmap
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

Blocks = Iterable[tuple[int, np.ndarray]]  # consecutive rows, with the number of the first

BLOCK_BYTES = 2**24
HUGE_PAGE = 2**21


def row_blocks(rows: int, row_bytes: int) -> Iterator[tuple[int, int]]:
    """Cut `rows` rows into spans [start, stop) of some 16 MiB."""
    step = max(1, BLOCK_BYTES // row_bytes)
    for start in range(0, rows, step):
        yield start, min(start + step, rows)


def row_dtype(dtype: Any) -> str:
    """Return the dtype in which rows are stored and added up: float64 for float64, float32 for any other."""
    return "float64" if dtype == "float64" else "float32"


def new_rows(shape: tuple[int, ...], dtype: str, blocks: Blocks) -> Any:
    """Return a tensor of blocks that together have every row, as a variable's initializer does."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # InplaceUpdate counts rows in int32.
        if tf.executing_eagerly() and shape[0] < 2**31:
            # The variable takes this tensor over as it is; a NumPy array would be copied twice on its way there.
            tensor = tf.raw_ops.Empty(shape=shape, dtype=dtype, init=False)
            _ask_for_huge_pages(tensor)
            for first, rows in blocks:
                tf.raw_ops.InplaceUpdate(x=tensor, i=tf.range(first, first + len(rows)), v=tf.cast(rows, dtype))
            return tensor
    return ops.convert_to_tensor(_fill(np.empty(shape, row_dtype(dtype)), blocks), dtype=dtype)


def filled_rows(shape: tuple[int, ...], dtype: str, value: float) -> Any:
    """Return a tensor of one value."""
    row_bytes = np.dtype(dtype).itemsize * math.prod(shape[1:])
    spans = row_blocks(shape[0], row_bytes)
    return new_rows(shape, dtype, ((low, np.full((high - low, *shape[1:]), value, dtype)) for low, high in spans))


def _ask_for_huge_pages(tensor: Any) -> None:
    """Ask Linux for pages of 2 MiB, before a tensor is first written; elsewhere nothing happens.

    Rows are read at random: with pages of 4 KiB nearly every one costs a walk through the page tables as well.
    """
    values = np.frombuffer(memoryview(tensor), np.uint8)
    if not hasattr(mmap, "MADV_HUGEPAGE") or values.nbytes < HUGE_PAGE:
        return
    first = -(-values.ctypes.data // mmap.PAGESIZE) * mmap.PAGESIZE
    size = (values.ctypes.data + values.nbytes - first) // mmap.PAGESIZE * mmap.PAGESIZE
    libc = ctypes.CDLL(None)
    libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(size), mmap.MADV_HUGEPAGE)  # a refusal changes nothing


def read_rows(variable: keras.Variable, start: int, stop: int) -> np.ndarray:
    """Return a copy of the rows [start, stop)."""
    out = np.empty((stop - start, *variable.shape[1:]), _read(variable, 0, 0).dtype)
    for low, high in row_blocks(len(out), out.itemsize * math.prod(out.shape[1:])):
        out[low:high] = _read(variable, start + low, start + high)
    return out


def write_rows(variable: keras.Variable, blocks: Blocks) -> None:
    """Replace rows. On JAX, whose arrays cannot be changed in place, that takes a copy of the variable."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        for first, rows in blocks:
            at = tf.range(first, first + len(rows), dtype=tf.int64)
            rows = tf.cast(rows, variable.dtype)
            tf.raw_ops.ResourceScatterUpdate(resource=variable.value.handle, indices=at, updates=rows)
    elif backend == "torch":
        for first, rows in blocks:
            rows = ops.convert_to_tensor(rows, dtype=variable.dtype)
            variable.value.data[first : first + len(rows)] = rows
    else:
        variable.assign(_fill(np.array(variable), blocks))


def _read(variable: keras.Variable, start: int, stop: int) -> np.ndarray:
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.gather(variable.value, tf.range(start, stop, dtype=tf.int64)).numpy()
    return ops.convert_to_numpy(variable.value[start:stop])


def _fill(out: np.ndarray, blocks: Blocks) -> np.ndarray:
    for first, rows in blocks:
        out[first : first + len(rows)] = rows
    return out
