"""Memory that is used again: most of what a large new array costs is that the system zeroes its pages."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

ALIGN = 64  # a cache line: what starts at one, TensorFlow, JAX and PyTorch take over without a copy


class Buffers:
    """Arrays whose memory comes back here when nothing refers to them any more, be it a view or a tensor.

    There is never more memory than was lent at one time.

    Example:

    >>> buffers = Buffers()
    >>> first = buffers.empty((3, 4), "float32")
    >>> address = first.ctypes.data
    >>> view = first[1:]
    >>> del first
    >>> buffers.empty((3, 4), "float32").ctypes.data == address  # `view` still reads there
    False
    >>> del view
    >>> address in {buffers.empty((3, 4), "float32").ctypes.data for _ in range(2)}
    True
    """

    def __init__(self) -> None:
        self.unused: list[np.ndarray] = []  # appended to without the lock: by `_Lease.__del__`, at any point
        self.lock = threading.Lock()

    def empty(self, shape: Sequence[int], dtype: str, order: Literal["C", "F"] = "C") -> np.ndarray:
        """As `np.empty`; it starts at a multiple of 64 bytes."""
        size = math.prod(map(int, shape)) * np.dtype(dtype).itemsize
        bytes_ = np.asarray(_Lease(self._find(size), size, self.unused))
        return bytes_.view(dtype).reshape(shape, order=order)

    def _find(self, size: int) -> np.ndarray:
        """Unused memory of about this size; else new, instead of unused memory of another size."""
        with self.lock:
            fitting = [at for at, memory in enumerate(self.unused) if size <= len(memory) <= 1.5 * size]
            if fitting:
                return self.unused.pop(min(fitting, key=lambda at: len(self.unused[at])))
            if self.unused:
                del self.unused[0]
        step = 1 << max(size.bit_length() - 3, 0)
        memory = np.empty(-(-size // step) * step + ALIGN, np.uint8)  # for what is a little larger as well
        return memory[-memory.ctypes.data % ALIGN :]


class _Lease:
    """What an array of lent memory refers to: it goes when the last view has gone, and gives the memory back."""

    def __init__(self, memory: np.ndarray, size: int, unused: list[np.ndarray]):
        self.memory, self.unused = memory, unused
        self.__array_interface__: dict[str, Any] = memory[:size].__array_interface__

    def __del__(self) -> None:
        self.unused.append(self.memory)
