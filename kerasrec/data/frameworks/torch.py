"""A loader's batches as PyTorch tensors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from kerasrec.data.decode.arrow import Ragged

if TYPE_CHECKING:
    from kerasrec.data.loader import Loader


class TorchBatches(IterableDataset):
    """What `Loader.torch` returns: each pass over it is a pass of the loader."""

    def __init__(self, loader: Loader):
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        if get_worker_info() is not None:
            raise RuntimeError(
                "every worker process of a DataLoader would read every row: pass num_workers=0; "
                "the loader decodes ahead in threads of its own"
            )
        for batch in self.loader._lend():
            yield self.loader._yielded(batch, _tensors)


def _tensors(value: Any) -> Any:
    if isinstance(value, Ragged):
        return _tensors(value.values), _tensors(value.offsets)
    if not isinstance(value, np.ndarray):
        return torch.from_dlpack(value)
    # What may not be written to is a part of a decoded file, which a tensor would let be written to.
    return torch.from_numpy(value if value.flags.writeable else value.copy())
