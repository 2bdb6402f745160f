"""Filters and scores of a recommender: Polars expressions over columns of items, of requests, and predictions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from kerasrec.etl.lookup.expression_strings import UnsupportedError
from kerasrec.etl.lookup.expression_tensors import translate
from kerasrec.etl.lookup.expression_values import Compute
from kerasrec.etl.operator.user_expressions import reads_other_rows
from kerasrec.etl.sources.types import column_type
from kerasrec.schema import Column, Schema, SchemaError


@dataclass(frozen=True)
class Filters:
    """Conditions that an item must meet to be recommended: those of items, and those of the request as well.

    Attributes:
        item: over columns of items alone, which are decided once; any Polars expressions.
        request: others, which are computed for each request.
    """

    item: list[pl.Expr]
    request: list[pl.Expr]

    @classmethod
    def of(cls, filters: pl.Expr | Sequence[pl.Expr] | None, items: Sequence[str], request: Schema) -> Filters:
        """Check which columns filters read.

        Raises:
            TypeError: one is not an expression.
            ValueError: one reads no column, or one that is unknown.
        """
        given = [] if filters is None else [filters] if isinstance(filters, pl.Expr) else list(filters)
        by_kind: tuple[list[pl.Expr], list[pl.Expr]] = [], []
        for expression in given:
            if not isinstance(expression, pl.Expr):
                raise TypeError(f"filters takes Polars expressions; got {expression!r}")
            names = columns_read(expression, "filters", {"item_features": items, "requests": request.names})
            by_kind[any(name not in items for name in names)].append(expression)
        return cls(*by_kind)

    @property
    def names(self) -> list[str]:
        """The columns that they read."""
        return _names(*self.item, *self.request)

    @property
    def request_names(self) -> list[str]:
        """The columns that the filters of requests read."""
        return _names(*self.request)

    def kept(self, frame: pl.DataFrame) -> np.ndarray:
        """Return which rows of items meet the filters of items, (rows,) bool; null is false.

        Raises:
            SchemaError: a filter is not a condition, or Polars cannot compute it.
        """
        keep = np.ones(len(frame), bool)
        for expression in self.item:
            try:
                values = frame.lazy().with_columns(expression.alias("")).collect()[""]
            except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
                raise SchemaError(f"filters: {expression} fails: {str(error).splitlines()[0]}") from error
            _check_condition(expression, values.dtype)
            keep &= values.fill_null(False).to_numpy()
        return keep

    def computed(self, types: Schema) -> list[Compute]:
        """Return the filters of requests as functions of tensors."""
        computed = []
        for expression in self.request:
            _check_condition(expression, type_of(expression, types, "filters"))
            computed.append(function_of(expression, types, "filters"))
        return computed


@dataclass(frozen=True)
class Score:
    """What candidates are ordered by.

    Attributes:
        of: an output of the ranker, or an expression.
        outputs: of the ranker.
    """

    of: str | pl.Expr
    outputs: Sequence[str]

    @classmethod
    def of_outputs(
        cls, score: str | pl.Expr | None, outputs: Sequence[str], items: Sequence[str], request: Schema
    ) -> Score:
        """Check which outputs and columns a score reads; None is the only output.

        Raises:
            TypeError: it is neither a name nor an expression.
            ValueError: it is None and there are several outputs, or it reads an unknown or an ambiguous name.
        """
        available = ", ".join(map(repr, outputs))
        if score is None:
            if len(outputs) == 1:
                return cls(outputs[0], outputs)
            raise ValueError(
                f"the ranker predicts {available}: pass score=, one of them or a Polars expression, such as "
                f"pl.col({outputs[0]!r}) + 0.5 * pl.col({outputs[1]!r})"
            )
        if isinstance(score, str):
            if score not in outputs:
                raise ValueError(f"score: the ranker has no output {score!r}; available: {available}")
            return cls(score, outputs)
        if not isinstance(score, pl.Expr):
            raise TypeError(f"score must be the name of an output or a Polars expression; got {score!r}")
        names = columns_read(
            score, "score", {"the ranker": outputs, "item_features": items, "requests": request.names}
        )
        for name in names:
            if name in outputs and (name in items or name in request):
                where = "item_features" if name in items else "requests"
                raise ValueError(f"score: {name!r} is an output of the ranker and a column of {where}; rename one")
        return cls(score, outputs)

    @property
    def names(self) -> list[str]:
        """The columns of items and requests that it reads."""
        return [] if isinstance(self.of, str) else [n for n in _names(self.of) if n not in self.outputs]

    def computed(self, columns: Schema) -> Compute | str:
        """Return the output's name, or the expression as a function of tensors."""
        if isinstance(self.of, str):
            return self.of
        others = [column for column in columns if column.name not in self.outputs]
        columns = Schema([*others, *(Column(name, "float32") for name in self.outputs)])
        if not type_of(self.of, columns, "score").is_numeric():
            raise SchemaError(f"score: {self.of} is {type_of(self.of, columns, 'score')}; expected numbers")
        return function_of(self.of, columns, "score")

    def __str__(self) -> str:
        return repr(self.of) if isinstance(self.of, str) else str(self.of)


