"""A loader's batches as JAX arrays."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from kerasrec.data.decode.arrow import Batch, Layout, Ragged
from kerasrec.data.views import pair_of

if TYPE_CHECKING:
    from kerasrec.data.loader import Loader


def in_range(layout: Layout, batch: Batch) -> Batch:
    """The batch, whose integers JAX can hold: without `jax_enable_x64` it makes 64 bits 32, and wraps round.

    Raises:
        ValueError: a value beyond 32 bits; names the column.
    """
    if jax.config.jax_enable_x64:
        return batch
    for name, column in layout.columns_of(batch).items():
        values: Any = column.values if isinstance(column, Ragged) else column
        if values.dtype.kind not in "iu" or values.dtype.itemsize < 8 or not values.size:
            continue
        limits = np.iinfo(f"{values.dtype.name[:-2]}32")
        for value in (int(values.min()), int(values.max())):
            if not limits.min <= value <= limits.max:
                raise ValueError(
                    f"column {name!r} holds {value}, which is beyond {limits.dtype}, all that JAX has: set "
                    "jax_enable_x64, leave the column out with columns=, or make a float or ids of it"
                )
    return batch


class JaxBatches:
    """What `Loader.jax` returns: each pass over it is a pass of the loader."""

    def __init__(self, loader: Loader):
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        for batch in map(partial(in_range, self.loader._layout), self.loader._lend()):
            arrays = self.loader._yielded(batch, pair_of)
            if all(isinstance(block, np.ndarray) for block in batch.blocks.values()):
                # All at once costs half of taking one after another by DLPack, on the same memory.
                yield jax.device_put(arrays, may_alias=True)
            else:
                yield jax.tree.map(jax.dlpack.from_dlpack, arrays)
