"""How columns go over the wire: names and tensors of a SavedModel's signature."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable
from typing import Any

from kerasrec.schema import Column, SchemaError

Tensors = dict[str, Any]  # name -> tf.TensorSpec


def wire_name(name: str) -> str:
    """`name` as TensorFlow lets a signature's input be called, which is as a Python identifier.

    >>> [wire_name(name) for name in ("user_id", "user id", "50%", "class")]
    ['user_id', 'user_id', 'col_50_', 'col_class']
    """
    plain = re.sub(r"[^A-Za-z0-9_]", "_", name)
    if not plain[0].isalpha() or keyword.iskeyword(plain) or plain == "self":
        plain = f"col_{plain}"
    return plain


def wire_names(names: Iterable[str]) -> dict[str, str]:
    """The wire name of each. Raises `SchemaError` where two names become one (TensorFlow ignores case)."""
    wired = {name: wire_name(name) for name in names}
    first: dict[str, str] = {}
    for name, plain in wired.items():
        other = first.setdefault(plain.lower(), name)
        if other != name:
            raise SchemaError(
                f"{other!r} and {name!r} cannot be told apart in a SavedModel's signature, where names have only "
                "letters, digits and _ and case does not count: rename one (etl.Rename)"
            )
    return wired


def signature(columns: Iterable[Column]) -> Tensors:
    """The tensors of non-null columns: `X` (batch,), of a list column `X__values` and `X__offsets`."""
    import tensorflow as tf

    specs = {}
    for column in columns:
        dtype = tf.as_dtype(column.dtype)
        if column.is_list:
            specs[f"{column.name}__values"] = tf.TensorSpec([None], dtype)
            specs[f"{column.name}__offsets"] = tf.TensorSpec([None], tf.int64)
        else:
            specs[column.name] = tf.TensorSpec([None], dtype)
    return specs
