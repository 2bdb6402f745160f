"""Looks up keys in a frame, in Polars and TensorFlow: first the position of a key, then values at that position.

Unlike a join, this keeps the order of the rows and streams them, and it is several times faster
(`benchmarks/etl_keys.py`): a position is found once for all values that are gathered from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from kerasrec.etl.sources.types import is_float
from kerasrec.schema import Column, SchemaError

if TYPE_CHECKING:
    import tensorflow as tf

    from kerasrec.etl.lookup.tensor_column import TensorColumn

Positions = np.ndarray[Any, np.dtype[np.int32]]
Numbers = np.ndarray[Any, np.dtype[np.int64]]
MAX_GAPS, MIN_RANGE = 4, 65_536  # an array may have this many slots per value, or this many in all
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # Knuth's multiplicative hashing, 1973: 2**64 / golden ratio


class KeyIndex:
    """Finds the positions of keys of one or several columns. A null is a value like any other.

    Args:
        frame: the keys, all different. A key's position is its row; an unknown key's is the number of rows.
    """

    def __init__(self, frame: pl.DataFrame):
        self.size = len(frame)
        series = frame.get_columns()
        self._columns = [_Values(x if len(series) == 1 else x.unique(maintain_order=True)) for x in series]
        self._pairs: list[
            _Integers
        ] = []  # indexes of the positions in the first columns and in the next one, as one number
        at = self._columns[0].find(series[0])
        for column, values in zip(self._columns[1:], series[1:], strict=True):
            codes = _code(at, column.find(values), len(column.values))
            last = len(self._pairs) == len(series) - 2
            self._pairs.append(_Integers(codes if last else np.unique(codes)))
            at = self._pairs[-1].find(codes)

    def find(self, series: Sequence[pl.Series]) -> Positions:
        """Return the position of each row's key."""
        at = self._columns[0].find(series[0])
        for pair, column, values in zip(self._pairs, self._columns[1:], series[1:], strict=True):
            at = pair.find(_code(at, column.find(values), len(column.values)))
        return np.where(at < 0, np.int32(self.size), at)

    def position(self, values: Sequence[pl.Expr]) -> pl.Expr:
        """Return an expression of the position of each row's key, as Int32."""
        keys = pl.struct(x.alias(str(i)) for i, x in enumerate(values)) if len(values) > 1 else values[0]
        return keys.map_batches(self._find, return_dtype=pl.Int32(), is_elementwise=True)

    def _find(self, rows: pl.Series) -> pl.Series:
        series = rows.struct.unnest().get_columns() if len(self._columns) > 1 else [rows]
        return pl.Series(rows.name, self.find(series))

    def tensors(self, resources: list[Any]) -> Callable[[Sequence[TensorColumn]], tf.Tensor]:
        """Return a function that returns the position of each row's key, as int64."""
        import tensorflow as tf

        columns = [column.tensor(resources) for column in self._columns]
        pairs = [_table(tf.constant(pair.values), np.arange(len(pair.values)), resources) for pair in self._pairs]
        sizes = [len(column.values) for column in self._columns]

        def position(values: Sequence[TensorColumn]) -> tf.Tensor:
            first, *others = [find(x.values, x.valid) for find, x in zip(columns, values, strict=True)]
            at = first
            for pair, size, other in zip(pairs, sizes[1:], others, strict=True):
                missing = tf.constant(-1, tf.int64)  # in a graph, a Python -1 would be int32
                at = pair.lookup(tf.where((at < 0) | (other < 0), missing, at * size + other))
            return tf.where(at < 0, tf.constant(self.size, tf.int64), at)

        return position


def _code(first: Positions, second: Positions, size: int) -> Numbers:
    """Encode two positions, the second below `size`, as one number; -1 where one of them is missing."""
    return np.where((first < 0) | (second < 0), -1, first.astype(np.int64) * size + second)


