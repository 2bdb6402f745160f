"""How columns go over the wire: names and tensors of a SavedModel's signature."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable
from typing import Any

from kerasrec.etl.run import tensor_names
from kerasrec.schema import Column

Tensors = dict[str, Any]  # name -> tf.TensorSpec


def wire_name(name: str) -> str:
    """`name` as TensorFlow lets a signature's input be called, which is as a Python identifier.

    >>> [wire_name(name) for name in ("user_id", "user id", "50%", "class")]
    ['user_id', 'user_id', 'col_50_', 'col_class']
    """
    plain = re.sub(r"[^A-Za-z0-9_]", "_", name)
    if not plain[:1].isalpha() or keyword.iskeyword(plain) or plain == "self":
        plain = f"col_{plain}"
    return plain


def wire_names(names: Iterable[str]) -> dict[str, str]:
    """The wire name of each of a signature's inputs, no two alike but for case, which TensorFlow ignores. Where
    they would be, those that change least keep it and others get a number.

    >>> wire_names(["user id", "user_id", "User_ID"])
    {'user id': 'user_id_3', 'user_id': 'user_id', 'User_ID': 'User_ID_2'}
    """
    names = list(names)
    taken: set[str] = set()
    wired: dict[str, str] = {}
    for name in sorted(names, key=lambda name: wire_name(name) != name):  # a stable sort
        found, number = wire_name(name), 2
        while found.lower() in taken:
            found, number = f"{wire_name(name)}_{number}", number + 1
        taken.add(found.lower())
        wired[name] = found
    return {name: wired[name] for name in names}


def signature(columns: Iterable[Column]) -> Tensors:
    """The tensors of some columns, by the names of `tensor_names`."""
    import tensorflow as tf

    return {
        name: tf.TensorSpec(shape, tf.as_dtype(dtype), name)
        for name, (dtype, shape) in tensor_names.signature(columns).items()
    }
