"""LambdaOp: a user's own Polars expression."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import polars as pl

from kerasrec.etl.operator.operator import Operator, Trusted
from kerasrec.etl.operator.user_expressions import looks_around
from kerasrec.etl.sources.types import column_type, plain_type, to_name, to_polars
from kerasrec.schema import Column, SchemaError, Tag

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn


@dataclass(repr=False)
class LambdaOp(Operator):
    """A function of a Polars expression, applied to each column by itself, or (with `name`) to all at once.

    The type of the result is what Polars infers. It may be a list where the column is none, and vice versa. Rows
    must not depend on each other: `x.mean()` would be another number in each file, and none where a row is served.

    NVTabular's `LambdaOp` gives `f` a cuDF or pandas series and, as a second argument, the whole frame; other
    columns that it reads are its `dependency`. Here those come through `name`.

    Args:
        f: a function of the column as an expression, `pl.Expr`; where it takes two arguments, of that and of the
            column's facts, `kerasrec.Column`. Or where it stands: "module:function".
        name: makes one column of that name of all columns; `f` gets an expression for each.
        tf: the same function on tensors, for single raw rows to be served: of (batch,) tensors, of a
            `tf.RaggedTensor` for a list column; it gives back one of the two. A null in any column is a null in
            the result, whatever stands there. Without it, a model cannot be exported with this column.

    Raises:
        SchemaError: (when fitted) `f` does not fit a column's type, makes no type that kerasrec knows, or (where
            Polars can tell) makes a row of others; (when served) there is no `tf`.
        ValueError: (when saved) a lambda, or a function of a script or inside of another: a workflow saves where a
            function stands, not what it does, and importing it must give the same one. To load it again takes
            `Workflow.load(..., trust=["its_module"])`, as importing runs code.

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
            raise TypeError(f"LambdaOp takes a function of Polars expressions, not {self.f!r}")

    def output_names(self, names: list[str]) -> list[str]:
        return list(names) if self.name is None else [self.name]

    def sources(self, names: list[str]) -> dict[str, list[str]]:
        return {name: [name] for name in names} if self.name is None else {self.name: names}

    def saved(self, names: Sequence[str]) -> dict[str, Any]:
        columns = ", ".join(map(repr, names))
        return {"f": _place(self.f, columns), "name": self.name, "tf": _place(self.tf, columns)}

    @classmethod
    def restored(cls, settings: Mapping[str, Any], trusted: Trusted) -> Operator:
        given = [place for place in (settings.get("f"), settings.get("tf")) if place is not None]
        for place in given:
            module = str(place).partition(":")[0]
            if not trusted(module):
                raise SchemaError(
                    f"LambdaOp calls {place!r}, and to import that runs code; if you trust whoever wrote the "
                    f"workflow, load it with trust=[{module!r}], or trust=True for any module"
                )
        op = cls(**settings)
        for f, place in zip([f for f in (op.f, op.tf) if f is not None], given, strict=True):
            if place != _defined(f):  # such as os.system by way of a trusted module that imports os
                raise SchemaError(f"LambdaOp: {place!r} is {_defined(f)!r}, which is not what a workflow saves")
        return op

    def _calls(self, columns: Sequence[Column]) -> list[Sequence[Column]]:
        """The columns of each call of `f`."""
        return [[column] for column in columns] if self.name is None else [columns]

    def _result(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> tuple[str, pl.Expr, pl.DataType]:
        """One call: the new column's name, `f`'s expression, and its type."""
        name = self.name or columns[0].name
        names = ", ".join(repr(column.name) for column in columns)
        facts = [columns[0]] if self.name is None and _takes_two(self.f) else []

        def call(values: Sequence[pl.Expr]) -> pl.Expr:
            made = self.f(*values, *facts)  # type: ignore[operator]
            if not isinstance(made, pl.Expr):
                raise SchemaError(f"LambdaOp of column {names} made {made!r}, which is no Polars expression")
            return made

        types = pl.LazyFrame(schema={column.name: column_type(column) for column in columns})
        try:
            asked = call([pl.col(column.name) for column in columns]).alias(name)
            dtype = types.select(asked).collect_schema()[name]
        except pl.exceptions.PolarsError as error:
            reason = str(error).split("\n")[0]
            raise SchemaError(f"LambdaOp of column {names} does not fit its type: {reason}") from error
        if looks_around(asked, types.collect_schema()):
            raise SchemaError(f"LambdaOp of column {names} makes a row of others, not of itself alone: {asked}")
        return name, call(values), dtype

    def output(self, columns: Sequence[Column]) -> list[Column]:
        made = []
        for given in self._calls(columns):
            name, _, dtype = self._result(given, [pl.col(column.name) for column in given])
            is_list = isinstance(dtype, pl.List | pl.Array)
            known = to_name(plain_type(dtype.inner if isinstance(dtype, pl.List | pl.Array) else dtype))
            if known is None:
                raise SchemaError(
                    f"LambdaOp makes column {name!r} of type {dtype}; kerasrec takes numbers, strings, booleans, "
                    "dates, and lists of those"
                )
            tags = [t for t in (Tag.USER, Tag.ITEM) if all(t in column.tags for column in given)]
            made.append(Column(name, known, (*tags, *((Tag.LIST,) if is_list else ())), nullable=True))
        return made

    def expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        value = dict(zip((column.name for column in columns), values, strict=True))
        made = []
        for given, column in zip(self._calls(columns), self.output(columns), strict=True):
            _, x, dtype = self._result(given, [value[each.name] for each in given])
            x = (x.arr.to_list() if isinstance(dtype, pl.Array) else x).cast(column_type(column))
            if column.is_list:
                x = x.fill_null(pl.lit([], dtype=column_type(column)))
            if to_polars(column.dtype).is_float():
                x = x.list.eval(pl.element().fill_nan(None)) if column.is_list else x.fill_nan(None)
            made.append(x)
        return made

    def tensorflow(
        self, columns: Sequence[Column], resources: list[Any]
    ) -> Callable[[list[TensorColumn]], list[TensorColumn]]:
        if self.tf is None:
            raise self.unserved(columns, "it has no TensorFlow function; give LambdaOp one as tf=")
        made = self.output(columns)

        def apply(values: list[TensorColumn]) -> list[TensorColumn]:
            calls = [[x] for x in values] if self.name is None else [values]
            return [self._tensor(given, column) for given, column in zip(calls, made, strict=True)]

        return apply

    def _tensor(self, values: Sequence[TensorColumn], column: Column) -> TensorColumn:
        import tensorflow as tf

        def tensor(x: TensorColumn) -> Any:
            if x.offsets is None:
                return x.values
            return tf.RaggedTensor.from_row_splits(x.values, tf.cast(x.offsets, tf.int64), validate=False)

        result = self.tf(*map(tensor, values))  # type: ignore[operator, misc]
        if isinstance(result, tf.RaggedTensor) != column.is_list:
            kinds = ("a list", "no list") if column.is_list else ("no list", "a list")
            raise SchemaError(f"LambdaOp of column {column.name!r}: f makes {kinds[0]}, but tf {kinds[1]}")
        masks = [x.valid for x in values if x.valid is not None and (x.offsets is not None) == column.is_list]
        made, offsets = (result.flat_values, result.row_splits) if column.is_list else (result, None)
        made = tf.cast(made, column.dtype)
        if made.dtype.is_floating:
            masks.append(tf.logical_not(tf.math.is_nan(made)))
        return type(values[0])(made, reduce(tf.logical_and, masks) if masks else None, offsets)


def _takes_two(f: Any) -> bool:
    try:
        parameters = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):  # some functions written in C do not tell
        return False
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in by_place and p.default is p.empty for p in parameters) == 2


def _imported(f: Any) -> Any:
    """What stands at "module:name"."""
    if not isinstance(f, str):
        return f
    module, _, name = f.partition(":")
    try:
        return reduce(getattr, name.split("."), importlib.import_module(module))
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"LambdaOp: there is no function {f!r} to import: {error}") from None


def _defined(f: Any) -> str:
    """The "module:name" that a function says of itself."""
    return f"{getattr(f, '__module__', None)}:{getattr(f, '__qualname__', None)}"


def _place(f: Any, columns: str) -> str | None:
    """ "module:name" of a function; raises where importing that would not give `f`."""
    if f is None:
        return None
    place = _defined(f)
    try:
        same = not place.startswith("__main__:") and _imported(place) is f
    except ValueError:
        same = False
    if not same:
        raise ValueError(
            f"LambdaOp of column {columns} cannot be saved: {f!r} cannot be imported by another program; "
            "define it by name, at the top of a module"
        )
    return place
