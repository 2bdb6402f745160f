"""Columns as Polars expressions, and which rows they have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from kerasrec.etl.operator.operator import Operator
from kerasrec.etl.operator.row_operators import RowFilter, RowMaker
from kerasrec.etl.sources.types import ROW
from kerasrec.schema import Column


@dataclass(frozen=True)
class ColumnExpr:
    """A column and the expression that computes it.

    Attributes:
        column: the description of the column.
        expr: over the raw columns, or over those of the frame that an operator made.
        rows: the rows that the column has.
        windowed: whether the expression's value in a row depends on other rows.
    """

    column: Column
    expr: pl.Expr
    rows: Rows = field(default_factory=lambda: Rows())
    windowed: bool = False

    @property
    def needs_all_rows(self) -> bool:
        """Whether computing any part of the column needs all of the data at once."""
        numbers_made_rows = self.rows.maker is not None and ROW in self.expr.meta.root_names()
        return self.windowed or self.rows.needs_all_rows or numbers_made_rows


@dataclass(frozen=True)
class Mask:
    """An operator that drops rows, and the columns that its condition reads."""

    op: RowFilter
    inputs: Sequence[ColumnExpr]

    @property
    def columns(self) -> list[Column]:
        return [value.column for value in self.inputs]

    @property
    def needs_all_rows(self) -> bool:
        return not self.op.rowwise(self.columns) or any(value.windowed for value in self.inputs)


@dataclass(frozen=True)
class Rows:
    """The rows that columns have.

    Attributes:
        masks: the operators that drop rows, by their index in the graph, in which order they apply.
        maker: the operator that made the rows; None where they are the source's.
        inputs: the columns that `maker` read.
    """

    masks: Mapping[int, Mask] = field(default_factory=dict)
    maker: RowMaker | None = None
    inputs: Sequence[ColumnExpr] = ()

    @property
    def ops(self) -> list[Operator]:
        """The operators that made these rows or dropped some."""
        return [*([self.maker] if self.maker else []), *(mask.op for mask in self.masks.values())]

    @property
    def needs_all_rows(self) -> bool:
        made_of_all = self.maker is not None and (
            self.maker.needs_all_rows or any(value.needs_all_rows for value in self.inputs)
        )
        return made_of_all or any(mask.needs_all_rows for mask in self.masks.values())

    def frame(self, raw: pl.LazyFrame) -> pl.LazyFrame:
        """Return the rows before any is dropped, with their numbers, given the source's rows."""
        if self.maker is None:
            return raw
        inputs = select(raw, self.inputs, row_numbers=self.maker.needs_row_numbers)
        return self.maker.rows(inputs, [value.column for value in self.inputs]).with_row_index(ROW)


def align_rows(values: Sequence[ColumnExpr]) -> list[ColumnExpr]:
    """Return the same columns, without the rows that are dropped from any of them."""
    masks = {index: mask for value in values for index, mask in value.rows.masks.items()}
    rows = replace(values[0].rows, masks=dict(sorted(masks.items())))
    return [replace(value, rows=rows) for value in values]


def select(raw: pl.LazyFrame, values: Sequence[ColumnExpr], *, row_numbers: bool = False) -> pl.LazyFrame:
    """Return columns that have the same rows as a frame, given the source's numbered rows.

    Args:
        row_numbers: whether to add a column ROW: the rows' numbers before any was dropped.
    """
    rows = values[0].rows
    outputs = {value.column.name: value.expr for value in values}
    if row_numbers:
        outputs[ROW] = pl.col(ROW)
    frame = rows.frame(raw)
    if not rows.masks:
        return frame.select(expr.alias(name) for name, expr in outputs.items())
    return _filtered(frame, rows.masks, outputs)


def _filtered(frame: pl.LazyFrame, masks: Mapping[int, Mask], outputs: Mapping[str, pl.Expr]) -> pl.LazyFrame:
    """Compute `outputs` and drop rows by `masks`, in order.

    The inputs of a mask have their own names only while that mask applies; until then, and the outputs always,
    they have names with a prefix. Polars drops unused columns here, and filters while it reads where it can.
    """
    inputs = {value.column.name for mask in masks.values() for value in mask.inputs}
    prefix = "#"  # of no input's name
    while any(name.startswith(prefix) for name in inputs):
        prefix += "#"
    output_names = {name: f"{prefix}out {name}" for name in outputs}
    pending = {
        f"{prefix}{index} {value.column.name}": value.expr
        for index, mask in masks.items()
        for value in mask.inputs
    }
    frame = frame.select(
        *(expr.alias(output_names[name]) for name, expr in outputs.items()),
        *(expr.alias(name) for name, expr in pending.items()),
    )
    for index, mask in masks.items():
        names = {f"{prefix}{index} {value.column.name}": value.column.name for value in mask.inputs}
        for name in names:
            del pending[name]
        remaining = [*output_names.values(), *pending]
        frame = frame.select(*remaining, *(pl.col(name).alias(own_name) for name, own_name in names.items()))
        frame = frame.filter(mask.op.predicate(mask.columns)).select(remaining)
    return frame.select(pl.col(prefixed).alias(name) for name, prefixed in output_names.items())


def columns_named(values: Iterable[ColumnExpr]) -> set[str]:
    """Return the raw columns that the query of `values` names.

    Where an operator made the rows, these are all its inputs, also those that only outputs which are not among
    `values` depend on.
    """
    named: set[str] = set()
    for rows, columns in _by_rows(values):
        named |= columns_named(_mask_inputs(rows))
        named |= _roots(columns) if rows.maker is None else columns_named(rows.inputs)
    return named


def columns_read(values: Iterable[ColumnExpr]) -> set[str]:
    """Return the raw columns that are read to compute `values`."""
    read: set[str] = set()
    for rows, columns in _by_rows(values):
        read |= columns_read(_mask_inputs(rows))
        names, maker = _roots(columns), rows.maker
        if maker is not None:
            inputs = [value.column.name for value in rows.inputs]
            sources = maker.sources(inputs)
            needed = {name for output in names for name in sources[output]} | set(maker.row_inputs(inputs))
            names = columns_read(value for value in rows.inputs if value.column.name in needed)
        read |= names
    return read


def _by_rows(values: Iterable[ColumnExpr]) -> list[tuple[Rows, list[ColumnExpr]]]:
    """Group columns by their rows."""
    groups: dict[int, tuple[Rows, list[ColumnExpr]]] = {}
    for value in values:
        groups.setdefault(id(value.rows), (value.rows, []))[1].append(value)
    return list(groups.values())


def _mask_inputs(rows: Rows) -> list[ColumnExpr]:
    """Return the columns by which rows are dropped, before they are."""
    before = replace(rows, masks={})
    return [replace(value, rows=before) for mask in rows.masks.values() for value in mask.inputs]


def _roots(values: Iterable[ColumnExpr]) -> set[str]:
    """Return the columns that the expressions name; "" is the element of a list."""
    return {name for value in values for name in value.expr.meta.root_names() if name not in (ROW, "")}
