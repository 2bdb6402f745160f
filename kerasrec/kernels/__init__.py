"""Compiled CPU kernels for the inner loops of a training step.

They are used only in training; an exported SavedModel contains none of them. Without a C++ compiler, with
`KERASREC_KERNELS=0`, or for variables on a GPU, TensorFlow's own operations do the same arithmetic.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from kerasrec.kernels import build

_log = logging.getLogger("kerasrec")
VECTOR_DTYPES = ("float32", "bfloat16")
_COMBINERS = ("sum", "mean", "sqrtn")  # in the order of rows.cc's `Combiner`


class Span(NamedTuple):
    """A table's range of rows in a stack."""

    name: str
    first: int
    rows: int


class Bags(NamedTuple):
    """The rows that a batch looks up, features concatenated, and which of them are combined.

    Bag b is `rows[bags[b]:bags[b + 1]]`; feature f's bags are `first_bag[f]` up to `first_bag[f + 1]`.
    """

    rows: Any
    bags: Any
    first_bag: Any


@cache
def compiled() -> Any:
    """Return the module of compiled operations; None if there is none."""
    if os.environ.get("KERASREC_KERNELS") == "0":
        return None
    import tensorflow as tf

    try:
        # The version is a flag because a library works with one release of TensorFlow only.
        flags = [*tf.sysconfig.get_compile_flags(), f"-DTENSORFLOW={tf.__version__}"]
        library = build.load("rows.cc", tf.load_op_library, flags, tf.sysconfig.get_link_flags())
    except (OSError, tf.errors.OpError) as error:
        _log.warning("cannot compile kerasrec's CPU kernels, so training is somewhat slower: %s", error)
        return None
    tf.RegisterGradient("KerasrecLookUp")(_look_up_gradient)
    return library


def find_rows(
    ids: Sequence[Any], splits: Sequence[Any], hotness: Sequence[int], padded: Sequence[bool],
    tables: Sequence[Span], features: Sequence[str], dtype: Any,
) -> Bags:  # fmt: skip
    """Return the rows of a stack of tables that ids refer to.

    Args:
        ids: (n,) for each feature, all int32 or all int64.
        splits: int64 (lists + 1,), the row splits of a ragged feature; (0,) for others.
        hotness: ids per list of each feature; 0 if it is ragged.
        padded: whether id 0 of a feature is padding.
        tables: the table of each feature.
        features: their names.
        dtype: of the rows, int32 or int64.

    Raises:
        tf.errors.InvalidArgumentError: an id is out of range; names the feature.
    """
    return Bags(
        *compiled().kerasrec_find_rows(
            ids=ids,
            splits=splits,
            Row=dtype,
            sizes=[table.rows for table in tables],
            offsets=[table.first for table in tables],
            hotness=hotness,
            padded=padded,
            features=features,
            tables=[table.name for table in tables],
        )
    )


def look_up(
    table: Any, bags: Bags, weights: Sequence[Any], combiners: Sequence[str], tables: Sequence[Span], dtype: Any
) -> list[Any]:
    """Return the combined vectors of each feature's bags, without gathering the single vectors.

    The table's gradient is a `DistinctRows`, summed in float32.

    Args:
        table: a `tf.Variable`, float32 (size, width).
        bags: from `find_rows`.
        weights: float32 (n,) for each feature's rows, or (0,) if all are 1.
        combiners: "sum", "mean" or "sqrtn" for each feature; a weighted sum is divided by the count, too.
        tables: the table of each feature.
        dtype: of the vectors, one of `VECTOR_DTYPES`.
    """
    table.sparse_read(bags.rows[:0])  # makes gradient tapes watch the variable; reading its handle does not
    return compiled().kerasrec_look_up(
        table=table.handle,
        rows=bags.rows,
        bags=bags.bags,
        first_bag=bags.first_bag,
        weights=weights,
        combiners=[_COMBINERS.index(combiner) for combiner in combiners],
        tables=_numbers(tables),
        width=table.shape[1],
        T=dtype,
    )


def _numbers(tables: Sequence[Span]) -> list[int]:
    """Return each feature's table as a number, in the order in which tables first occur."""
    numbers: dict[Span, int] = {}
    return [numbers.setdefault(table, len(numbers)) for table in tables]


def _look_up_gradient(op: Any, *upstream: Any) -> list[Any]:
    import tensorflow as tf

    from kerasrec.tables.distinct_rows import DistinctRows

    table, rows, bags, first_bag, *weights = op.inputs
    inputs = {"bags": bags, "first_bag": first_bag, "weights": weights, "upstream": upstream}
    inputs["combiners"] = op.get_attr("combiners")
    tables = op.get_attr("tables")
    distinct, position, first_row = compiled().kerasrec_distinct_rows(
        rows=rows, bags=bags, first_bag=first_bag, tables=tables
    )
    sums = compiled().kerasrec_sum_rows(
        distinct=distinct,
        position=position,
        first_row=first_row,
        tables=tables,
        width=op.get_attr("width"),
        **inputs,
    )
    weight_gradients = [None] * len(weights)
    if any(weight.shape != (0,) for weight in weights):
        weight_gradients = compiled().kerasrec_look_up_weights_gradient(table=table, rows=rows, **inputs)
    shape = tf.raw_ops.VariableShape(input=table)
    return [DistinctRows(sums, distinct, shape), None, None, None, *weight_gradients]


def adagrad_rows(
    table: Any, accumulator: Any, rows: Any, gradient: Any, learning_rate: Any, epsilon: float
) -> bool:
    """Update distinct rows of a table by Adagrad, in place; return False if there is no kernel for it.

    Args:
        table, accumulator: `tf.Variable`s, float32 (size, width).
        rows: (n,) int32 or int64.
        gradient: (n, width) float32.
    """
    import tensorflow as tf

    if not fits(table):
        return False
    compiled().kerasrec_adagrad_rows(
        table=table.handle,
        accumulator=accumulator.handle,
        rows=rows,
        gradient=gradient,
        learning_rate=tf.cast(learning_rate, tf.float32),
        epsilon=epsilon,
    )
    return True


def fits(table: Any) -> bool:
    """Return whether the kernels can read and write a `tf.Variable`."""
    import tensorflow as tf

    return table.dtype == tf.float32 and "GPU" not in table.device and compiled() is not None
