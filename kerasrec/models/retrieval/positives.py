"""Checks that every row of the data is a pair that belongs together, where the data has a target."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops

from kerasrec.etl.dataset import Dataset
from kerasrec.typing import Tensor

MESSAGE = (
    "each row must be a pair of a query and a candidate that belongs to it, but a target has other values than 1; "
    "leave out the other rows with etl.Filter, or the target, with targets=[] in the loader"
)


def check_dataset(data: Any) -> None:
    """Raise `ValueError` for a dataset with a target that is not 1 in a row."""
    if not isinstance(data, Dataset) or not len(data.schema.targets):
        return
    rows = data.collect()
    for name in data.schema.targets.names:
        if bool((rows[name] != 1).any()):
            raise ValueError(f"target {name!r}: {MESSAGE}")


@contextmanager
def refusing_negatives() -> Iterator[None]:
    """Raise the error of `where_positive` as a `ValueError` without the location in a graph."""
    try:
        yield
    except Exception as error:  # TensorFlow's has several kinds, by where the graph runs
        if MESSAGE in str(error):
            raise ValueError(MESSAGE) from None
        raise


def where_positive(loss: Tensor, targets: Any) -> Tensor:
    """Return a batch's loss if all its targets are 1.

    Raises:
        tf.errors.InvalidArgumentError, ValueError: (TensorFlow, PyTorch) they are not. On JAX, where compiled code
            cannot raise, the loss is NaN.
    """
    for target in keras.tree.flatten(targets):
        if target is None:
            continue
        positive = ops.all(ops.equal(target, 1))
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            with tf.control_dependencies([tf.debugging.Assert(positive, [MESSAGE])]):
                loss = tf.identity(loss)
        elif keras.backend.backend() == "torch":
            if not bool(positive):
                raise ValueError(MESSAGE)
        else:
            loss = ops.where(positive, loss, float("nan"))
    return loss
