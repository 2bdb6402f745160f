"""A loader's batches as JAX arrays."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import jax
import numpy as np

from kerasrec.data.batches import BatchStream
from kerasrec.data.decode.layout import Batch, Layout, Ragged
from kerasrec.data.mapping import Inputs, as_pair


def checked_integers(layout: Layout, batch: Batch) -> Batch:
    """Return the batch if JAX can represent its integers: without `jax_enable_x64` it wraps 64 bits around at 32.

    Raises:
        ValueError: a value is beyond 32 bits; names the column.
    """
    if jax.config.jax_enable_x64:
        return batch
    for name, column in layout.columns_of(batch).items():
        values = column.values if isinstance(column, Ragged) else column
        if values.dtype.kind not in "iu" or values.dtype.itemsize < 8 or not values.size:
            continue
        limits = np.iinfo(f"{values.dtype.name[:-2]}32")
        for value in (int(values.min()), int(values.max())):
            if not limits.min <= value <= limits.max:
                raise ValueError(
                    f"column {name!r}: {value} is out of range for {limits.dtype}, the widest integer of JAX; set "
                    "jax_enable_x64, leave the column out with columns=, or make a float or ids of it"
                )
    return batch


class JaxBatches:
    """The batches that `Loader.jax` returns. Each pass over them is a pass of the loader."""

    def __init__(self, stream: BatchStream):
        self._stream = stream

    def __len__(self) -> int:
        return len(self._stream)

    def __iter__(self) -> Iterator[Inputs]:
        stream = self._stream
        for batch in map(partial(checked_integers, stream.layout), stream.batches()):
            arrays = stream.convert(batch, as_pair)
            if all(isinstance(block, np.ndarray) for block in batch.blocks.values()):
                # All at once costs half of taking one after another by DLPack, on the same memory.
                yield jax.device_put(arrays, may_alias=True)
            else:
                yield jax.tree.map(jax.dlpack.from_dlpack, arrays)
