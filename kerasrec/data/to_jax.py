"""A loader's batches as JAX arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from kerasrec.data.views import pair_of

if TYPE_CHECKING:
    from kerasrec.data.loader import Loader


class JaxBatches:
    """What `Loader.jax` returns: each pass over it is a pass of the loader."""

    def __init__(self, loader: Loader):
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        for batch in self.loader._lend():
            arrays = self.loader._yielded(batch, pair_of)
            if all(isinstance(block, np.ndarray) for block in batch.blocks.values()):
                # All at once costs half of taking one after another by DLPack, on the same memory.
                yield jax.device_put(arrays, may_alias=True)
            else:
                yield jax.tree.map(jax.dlpack.from_dlpack, arrays)
