"""Columns as expressions, and the rows that those are over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from kerasrec.etl.operator.operator import Operator
from kerasrec.etl.operator.row_operators import KeepsRows, MakesRows
from kerasrec.etl.sources.types import ROW
from kerasrec.schema import Column


@dataclass(frozen=True)
class Value:
    """A column's facts, and the expression that makes it.

    Attributes:
        column: the facts.
        expr: over the raw columns, or over those of the frame that an operator made.
        rows: which rows the column has.
        windowed: whether the expression looks at other rows than the one it is for.
    """

    column: Column
    expr: pl.Expr
    rows: Rows = field(default_factory=lambda: Rows())
    windowed: bool = False

    @property
    def whole(self) -> bool:
        """Whether all of the data is needed at once to make any part of the column."""
        numbers_made_rows = self.rows.maker is not None and ROW in self.expr.meta.root_names()
        return self.windowed or self.rows.whole or numbers_made_rows


@dataclass(frozen=True)
class Mask:
    """What drops rows: an operator, and the columns that it decides by."""

    op: KeepsRows
    values: Sequence[Value]

    @property
    def columns(self) -> list[Column]:
        return [value.column for value in self.values]

    @property
    def whole(self) -> bool:
        return not self.op.rowwise(self.columns) or any(value.windowed for value in self.values)


@dataclass(frozen=True)
class Rows:
    """Which rows columns have.

    Attributes:
        masks: what drops some of them, by the place in the graph, which is the order they are applied in.
        maker: what made them, out of the rows of the columns `of`; None where they are the source's.
    """

    masks: Mapping[int, Mask] = field(default_factory=dict)
    maker: MakesRows | None = None
    of: Sequence[Value] = ()

    @property
    def ops(self) -> list[Operator]:
        """The operators that made these rows, or dropped some."""
        return [*([self.maker] if self.maker else []), *(mask.op for mask in self.masks.values())]

    @property
    def whole(self) -> bool:
        if self.maker is not None and (self.maker.whole or any(value.whole for value in self.of)):
            return True
        return any(mask.whole for mask in self.masks.values())

    def frame(self, raw: pl.LazyFrame) -> pl.LazyFrame:
        """The rows before any is dropped, given the source's, with their numbers."""
        if self.maker is None:
            return raw
        given = select(raw, self.of, numbered=self.maker.numbered)
        return self.maker.rows(given, [value.column for value in self.of]).with_row_index(ROW)


def unite(values: Sequence[Value]) -> list[Value]:
    """The same columns, each without the rows that any of them dropped."""
    masks = {place: mask for value in values for place, mask in value.rows.masks.items()}
    rows = replace(values[0].rows, masks=dict(sorted(masks.items())))
    return [replace(value, rows=rows) for value in values]


def select(raw: pl.LazyFrame, values: Sequence[Value], *, numbered: bool = False) -> pl.LazyFrame:
    """Columns that have the same rows as a frame, by name, given the source's numbered rows.

    Args:
        numbered: whether the frame has a column ROW as well: the rows' numbers before any was dropped.
    """
    rows = values[0].rows
    outputs = {value.column.name: value.expr for value in values}
    if numbered:
        outputs[ROW] = pl.col(ROW)
    frame = rows.frame(raw)
    if not rows.masks:
        return frame.select(expr.alias(name) for name, expr in outputs.items())
    # What masks read gets its own names for as long as its mask is looked at; Polars drops what is idle here, and
    # filters when it reads where it can.
    read = {value.column.name for mask in rows.masks.values() for value in mask.values}
    mark = "#"  # that no column's name begins with
    while any(name.startswith(mark) for name in read):
        mark += "#"
    kept = {name: f"{mark}out {name}" for name in outputs}
    waiting = {
        f"{mark}{place} {value.column.name}": value.expr
        for place, mask in rows.masks.items()
        for value in mask.values
    }
    frame = frame.select(
        *(expr.alias(kept[name]) for name, expr in outputs.items()),
        *(expr.alias(name) for name, expr in waiting.items()),
    )
    for place, mask in rows.masks.items():
        names = {f"{mark}{place} {value.column.name}": value.column.name for value in mask.values}
        for name in names:
            del waiting[name]
        later = [*kept.values(), *waiting]
        frame = frame.select(*later, *(pl.col(name).alias(plain) for name, plain in names.items()))
        frame = frame.filter(mask.op.keeps(mask.columns)).select(later)
    return frame.select(pl.col(marked).alias(name) for name, marked in kept.items())


def names_in(values: Iterable[Value]) -> set[str]:
    """The raw columns that the query of `values` names: those that are read, and, where an operator made the rows,
    what else it could make columns of."""
    found: set[str] = set()
    for rows, some in _by_rows(values):
        found |= names_in(_deciding(rows))
        found |= _roots(some) if rows.maker is None else names_in(rows.of)
    return found


def reads(values: Iterable[Value]) -> set[str]:
    """The raw columns that are read to make `values`."""
    found: set[str] = set()
    for rows, some in _by_rows(values):
        found |= reads(_deciding(rows))
        names, maker = _roots(some), rows.maker
        if maker is not None:
            inputs = [v.column.name for v in rows.of]
            made_of = maker.sources(inputs)
            wanted = {name for output in names for name in made_of[output]}
            wanted |= set(maker.decides_by(inputs))
            names = reads(v for v in rows.of if v.column.name in wanted)
        found |= names
    return found


def _by_rows(values: Iterable[Value]) -> list[tuple[Rows, list[Value]]]:
    """Values by their rows, which many have in common."""
    found: dict[int, tuple[Rows, list[Value]]] = {}
    for value in values:
        found.setdefault(id(value.rows), (value.rows, []))[1].append(value)
    return list(found.values())


def _deciding(rows: Rows) -> list[Value]:
    """The columns that rows are dropped by, as they are before."""
    before = replace(rows, masks={})
    return [replace(value, rows=before) for mask in rows.masks.values() for value in mask.values]


def _roots(values: Iterable[Value]) -> set[str]:
    """The columns that their expressions name; "" is a list's element."""
    return {name for value in values for name in value.expr.meta.root_names() if name not in (ROW, "")}
