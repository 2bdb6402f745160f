"""Rows of a frame found by their keys, in both faces: a key's position first, then values gathered from there.

In Polars' streaming engine this costs less than a join and keeps the rows' order: integers that lie close together
are looked up in an array, other values by the physical value of an Enum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from kerasrec.etl.types import is_float
from kerasrec.schema import Column, SchemaError

if TYPE_CHECKING:
    import tensorflow as tf

    from kerasrec.etl.tensors import TensorColumn

GAPS = 4  # an array holds this many times as many places as there are integers, or FEW
FEW = 65_536


class Keys:
    """Finds rows by the values of one column or of several together. A null is a value like any other.

    Args:
        frame: the keys, no two alike; a key's position is its row here.
    """

    def __init__(self, frame: pl.DataFrame):
        self._pairs: list[_Values] = []  # positions so far, together with those in the next column
        if frame.width == 1:
            self._columns = [_Values(frame.to_series())]
            return
        self._columns = [_Values(frame[name].unique(maintain_order=True)) for name in frame.columns]
        exprs = [pl.col(name) for name in frame.columns]
        for i in range(1, frame.width):
            codes = frame.select(self.position(exprs[: i + 1], before=True)).to_series()
            self._pairs.append(_Values(codes.unique(maintain_order=True)))

    def position(self, values: Sequence[pl.Expr], *, before: bool = False) -> pl.Expr:
        """Each row's position; null where there is no such key. (`before` the last look-up: what is looked up.)"""
        at = [column.position(x) for column, x in zip(self._columns, values, strict=False)]
        code = at[0]
        for i, more in enumerate(at[1:]):
            code = code.cast(pl.Int64) * len(self._columns[i + 1].values) + more.cast(pl.Int64)
            if not (before and i == len(at) - 2):
                code = self._pairs[i].position(code)
        return code

    def tensors(self, resources: list[Any]) -> Callable[[Sequence[TensorColumn]], tf.Tensor]:
        """A function that gives each row's position as int64; -1 where there is no such key."""
        import tensorflow as tf

        columns = [column.tensor(resources) for column in self._columns]
        pairs = [pair.tensor(resources) for pair in self._pairs]
        sizes = [len(column.values) for column in self._columns[1:]]

        def position(values: Sequence[TensorColumn]) -> tf.Tensor:
            at = [find(x.values, x.valid) for find, x in zip(columns, values, strict=True)]
            code = at[0]
            for find, size, more in zip(pairs, sizes, at[1:], strict=True):
                known = (code >= 0) & (more >= 0)
                code = find(tf.where(known, code * size + more, -1), None)
            return code

        return position


