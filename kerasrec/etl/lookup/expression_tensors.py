"""Polars expressions in TensorFlow: arithmetic, comparisons, conditions, casts, strings, times."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import polars as pl

from kerasrec.etl.lookup.expression_strings import UnsupportedError, string_function, time_function
from kerasrec.etl.lookup.expression_values import (
    COMPARISONS,
    Columns,
    Compute,
    arithmetic,
    both,
    casting,
    clip,
    constant,
    first_valid,
    float_test,
    integer_division,
    is_in,
    lengths_of,
    logical,
    nulls,
    of_number,
    to_integer,
    with_values,
)
from kerasrec.etl.lookup.tensor_column import TensorColumn
from kerasrec.etl.sources.types import is_float, is_integer, to_name

Tree = Any  # an expression as Polars writes it in JSON


@dataclass(frozen=True)
class Part:
    """A part of an expression.

    Attributes:
        tree: the part.
        dtype: of its elements, as a schema names it; "null" for the literal None.
        is_list: whether it has lists.
        compute: returns its values from the columns; `valid` is always a tensor, and literals are scalars.
    """

    tree: Tree
    dtype: str
    is_list: bool
    compute: Compute

    def cast(self, dtype: str) -> Compute:
        """Return a function that computes the values in a dtype that has all of them."""
        if dtype == self.dtype:
            return self.compute
        if self.dtype == "null":
            return lambda columns: constant(None, dtype)
        if {"string", "datetime"} & {dtype, self.dtype}:
            raise UnsupportedError(f"{self.dtype} beside {dtype}")
        return with_values(self.compute, casting(lambda x: x, dtype))


def translate(expr: pl.Expr, types: Mapping[str, pl.DataType]) -> Compute:
    """Return a function of tensors that computes a Polars expression, given the columns' types.

    Raises:
        UnsupportedError: names a part of the expression that has no TensorFlow implementation.
    """
    if not expr.meta.root_names():
        raise UnsupportedError("an expression without a column")
    return _Translation(types).part(_json(expr)).compute


def _json(expr: pl.Expr) -> Tree:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the JSON format may change between versions of Polars
        return json.loads(expr.meta.serialize(format="json"))


def _expr(tree: Tree) -> pl.Expr:
    return pl.Expr.deserialize(io.StringIO(json.dumps(tree)), format="json")


class _Translation:
    """Translates the parts of an expression over columns of these types."""

    def __init__(self, types: Mapping[str, pl.DataType]):
        self._frame = pl.LazyFrame(schema=types)

    def type_of(self, *trees: Tree) -> tuple[str, bool]:
        """Return the dtype of a part, or the one that several have in common, and whether it has lists."""
        expr = _expr(trees[0]) if len(trees) == 1 else pl.coalesce(*map(_expr, trees))
        dtype: Any = next(iter(self._frame.select(expr.alias("x")).collect_schema().values()))
        is_list = isinstance(dtype, pl.List)
        element = dtype.inner if is_list else dtype
        name = "null" if element == pl.Null else to_name(element)
        if name is None:
            raise UnsupportedError(f"{expr}, of type {dtype}")
        return name, is_list

    def part(self, tree: Tree) -> Part:
        ((kind, content),) = tree.items()
        makers: dict[str, Callable[[Tree, Any], Compute]] = {
            "Column": self._column,
            "Literal": self._literal,
            "Alias": lambda tree, content: self.part(content[0]).compute,
            "BinaryExpr": self._binary,
            "Ternary": self._ternary,
            "Cast": self._cast,
            "Function": self._function,
        }
        if kind not in makers:
            raise UnsupportedError("a Python function" if kind == "AnonymousFunction" else f"{_expr(tree)}")
        dtype, is_list = self.type_of(tree)
        if is_list and kind not in ("Column", "Alias"):
            raise UnsupportedError(f"{_expr(tree)}, which makes lists")
        return Part(tree, dtype, is_list, makers[kind](tree, content))

    # ---- leaves ----------------------------------------------------------------------------------------------
    def _column(self, tree: Tree, name: str) -> Compute:
        def column(columns: Columns) -> TensorColumn:
            import tensorflow as tf

            x = columns[name]
            return x if x.valid is not None else x.evolve(valid=tf.ones_like(x.values, tf.bool))

        return column

    def _literal(self, tree: Tree, content: Any) -> Compute:
        value, (dtype, _) = _value(tree), self.type_of(tree)
        if dtype == "datetime" and value is not None:
            value = pl.select(_expr(tree)).to_series().cast(pl.Datetime("us")).to_physical()[0]

        return lambda columns: constant(value, dtype)

    # ---- operators -------------------------------------------------------------------------------------------
    def _binary(self, tree: Tree, content: Any) -> Compute:
        left, right, op = self.part(content["left"]), self.part(content["right"]), content["op"]
        if op in ("And", "Or", "Xor", "LogicalAnd", "LogicalOr"):
            return logical(op.removeprefix("Logical"), left.compute, right.compute)
        if op in COMPARISONS:
            return self.compare(op, left, right)
        dtype, _ = self.type_of(tree)
        a, b = left.cast(dtype), right.cast(dtype)
        if op in ("FloorDivide", "Modulus") and is_integer(dtype):
            return integer_division(op, a, b)
        functions = arithmetic(dtype)
        if op not in functions:
            raise UnsupportedError(f"{_expr(tree)}")
        return both(functions[op], a, b)

    def compare(self, op: str, left: Part, right: Part) -> Compute:
        """Return a comparison; Polars orders NaN after all numbers, and takes it for equal to itself."""
        kinds = {left.dtype, right.dtype}
        dtype, _ = self.type_of(left.tree, right.tree)
        columns = [part for part in (left, right) if _has_columns(part.tree)]
        if kinds == {"int64", "uint64"} and len(columns) == 2:
            raise UnsupportedError("a comparison of int64 and uint64")
        if dtype in ("string", "bool") and op not in ("Eq", "NotEq"):
            raise UnsupportedError(f"a comparison of {dtype} by order")
        return both(COMPARISONS[op](is_float(dtype)), left.cast(dtype), right.cast(dtype))

    def _ternary(self, tree: Tree, content: Any) -> Compute:
        import tensorflow as tf

        dtype, _ = self.type_of(tree)
        predicate = self.part(content["predicate"]).compute
        yes, no = self.part(content["truthy"]).cast(dtype), self.part(content["falsy"]).cast(dtype)

        def choose(columns: Columns) -> TensorColumn:
            condition, a, b = predicate(columns), yes(columns), no(columns)
            true = tf.logical_and(condition.values, condition.valid)
            return TensorColumn(tf.where(true, a.values, b.values), tf.where(true, a.valid, b.valid))

        return choose

    def _cast(self, tree: Tree, content: Any) -> Compute:
        part, (dtype, _) = self.part(content["expr"]), self.type_of(tree)
        to_text = dtype == "string" and is_integer(part.dtype)
        of_text = "string" in (dtype, part.dtype) and dtype != part.dtype and not to_text
        if part.is_list or of_text or content["options"] == "Overflowing":
            raise UnsupportedError(f"{_expr(tree)}")
        if to_text:
            import tensorflow as tf

            return with_values(part.compute, tf.strings.as_string)
        if is_integer(dtype) and part.dtype != "bool" and dtype != part.dtype:
            return to_integer(part.compute, part.dtype, dtype)
        if dtype == "bool" and part.dtype not in ("bool", "string", "datetime"):
            import tensorflow as tf

            return with_values(part.compute, lambda x: x != tf.zeros_like(x))
        return part.cast(dtype)

    # ---- functions -------------------------------------------------------------------------------------------
    def _function(self, tree: Tree, content: Any) -> Compute:
        name, options = _name_and_options(content["function"])
        x, more, (dtype, _) = self.part(content["input"][0]), content["input"][1:], self.type_of(tree)
        if name == "ListExpr" and options == "Length":
            return lambda columns: lengths_of(x.compute(columns))
        if x.is_list or (name == "TemporalExpr" and x.dtype != "datetime"):
            raise UnsupportedError(f"{_expr(tree)}")
        if name == "Boolean":
            return self._boolean(tree, options, x, more)
        if name in ("FillNull", "Coalesce"):
            parts = [part.cast(dtype) for part in (x, *map(self.part, more))]
            return lambda columns: reduce(first_valid, [part(columns) for part in parts])
        arguments = [_literal_of(item) for item in more]
        if name == "StringExpr":
            of_string = string_function(*_name_and_options(options), arguments)
            return with_values(x.compute, of_string if dtype == "string" else casting(of_string, dtype))
        if name == "TemporalExpr":
            return with_values(x.compute, casting(time_function(_name_and_options(options)[0]), dtype))
        if name == "Clip":
            return with_values(x.cast(dtype), clip(arguments, options["has_min"], options["has_max"], dtype))
        function = of_number(name, options, arguments, dtype)
        if function is None:
            raise UnsupportedError(f"{_expr(tree)}")
        return with_values(x.cast(dtype), function)

    def _boolean(self, tree: Tree, options: Any, x: Part, more: list[Tree]) -> Compute:
        import tensorflow as tf

        kind, settings = _name_and_options(options)
        if kind in ("IsNull", "IsNotNull"):
            is_null = kind == "IsNull"
            return nulls(x.compute, is_null)
        if kind == "Not" and x.dtype == "bool":
            return with_values(x.compute, tf.logical_not)
        if kind in ("IsNan", "IsNotNan", "IsFinite", "IsInfinite") and is_float(x.dtype):
            return with_values(x.compute, float_test(kind))
        if kind == "IsBetween":
            low, high = map(self.part, more)
            closed = settings["closed"]
            above = self.compare("GtEq" if closed in ("Both", "Left") else "Gt", x, low)
            below = self.compare("LtEq" if closed in ("Both", "Right") else "Lt", x, high)
            return logical("And", above, below)
        if kind == "IsIn" and not _has_columns(more[0]):
            of = self.type_of(more[0])[0]
            if x.dtype == of or (is_integer(x.dtype) and is_integer(of)):
                return with_values(x.compute, is_in(_value(more[0]), x.dtype))
        raise UnsupportedError(f"{_expr(tree)}")


# ---- trees ---------------------------------------------------------------------------------------------------
def _has_columns(tree: Tree) -> bool:
    return bool(_expr(tree).meta.root_names())


def _name_and_options(function: str | Mapping[str, Any]) -> tuple[str, Any]:
    """Return a function's name and its options, which Polars writes as a name only if there are none."""
    return (function, {}) if isinstance(function, str) else next(iter(function.items()))


def _value(tree: Tree) -> Any:
    """Return the value of a literal."""
    value = pl.select(_expr(tree)).to_series()[0]
    return value.to_list() if isinstance(value, pl.Series) else value


def _literal_of(tree: Tree) -> Any:
    if _has_columns(tree):
        raise UnsupportedError(f"an argument that is not a constant, {_expr(tree)}")
    return _value(tree)
