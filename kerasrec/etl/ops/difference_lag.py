"""DifferenceLag: the difference to an earlier row of the same partition."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import polars as pl

from kerasrec.etl.lookup.key_index import check_keys
from kerasrec.etl.operator.operator import Columns, Node, Operator, as_node
from kerasrec.etl.sources.types import float_of, is_float
from kerasrec.schema import Column, SchemaError
from kerasrec.tags import inherited_tags

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn


@dataclass(repr=False)
class DifferenceLag(Operator):
    """Output each value minus that of `shift` rows before in its partition, such as the time since a user's last
    event.

    Rows of a partition are in the order of the data, whatever rows are between them and whatever files they are
    in: sort by time; sorting by user is not needed. The difference is null where there is no such row, or one of
    the two values is null: add `FillMissing`. A null in a partition column is a value like any other. Differences
    of integers are int64, those of floats have their dtype.

    As a row depends on others, the columns are held in memory, the operator cannot follow `Filter` or `DropNA`,
    and it cannot be part of a served model. To serve such a feature, store a user's last value and pass the
    difference as a raw column.

    NVTabular's `DifferenceLag` has the same arguments. There, the row `shift` rows before must be of the same
    partition, so the data must be sorted by it; differences stop at the bounds of Dask partitions; and a null
    partition has none.

    Args:
        partition_cols: the columns that rows of a partition share: names of columns before `>>`, otherwise of raw
            ones, or a node. They are not output.
        shift: the number of rows to look back, or ahead if negative; or several of these.

    Raises:
        ValueError: no column to compute differences of, no partition column, no shift or a shift of 0.
        SchemaError: (in fit) values of lists, strings or dates, partition columns of lists or floats; (when
            served) always.

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
            raise ValueError(f"DifferenceLag: shift must be integers other than 0; got {self.shift}")

    def apply(self, columns: Columns) -> Node:
        if not isinstance(self.partition_cols, Node) and not self.partition_cols:
            raise ValueError("DifferenceLag: partition_cols must have at least one column")
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

    def _differences(self, names: Sequence[str]) -> dict[str, tuple[str, int]]:
        """Return the names of the outputs, each with its column and shift."""
        assert not isinstance(self.shift, int)
        values = [name for name in names if name not in self._partition]
        return {f"{name}_difference_lag_{by}": (name, by) for name in values for by in self.shift}

    def output_names(self, names: list[str]) -> list[str]:
        if not (outputs := list(self._differences(names))):
            raise ValueError(f"DifferenceLag: no column to compute differences of besides partition_cols {names}")
        return outputs

    def sources(self, names: list[str]) -> dict[str, list[str]]:
        return {output: [own, *self._partition] for output, (own, _) in self._differences(names).items()}

    def output(self, columns: Sequence[Column]) -> list[Column]:
        by_name = {column.name: column for column in columns}
        check_keys([by_name[name] for name in self._partition], "DifferenceLag's partition_cols")
        return [
            self._column(output, by_name[name]) for output, (name, _) in self._differences(list(by_name)).items()
        ]

    def _column(self, output: str, column: Column) -> Column:
        if column.is_list:
            raise SchemaError(f"column {column.name!r} has lists; DifferenceLag takes one number per row")
        float_of(column, "DifferenceLag")
        tags = inherited_tags(column.tags)
        return Column(output, column.dtype if is_float(column.dtype) else "int64", tags, nullable=True)

    def expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        by_name = {column.name: (column, value) for column, value in zip(columns, values, strict=True)}
        partition = [by_name[name][1] for name in self._partition]
        outputs = []
        for name, by in self._differences(list(by_name)).values():
            column, x = by_name[name]
            if column.dtype == "uint64":
                x = x.reinterpret(signed=True)  # differences are modulo 2**64 anyway
            elif not is_float(column.dtype):
                x = x.cast(pl.Int64)
            outputs.append(x - x.shift(by).over(partition))
        return outputs

    def tensorflow(
        self, columns: Sequence[Column], resources: list[Any]
    ) -> Callable[[list[TensorColumn]], list[TensorColumn]]:
        values = [column for column in columns if column.name not in self._partition]
        raise self.unservable(values, "the difference to another row needs that row; pass it as a raw column")
