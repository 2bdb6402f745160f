"""DifferenceLag: how much a value differs from that of an earlier row of the same partition."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import polars as pl

from kerasrec.etl.lookup.key_index import check_keys
from kerasrec.etl.operator.operator import Columns, Node, Operator, as_node
from kerasrec.etl.sources.types import float_of, is_float
from kerasrec.schema import Column, SchemaError, Tag

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn


@dataclass(repr=False)
class DifferenceLag(Operator):
    """Each value less the one `shift` rows before it in its partition: the time since a user's last interaction.

    Rows of a partition come in the data's order, whatever rows stand between them and in whichever files they lie;
    so sort by time, and by users only if you like. Where a partition has no such row, the difference is null (put
    `FillMissing` behind), and where one of the two values is null. A null in a partition column is a value like
    any other. Integers are subtracted as int64, floats in their own type.

    A row depends on others, so the columns read lie in memory, it cannot stand behind `Filter` or `DropNA`, and
    it has no TensorFlow face: a served row comes without the rows before it. Keep a user's last value where rows
    are served from, and give the difference as a raw column there.

    NVTabular's `DifferenceLag`, with its names. There, the row `shift` rows before must be of the same partition,
    so data must be sorted by it; differences end where a Dask partition does; a null partition is none.

    Args:
        partition_cols: columns that rows of a partition share: names of columns before `>>`, else of raw ones, or
            a node. They do not come out.
        shift: how many rows to look back, or on where negative; or several of these.

    Raises:
        ValueError: no column to make differences of, no partition column, no shift or one of 0.
        SchemaError: (when fitted) values of lists or strings, partition columns of lists or floats; (when served)
            always.

    Example:

    >>> since = ["timestamp"] >> DifferenceLag("user", shift=[1, -1]) >> FillMissing(-1)
    >>> since.outputs
    ['timestamp_difference_lag_1', 'timestamp_difference_lag_-1']
    """

    windowed: ClassVar[bool] = True
    partition_cols: Columns
    shift: int | Sequence[int] = 1

    def __post_init__(self) -> None:
        self.shift = [self.shift] if isinstance(self.shift, int) else list(self.shift)
        if not self.shift or not all(isinstance(by, int) and by for by in self.shift):
            raise ValueError(f"DifferenceLag: shift must be numbers of rows other than 0, not {self.shift}")

    def apply(self, columns: Columns) -> Node:
        if not isinstance(self.partition_cols, Node) and not self.partition_cols:
            raise ValueError("DifferenceLag: no partition column")
        op, node, partition = copy.copy(self), as_node(columns), as_node(self.partition_cols)
        op.partition_cols = partition.outputs
        parents = [node]
        if partition.op is None and not partition.parents:  # names
            missing = [name for name in partition.outputs if name not in node.outputs]
            parents += [Node(None, [], missing)] if missing else []
        else:
            parents.append(partition)
        return Node(op, parents)

    @property
    def _partition(self) -> list[str]:
        return as_node(self.partition_cols).outputs

    def _made(self, names: Sequence[str]) -> dict[str, tuple[str, int]]:
        """The outputs' names, each with its column and shift."""
        assert not isinstance(self.shift, int)
        some = [name for name in names if name not in self._partition]
        return {f"{name}_difference_lag_{by}": (name, by) for name in some for by in self.shift}

    def output_names(self, names: list[str]) -> list[str]:
        if not (made := list(self._made(names))):
            raise ValueError(f"DifferenceLag: no column to make differences of, beside partition_cols {names}")
        return made

    def sources(self, names: list[str]) -> dict[str, list[str]]:
        return {output: [own, *self._partition] for output, (own, _) in self._made(names).items()}

    def output(self, columns: Sequence[Column]) -> list[Column]:
        given = {column.name: column for column in columns}
        check_keys([given[name] for name in self._partition], "DifferenceLag's partition_cols")
        return [self._column(output, given[name]) for output, (name, _) in self._made(list(given)).items()]

    def _column(self, output: str, column: Column) -> Column:
        if column.is_list:
            raise SchemaError(f"column {column.name!r} holds lists; DifferenceLag takes one number a row")
        float_of(column, "DifferenceLag")
        tags = tuple(tag for tag in column.tags if tag in (Tag.USER, Tag.ITEM))
        return Column(output, column.dtype if is_float(column.dtype) else "int64", tags, nullable=True)

    def expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        given = {column.name: (column, value) for column, value in zip(columns, values, strict=True)}
        partition = [given[name][1] for name in self._partition]
        made = []
        for name, by in self._made(list(given)).values():
            column, x = given[name]
            if column.dtype == "uint64":
                x = x.reinterpret(signed=True)  # differences are modulo 2**64 in any case
            elif not is_float(column.dtype):
                x = x.cast(pl.Int64)
            made.append(x - x.shift(by).over(partition))
        return made

    def tensorflow(
        self, columns: Sequence[Column], resources: list[Any]
    ) -> Callable[[list[TensorColumn]], list[TensorColumn]]:
        some = [column for column in columns if column.name not in self._partition]
        raise self.unserved(some, "the difference is to another row, which is not served with it")
