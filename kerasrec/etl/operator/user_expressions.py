"""Polars expressions that users hand to operators: checked, saved, read again."""

from __future__ import annotations

import io
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

# What Polars calls, in its JSON, the parts of an expression that run other code than its own: pickled functions
# (of map_batches, map_elements, map_groups, rolling_map, fold, reduce, name.map), libraries', other queries.
CODE = re.compile(
    r"anonymous|callback|fold|^map$|opaque|pickle|plugin|python|reduce|scan$|subplan|udf", re.IGNORECASE
)
BLOB = 16  # bytes; pickled functions are longer, and nothing but literals and categories has as many


def check(expr: Any, names: Sequence[str], op: str) -> pl.Expr:
    """`expr`, where it is one and reads columns `names` only.

    Raises:
        TypeError: another thing than an expression.
        ValueError: it reads a column that is not there.
    """
    if not isinstance(expr, pl.Expr):
        raise TypeError(f"{op} takes a Polars expression, or a function that makes one, not {expr!r}")
    unknown = sorted(set(expr.meta.root_names()) - {*names, ""})
    if unknown:
        raise ValueError(f"{op} reads columns {unknown}, which it is not given; available: {', '.join(names)}")
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
        ValueError: it calls a Python function or a plugin, which no file should bring.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Polars says that its JSON may change from version to version
        text = expr.meta.serialize(format="json")
    if part := _code(json.loads(text)):
        raise ValueError(
            f"an expression that calls a Python function or a plugin cannot be saved: {expr} ({part})"
        )
    return {"polars": pl.__version__, "expression": text}


def from_json(values: Mapping[str, str]) -> pl.Expr:
    """Read what `to_json` made. Nothing of it runs, whoever wrote it.

    Raises:
        ValueError: it calls a Python function or a plugin; it is broken, or this version of Polars does not read
            that of the one that wrote it.
    """
    try:
        tree = json.loads(values["expression"])
        part = _code(tree)
    except RecursionError:
        raise ValueError("an expression is nested too deeply") from None
    if part:
        raise ValueError(
            f"an expression calls a Python function or a plugin ({part}), which a file must not bring"
        )
    # Polars gets what was looked at: of a key that stands twice, JSON readers take one or the other.
    text = json.dumps(tree)
    try:
        return pl.Expr.deserialize(io.StringIO(text), format="json")
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise ValueError(
            f"an expression saved by Polars {values.get('polars')} cannot be read by {pl.__version__}: {error}"
        ) from None


def _code(tree: Any) -> str | None:
    """What names code in an expression's JSON, at any depth; None where it has none."""
    waiting = [(tree, False)]  # each with whether it is in a literal
    while waiting:
        part, literal = waiting.pop()
        if isinstance(part, dict):
            for key, value in part.items():
                if CODE.search(key):
                    return key
                waiting.append((value, literal or key in ("Literal", "Enum", "Categorical")))
        elif isinstance(part, list):
            if all(isinstance(item, int) for item in part):
                if not literal and len(part) >= BLOB and all(0 <= item < 256 for item in part):
                    return f"{len(part):,} bytes"
                continue
            waiting += [(item, literal) for item in part]
    return None
