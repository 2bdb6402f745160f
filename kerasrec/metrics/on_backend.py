"""What metrics ask of the backend beyond `keras.ops`: whether it traces, and a write into part of a variable."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import keras
from keras import ops

from kerasrec._keras import in_stateless_scope, in_symbolic_build
from kerasrec.typing import Tensor, Variable

BACKEND = keras.backend.backend()
T = TypeVar("T")


def is_traced(tensor: Tensor) -> bool:
    """Return whether a tensor's value is not known yet, because a function is being traced."""
    if in_symbolic_build():
        return True
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return not tf.executing_eagerly()
    if BACKEND == "jax":
        import jax

        return isinstance(tensor, jax.core.Tracer)
    import torch

    return torch.compiler.is_compiling()


def sum_dtype() -> str:
    """Return the dtype of sums of weights: float64, which JAX has only where `jax_enable_x64` is set."""
    if BACKEND == "jax":
        import jax

        return "float64" if jax.config.jax_enable_x64 else "float32"
    return "float64"


def id_dtype() -> str:
    """Return the dtype of ids: int64, which JAX has only where `jax_enable_x64` is set."""
    return "int64" if sum_dtype() == "float64" else "int32"


def traced_once(function: Callable[..., T]) -> Callable[..., T]:
    """Return a function of tensors that TensorFlow traces once, not anew in each step function that calls it."""
    if BACKEND != "tensorflow":
        return function
    import tensorflow as tf

    return tf.function(function, autograph=False)


def value_of(variable: Variable) -> Tensor:
    """Return a variable's value as a tensor, which a function that is `traced_once` needs."""
    return ops.convert_to_tensor(variable.value) if BACKEND != "tensorflow" else _read(variable)


def _read(variable: Variable) -> Tensor:
    import tensorflow as tf

    return tf.convert_to_tensor(variable.value)


def write_rows(variable: Variable, start: Tensor, rows: Tensor) -> None:
    """Write `rows` into a variable of one axis from index `start`, without a copy of all of it.

    `ops.slice_update` copies the variable on TensorFlow and PyTorch; JAX updates in place what its steps own.
    """
    if in_stateless_scope() or BACKEND == "jax":
        variable.assign(ops.slice_update(variable.value, [start], rows))
    elif BACKEND == "tensorflow":
        import tensorflow as tf

        variable.value.scatter_update(tf.IndexedSlices(rows, start + tf.range(tf.shape(rows)[0])))
    else:
        first = int(start)
        variable.value.data[first : first + len(rows)] = rows
