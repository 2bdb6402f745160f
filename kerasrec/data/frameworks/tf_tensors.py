"""A loader's batches as TensorFlow tensors, where they are: `tf.data` would bring them to the host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from kerasrec._keras import DataAdapter
from kerasrec.data.decode.aligned import BYTES
from kerasrec.data.decode.arrow import Ragged
from kerasrec.data.ignored import refuse_ignored

if TYPE_CHECKING:
    from kerasrec.data.loader import Loader


class TensorFlowBatches(DataAdapter):
    """What `Loader.tensorflow` returns: each pass over it is a pass of the loader; `fit` takes it as well."""

    def __init__(self, loader: Loader):
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        loader = self.loader
        for batch in loader._lend():
            yield loader._yielded(batch, lambda column: _whole(column, loader.lists))

    # ---- what Keras asks of its data -----------------------------------------------------------------------
    def on_epoch_begin(self) -> None:
        self.loader.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self.loader.on_epoch_end()

    def get_tf_dataset(self) -> Any:
        """Itself: where no distribution strategy asks for more, Keras's trainer calls `iter` and no more on it,
        and gives what that yields to the compiled step, as in `train_on_batch`."""
        import tensorflow as tf

        return self.loader.get_tf_dataset() if tf.distribute.has_strategy() else self

    @property
    def num_batches(self) -> int:
        refuse_ignored(self.loader)
        return len(self.loader)

    @property
    def batch_size(self) -> int:
        return self.loader.batch_size

    @property
    def has_partial_batch(self) -> bool:
        return self.loader.has_partial_batch

    @property
    def partial_batch_size(self) -> int:
        return self.loader.partial_batch_size


def _whole(column: Any, lists: str) -> Any:
    if not isinstance(column, Ragged):
        return _tensor(column)
    import tensorflow as tf

    parts = _tensor(column.values), _tensor(column.offsets)
    return parts if lists == "offsets" else tf.RaggedTensor.from_row_splits(*parts, validate=False)


def _tensor(array: Any) -> Any:
    """By DLPack, or copied where it starts at no round address: an operation on such memory ends the process."""
    import tensorflow as tf

    if isinstance(array, np.ndarray):
        if array.ctypes.data % BYTES or not array.flags.writeable:
            return tf.constant(array)
    elif array.data.ptr % BYTES:
        array = array.copy()
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
