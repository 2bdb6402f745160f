"""A loader's batches as TensorFlow tensors where they are: `tf.data` would copy them to the host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from kerasrec._keras import DataAdapter
from kerasrec.data.arguments import Lists
from kerasrec.data.batches import BatchStream
from kerasrec.data.decode.buffers import ALIGN
from kerasrec.data.decode.layout import BatchColumn, Ragged
from kerasrec.data.mapping import Inputs
from kerasrec.data.unused_arguments import refuse_unused_arguments


class TensorFlowBatches(DataAdapter):
    """The batches that `Loader.tensorflow` returns. Each pass over them is a pass of the loader; `fit` takes them.

    Args:
        loader: the adapter of the same batches that knows what to do when epochs begin and end.
        stream: its batches.
    """

    def __init__(self, loader: DataAdapter, stream: BatchStream):
        self.loader, self._stream = loader, stream

    def __len__(self) -> int:
        return len(self._stream)

    def __iter__(self) -> Iterator[Inputs]:
        stream = self._stream
        for batch in stream.batches():
            yield stream.convert(batch, lambda column: _converted(column, stream.lists))

    # ---- what Keras asks of its data -----------------------------------------------------------------------
    def on_epoch_begin(self) -> None:
        self.loader.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self.loader.on_epoch_end()

    def get_tf_dataset(self) -> Any:
        """Return these batches themselves, unless a distribution strategy needs a dataset.

        Keras's trainer only calls `iter` on them and passes each batch to the compiled step, as `train_on_batch`
        does."""
        import tensorflow as tf

        return self.loader.get_tf_dataset() if tf.distribute.has_strategy() else self

    @property
    def num_batches(self) -> int:
        refuse_unused_arguments(self.batch_size, self._stream.shuffle)
        return len(self)

    @property
    def batch_size(self) -> int:
        return self._stream.split.batch_size

    @property
    def has_partial_batch(self) -> bool:
        return self.loader.has_partial_batch

    @property
    def partial_batch_size(self) -> int:
        return self.loader.partial_batch_size


def _converted(column: BatchColumn, lists: Lists) -> Any:
    if not isinstance(column, Ragged):
        return _tensor(column)
    import tensorflow as tf

    parts = _tensor(column.values), _tensor(column.offsets)
    return parts if lists == "offsets" else tf.RaggedTensor.from_row_splits(*parts, validate=False)


def _tensor(array: Any) -> Any:
    """Return a tensor on the memory of an array of NumPy or CuPy, by DLPack.

    An array that does not start at a multiple of 64 bytes is copied: an operation on such memory ends the process.
    """
    import tensorflow as tf

    if isinstance(array, np.ndarray):
        if array.ctypes.data % ALIGN or not array.flags.writeable:
            return tf.constant(array)
    elif array.data.ptr % ALIGN:
        array = array.copy()
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
