"""A SavedModel that `export` wrote, with one-line errors for wrong inputs."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any

import numpy as np

from kerasrec.excerpts import excerpt
from kerasrec.serving.rows import check_path, rows


def load_module(path: str | os.PathLike[str]) -> Any:
    """Load a SavedModel.

    Raises:
        FileNotFoundError: there is none at `path`.
        ValueError: TensorFlow would take `path` for a pattern.
    """
    check_path(path)
    if not (Path(path) / "saved_model.pb").exists():
        raise FileNotFoundError(f"{path} is not a SavedModel: it has no saved_model.pb")
    import tensorflow as tf

    return tf.saved_model.load(str(path))


class ServedSignature:
    """A signature of a loaded SavedModel, to be called with arrays.

    Args:
        module: the SavedModel, as TensorFlow loads it.
        path: its folder, for messages.
        signature: the signature's name.

    Attributes:
        inputs: the dtype of each input by name; all have the shape (n,).

    Raises:
        ValueError: there is no such signature.
    """

    def __init__(self, module: Any, path: str | os.PathLike[str], signature: str):
        self.path, self._module = Path(path), module
        if signature not in module.signatures:
            there = ", ".join(map(repr, module.signatures))
            raise ValueError(f"{path} has no signature {signature!r}; available: {there}")
        from kerasrec.serving.grouped_call import GroupedCall  # it imports TensorFlow

        self._signature, self._call = signature, GroupedCall(module.signatures[signature])
        specs = sorted(self._call.specs.items())
        self.inputs: dict[str, str] = {name: spec.dtype.name for name, spec in specs}

    def __call__(self, **inputs: Any) -> dict[str, np.ndarray]:
        """Return the signature's outputs by name.

        Args:
            inputs: arrays, lists or tensors of shape (n,), by name, of types that can represent the same values.

        Raises:
            ValueError: an input is missing, unknown, of another shape or has a value that does not fit, or
                inputs have different numbers of rows; names the input.
        """
        import tensorflow as tf

        for name in inputs:
            if name not in self.inputs:
                near = difflib.get_close_matches(name, self.inputs, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"expected: {self._described()}"
                raise ValueError(f"{self.path} has no input {name!r}; {hint}")
        if missing := [name for name in self.inputs if name not in inputs]:
            names = ", ".join(map(repr, missing))
            raise ValueError(f"{self.path}: missing {names}; expected: {self._described()}")
        arrays = {name: _fitting(name, value, self.inputs[name]) for name, value in inputs.items()}
        try:
            return self._call(arrays)
        except tf.errors.InvalidArgumentError as error:
            raise ValueError(f"{self.path}: {_reason(str(error))}") from None

    def _described(self) -> str:
        return ", ".join(f"{name} ({dtype})" for name, dtype in self.inputs.items())


class ServedModel(ServedSignature):
    """A signature of a SavedModel, to be called with arrays or with rows; needs TensorFlow but not Keras.

    The SavedModel is a plain one: `tf.saved_model.load(path).signatures["serving_default"]` returns the same
    results. This class checks the inputs first, because TensorFlow's own messages about them are long.

    Args:
        path: a folder that `kr.serving.export` wrote.
        signature: "serving_default" takes raw columns, "transformed" features.

    Attributes:
        inputs: the dtype of each input by name; all have the shape (n,).

    Raises:
        FileNotFoundError: there is no SavedModel at `path`.
        ValueError: it has no such signature, or TensorFlow would take `path` for a pattern.

    Example:

    >>> served = kr.serving.load("served/")
    >>> served.predict([{"user": "ann", "genres": ["drama"]}])
    {'clicked': array([[0.2861]], dtype=float32)}
    >>> served(user=["ann"], genres__values=["drama"], genres__offsets=[0, 1])
    {'clicked': array([[0.2861]], dtype=float32)}
    """

    def __init__(self, path: str | os.PathLike[str], signature: str = "serving_default"):
        super().__init__(load_module(path), path, signature)

    def __repr__(self) -> str:
        return f"ServedModel({str(self.path)!r}, {self._signature!r}) of {self._described()}"

    def predict(self, data: Any) -> dict[str, np.ndarray]:
        """Return the outputs for raw rows: a Polars, pandas or Arrow frame, or dicts.

        Raises:
            SchemaError, ValueError: as for `kr.serving.rows`, which makes the inputs.
        """
        if self._signature != "serving_default":
            raise ValueError(
                f"predict takes raw rows, for signature 'serving_default'; this one is {self._signature!r}"
            )
        return self(**rows(data, self.path))


def _fitting(name: str, value: Any, dtype: str) -> np.ndarray:
    """Return `value` as an array of one dimension whose elements are values of `dtype`."""
    array = np.asarray(value.numpy() if hasattr(value, "numpy") else value)
    if array.ndim != 1:
        raise ValueError(f"input {name!r} has shape {array.shape}; expected one dimension, (rows,)")
    if dtype == "string":
        if array.dtype.kind == "O":
            for row, element in enumerate(array):
                if not isinstance(element, str | bytes):
                    raise ValueError(f"input {name!r}, element {row}: expected a string; got {excerpt(element)}")
        elif array.dtype.kind not in "SU" and len(array):
            raise ValueError(f"input {name!r} is {array.dtype}; expected strings")
        return array.astype(object)
    if not len(array):
        return array.astype(dtype)
    kinds = "b" if dtype == "bool" else "iuf"
    if array.dtype.kind not in kinds:
        raise ValueError(f"input {name!r} is {array.dtype}; expected {dtype}")
    with np.errstate(invalid="ignore", over="ignore"):
        cast = array.astype(dtype)
    if not dtype.startswith(("float", "bfloat")):
        changed = (cast != array) | ((cast < 0) != (array < 0))
        if array.dtype.kind == "f":  # a larger float stands for several integers
            changed |= np.abs(array) >= 2.0 ** (np.finfo(array.dtype).nmant + 1)
        wrong = np.flatnonzero(changed)
        if len(wrong):
            row = int(wrong[0])
            raise ValueError(f"input {name!r}, element {row}: {array[row].item()!r} is not a value of {dtype}")
    return cast


def _reason(message: str) -> str:
    """Return the message of a failed operation without its location in the graph."""
    location = ("Graph execution", "Detected at", "<stack", "[[")
    lines = [line.strip() for line in message.splitlines()]
    reason = " ".join(line for line in lines if line and not line.startswith(location))
    return reason.removeprefix("assertion failed: ") or message
