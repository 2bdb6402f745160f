"""Polars expressions that users pass to operators: checks, saving and loading."""

from __future__ import annotations

import io
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

# Names, in Polars' JSON, of parts of an expression that run other code than Polars' own: pickled functions (of
# map_batches, map_elements, map_groups, rolling_map, fold, reduce, name.map), plugins, other queries.
CODE = re.compile(
    r"anonymous|callback|fold|^map$|opaque|pickle|plugin|python|reduce|scan$|subplan|udf", re.IGNORECASE
)
BLOB = 16  # bytes; pickled functions are longer, and only literals and categories have as many otherwise


def check(expr: Any, names: Sequence[str], op: str) -> pl.Expr:
    """Return `expr` if it is an expression over columns `names` only.

    Raises:
        TypeError: it is not an expression.
        ValueError: it reads another column.
    """
    if not isinstance(expr, pl.Expr):
        raise TypeError(f"{op} takes a Polars expression or a function that returns one; got {expr!r}")
    unknown = sorted(set(expr.meta.root_names()) - {*names, ""})
    if unknown:
        raise ValueError(f"{op}: no column {', '.join(map(repr, unknown))}; available: {', '.join(names)}")
    return expr


def is_rowwise(expr: pl.Expr, types: Mapping[str, pl.DataType]) -> bool:
    """Return whether the expression's value in a row is known to depend on that row only."""
    try:
        return expr.meta.is_row_separable() and all(is_rowwise(e, types) for e in expr.meta.pop(schema=types))
    except (pl.exceptions.PolarsError, AttributeError):
        return False  # Polars does not know of some, such as Python functions and `list.eval`; before 2 of none


def reads_other_rows(expr: pl.Expr, types: Mapping[str, pl.DataType]) -> bool:
    """Return whether the expression's value in a row is known to depend on other rows, as a mean does."""
    try:
        separable = expr.meta.is_row_separable()
        return not separable or any(reads_other_rows(e, types) for e in expr.meta.pop(schema=types))
    except (pl.exceptions.PolarsError, AttributeError):  # this version of Polars does not know
        return False


def to_json(expr: pl.Expr) -> dict[str, str]:
    """Convert an expression to JSON values.

    Raises:
        ValueError: it calls a Python function or a plugin.
    """
    text = _serialized(expr)
    if part := _code(json.loads(text)):
        raise ValueError(f"cannot save an expression that calls a Python function or a plugin: {expr} ({part})")
    return {"polars": pl.__version__, "expression": text}


def from_json(values: Mapping[str, str]) -> pl.Expr:
    """Convert the result of `to_json` back to an expression. No code in it runs, whoever wrote it.

    Raises:
        ValueError: it calls a Python function or a plugin; it is invalid, or this version of Polars does not read
            the format of the version that wrote it.
    """
    try:
        tree = json.loads(values["expression"])
        part = _code(tree)
    except RecursionError:
        raise ValueError("an expression is nested too deeply") from None
    if part:
        raise ValueError(
            f"an expression calls a Python function or a plugin ({part}), which is not loaded from files"
        )
    # Polars must read what was checked: JSON readers differ in which of two equal keys they take.
    text = json.dumps(tree)
    try:
        return _deserialized(text)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise ValueError(
            f"an expression saved by Polars {values.get('polars')} cannot be read by {pl.__version__}: {error}"
        ) from None


def substitute(expr: pl.Expr, values: Mapping[str, pl.Expr]) -> pl.Expr:
    """Return an expression over columns as one over `values`, expressions of those columns by name."""
    if all(value.meta == pl.col(name) for name, value in values.items()):
        return expr
    # The expression must not be written again for each of its columns, as `values` may be of Python functions.
    fields = _with_fields(json.loads(_serialized(expr)))
    output = "".join(values) + "_"  # a name that no column has
    struct = pl.struct(value.alias(name) for name, value in values.items())
    computed = _deserialized(json.dumps(fields)).alias(output)
    return struct.struct.with_fields(computed).struct.field(output)


def _with_fields(tree: Any) -> Any:
    """Return an expression's JSON with fields of a struct in place of columns."""
    if isinstance(tree, list):
        return [_with_fields(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if set(tree) == {"Column"}:
        return {"Field": [tree["Column"]]}
    return {key: value if key == "Literal" else _with_fields(value) for key, value in tree.items()}


def _serialized(expr: pl.Expr) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the JSON format may change between versions of Polars
        return expr.meta.serialize(format="json")


def _deserialized(text: str) -> pl.Expr:
    return pl.Expr.deserialize(io.StringIO(text), format="json")


def _code(tree: Any) -> str | None:
    """Return a part of an expression's JSON, at any depth, that is code; None where there is none."""
    stack = [(tree, False)]  # parts, and whether they are in a literal
    while stack:
        part, literal = stack.pop()
        if isinstance(part, dict):
            for key, value in part.items():
                if CODE.search(key):
                    return key
                stack.append((value, literal or key in ("Literal", "Enum", "Categorical")))
        elif isinstance(part, list):
            if all(isinstance(item, int) for item in part):
                if not literal and len(part) >= BLOB and all(0 <= item < 256 for item in part):
                    return f"{len(part):,} bytes"
                continue
            stack += [(item, literal) for item in part]
    return None
