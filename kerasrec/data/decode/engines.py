"""What decodes row groups and gathers batches: on the host with pyarrow, on a GPU with cuDF."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any, Protocol

import keras
import numpy as np

from kerasrec.data.decode import arrow as frames
from kerasrec.data.decode.arrow import Batch, Frame, Layout, Rows
from kerasrec.data.files.discovery import Chunk


class Engine(Protocol):
    """All that a loader asks of one; whatever the engine, the same rows come in the same order."""

    def read(self, chunks: Sequence[Chunk], layout: Layout, permute: bool) -> Frame:
        """As `frames.read`; the frame's arrays are the engine's."""

    def gather(self, pieces: Sequence[tuple[Frame, Rows]], layout: Layout) -> Batch:
        """As `frames.gather`; the batch's arrays are the engine's."""

    def host(self, array: Any) -> np.ndarray:
        """One of its arrays in the host's memory."""

    def lend(self, batches: Generator[Batch, None, None]) -> Iterator[Batch]:
        """The same batches, each kept for as long as work that a framework was given on it may still run."""


class Arrow:
    """pyarrow and NumPy: arrays in the host's memory."""

    read = staticmethod(frames.read)
    gather = staticmethod(frames.gather)

    def host(self, array: np.ndarray) -> np.ndarray:
        return array

    def lend(self, batches: Generator[Batch, None, None]) -> Iterator[Batch]:
        return batches


def make_engine(name: str) -> Engine:
    """The engine of a name. Raises `ValueError` for an unknown one, and what it lacks where it cannot run here."""
    if name == "arrow":
        return Arrow()
    if name == "cudf":
        from kerasrec.data.decode.cudf import CudfFrames

        return CudfFrames(wide=keras.backend.backend() == "tensorflow")
    raise ValueError(f'engine must be "arrow" or "cudf", not {name!r}')
