"""What an operator is: how a column's facts, its Polars expression and its TensorFlow tensors change."""

from __future__ import annotations

import inspect
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

import polars as pl

from kerasrec.etl.operator.graph import Columns, Node, as_node
from kerasrec.etl.operator.nvtabular_arguments import check_arguments
from kerasrec.schema import Column, SchemaError

if TYPE_CHECKING:
    from kerasrec.etl.run.serving_graph import TensorColumn


Take = Callable[[Sequence[str]], pl.LazyFrame]  # makes a frame of some columns
Trusted = Callable[[str], bool]  # whether functions of a module of this name may be called

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


@dataclass(repr=False)
class Operator:
    """Base of all operators: columns in, columns out, on Polars and on TensorFlow.

    A subclass is a dataclass whose fields are its settings. Expressions and tensors hold elements in exactly
    `Column.dtype`; NaN is null already, and a null list an empty one.

    A stateful operator learns from the data in three steps, so that parts of it may lie on several machines:
    `partial` of each part, `merge` of what came back (any number of times), `finalize` once. What it learned is in
    `facts` (plain JSON values) and `frames` (small tables), and nowhere else.
    """

    stateful: ClassVar[bool] = False
    windowed: ClassVar[bool] = False  # whether a row's output depends on other rows of the data that is passing
    makes_rows: ClassVar[bool] = False  # see `ops.rows`
    numbered: ClassVar[bool] = False  # whether `partial` wants a column `types.ROW`: each row's number
    facts: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    frames: dict[str, pl.DataFrame] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __new__(cls, *args: Any, **settings: Any) -> Self:
        if settings:
            check_arguments(cls.__name__, settings, list(inspect.signature(cls.__init__).parameters)[1:])
        return super().__new__(cls)

    def __rrshift__(self, columns: Columns) -> Node:
        return self.apply(columns)

    def apply(self, columns: Columns) -> Node:
        """What `columns >> self` is: a node with a copy of this operator, which may have more parents than one."""
        return Node(self, [as_node(columns)])

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments that make this operator again."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.init}

    def saved(self, names: Sequence[str]) -> dict[str, Any]:
        """The settings as plain JSON values, of an operator that reads columns `names`."""
        return self.settings

    @classmethod
    def restored(cls, settings: Mapping[str, Any], trusted: Trusted) -> Operator:
        """An operator of the settings that `saved` gave, read from a file that a stranger may have written: it
        must neither run code that is not `trusted` nor open files."""
        return cls(**settings)

    def __repr__(self) -> str:
        defaults = {item.name: item.default for item in fields(self)}
        given = (
            f"{name}={getattr(value, '__qualname__', None) or _SHORT.repr(value)}"
            for name, value in self.settings.items()
            if value != defaults[name] and value != {}
        )
        return f"{type(self).__name__}({', '.join(given)})"

    # ---- names, known before any data is seen ----------------------------------------------------------------
    def output_names(self, names: list[str]) -> list[str]:
        """The columns made from columns `names`."""
        return list(names)

    def sources(self, names: list[str]) -> dict[str, list[str]]:
        """For each output, which of the columns `names` it is made from."""
        return {output: [name] for output, name in zip(self.output_names(names), names, strict=True)}

    def vocabularies(self, names: list[str]) -> list[str]:
        """Names of the embedding tables whose ids this operator makes."""
        return []

    # ---- the two faces ---------------------------------------------------------------------------------------
    def output(self, columns: Sequence[Column]) -> list[Column]:
        """Facts of the columns made from `columns`.

        Raises:
            SchemaError: a column of a type that the operator does not take.
        """
        raise NotImplementedError

    def expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        """Polars expressions of the outputs, given those of the inputs. They may use `pl.col(types.ROW)` as well,
        each row's number."""
        raise NotImplementedError

    def fitted_expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        """`expressions` over the very rows that the operator was fitted on, where those need others: a row must
        not see what was learned from itself."""
        return self.expressions(columns, values)

    def tensorflow(
        self, columns: Sequence[Column], resources: list[Any]
    ) -> Callable[[list[TensorColumn]], list[TensorColumn]]:
        """A function of the inputs' tensors that makes the outputs'. Tables and variables it needs are made
        here and appended to `resources`, so that a SavedModel tracks them."""
        raise NotImplementedError

    def unserved(self, columns: Sequence[Column], why: str) -> SchemaError:
        """What `tensorflow` raises in an operator without that face."""
        names = ", ".join(repr(column.name) for column in columns)
        return SchemaError(f"{self!r} of column {names} cannot be served to single raw rows: {why}")

    # ---- learning --------------------------------------------------------------------------------------------
    def queries(self, take: Take, columns: Sequence[Column]) -> list[pl.LazyFrame]:
        """The queries of `partial`, each over the columns that it reads: planning a query takes time for each
        column of its frame."""
        return self.partial(take([column.name for column in columns]), columns)

    def partial(self, frame: pl.LazyFrame, columns: Sequence[Column]) -> list[pl.LazyFrame]:
        """Queries for the statistics of `frame`, one part of the data; each makes a small frame."""
        return []

    def merge(self, parts: Sequence[Sequence[pl.DataFrame]]) -> list[pl.DataFrame]:
        """Several parts' statistics as if of one part; in any order and grouping the same."""
        raise NotImplementedError

    def finalize(self, statistics: Sequence[pl.DataFrame], columns: Sequence[Column]) -> None:
        """Fill `facts` and `frames` from the whole data's statistics."""


