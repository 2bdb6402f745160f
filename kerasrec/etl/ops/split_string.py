"""SplitString: splits strings into lists of strings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from kerasrec.etl.operator.operator import Operator
from kerasrec.schema import Column, SchemaError, Tag

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn

SPACES = " \t\n\x0b\x0c\r"  # what `tf.strings.strip` strips


@dataclass(repr=False)
class SplitString(Operator):
    """Split each string at a separator into a list of strings, like Python's `x.split(sep)`: "a|b" becomes ["a",
    "b"], and "a||b" ["a", "", "b"].

    Unlike Python's, '' becomes the empty list, and so does a null. `Categorify`, `HashBucket` and `ListSlice` may
    follow; `ValueCount` notes the lengths in the schema. A served model takes the strings. NVTabular has no such
    operator; there, one splits with cuDF or pandas before.

    Args:
        sep: the separator, of one or more characters that stand for themselves (`"|"` and `"."` are not patterns).
        strip: whether to strip spaces, tabs and line breaks from both ends of the string and of each element.

    Raises:
        ValueError: `sep` is empty.
        SchemaError: (in fit) a column that has not one string per row.

    Example:

    >>> genres = ["genres"] >> SplitString("|") >> Categorify()
    """

    sep: str
    strip: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.sep, str) or not self.sep:
            raise ValueError(f"SplitString: sep must be a non-empty string; got {self.sep!r}")

    def output(self, columns: Sequence[Column]) -> list[Column]:
        for column in columns:
            if column.is_list or column.dtype != "string":
                kind = f"lists of {column.dtype}" if column.is_list else column.dtype
                raise SchemaError(f"column {column.name!r} is {kind}: SplitString takes one string per row")
        return [column.evolve(add_tags=[Tag.LIST], nullable=False) for column in columns]

    def expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        return [self._expression(x) for x in values]

    def _expression(self, x: pl.Expr) -> pl.Expr:
        if self.strip:
            x = x.str.strip_chars(SPACES)
        # A condition, as "" splits into [""]. A null is none that is true.
        lists = pl.when(x != "").then(x.str.split(self.sep)).otherwise(pl.lit([], dtype=pl.List(pl.String)))
        return lists.list.eval(pl.element().str.strip_chars(SPACES)) if self.strip else lists

    def tensorflow(
        self, columns: Sequence[Column], resources: list[Any]
    ) -> Callable[[list[TensorColumn]], list[TensorColumn]]:
        return lambda values: [self._tensor(x) for x in values]

    def _tensor(self, x: TensorColumn) -> TensorColumn:
        import tensorflow as tf

        strings = tf.strings.strip(x.values) if self.strip else x.values
        filled = strings != ""
        if x.valid is not None:
            filled = tf.logical_and(filled, x.valid)
        lists = tf.strings.split(tf.boolean_mask(strings, filled), self.sep)
        lengths = tf.scatter_nd(tf.where(filled), lists.row_lengths(), tf.shape(strings, tf.int64))
        elements = tf.strings.strip(lists.values) if self.strip else lists.values
        return x.evolve(
            values=elements,
            valid=None,
            offsets=tf.concat([[tf.constant(0, tf.int64)], tf.cumsum(lengths)], 0),
        )