class _Values:
    """Finds the positions of a column's values, which are all different and may include null; -1 for unknown
    ones."""

    def __init__(self, values: pl.Series):
        self.values = values
        self.non_null = values.drop_nulls()
        self.places = np.flatnonzero(values.is_not_null().to_numpy()).astype(np.int32)
        null = values.is_null().arg_true()
        self.null = int(null[0]) if len(null) else -1
        self._seed = 0
        while len(np.unique(numbers := self._numbers(self.non_null))) < len(numbers):
            self._seed += 1
        self._integers = _Integers(numbers)

    def find(self, x: pl.Series) -> Positions:
        at = self._integers.find(self._numbers(x))
        if self.non_null.dtype == pl.String and len(self.non_null):  # different strings may have the same hash
            at = np.where(
                (self.non_null.gather(np.maximum(at, 0)) == x).fill_null(False).to_numpy(), at, np.int32(-1)
            )
        if self.null >= 0 or x.has_nulls():
            at = np.where(at < 0, np.int32(-1), self.places[at] if len(self.places) else at)
            at = np.where(x.is_null().to_numpy(), np.int32(self.null), at)
        return at

    def _numbers(self, x: pl.Series) -> Numbers:
        """Return a number per value, an arbitrary one for null."""
        if x.dtype == pl.String:
            return x.hash(self._seed).to_numpy().view(np.int64)
        if x.dtype == pl.UInt64:
            return x.fill_null(0).to_numpy().view(np.int64)
        return x.cast(pl.Int64).fill_null(0).to_numpy()

    def tensor(self, resources: list[Any]) -> Callable[[tf.Tensor, tf.Tensor | None], tf.Tensor]:
        import tensorflow as tf

        from kerasrec.etl.lookup.tensor_column import table_key

        if self.non_null.dtype == pl.String:
            keys = tf.constant(self.non_null.to_list(), tf.string)
        else:
            keys = tf.constant(self._numbers(self.non_null), tf.int64)
        table = _table(keys, self.places, resources)

        def find(values: tf.Tensor, valid: tf.Tensor | None) -> tf.Tensor:
            at = table.lookup(table_key(values))
            return at if valid is None else tf.where(valid, at, tf.constant(self.null, tf.int64))

        return find


class _Integers:
    """Finds the positions of int64 values, which are all different, as int32; -1 for unknown ones.

    Dense values are looked up in an array over their range, others in a hash table with linear probing.
    """

    def __init__(self, values: Numbers):
        self.values, size = values, len(values)
        at = np.arange(size, dtype=np.int32)
        low, high = (int(values.min()), int(values.max())) if size else (0, 0)
        self.low, self.bits = (
            (low, 0) if high - low < max(MIN_RANGE, MAX_GAPS * size) else (0, (2 * size).bit_length() + 1)
        )
        if not self.bits:
            self.table = np.full(high - low + 2, -1, np.int32)  # the last slot is for values out of range
            self.table[values - low] = at
            return
        self.table = np.full(1 << self.bits, -1, np.int32)
        slot = self._slots(values)
        while len(at):
            free = self.table[slot] < 0
            self.table[slot[free]] = at[free]
            rest = self.table[slot] != at  # another value has the slot
            at, slot = at[rest], self._next(slot[rest])

    def find(self, x: Numbers) -> Positions:
        if not self.bits:
            last = len(self.table) - 1
            return self.table[np.where((x >= self.low) & (x < self.low + last), x - self.low, last)]
        slot = self._slots(x)
        at = self.table[slot]
        wrong = np.flatnonzero((at >= 0) & (self.values[at] != x))
        while len(wrong):
            slot[wrong] = self._next(slot[wrong])
            candidates = at[wrong] = self.table[slot[wrong]]
            wrong = wrong[(candidates >= 0) & (self.values[candidates] != x[wrong])]
        return at

    def _slots(self, x: Numbers) -> Numbers:
        return ((x.view(np.uint64) * MULTIPLIER) >> np.uint64(64 - self.bits)).astype(np.int64)

    def _next(self, slot: Numbers) -> Numbers:
        return (slot + 1) & ((1 << self.bits) - 1)


