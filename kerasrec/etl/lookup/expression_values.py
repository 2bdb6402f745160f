"""The values of parts of an expression as tensors, with which of them are not null."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from kerasrec.etl.lookup.tensor_column import TensorColumn
from kerasrec.etl.sources.types import integer_range, is_float, is_integer

if TYPE_CHECKING:
    import tensorflow as tf

Columns = Mapping[str, TensorColumn]
Compute = Callable[[Columns], TensorColumn]
Function = Callable[[Any], Any]  # of a tensor
Function2 = Callable[[Any, Any], Any]  # of two tensors


def constant(value: Any, dtype: str) -> TensorColumn:
    """Return a value for all rows; None is null."""
    import tensorflow as tf

    blank: Any = "" if dtype == "string" else False if dtype in ("bool", "null") else 0
    tensor_type = {"datetime": "int64", "null": "bool"}.get(dtype, dtype)
    return TensorColumn(
        tf.constant(blank if value is None else value, tensor_type), tf.constant(value is not None)
    )


def casting(function: Function, dtype: str) -> Function:
    """Return `function`, with its values cast."""
    import tensorflow as tf

    return lambda x: tf.cast(function(x), dtype)


def nulls(part: Compute, is_null: bool) -> Compute:
    """Return where a part is null, or where it is not."""

    def apply(columns: Columns) -> TensorColumn:
        import tensorflow as tf

        valid = part(columns).valid
        return TensorColumn(tf.not_equal(valid, is_null), tf.ones_like(valid))

    return apply


def with_values(part: Compute, function: Function) -> Compute:
    def apply(columns: Columns) -> TensorColumn:
        x = part(columns)
        return x.evolve(values=function(x.values))

    return apply


def both(function: Function2, a: Compute, b: Compute) -> Compute:
    def apply(columns: Columns) -> TensorColumn:
        import tensorflow as tf

        x, y = a(columns), b(columns)
        return TensorColumn(function(x.values, y.values), tf.logical_and(x.valid, y.valid))

    return apply


def first_valid(x: TensorColumn, y: TensorColumn) -> TensorColumn:
    import tensorflow as tf

    return TensorColumn(tf.where(x.valid, x.values, y.values), tf.logical_or(x.valid, y.valid))


def lengths_of(x: TensorColumn) -> TensorColumn:
    import tensorflow as tf

    offsets: Any = x.offsets
    lengths = tf.cast(offsets[1:] - offsets[:-1], tf.uint32)
    return TensorColumn(lengths, tf.ones_like(lengths, tf.bool))


def arithmetic(dtype: str) -> dict[str, Function2]:
    import tensorflow as tf

    if dtype == "string":
        return {"Plus": lambda x, y: x + y}
    if dtype in ("bool", "datetime", "null"):
        return {}
    functions = {"Plus": tf.add, "Minus": tf.subtract, "Multiply": tf.multiply}
    return functions | ({"TrueDivide": tf.divide} if is_float(dtype) else {})


def integer_division(op: str, a: Compute, b: Compute) -> Compute:
    def divide(columns: Columns) -> TensorColumn:
        import tensorflow as tf

        x, y = a(columns), b(columns)
        valid = tf.logical_and(x.valid, y.valid)
        zero = y.values == tf.zeros_like(y.values)  # makes a null
        divisor = tf.where(zero, tf.ones_like(y.values), y.values)
        values = (tf.math.floordiv if op == "FloorDivide" else tf.math.floormod)(x.values, divisor)
        return TensorColumn(values, valid & ~zero)

    return divide


def _ordered(name: str, floats: bool) -> Function2:
    """Return a comparison of tensors in which NaN, if there are floats, comes last and equals itself."""
    import tensorflow as tf

    nan = tf.math.is_nan
    plain = {"Eq": tf.equal, "Lt": tf.less, "LtEq": tf.less_equal}
    total: dict[str, Function2] = {
        "Eq": lambda x, y: tf.equal(x, y) | (nan(x) & nan(y)),
        "Lt": lambda x, y: tf.less(x, y) | (nan(y) & ~nan(x)),
        "LtEq": lambda x, y: tf.less_equal(x, y) | nan(y),
    }
    return (total if floats else plain)[name]


COMPARISONS: dict[str, Callable[[bool], Function2]] = {
    "Eq": lambda floats: _ordered("Eq", floats),
    "NotEq": lambda floats: lambda x, y: ~_ordered("Eq", floats)(x, y),
    "Lt": lambda floats: _ordered("Lt", floats),
    "LtEq": lambda floats: _ordered("LtEq", floats),
    "Gt": lambda floats: lambda x, y: _ordered("Lt", floats)(y, x),
    "GtEq": lambda floats: lambda x, y: _ordered("LtEq", floats)(y, x),
}


def logical(op: str, a: Compute, b: Compute) -> Compute:
    """Return "And", "Or" or "Xor" of three values: what a null may change is null."""
    import tensorflow as tf

    if op == "Xor":
        return both(tf.math.logical_xor, a, b)

    def apply(columns: Columns) -> TensorColumn:
        x, y = a(columns), b(columns)
        decides = op == "Or"  # the value that decides, whatever the other one is
        first = tf.logical_and(x.valid, tf.equal(x.values, decides))
        second = tf.logical_and(y.valid, tf.equal(y.values, decides))
        values = tf.equal(first | second, decides)
        return TensorColumn(values, tf.logical_and(x.valid, y.valid) | first | second)

    return apply


def to_integer(part: Compute, source: str, dtype: str) -> Compute:
    """Return a cast of numbers to integers, towards 0; what does not fit is null."""
    import tensorflow as tf

    low, high = integer_range(dtype)

    def cast(columns: Columns) -> TensorColumn:
        x = part(columns)
        values = x.values
        if is_float(source):
            # Of bounds that the float's type has not, the next one is in the range.
            wide = tf.cast(values, tf.float64)
            fits = (wide > low - 1.0) & (wide < high + 1.0) if high < 2**53 else (wide >= low) & (wide < high + 1)
            values = tf.where(fits, values, tf.zeros_like(values))
        else:
            least, most = integer_range(source) if source != "datetime" else (-(2**63), 2**63 - 1)
            fits = tf.ones_like(values, tf.bool)
            if least < low:
                fits &= values >= tf.constant(low, values.dtype)
            if most > high:
                fits &= values <= tf.constant(high, values.dtype)
        return TensorColumn(tf.cast(values, dtype), tf.logical_and(x.valid, fits))

    return cast


def float_test(name: str) -> Function:
    """Return "IsNan", "IsNotNan", "IsFinite" or "IsInfinite"."""
    import tensorflow as tf

    return {
        "IsNan": tf.math.is_nan,
        "IsNotNan": lambda x: ~tf.math.is_nan(x),
        "IsFinite": tf.math.is_finite,
        "IsInfinite": tf.math.is_inf,
    }[name]


def clip(bounds: list[Any], has_min: bool, has_max: bool, dtype: str) -> Function:
    """Return a function that clips values at constants; None bounds nothing."""
    import tensorflow as tf

    low = bounds[0] if has_min else None
    high = bounds[-1] if has_max else None

    def clipped(x: tf.Tensor) -> tf.Tensor:
        x = x if low is None else tf.where(x < tf.constant(low, dtype), tf.constant(low, dtype), x)
        return x if high is None else tf.where(x > tf.constant(high, dtype), tf.constant(high, dtype), x)

    return clipped


def is_in(values: list[Any], dtype: str) -> Function:
    """Return a function that says which elements are one of `values`."""
    import tensorflow as tf

    low, high = integer_range(dtype) if is_integer(dtype) else (None, None)
    known = [value for value in values if value is not None and (low is None or low <= value <= high)]
    wanted = tf.constant(known, dtype)
    equal = COMPARISONS["Eq"](is_float(dtype))
    return lambda x: tf.reduce_any(equal(x[..., None], wanted), axis=-1)


def of_number(name: str, options: Any, arguments: list[Any], dtype: str) -> Function | None:
    """Return the function of numbers that Polars calls `name`; None where there is none here."""
    import tensorflow as tf

    floats = is_float(dtype)
    if name == "Pow" and (options == "Sqrt" or arguments in ([2], [3])):
        if options == "Sqrt":
            return tf.sqrt if floats else None
        return (lambda x: x * x) if arguments == [2] else lambda x: x * x * x
    if name in ("Floor", "Ceil", "Round") and not floats:
        return lambda x: x
    if name == "Round" and (options["decimals"] or options["mode"] != "HalfToEven"):
        return None
    functions: dict[str, Function] = {"Abs": tf.abs, "Negate": tf.negative}
    if floats:
        functions |= {"Floor": tf.floor, "Ceil": tf.math.ceil, "Round": tf.round}
        functions |= {"Exp": tf.exp, "Log1p": tf.math.log1p}
    if dtype.startswith("uint"):
        functions = {"Abs": lambda x: x}
    return functions.get(name)