class Elementwise(Operator):
    """An operator that maps each element of each column on its own; the elements of lists as well."""

    def column(self, column: Column) -> Column:
        """Facts of the output made from `column`."""
        return column

    def expression(self, x: pl.Expr, column: Column) -> pl.Expr:
        """The output elements, given the elements `x` of `column`."""
        return x

    def tensor(self, column: Column, resources: list[Any]) -> Callable[[TensorColumn], TensorColumn]:
        """A function of the elements of `column` as tensors."""
        return lambda x: x

    def output(self, columns: Sequence[Column]) -> list[Column]:
        return [self.column(column) for column in columns]

    def expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        return [
            each(column, value, partial(self.expression, column=column))
            for column, value in zip(columns, values, strict=True)
        ]

    def tensorflow(
        self, columns: Sequence[Column], resources: list[Any]
    ) -> Callable[[list[TensorColumn]], list[TensorColumn]]:
        functions = [self.tensor(column, resources) for column in columns]
        return lambda values: [function(x) for function, x in zip(functions, values, strict=True)]


class Apart(Operator):
    """An operator that learns of each column by a query of its own."""

    def queries(self, take: Take, columns: Sequence[Column]) -> list[pl.LazyFrame]:
        return [query for column in columns for query in self.partial(take([column.name]), [column])]


def each(column: Column, value: pl.Expr, function: Callable[[pl.Expr], pl.Expr]) -> pl.Expr:
    """`function` of the elements of `column`, of a list column's in their lists."""
    return value.list.eval(function(pl.element())) if column.is_list else function(value)


def elements(frame: pl.LazyFrame, column: Column) -> pl.LazyFrame:
    """`column` of `frame` alone, a list column's elements one a row."""
    if not column.is_list:
        return frame.select(column.name)
    some = frame.select(column.name).filter(pl.col(column.name).list.len() > 0)
    return some.select(pl.col(column.name).explode())


def setting(value: Any, name: str) -> Any:
    """What a setting, which may be a dict by name, says for `name`; None where it says nothing."""
    return value.get(name) if isinstance(value, Mapping) else value


def all_of(value: Any) -> list[Any]:
    """What a setting says, for whichever name."""
    return list(value.values()) if isinstance(value, Mapping) else [value]


def check_names(op: str, argument: str, value: Any, names: Sequence[str], *, all_of_them: bool = False) -> None:
    """Raise `ValueError` where a setting that is a dict names others than `names`, or not `all_of_them`."""
    if not isinstance(value, Mapping):
        return
    known = set(names)
    if unknown := [name for name in value if name not in known]:
        raise ValueError(f"{op}: {argument} names {unknown}, but the columns are: {', '.join(names)}")
    if all_of_them and (missing := [name for name in names if name not in value]):
        raise ValueError(f"{op}: {argument} says nothing of column {', '.join(map(repr, missing))}")