def _names(*expressions: pl.Expr) -> list[str]:
    return list(dict.fromkeys(name for expression in expressions for name in expression.meta.root_names() if name))


def columns_read(expression: pl.Expr, where: str, available: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the columns that an expression reads.

    Args:
        expression: over some columns.
        where: the argument, for messages.
        available: the columns that there are, by where they are.
    """
    names = _names(expression)
    known = {name for names in available.values() for name in names}
    if unknown := [name for name in names if name not in known]:
        there = "; ".join(f"{place}: {', '.join(columns) or 'none'}" for place, columns in available.items())
        raise ValueError(
            f"{where}: no column {', '.join(map(repr, unknown))}; available: {there}. Describe a value that each "
            f"request has as inputs=[kr.Column({unknown[0]!r}, dtype)]"
        )
    if not names:
        raise ValueError(f"{where}: {expression} names no column")
    return names


def type_of(expression: pl.Expr, columns: Schema, where: str) -> pl.DataType:
    """Return the type of an expression. Raise `SchemaError` where it does not fit the columns'."""
    types = {column.name: column_type(column) for column in columns}
    try:
        return pl.LazyFrame(schema=types).select(expression.alias("")).collect_schema()[""]
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise SchemaError(f"{where}: {expression} fails: {str(error).splitlines()[0]}") from error


def function_of(expression: pl.Expr, columns: Schema, where: str) -> Compute:
    """Return an expression as a function of tensors.

    Raises:
        SchemaError: it reads several rows, or a part has no TensorFlow implementation.
    """
    types: dict[str, Any] = {column.name: column_type(column) for column in columns}
    if reads_other_rows(expression, types):
        raise SchemaError(f"{where}: {expression} must not depend on other rows: add it to item_features")
    try:
        return translate(expression, types)
    except UnsupportedError as error:
        raise SchemaError(
            f"{where}: {error} has no TensorFlow implementation (etl.LambdaOp lists those that have one); compute "
            "it as a column of item_features, or of the request"
        ) from None


def check_inputs(inputs: Iterable[Column], request: Schema, items: Iterable[str]) -> list[Column]:
    """Return the further columns of a request, after a check that they are new, and no lists."""
    columns, taken = list(inputs), {**dict.fromkeys(request.names, "the retriever or the ranker reads it")}
    taken = dict.fromkeys(items, "item_features has it") | taken
    for column in columns:
        if not isinstance(column, Column):
            raise TypeError(f"inputs takes kr.Column(name, dtype); got {column!r}")
        if column.name in taken:
            raise ValueError(f"inputs: {column.name!r} is known already: {taken[column.name]}; leave it out")
        if column.is_list:
            raise SchemaError(f"inputs: {column.name!r} is a list; filters and score read one value per request")
        taken[column.name] = "it is listed twice"
    return columns


def _check_condition(expression: pl.Expr, dtype: pl.DataType) -> None:
    if dtype != pl.Boolean:
        raise SchemaError(f"filters: {expression} is {dtype}; a filter is true or false for each item")
