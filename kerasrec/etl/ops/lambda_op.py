"""LambdaOp: applies a user's own Polars expression."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import polars as pl

from kerasrec.etl.lookup import expression_tensors
from kerasrec.etl.operator import user_expressions
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
        tf: the same function of tensors, for a served model if the expression has a part that is not translated
            (below): of (batch,) tensors, and of `tf.RaggedTensor`s for list columns; it returns one of the two. A
            null in any input makes the result null.

    **Saved** are the expressions that `f` returned, so `f` may be a lambda, and `Workflow.load` needs no trust. If
    they call a Python function (`map_elements`), and for `tf`, the name "module:function" is saved, and loading it
    takes `Workflow.load(..., trust=["its_module"])`, as an import runs code.

    **Served** are, without `tf`: `+ - * / // %`, comparisons, `& | ^ ~`, `pl.when`, `cast` among numbers and
    booleans, and of integers to strings; `is_null`, `fill_null`, `pl.coalesce`, `is_nan`, `fill_nan`, `is_finite`,
    `is_between`, `is_in`, `clip`, `abs`, `floor`, `ceil`, `round()`, `sqrt`, `** 2`, `** 3`, `exp`, `log1p`;
    `str.len_chars`, `len_bytes`, `to_lowercase`, `to_uppercase`, `starts_with`, `ends_with`, `contains`, `slice`,
    `head`, `strip_chars`, `replace` and `replace_all` of literals; `dt.hour`, `minute`, `second`, `weekday`,
    `day`, `month`, `quarter`, `year`; `list.len`. A value that a strict cast would refuse is null
    there; letters that Unicode has since 2020 keep their case; numbers closer to 0 than 2.3e-308, or 1.2e-38 in
    float32, are 0; and divisions, `exp` and `log1p` may differ in the last bits.

    Raises:
        SchemaError: (in fit) `f` does not fit a column's dtype, returns an unsupported dtype, or (if Polars knows)
            depends on other rows; (when served) there is no `tf`, and a part of the expression has no
            TensorFlow implementation; names the part.
        ValueError: (in `Workflow.save`) the expression calls a Python function, and `f` is a lambda, or is defined
            in a script or in another function; so is `tf`.

    Example:

    >>> import polars as pl
    >>> areas = ["zip"] >> LambdaOp(lambda zip: zip.str.slice(0, 2)) >> Categorify()
    >>> ratio = ["price", "mean_price"] >> LambdaOp(lambda p, m: p / m, name="ratio")
    """

    f: Callable[..., Any] | str | Mapping[str, pl.Expr]
    name: str | None = None
    tf: Callable[..., Any] | str | None = None

    def __post_init__(self) -> None:
        self.f, self.tf = _imported(self.f), _imported(self.tf)
        if not callable(self.f) and not isinstance(self.f, Mapping):
            raise TypeError(f"LambdaOp takes a function of Polars expressions; got {self.f!r}")

    def output_names(self, names: list[str]) -> list[str]:
        return list(names) if self.name is None else [self.name]

    def sources(self, names: list[str]) -> dict[str, list[str]]:
        return {name: [name] for name in names} if self.name is None else {self.name: names}

    def __repr__(self) -> str:
        if not isinstance(self.f, Mapping):
            return super().__repr__()
        more = "".join(f", {key}={value!r}" for key, value in (("name", self.name), ("tf", self.tf)) if value)
        return f"LambdaOp({'; '.join(map(str, self.f.values()))}{more})"

    def saved_settings(self, columns: Sequence[Column]) -> dict[str, Any]:
        names = ", ".join(repr(column.name) for column in columns)
        f: Any
        try:
            f = {name: user_expressions.to_json(expr) for name, expr in self._expressions(columns).items()}
        except ValueError:  # it calls a Python function
            f = _saved_name(self.f, names, "f calls a Python function")
        return {"f": f, "name": self.name, "tf": _saved_name(self.tf, names, "tf is a Python function")}

    @classmethod
    def from_saved(cls, settings: Mapping[str, Any], trusted: TrustModule) -> Operator:
        f = settings.get("f")
        if isinstance(f, Mapping):
            f = {str(name): user_expressions.from_json(values) for name, values in f.items()}
            settings = {**settings, "f": f}
        paths = [path for path in (settings.get("f"), settings.get("tf")) if isinstance(path, str)]
        for path in paths:
            module = str(path).partition(":")[0]
            if not trusted(module):
                raise SchemaError(
                    f"LambdaOp calls {path!r}, whose import runs code; if you trust the author of the workflow, "
                    f"load it with trust=[{module!r}], or trust=True for any module"
                )
        op = cls(**settings)
        if not isinstance(op.f, Mapping) and not isinstance(settings.get("f"), str):
            raise SchemaError(f"LambdaOp: f must be expressions or a name; got {settings.get('f')!r}")
        for f, path in zip([f for f in (op.f, op.tf) if callable(f)], paths, strict=True):
            if path != _qualified_name(f):  # such as os.system through a trusted module that imports os
                raise SchemaError(f"LambdaOp: {path!r} is another function, {_qualified_name(f)!r}")
        return op

    def _calls(self, columns: Sequence[Column]) -> list[Sequence[Column]]:
        """Return the columns of each call of `f`."""
        return [[column] for column in columns] if self.name is None else [columns]

    def _expressions(self, columns: Sequence[Column]) -> dict[str, pl.Expr]:
        """Return the expression of each output over the names of the inputs."""
        return {
            self.name or inputs[0].name: self._call(inputs, [pl.col(column.name) for column in inputs])
            for inputs in self._calls(columns)
        }

    def _call(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> pl.Expr:
        """Return what `f` returns for columns whose expressions are `values`."""
        names = [column.name for column in columns]
        if isinstance(self.f, Mapping):
            expr = self.f.get(self.name or names[0])
            user_expressions.check(expr, names, "LambdaOp")
            return user_expressions.substitute(expr, dict(zip(names, values, strict=True)))  # type: ignore[arg-type]
        description = [columns[0]] if self.name is None and _takes_two(self.f) else []
        result = self.f(*values, *description)  # type: ignore[operator]
        if not isinstance(result, pl.Expr):
            known = ", ".join(map(repr, names))
            raise SchemaError(f"LambdaOp of column {known} must return a Polars expression; got {result!r}")
        return result

    def _result(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> tuple[str, pl.Expr, pl.DataType]:
        """Call `f`; return the new column's name, expression and type."""
        name = self.name or columns[0].name
        names = ", ".join(repr(column.name) for column in columns)
        types = pl.LazyFrame(schema={column.name: column_type(column) for column in columns})
        try:
            expression = self._call(columns, [pl.col(column.name) for column in columns]).alias(name)
            dtype = types.select(expression).collect_schema()[name]
        except pl.exceptions.PolarsError as error:
            reason = str(error).split("\n")[0]
            raise SchemaError(f"LambdaOp of column {names} does not fit its dtype: {reason}") from error
        if reads_other_rows(expression, types.collect_schema()):
            raise SchemaError(f"LambdaOp of column {names} must not depend on other rows: {expression}")
        return name, self._call(columns, values), dtype

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
            return self._translated(columns)
        outputs = self.output(columns)

        def apply(values: list[TensorColumn]) -> list[TensorColumn]:
            calls = [[x] for x in values] if self.name is None else [values]
            return [self._tensor(inputs, column) for inputs, column in zip(calls, outputs, strict=True)]

        return apply

    def _translated(self, columns: Sequence[Column]) -> Callable[[list[TensorColumn]], list[TensorColumn]]:
        """Return the TensorFlow function of the expressions."""
        types = {column.name: column_type(column) for column in columns}
        outputs = {column.name: column for column in self.output(columns)}
        computed = {}
        for name, expr in self._expressions(columns).items():
            try:
                computed[name] = expression_tensors.translate(expr, types)
            except expression_tensors.UnsupportedError as error:
                reason = f"{error} has no TensorFlow implementation; pass the same of tensors as LambdaOp(tf=...)"
                raise self.unservable(columns, reason) from None

        def apply(values: list[TensorColumn]) -> list[TensorColumn]:
            by_name = {column.name: x for column, x in zip(columns, values, strict=True)}
            return [_as_column(compute(by_name), outputs[name]) for name, compute in computed.items()]

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


def _as_column(x: TensorColumn, column: Column) -> TensorColumn:
    """Return the values of an expression in the column's dtype, with NaN as null."""
    import tensorflow as tf

    values = x.values if column.dtype in ("string", "datetime") else tf.cast(x.values, column.dtype)
    if not values.dtype.is_floating:
        return x.evolve(values=values)
    return x.evolve(values=values, valid=tf.logical_and(x.valid, tf.logical_not(tf.math.is_nan(values))))


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


def _saved_name(f: Any, columns: str, reason: str) -> str | None:
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
            f"LambdaOp of column {columns} cannot be saved, as {reason}, and another program cannot import {f!r}; "
            "define a named function at the top level of a module"
        )
    return path
