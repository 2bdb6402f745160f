"""LambdaOp: applies a user's own Polars expression."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import polars as pl

from kerasrec.etl.operator.operator import Operator, TrustModule
from kerasrec.etl.operator.user_expressions import reads_other_rows
from kerasrec.etl.sources.types import column_type, plain_type, to_name, to_polars
from kerasrec.schema import Column, SchemaError, Tag
from kerasrec.tags import inherited_tags

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn


@dataclass(repr=False)
class LambdaOp(Operator):
    """Apply a function of Polars expressions to each column, or with `name` to all columns at once.

    The output has the dtype that Polars infers; it may be a list column even if the input is not, and vice versa.
    Rows must be independent: `x.mean()` would differ between files, and is undefined for a served row.

    NVTabular's `LambdaOp` passes `f` a cuDF or pandas series, and as a second argument the whole frame, of which
    it reads the columns in `dependency`. Here `name` is for functions of several columns.

    Args:
        f: a function of the column as an expression, `pl.Expr`; if it takes two arguments, the second is the
            column's description, `kerasrec.Column`. Or "module:function".
        name: the name of one new column, computed from all columns; `f` gets an expression for each.
        tf: the same function of tensors, needed in served models: of (batch,) tensors, and of `tf.RaggedTensor`s
            for list columns; it returns one of the two. A null in any input makes the result null.

    Raises:
        SchemaError: (in fit) `f` does not fit a column's dtype, returns an unsupported dtype, or (if Polars knows)
            depends on other rows; (when served) there is no `tf`.
        ValueError: (in `Workflow.save`) `f` is a lambda, or is defined in a script or in another function: a
            workflow saves the name of a function, not its code. Loading it takes `Workflow.load(...,
            trust=["its_module"])`, as an import runs code.

    Example:

    >>> import polars as pl
    >>> areas = ["zip"] >> LambdaOp(lambda zip: zip.str.slice(0, 2)) >> Categorify()
    >>> ratio = ["price", "mean_price"] >> LambdaOp(lambda p, m: p / m, name="ratio", tf=lambda p, m: p / m)
    """

    f: Callable[..., Any] | str
    name: str | None = None
    tf: Callable[..., Any] | str | None = None

    def __post_init__(self) -> None:
        self.f, self.tf = _imported(self.f), _imported(self.tf)
        if not callable(self.f):
            raise TypeError(f"LambdaOp takes a function of Polars expressions; got {self.f!r}")

    def output_names(self, names: list[str]) -> list[str]:
        return list(names) if self.name is None else [self.name]

    def sources(self, names: list[str]) -> dict[str, list[str]]:
        return {name: [name] for name in names} if self.name is None else {self.name: names}

    def saved_settings(self, names: Sequence[str]) -> dict[str, Any]:
        columns = ", ".join(map(repr, names))
        return {"f": _saved_name(self.f, columns), "name": self.name, "tf": _saved_name(self.tf, columns)}

    @classmethod
    def from_saved(cls, settings: Mapping[str, Any], trusted: TrustModule) -> Operator:
        paths = [path for path in (settings.get("f"), settings.get("tf")) if path is not None]
        for path in paths:
            module = str(path).partition(":")[0]
            if not trusted(module):
                raise SchemaError(
                    f"LambdaOp calls {path!r}, whose import runs code; if you trust the author of the workflow, "
                    f"load it with trust=[{module!r}], or trust=True for any module"
                )
        op = cls(**settings)
        for f, path in zip([f for f in (op.f, op.tf) if f is not None], paths, strict=True):
            if path != _qualified_name(f):  # such as os.system through a trusted module that imports os
                raise SchemaError(f"LambdaOp: {path!r} is another function, {_qualified_name(f)!r}")
        return op

    def _calls(self, columns: Sequence[Column]) -> list[Sequence[Column]]:
        """Return the columns of each call of `f`."""
        return [[column] for column in columns] if self.name is None else [columns]

    def _result(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> tuple[str, pl.Expr, pl.DataType]:
        """Call `f`; return the new column's name, expression and type."""
        name = self.name or columns[0].name
        names = ", ".join(repr(column.name) for column in columns)
        description = [columns[0]] if self.name is None and _takes_two(self.f) else []

        def call(values: Sequence[pl.Expr]) -> pl.Expr:
            result = self.f(*values, *description)  # type: ignore[operator]
            if not isinstance(result, pl.Expr):
                raise SchemaError(f"LambdaOp of column {names} must return a Polars expression; got {result!r}")
            return result

        types = pl.LazyFrame(schema={column.name: column_type(column) for column in columns})
        try:
            expression = call([pl.col(column.name) for column in columns]).alias(name)
            dtype = types.select(expression).collect_schema()[name]
        except pl.exceptions.PolarsError as error:
            reason = str(error).split("\n")[0]
            raise SchemaError(f"LambdaOp of column {names} does not fit its dtype: {reason}") from error
        if reads_other_rows(expression, types.collect_schema()):
            raise SchemaError(f"LambdaOp of column {names} must not depend on other rows: {expression}")
        return name, call(values), dtype

    def output(self, columns: Sequence[Column]) -> list[Column]:
        outputs = []
        for inputs in self._calls(columns):
            name, _, dtype = self._result(inputs, [pl.col(column.name) for column in inputs])
            is_list = isinstance(dtype, pl.List | pl.Array)
            known = to_name(plain_type(dtype.inner if isinstance(dtype, pl.List | pl.Array) else dtype))
            if known is None:
                raise SchemaError(
                    f"LambdaOp returns column {name!r} of type {dtype}; supported are numbers, strings, booleans, "
                    "dates, and lists of those"
                )
            tags = inherited_tags(*(column.tags for column in inputs))
            outputs.append(Column(name, known, (*tags, *((Tag.LIST,) if is_list else ())), nullable=True))
        return outputs

    def expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        by_name = dict(zip((column.name for column in columns), values, strict=True))
        outputs = []
        for inputs, column in zip(self._calls(columns), self.output(columns), strict=True):
            _, x, dtype = self._result(inputs, [by_name[input.name] for input in inputs])
            x = (x.arr.to_list() if isinstance(dtype, pl.Array) else x).cast(column_type(column))
            if column.is_list:
                x = x.fill_null(pl.lit([], dtype=column_type(column)))
            if to_polars(column.dtype).is_float():
                x = x.list.eval(pl.element().fill_nan(None)) if column.is_list else x.fill_nan(None)
            outputs.append(x)
        return outputs

    def tensorflow(
        self, columns: Sequence[Column], resources: list[Any]
    ) -> Callable[[list[TensorColumn]], list[TensorColumn]]:
        if self.tf is None:
            raise self.unservable(columns, "it has no TensorFlow function; pass one as LambdaOp(tf=...)")
        outputs = self.output(columns)

        def apply(values: list[TensorColumn]) -> list[TensorColumn]:
            calls = [[x] for x in values] if self.name is None else [values]
            return [self._tensor(inputs, column) for inputs, column in zip(calls, outputs, strict=True)]

        return apply

    def _tensor(self, values: Sequence[TensorColumn], column: Column) -> TensorColumn:
        import tensorflow as tf

        def tensor(x: TensorColumn) -> Any:
            if x.offsets is None:
                return x.values
            return tf.RaggedTensor.from_row_splits(x.values, tf.cast(x.offsets, tf.int64), validate=False)

        result = self.tf(*map(tensor, values))  # type: ignore[operator, misc]
        if isinstance(result, tf.RaggedTensor) != column.is_list:
            kinds = ("lists", "no lists") if column.is_list else ("no lists", "lists")
            raise SchemaError(f"LambdaOp of column {column.name!r}: f returns {kinds[0]}, but tf {kinds[1]}")
        masks = [x.valid for x in values if x.valid is not None and (x.offsets is not None) == column.is_list]
        flat, offsets = (result.flat_values, result.row_splits) if column.is_list else (result, None)
        flat = tf.cast(flat, column.dtype)
        if flat.dtype.is_floating:
            masks.append(tf.logical_not(tf.math.is_nan(flat)))
        return type(values[0])(flat, reduce(tf.logical_and, masks) if masks else None, offsets)


def _takes_two(f: Any) -> bool:
    try:
        parameters = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):  # some functions written in C have no signature
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in positional and p.default is p.empty for p in parameters) == 2


def _imported(f: Any) -> Any:
    """Import "module:name"."""
    if not isinstance(f, str):
        return f
    module, _, name = f.partition(":")
    try:
        return reduce(getattr, name.split("."), importlib.import_module(module))
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f'LambdaOp: cannot import {f!r}: {error}; expected "module:function"') from None


def _qualified_name(f: Any) -> str:
    """Return "module:name" by the function's own attributes."""
    return f"{getattr(f, '__module__', None)}:{getattr(f, '__qualname__', None)}"


def _saved_name(f: Any, columns: str) -> str | None:
    """Return "module:name" of a function. Raise `ValueError` where importing that does not return `f`."""
    if f is None:
        return None
    path = _qualified_name(f)
    try:
        same = not path.startswith("__main__:") and _imported(path) is f
    except ValueError:
        same = False
    if not same:
        raise ValueError(
            f"LambdaOp of column {columns} cannot be saved, as another program cannot import {f!r}; define "
            "a named function at the top level of a module"
        )
    return path
