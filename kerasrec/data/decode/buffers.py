"""Memory for batches, aligned and used again: zeroing its pages is most of the cost of a large new array."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

ALIGN = 64  # bytes, a cache line; TensorFlow and JAX copy an array that does not start at a multiple


def aligned_empty(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """Return an array like `np.empty`, starting at a multiple of 64 bytes; NumPy's start at multiples of 16."""
    dtype = np.dtype(dtype)
    size = math.prod(map(int, shape)) * dtype.itemsize
    return _aligned(size)[:size].view(dtype).reshape(shape)


def _aligned(size: int) -> np.ndarray:
    """Return at least `size` bytes."""
    memory = np.empty(size + ALIGN, np.uint8)
    return memory[-memory.ctypes.data % ALIGN :]


class Buffers:
    """Arrays whose memory comes back here when nothing refers to them any more, neither a view nor a tensor.

    There is never more memory than was lent at one time.

    Example:

    >>> buffers = Buffers()
    >>> first = buffers.empty((3, 4), "float32")
    >>> address = first.ctypes.data
    >>> view = first[1:]
    >>> del first
    >>> buffers.empty((3, 4), "float32").ctypes.data == address  # `view` still uses it
    False
    >>> del view
    >>> address in {buffers.empty((3, 4), "float32").ctypes.data for _ in range(2)}
    True
    """

    def __init__(self) -> None:
        self.unused: list[np.ndarray] = []  # `_Lease.__del__` appends at any time, without the lock
        self.lock = threading.Lock()

    def empty(self, shape: Sequence[int], dtype: str, order: Literal["C", "F"] = "C") -> np.ndarray:
        """Return an array like `np.empty`, starting at a multiple of 64 bytes."""
        size = math.prod(map(int, shape)) * np.dtype(dtype).itemsize
        lent = np.asarray(_Lease(self._memory(size), size, self.unused))
        return lent.view(dtype).reshape(shape, order=order)

    def _memory(self, size: int) -> np.ndarray:
        """Return unused memory of about this size, or else new memory, freeing unused memory of another size."""
        with self.lock:
            fitting = [index for index, memory in enumerate(self.unused) if size <= len(memory) <= 1.5 * size]
            if fitting:
                return self.unused.pop(min(fitting, key=lambda index: len(self.unused[index])))
            if self.unused:
                del self.unused[0]
        step = 1 << max(size.bit_length() - 3, 0)
        return _aligned(-(-size // step) * step)  # fits an array that is a little larger, too


class _Lease:
    """The owner of lent memory, to which arrays refer: when the last view is gone, it gives the memory back."""

    def __init__(self, memory: np.ndarray, size: int, unused: list[np.ndarray]):
        self.memory, self.unused = memory, unused
        self.__array_interface__: dict[str, Any] = memory[:size].__array_interface__

    def __del__(self) -> None:
        self.unused.append(self.memory)
