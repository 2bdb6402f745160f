"""Polars expressions that users hand to operators: checked, saved, read again."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl


def check(expr: Any, names: Sequence[str], op: str) -> pl.Expr:
    """`expr`, where it is one and reads columns `names` only.

    Raises:
        TypeError: another thing than an expression.
        ValueError: it reads a column that is not there.
    """
    if not isinstance(expr, pl.Expr):
        raise TypeError(f"{op} takes a Polars expression, or a function that makes one, not {expr!r}")
    unknown = sorted(set(expr.meta.root_names()) - set(names))
    if unknown:
        raise ValueError(f"{op} reads columns {unknown}, which it is not given; there are: {', '.join(names)}")
    return expr


def is_rowwise(expr: pl.Expr, types: Mapping[str, pl.DataType]) -> bool:
    """Whether the expression's value in a row surely depends on that row alone."""
    try:
        return expr.meta.is_row_separable() and all(is_rowwise(e, types) for e in expr.meta.pop(schema=types))
    except (pl.exceptions.PolarsError, AttributeError):
        return False  # Polars cannot tell of some, as of a Python function or `list.eval`; before 2 of none


def looks_around(expr: pl.Expr, types: Mapping[str, pl.DataType]) -> bool:
    """Whether the expression's value in a row surely depends on other rows, as by a mean or a sort."""
    try:
        separable = expr.meta.is_row_separable()
        return not separable or any(looks_around(e, types) for e in expr.meta.pop(schema=types))
    except (pl.exceptions.PolarsError, AttributeError):  # it cannot be told, or not by this version of Polars
        return False


def to_json(expr: pl.Expr) -> dict[str, str]:
    """An expression as JSON values.

    Raises:
        ValueError: it holds a Python function, which no file should bring.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Polars says that its JSON may change from version to version
        text = expr.meta.serialize(format="json")
    if '"AnonymousFunction"' in text:
        raise ValueError(f"an expression that calls a Python function cannot be saved: {expr}")
    return {"polars": pl.__version__, "expression": text}


def from_json(values: Mapping[str, str]) -> pl.Expr:
    """Read what `to_json` made.

    Raises:
        ValueError: it is broken, or this version of Polars does not read that of the one that wrote it.
    """
    try:
        return pl.Expr.deserialize(io.StringIO(values["expression"]), format="json")
    except pl.exceptions.PolarsError as error:
        raise ValueError(
            f"an expression saved by Polars {values.get('polars')} cannot be read by {pl.__version__}: {error}"
        ) from None
