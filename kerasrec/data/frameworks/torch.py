"""A loader's batches as PyTorch tensors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from kerasrec.data.batches import BatchStream
from kerasrec.data.decode.layout import Ragged
from kerasrec.data.mapping import Inputs


class TorchBatches(IterableDataset):
    """The batches that `Loader.torch` returns. Each pass over them is a pass of the loader."""

    def __init__(self, stream: BatchStream):
        self._stream = stream

    def __len__(self) -> int:
        return len(self._stream)

    def __iter__(self) -> Iterator[Inputs]:
        if get_worker_info() is not None:
            raise RuntimeError(
                "every worker process of a DataLoader would read every row: pass num_workers=0; "
                "the loader decodes ahead in threads of its own"
            )
        for batch in self._stream.batches():
            yield self._stream.convert(batch, _tensors)


def _tensors(column: Any) -> Any:
    if isinstance(column, Ragged):
        return _tensors(column.values), _tensors(column.offsets)
    if not isinstance(column, np.ndarray):
        return torch.from_dlpack(column)
    # An array that may not be written to is part of a decoded file, to which a tensor would allow writing.
    return torch.from_numpy(column if column.flags.writeable else column.copy())
