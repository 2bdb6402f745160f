"""What decodes row groups and gathers batches: on the host with pyarrow, on a GPU with cuDF."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any, Protocol

import keras
import numpy as np

from kerasrec.data.decode import arrow
from kerasrec.data.decode.layout import Batch, Frame, Layout, Rows
from kerasrec.data.files.row_groups import RowGroup


class Engine(Protocol):
    """Decodes row groups and gathers batches; every engine yields the same rows in the same order."""

    def read(self, row_groups: Sequence[RowGroup], layout: Layout, permute: bool) -> Frame:
        """Decode row groups as `arrow.read` does, into arrays of the engine."""

    def gather(self, pieces: Sequence[tuple[Frame, Rows]], layout: Layout) -> Batch:
        """Gather a batch as `arrow.gather` does, in arrays of the engine."""

    def host(self, array: Any) -> np.ndarray:
        """Return one of its arrays in the host's memory."""

    def keep_while_used(self, batches: Generator[Batch, None, None]) -> Iterator[Batch]:
        """Yield the same batches, and keep each as long as a framework may still compute on it."""


class Arrow:
    """The engine on the host: pyarrow and NumPy."""

    read = staticmethod(arrow.read)
    gather = staticmethod(arrow.gather)

    def host(self, array: np.ndarray) -> np.ndarray:
        return array

    def keep_while_used(self, batches: Generator[Batch, None, None]) -> Iterator[Batch]:
        return batches


def make_engine(name: str) -> Engine:
    """Return the engine of a name.

    Raises:
        ValueError: there is no engine of that name.
        ImportError, RuntimeError: it cannot run here; says what is missing.
    """
    if name == "arrow":
        return Arrow()
    if name == "cudf":
        from kerasrec.data.decode.cudf import CudfFrames

        return CudfFrames(wide=keras.backend.backend() == "tensorflow")
    raise ValueError(f'engine must be "arrow" or "cudf"; got {name!r}')
