"""A loader's batches as JAX arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from kerasrec.data.frames import Batch, Ragged

if TYPE_CHECKING:
    from kerasrec.data.loader import Loader


class JaxBatches:
    """What `Loader.jax` returns: each pass over it is a pass of the loader."""

    def __init__(self, loader: Loader):
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        layout, arrange = self.loader._layout, self.loader._arrange
        for batch in self.loader._lend():
            if all(isinstance(block, np.ndarray) for block in batch.blocks.values()):
                # All at once costs half of taking one after another by DLPack, on the same memory.
                yield jax.device_put(_pairs(arrange(layout.columns_of(batch))), may_alias=True)
            else:
                yield _pairs(arrange(_on_device(batch, layout.blocks)))


def _pairs(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _pairs(each) for name, each in value.items()}
    if isinstance(value, tuple):
        return tuple(map(_pairs, value))
    return (value.values, value.offsets) if isinstance(value, Ragged) else value


def _on_device(batch: Batch, names: dict[str, list[str]]) -> dict[str, Any]:
    """Whole blocks by DLPack; XLA takes only what starts at a round address, so it cuts the columns itself."""
    take = jax.dlpack.from_dlpack
    columns: dict[str, Any] = {}
    for dtype, block in batch.blocks.items():
        columns.update(zip(names[dtype], jax.numpy.unstack(take(block)), strict=True))
    for name, column in batch.lists.items():
        columns[name] = (
            Ragged(take(column.values), take(column.offsets)) if isinstance(column, Ragged) else take(column)
        )
    return columns
