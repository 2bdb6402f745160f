"""The inner loops of a training step on a CPU, compiled; TensorFlow's own operations where that cannot be.

They run in training only: an exported SavedModel holds nothing of them. Without a C++ compiler, with
`KERASREC_KERNELS=0`, or for variables on a GPU the same arithmetic is done by TensorFlow's operations.
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
_COMBINERS = ("sum", "mean", "sqrtn")  # by number, as rows.cc counts them


class Span(NamedTuple):
    """A table's rows in a stack."""

    name: str
    first: int
    rows: int


class Bags(NamedTuple):
    """The rows that a batch looks up, all features one after another, and which of them are combined.

    Bag b is `rows[bags[b]:bags[b + 1]]`; feature f's bags are `first_bag[f]` up to `first_bag[f + 1]`.
    """

    rows: Any
    bags: Any
    first_bag: Any


@cache
def compiled() -> Any:
    """The module of compiled operations, or None."""
    if os.environ.get("KERASREC_KERNELS") == "0":
        return None
    import tensorflow as tf

    try:
        # The version is there because a library goes with one release.
        flags = [*tf.sysconfig.get_compile_flags(), f"-DTENSORFLOW={tf.__version__}"]
        library = build.load("rows.cc", tf.load_op_library, flags, tf.sysconfig.get_link_flags())
    except (OSError, tf.errors.OpError) as error:
        _log.warning("training goes without kerasrec's compiled CPU kernels, somewhat slower: %s", error)
        return None
    tf.RegisterGradient("KerasrecLookUp")(_look_up_gradient)
    return library


def find_rows(
    ids: Sequence[Any], splits: Sequence[Any], hotness: Sequence[int], padded: Sequence[bool],
    tables: Sequence[Span], features: Sequence[str], dtype: Any,
) -> Bags:  # fmt: skip
    """Where the ids of some features lie in a stack of tables.

    Args:
        ids: of each feature (n,), all int32 or all int64.
        splits: int64 (lists + 1,): where a ragged feature's lists begin and end; of others, none.
        hotness: ids a list; 0 for a ragged feature.
        padded: whether id 0 means nothing.
        tables: each feature's table: its name, its first row in the stack, its number of rows.
        features: names.
        dtype: of the rows, int32 or int64.

    Raises:
        tf.errors.InvalidArgumentError: an id that is no row of its table; names the feature.
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
    """The combined vectors of each feature's bags: what would be gathered is never laid out.

    The table's gradient is a `DistinctRows`, summed in float32.

    Args:
        table: a `tf.Variable`, float32 (size, width).
        bags: its rows.
        weights: of each feature's rows float32 (n,), or (0,) where each counts once.
        combiners: of each feature "sum", "mean" or "sqrtn"; a weighted sum is divided by the count as well.
        tables: each feature's table.
        dtype: of the vectors (bags of the feature, width), one of `VECTOR_DTYPES`.
    """
    table.sparse_read(bags.rows[:0])  # tells gradient tapes of the variable: an operation on its handle does not
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
    """Tables counted from 0 in the order they first come."""
    seen: dict[Span, int] = {}
    return [seen.setdefault(table, len(seen)) for table in tables]


def _look_up_gradient(op: Any, *upstream: Any) -> list[Any]:
    import tensorflow as tf

    from kerasrec.tables.distinct_rows import DistinctRows

    table, rows, bags, first_bag, *weights = op.inputs
    given = {"bags": bags, "first_bag": first_bag, "weights": weights, "upstream": upstream}
    given["combiners"] = op.get_attr("combiners")
    tables = op.get_attr("tables")
    found = compiled().kerasrec_distinct_rows(rows=rows, bags=bags, first_bag=first_bag, tables=tables)
    distinct, position, first_row = found
    sums = compiled().kerasrec_sum_rows(
        distinct=distinct,
        position=position,
        first_row=first_row,
        tables=tables,
        width=op.get_attr("width"),
        **given,
    )
    by_weights = [None] * len(weights)
    if any(each.shape != (0,) for each in weights):
        by_weights = compiled().kerasrec_look_up_weights_gradient(table=table, rows=rows, **given)
    shape = tf.raw_ops.VariableShape(input=table)
    return [DistinctRows(sums, distinct, shape), None, None, None, *by_weights]


def adagrad_rows(
    table: Any, accumulator: Any, rows: Any, gradient: Any, learning_rate: Any, epsilon: float
) -> bool:
    """Adagrad's step on distinct `rows` of two `tf.Variable`s, in place; false where it is not to be had.

    Args:
        table, accumulator: float32 (size, width).
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
    """Whether these kernels read and write a `tf.Variable`."""
    import tensorflow as tf

    return table.dtype == tf.float32 and "GPU" not in table.device and compiled() is not None
