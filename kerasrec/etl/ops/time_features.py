"""TimeFeatures: hour, weekday, day and month of dates and times."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from kerasrec.etl.lookup.calendar import of_days
from kerasrec.etl.lookup.unix_time import PER_SECOND as UNITS
from kerasrec.etl.operator.elementwise import map_elements
from kerasrec.etl.operator.id_columns import FIRST, NULL, id_column
from kerasrec.etl.operator.operator import Operator
from kerasrec.etl.sources.types import is_integer
from kerasrec.schema import Column, SchemaError

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn

FEATURES = {"hour": (0, 24), "weekday": (0, 7), "is_weekend": (0, 2), "day": (1, 31), "month": (1, 12)}
ENCODINGS = ("ids", "cyclic", "number")


@dataclass(repr=False)
class TimeFeatures(Operator):
    """Output features of the clock and the calendar.

    For a column `t` of dates, times, or integers that count from 1970: `t_hour` (0 to 23), `t_weekday` (0 is
    Monday), `t_is_weekend` (1 for Saturday and Sunday), `t_day` (1 to 31) and `t_month` (1 to 12), in UTC; a time
    without a zone is not converted. Ids are int32, numbers float64. NVTabular has no such operator; one writes a
    `LambdaOp` per feature.

    Args:
        features: some of "hour", "weekday", "is_weekend", "day", "month".
        encode: "ids" outputs categorical columns, with 1 for null and 3 for the feature's first value; "number"
            the values themselves; "cyclic" two columns, `t_hour_sin` and `t_hour_cos`, in which 23 is next to 0
            (`is_weekend` remains a number).
        unit: the unit of integers: "s", "ms", "us" or "ns". Not needed for dates and times.

    Raises:
        ValueError: an unknown feature, encoding or unit.
        SchemaError: (in fit) a column of another dtype, or integers without `unit`. Put `ParseTime` before for
            text, and for integers such as 20240131.

    Example:

    >>> times = ["timestamp"] >> TimeFeatures(["hour", "weekday"], unit="s")
    """

    features: Sequence[str] = tuple(FEATURES)
    encode: str = "ids"
    unit: str | None = None

    def __post_init__(self) -> None:
        self.features = [self.features] if isinstance(self.features, str) else list(self.features)
        unknown = [feature for feature in self.features if feature not in FEATURES]
        if unknown or not self.features:
            raise ValueError(f"TimeFeatures: features must be of {', '.join(FEATURES)}; got {unknown}")
        if self.encode not in ENCODINGS:
            raise ValueError(f"TimeFeatures: encode must be one of {', '.join(ENCODINGS)}; got {self.encode!r}")
        if self.unit is not None and self.unit not in UNITS:
            raise ValueError(f"TimeFeatures: unit must be one of {', '.join(UNITS)}; got {self.unit!r}")

    # ---- names -----------------------------------------------------------------------------------------------
    def _suffixes(self, feature: str) -> list[str]:
        if self.encode == "cyclic" and feature != "is_weekend":
            return [f"{feature}_sin", f"{feature}_cos"]
        return [feature]

    def output_names(self, names: list[str]) -> list[str]:
        suffixes = [suffix for feature in self.features for suffix in self._suffixes(feature)]
        return [f"{name}_{suffix}" for name in names for suffix in suffixes]

    def sources(self, names: list[str]) -> dict[str, list[str]]:
        return {output: [name] for name in names for output in self.output_names([name])}

    def vocabularies(self, names: list[str]) -> list[str]:
        return self.output_names(names) if self.encode == "ids" else []

    # ---- the two implementations -----------------------------------------------------------------------------
    def _per_second(self, column: Column) -> int:
        if column.dtype == "datetime":
            return UNITS["us"]
        if not is_integer(column.dtype) or column.dtype == "uint64":
            raise SchemaError(
                f"column {column.name!r} is {column.dtype}: TimeFeatures takes dates, times and integers; "
                "put ParseTime before it"
            )
        if self.unit is None:
            raise SchemaError(
                f"column {column.name!r} is {column.dtype}: pass TimeFeatures(unit=...), one of s, ms, us, ns, or "
                "put ParseTime before it"
            )
        return UNITS[self.unit]

    def output(self, columns: Sequence[Column]) -> list[Column]:
        outputs = []
        for column in columns:
            self._per_second(column)
            for feature in self.features:
                for suffix in self._suffixes(feature):
                    new = column.evolve(name=f"{column.name}_{suffix}", dtype="float64")
                    if self.encode == "ids":
                        new = id_column(new, FIRST + FEATURES[feature][1], new.name)
                    outputs.append(new)
        return outputs

    def expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        def function(column: Column, feature: str, suffix: str) -> Callable[[pl.Expr], pl.Expr]:
            def apply(x: pl.Expr) -> pl.Expr:
                is_time = column.dtype == "datetime"
                value = (
                    _of_time(feature, x)
                    if is_time
                    else _value(feature, x.cast(pl.Int64), self._per_second(column))
                )
                if self.encode == "ids":
                    ids = (value + (FIRST - FEATURES[feature][0])).cast(pl.Int32)
                    return ids.fill_null(pl.lit(NULL, pl.Int32))
                number = value.cast(pl.Float64)
                if suffix == feature:
                    return number
                return getattr(number * _angle(feature), suffix[-3:])()

            return apply

        return [
            map_elements(column, x, function(column, feature, suffix))
            for column, x in zip(columns, values, strict=True)
            for feature in self.features
            for suffix in self._suffixes(feature)
        ]

    def tensorflow(
        self, columns: Sequence[Column], resources: list[Any]
    ) -> Callable[[list[TensorColumn]], list[TensorColumn]]:
        import tensorflow as tf

        def tensor(x: TensorColumn, column: Column, feature: str, suffix: str) -> TensorColumn:
            value = _value(feature, tf.cast(x.values, tf.int64), self._per_second(column))
            if self.encode == "ids":
                ids = tf.cast(value + (FIRST - FEATURES[feature][0]), tf.int32)
                return x.evolve(values=ids if x.valid is None else tf.where(x.valid, ids, NULL), valid=None)
            number = tf.cast(value, tf.float64)
            if suffix != feature:
                number = getattr(tf.math, suffix[-3:])(number * _angle(feature))
            return x.evolve(values=number)

        return lambda values: [
            tensor(x, column, feature, suffix)
            for column, x in zip(columns, values, strict=True)
            for feature in self.features
            for suffix in self._suffixes(feature)
        ]


def _angle(feature: str) -> float:
    """Return the angle from one value to the next."""
    return 2 * math.pi / FEATURES[feature][1]


def _of_time(feature: str, x: pl.Expr) -> pl.Expr:
    """Return the feature of datetimes. It names `x` once: Polars computes an expression, such as that of
    `ParseTime`, as often as it stands in another."""
    if feature in ("weekday", "is_weekend"):
        weekday = x.dt.weekday().cast(pl.Int64) - 1
        return weekday if feature == "weekday" else weekday // 5
    number: pl.Expr = getattr(x.dt, feature)()
    return number.cast(pl.Int64)


def _value(feature: str, x: Any, per_second: int) -> Any:
    """Return the feature of int64 numbers (an expression or a tensor), by integer divisions that round down."""
    seconds = x // per_second
    days = seconds // 86_400
    if feature == "hour":
        return (seconds - days * 86_400) // 3_600
    if feature == "is_weekend":
        return of_days("weekday", days) // 5
    return of_days(feature, days)