class _Values:
    """Finds the positions of one column's values; of integers, strings or booleans, no two alike."""

    def __init__(self, values: pl.Series):
        self.values = values
        self.words = values.drop_nulls()
        self.places = pl.Series(np.flatnonzero(values.is_not_null().to_numpy()), dtype=pl.UInt32)
        null = values.is_null().arg_true()
        self.null = int(null[0]) if len(null) else None

    def position(self, x: pl.Expr) -> pl.Expr:
        found = self._in_array(x)
        if found is None:
            found = x.cast(pl.String).cast(pl.Enum(self.words.cast(pl.String)), strict=False).to_physical()
            if self.null is not None and self.null < len(self.values) - 1:
                found = pl.lit(self.places).gather(found)
            found = found.cast(pl.UInt32)
        if self.null is None:
            return found
        return pl.when(x.is_null()).then(pl.lit(self.null, pl.UInt32)).otherwise(found)

    def _in_array(self, x: pl.Expr) -> pl.Expr | None:
        """Positions out of an array over the range of integers; None where that is too wide."""
        if self.words.dtype == pl.String or self.words.is_empty():
            return None
        words = self.words.cast(pl.UInt8) if self.words.dtype == pl.Boolean else self.words
        low, high = int(words.min()), int(words.max())  # type: ignore[arg-type]
        if high - low >= max(FEW, GAPS * len(words)) or high >= 2**63:
            return None
        array, known = np.zeros(high - low + 1, np.uint32), np.zeros(high - low + 1, bool)
        at = words.cast(pl.Int64).to_numpy() - low
        array[at], known[at] = self.places.to_numpy(), True
        places = pl.DataFrame({"at": array, "known": known}).select(pl.when("known").then("at")).to_series()
        x = x.cast(pl.Int64, strict=False)
        return pl.lit(places).gather(pl.when((x >= low) & (x <= high)).then(x - low))

    def tensor(self, resources: list[Any]) -> Callable[[tf.Tensor, tf.Tensor | None], tf.Tensor]:
        import tensorflow as tf

        from kerasrec.etl.tensors import table_key

        words = self.words
        keys = table_key(
            tf.constant(words.to_list(), tf.string) if words.dtype == pl.String else tf.constant(words.to_numpy())
        )
        # Why such a table: see Categorify.
        table = tf.lookup.experimental.MutableHashTable(keys.dtype, tf.int64, -1, experimental_is_anonymous=True)
        table.insert(keys, tf.constant(self.places.to_numpy(), tf.int64))
        resources.append(table)
        null = -1 if self.null is None else self.null

        def find(values: tf.Tensor, valid: tf.Tensor | None) -> tf.Tensor:
            at = table.lookup(table_key(values))
            return at if valid is None else tf.where(valid, at, tf.constant(null, tf.int64))

        return find


def gathered(series: pl.Series, at: pl.Expr) -> pl.Expr:
    """What stands at positions `at` in `series`; its last value where the position is null."""
    return pl.lit(series).gather(at.fill_null(len(series) - 1))


def taken(series: pl.Series, resources: list[Any]) -> Callable[[tf.Tensor], TensorColumn]:
    """A function of positions that does what `gathered` does, with -1 for null. A series of lists gives a list
    column, null lists as empty ones."""
    import tensorflow as tf

    from kerasrec.etl.tensors import TensorColumn

    last = len(series) - 1
    is_list = isinstance(series.dtype, pl.List)
    if is_list:
        lengths = series.list.len().fill_null(0)
        series = series.filter(lengths > 0).explode()
    blank = {pl.String: "", pl.Boolean: False}.get(series.dtype, 0)  # type: ignore[call-overload]
    filled = series.fill_null(blank)
    array = filled.to_list() if series.dtype == pl.String else filled.to_numpy()
    values = tf.Variable(tf.constant(array, tf.string if series.dtype == pl.String else None), trainable=False)
    valid = tf.Variable(tf.constant(series.is_not_null().to_numpy(), tf.bool), trainable=False)
    resources += [values, valid]

    def place(at: tf.Tensor) -> tf.Tensor:
        return tf.where(at < 0, tf.constant(last, tf.int64), at)

    if not is_list:
        return lambda at: TensorColumn(tf.gather(values, place(at)), tf.gather(valid, place(at)))
    splits = tf.Variable(tf.constant(np.cumsum([0, *lengths]), tf.int64), trainable=False)
    resources.append(splits)

    def take_lists(at: tf.Tensor) -> TensorColumn:
        some = tf.ragged.range(tf.gather(splits, place(at)), tf.gather(splits, place(at) + 1))
        return TensorColumn(tf.gather(values, some.values), tf.gather(valid, some.values), some.row_splits)

    return take_lists


def check_keys(columns: Sequence[Column], op: str) -> None:
    """Raise `SchemaError` for columns whose values cannot be keys."""
    for column in columns:
        if column.is_list or is_float(column.dtype):
            kind = "lists" if column.is_list else column.dtype
            raise SchemaError(
                f"column {column.name!r} holds {kind}; {op} takes keys of one string, integer or boolean a row"
            )
