"""ParseTime: makes times of text and of numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import polars as pl

from kerasrec.etl.lookup.time_format import compiled, parse_tensor
from kerasrec.etl.lookup.time_guess import Encoding, best, candidates, plausible
from kerasrec.etl.lookup.unix_time import PER_SECOND, from_unix_tensor, unix_text_tensor
from kerasrec.etl.operator.elementwise import Elementwise, PerColumn, elements
from kerasrec.etl.sources.types import ROW, column_type, is_float
from kerasrec.excerpts import excerpt
from kerasrec.schema import Column, SchemaError

if TYPE_CHECKING:
    import tensorflow as tf

    from kerasrec.etl.lookup.tensor_column import TensorColumn

# The least value, and how many values each candidate fits.
COUNTS: dict[str, pl.DataType] = {"value": pl.String(), "counts": pl.List(pl.Int64)}


@dataclass(repr=False)
class ParseTime(PerColumn, Elementwise):
    """Make times of strings such as "2024-01-31 12:00:00", and of numbers such as 20240131 or Unix times.

    The output is a datetime in UTC, for `TimeFeatures`; columns of dates and times pass unchanged. Without a
    format and a unit, both are guessed in fit from all values, and `repr(workflow)` shows them.

    Formats are those of `datetime.strptime`: %Y %y %m %d %H %I %M %S %p, %f (1 to 9 digits, cut off after
    microseconds), %b and %B (English), %a and %A (not compared with the date), %z ("Z", "+0530", "+05:30"; without
    it, times are in UTC), and %F %T %D %R for several at once. A field may have one digit, except beside another
    field. Spaces at both ends are ignored, and one space stands for any number. Years go from 1 to 9999; a date
    such as February 30 is not valid, nor is a second 60. "ISO8601" takes dates, or times with "T" or a space,
    optional seconds, fractions and offset. NVTabular has no such operator.

    Args:
        format: a format, or "ISO8601"; numbers are formatted as integers before.
        unit: of numbers, and strings of them, that count from 1970: "s", "ms", "us" or "ns".
        errors: what happens to a value that is not such a time: "raise" an error that names the row and the
            value, or make it "null". In a served model it is null in any case.

    Raises:
        ValueError: an invalid format, unit or `errors`; both a format and a unit.
        SchemaError: (in fit) a column of booleans; no known format fits, or two that swap day and month; (when
            computed, with `errors="raise"`) a value is not a time.

    Example:

    >>> hours = ["timestamp"] >> ParseTime("%d/%m/%Y %H:%M") >> TimeFeatures(["hour", "weekday"])
    >>> any_format = ["signup", "last_seen"] >> ParseTime() >> TimeFeatures()
    """

    stateful: ClassVar[bool] = True
    format: str | None = None
    unit: Literal["s", "ms", "us", "ns"] | None = None
    errors: Literal["raise", "null"] = "raise"

    def __post_init__(self) -> None:
        if self.format is not None and self.unit is not None:
            raise ValueError("ParseTime takes a format or a unit, not both")
        if self.unit is not None and self.unit not in PER_SECOND:
            raise ValueError(f"ParseTime: unit must be one of {', '.join(PER_SECOND)}; got {self.unit!r}")
        if self.errors not in ("raise", "null"):
            raise ValueError(f'ParseTime: errors must be "raise" or "null"; got {self.errors!r}')
        if self.format is not None:
            try:
                compiled(self.format)
            except ValueError as error:
                raise ValueError(f"ParseTime: {error}") from None

    def __repr__(self) -> str:
        guessed = [f"{name}: {Encoding(**encoding)}" for name, encoding in self.state.items()]
        if self.format is not None or self.unit is not None or not guessed:
            return super().__repr__()
        more = f", errors={self.errors!r}" * (self.errors != "raise")
        return f"ParseTime(guessed {'; '.join(guessed)}{more})"

    # ---- the two implementations -----------------------------------------------------------------------------
    def column(self, column: Column) -> Column:
        if column.dtype == "bool":
            raise SchemaError(f"column {column.name!r} is bool: ParseTime takes strings and numbers")
        return column if column.dtype == "datetime" else column.evolve(dtype="datetime", nullable=True)

    def _encoding(self, column: Column) -> Encoding:
        if self.format is not None or self.unit is not None:
            return Encoding(self.format, self.unit)
        return Encoding(**self.state[column.name])

    def expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        return [self._expression(column, x) for column, x in zip(columns, values, strict=True)]

    def _expression(self, column: Column, x: pl.Expr) -> pl.Expr:
        if column.dtype == "datetime":
            return x
        function = partial(_parse, column=column, encoding=self._encoding(column), refuse=self.errors == "raise")
        dtype = column_type(self.column(column))
        if self.errors == "null":  # needs no row numbers
            return x.map_batches(function, return_dtype=dtype, is_elementwise=True)
        # Together with the row numbers, so that an error can name the row.
        rows = pl.struct(x.alias("x"), pl.col(ROW).alias("row"))
        return rows.map_batches(function, return_dtype=dtype, is_elementwise=True)

    def tensor(self, column: Column, resources: list[Any]) -> Callable[[TensorColumn], TensorColumn]:
        if column.dtype == "datetime":
            return lambda x: x
        encoding = self._encoding(column)

        def parsed(x: TensorColumn) -> TensorColumn:
            import tensorflow as tf

            time, valid = _tensors(x.values, encoding)
            return x.evolve(values=time, valid=valid if x.valid is None else tf.logical_and(valid, x.valid))

        return parsed

    # ---- learning --------------------------------------------------------------------------------------------
    def partial(self, frame: pl.LazyFrame, columns: Sequence[Column]) -> list[pl.LazyFrame]:
        (column,) = columns
        if column.dtype == "datetime" or self.format is not None or self.unit is not None:
            return [frame.select(column.name).head(0)]
        counts = partial(_counts, candidates=candidates(column.dtype))
        return [elements(frame, column).drop_nulls().map_batches(counts, schema=COUNTS, streamable=True)]

    def merge(self, parts: Sequence[Sequence[pl.DataFrame]]) -> list[pl.DataFrame]:
        return [_merged(pl.concat(frames)) for frames in zip(*parts, strict=True)]

    def finalize(self, statistics: Sequence[pl.DataFrame], columns: Sequence[Column]) -> None:
        for column, counts in zip(columns, statistics, strict=True):
            if "counts" in counts.columns:
                encoding = self._guess(column, counts)
                self.state[column.name] = {"format": encoding.format, "unit": encoding.unit}

    def _guess(self, column: Column, counts: pl.DataFrame) -> Encoding:
        encodings = candidates(column.dtype)
        merged = _merged(counts)
        try:
            encoding = best(merged["counts"].explode().to_list() if len(merged) else [], encodings)
        except ValueError as error:
            raise SchemaError(f"column {column.name!r} {error}; pass ParseTime(format=...)") from None
        if encoding is None:
            value = excerpt(merged["value"].min())
            raise SchemaError(
                f"column {column.name!r} is in no format that ParseTime knows, with values such as {value}; pass "
                "ParseTime(format=...) or ParseTime(unit=...)"
            )
        return encoding


def _counts(frame: pl.DataFrame, candidates: Sequence[Encoding]) -> pl.DataFrame:
    """Return a row with the least value, and how many values each of the candidates fits."""
    values = frame.to_series()
    counts = [[plausible(values, encoding) for encoding in candidates]] if len(values) else []
    return pl.DataFrame({"value": [str(values.min())] * len(counts), "counts": counts}, schema=COUNTS)


def _merged(counts: pl.DataFrame) -> pl.DataFrame:
    """Return the least value and the total counts of several rows, in one row."""
    if not len(counts):
        return counts
    totals = [sum(of_one) for of_one in zip(*counts["counts"].to_list(), strict=True)]
    return pl.DataFrame({"value": [counts["value"].min()], "counts": [totals]}, schema=COUNTS)


def _parse(values: pl.Series, column: Column, encoding: Encoding, refuse: bool) -> pl.Series:
    """Return the times of a column; its values are fields "x" and "row" of a struct if some may be refused.

    Raises:
        SchemaError: a value is not a time, if they are refused.
    """
    x = values.struct.field("x") if refuse else values
    flat = x.filter(x.list.len() > 0).explode() if column.is_list else x
    times = encoding.parse(flat)
    wrong = times.is_null() & flat.is_not_null()
    if refuse and wrong.any():
        at = int(wrong.arg_true()[0])
        lengths = x.list.len() if column.is_list else pl.Series([1]).new_from_index(0, len(x))
        row = values.struct.field("row")[int((lengths.cum_sum() <= at).sum())]
        raise SchemaError(
            f"column {column.name!r}, row {row}: {excerpt(flat[at])} is not a time with {encoding}; "
            'pass another, or ParseTime(errors="null")'
        )
    times = times.cast(pl.Datetime("us"))
    if not column.is_list:
        return times
    rows = pl.DataFrame({"n": x.list.len()}).with_row_index("i")
    row_of = rows.filter(pl.col("n") > 0).select(pl.col("i").repeat_by("n").explode()).to_series()
    lists = pl.DataFrame({"i": row_of, "t": times}).group_by("i", maintain_order=True).agg("t")
    joined = rows.join(lists, on="i", how="left", maintain_order="left")["t"]
    return joined.to_frame().select(pl.col("t").fill_null(pl.lit([], dtype=joined.dtype))).to_series()


def _tensors(values: tf.Tensor, encoding: Encoding) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the times of values (n,), and which of them are times."""
    import tensorflow as tf

    text, matches = values.dtype == tf.string, tf.ones_like(values, tf.bool)
    if encoding.unit is not None:
        if text:
            values, matches = unix_text_tensor(values)
        time, valid = from_unix_tensor(values, encoding.unit)
        return time, tf.logical_and(valid, matches)
    if not text and is_float(values.dtype.name):
        matches = (values == tf.floor(values)) & (tf.abs(values) < 2.0**53)
        values = tf.cast(tf.where(matches, values, tf.zeros_like(values)), tf.int64)
    assert encoding.format is not None
    time, valid = parse_tensor(values if text else tf.strings.as_string(values), encoding.format)
    return time, tf.logical_and(valid, matches)