def _table(keys: tf.Tensor, values: np.ndarray[Any, Any], resources: list[Any]) -> Any:
    """Return a TensorFlow lookup table; see `Categorify.tensor` for the reason for this class."""
    import tensorflow as tf

    table = tf.lookup.experimental.MutableHashTable(keys.dtype, tf.int64, -1, experimental_is_anonymous=True)
    table.insert(keys, tf.constant(values, tf.int64))
    resources.append(table)
    return table


@dataclass
class ValueTable:
    """Values by the position of their key, and a default for unknown keys.

    Attributes:
        frame: one row per key.
        names: n columns of one type; position i is row i // n of column i % n.
        default: the value of unknown keys; None for null.
    """

    frame: pl.DataFrame
    names: Sequence[str]
    default: Any = None

    @cached_property
    def series(self) -> pl.Series:
        if len(self.names) == 1:
            return self.frame[self.names[0]].extend_constant(self.default, 1)
        values = self.frame.select(self.names).to_numpy().ravel()
        return pl.Series(values).extend_constant(self.default, len(self.names))

    def expression(self, at: pl.Expr) -> pl.Expr:
        """Return the values at positions `at`."""
        return at.map_batches(self._gather, return_dtype=self.frame.schema[self.names[0]], is_elementwise=True)

    def _gather(self, at: pl.Series) -> pl.Series:
        return self.series.gather(at)

    def tensor(self, resources: list[Any]) -> Callable[[tf.Tensor], TensorColumn]:
        """Return a function from positions to values. Lists make a list column; null lists are empty."""
        import tensorflow as tf

        from kerasrec.etl.lookup.tensor_column import TensorColumn

        series = self.series
        is_list = isinstance(series.dtype, pl.List)
        if is_list:
            lengths = series.list.len().fill_null(0)
            series = series.filter(lengths > 0).explode()
        if series.dtype == pl.Datetime:
            series = series.to_physical()
        valid = tf.Variable(tf.constant(series.is_not_null().to_numpy(), tf.bool), trainable=False)
        if series.dtype == pl.String:
            values = tf.Variable(tf.constant(series.fill_null("").to_list(), tf.string), trainable=False)
        else:
            blank = False if series.dtype == pl.Boolean else 0
            values = tf.Variable(tf.constant(series.fill_null(blank).to_numpy()), trainable=False)
        resources += [values, valid]
        if not is_list:
            return lambda at: TensorColumn(tf.gather(values, at), tf.gather(valid, at))
        splits = tf.Variable(tf.constant(np.cumsum([0, *lengths]), tf.int64), trainable=False)
        resources.append(splits)

        def lists(at: tf.Tensor) -> TensorColumn:
            entries = tf.ragged.range(tf.gather(splits, at), tf.gather(splits, at + 1))
            return TensorColumn(
                tf.gather(values, entries.values), tf.gather(valid, entries.values), entries.row_splits
            )

        return lists


def sort_by_keys(frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Sort a frame by columns `names`, nulls last; faster than Polars, as each distinct string is compared
    once."""
    code: Any = 0
    for name in names:
        values = _Values(frame[name].unique().sort(nulls_last=True))
        code = code * len(values.values) + values.find(frame[name]).astype(np.int64)
        if len(names) > 2:
            code = np.unique(code, return_inverse=True)[1]
    return frame[np.argsort(code, kind="stable")]


def check_keys(columns: Sequence[Column], op: str) -> None:
    """Raise `SchemaError` for columns that cannot be keys: lists and floats."""
    for column in columns:
        if column.is_list or is_float(column.dtype):
            dtype = "a list" if column.is_list else column.dtype
            raise SchemaError(
                f"column {column.name!r} is {dtype}; {op} takes one string, integer or boolean per row as a key"
            )
