"""Splits raw rows into parts to train, validate and test on."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from kerasrec.etl.sources.arrow_types import OFFSET
from kerasrec.etl.sources.scan import scan
from kerasrec.etl.sources.source import Source
from kerasrec.etl.sources.types import ROW, plain_type
from kerasrec.schema import SchemaError

Time = int | float | str | datetime.date


@dataclass
class SplitByTime:
    """Split rows by time: earlier rows to train on, later ones to validate and test on, with the same cuts for all
    users.

    With `fractions`, a cut is the time by which that share of the rows has passed. Rows with equal times are never
    separated; they belong to the later part. So where many rows have the same time, the earlier part is smaller
    than its fraction.

    A split is not part of a graph: it takes raw data, anything that `Workflow.fit` takes, and returns sources that
    `fit` and `transform` take. Nothing is copied; the data is read when it is used, and errors name rows by their
    numbers in the files. `fractions` read the time column into memory, 8 bytes per row; `at` does not.

    NVTabular has no such operator; its examples filter a frame.

    Args:
        time: a column of numbers, dates or datetimes.
        fractions: the shares of the rows, earliest part first; at least two, of sum 1. By default (0.8, 0.1, 0.1).
        at: instead of fractions, the ascending times at which the second part begins, the third, ...: numbers,
            dates, datetimes or ISO 8601 strings; a time without a zone is in the column's zone.
        format: of a column of strings, such as "%Y-%m-%d %H:%M:%S"; as `ParseTime` takes it.

    Raises:
        ValueError: invalid fractions, times that do not ascend, or both `fractions` and `at`.
        SchemaError: (when called) no such column, a column that is not of times, a null in it or a string of
            another format; the message names the row.

    Example:

    >>> train, valid, test = SplitByTime("timestamp", fractions=(0.8, 0.1, 0.1))("events/*.parquet")
    >>> workflow.fit(train)
    >>> workflow.transform(valid).to_parquet("valid/")
    >>> past, future = SplitByTime("timestamp", at=["2024-03-01"])("events/*.parquet")
    """

    time: str
    fractions: Sequence[float] | None = None
    at: Sequence[Time] | None = None
    format: str | None = None

    def __post_init__(self) -> None:
        if self.at is None and self.fractions is None:
            self.fractions = (0.8, 0.1, 0.1)
        if self.at is not None and self.fractions is not None:
            raise ValueError("SplitByTime takes fractions or at, not both")
        if self.at is not None and (isinstance(self.at, str) or not len(self.at)):
            raise ValueError(f"SplitByTime: at must be a list of times; got {self.at!r}")
        f = self.fractions
        if f is not None and (len(f) < 2 or min(f) <= 0 or abs(sum(f) - 1) > 1e-6):
            raise ValueError(f"SplitByTime: fractions must be two or more numbers > 0 of sum 1; got {tuple(f)}")

    def __call__(self, source: Any) -> list[Source]:
        """Return the parts of `source`, the earliest first."""
        source = scan(source)
        cuts = self.cuts(source)
        x = time_values(source, self.time, self.format)
        # With few rows, a cut may be None: after all rows, so that the later parts are empty.
        after = [pl.lit(True), *(pl.lit(False) if cut is None else x >= cut for cut in cuts), pl.lit(False)]
        bounds = ["", *(f"{self.time} from {cut!r}" for cut in cuts), ""]
        return [
            _part(source, f"{bounds[i]} up to {bounds[i + 1]}", after[i] & ~after[i + 1])
            for i in range(len(cuts) + 1)
        ]

    def cuts(self, source: Source) -> list[Any]:
        """Return the times at which the second part of `source` begins, the third, ..., as numbers in the unit of
        the column; None for a part that begins after all rows."""
        dtype = time_type(source, self.time, self.format)
        times = source.select([self.time]).lazy().select(ROW, time_values(source, self.time, self.format))
        if self.fractions is not None:
            with source.explain_errors():
                known = times.collect(engine="streaming")
            _refuse_null_times(source, self.time, known.filter(pl.col(self.time).is_null()))
            ordered = np.sort(known[self.time].to_numpy())
            places = np.rint(np.cumsum(self.fractions[:-1]) * len(ordered)).astype(int)
            return [ordered[place].item() if place < len(ordered) else None for place in places]
        with source.explain_errors():
            nulls = times.filter(pl.col(self.time).is_null()).head(1).collect(engine="streaming")
        _refuse_null_times(source, self.time, nulls)
        cuts = [_moment(time, dtype, self.time) for time in self.at or ()]
        if any(late <= early for early, late in itertools.pairwise(cuts)):
            raise ValueError(f"SplitByTime: at must be ascending; got {self.at!r}")
        return cuts


@dataclass
class SplitLeaveOneOut:
    """Split off each user's last row to test on, and the one before to validate on: the usual split for sequential
    recommenders.

    Rows are ordered by `time`, rows with equal times as in the source. All rows of a user with fewer rows than
    there are parts are in the training part, so every user of the other parts is also in it; so are rows whose
    user is null.

    As with `SplitByTime`, the parts are sources. The columns `user` and `time` are sorted in memory; after that, 1
    byte per row is held as long as the parts exist.

    NVTabular has no such operator; Merlin's examples remove the last item of each session's list instead, as
    `ListSlice` can.

    Args:
        user: the column of users or sessions; several columns are a key together.
        time: the column that orders the rows; by default they are in the order of the source.
        parts: 3 for train, valid and test; 2 for train and test.

    Raises:
        ValueError: another number of parts.
        SchemaError: (when called) no such column, users that are lists, times that are not times, or null; the
            message names the row.

    Example:

    >>> train, valid, test = SplitLeaveOneOut("user", "timestamp")("events/*.parquet")
    """

    user: str | Sequence[str]
    time: str | None = None
    parts: int = 3

    def __post_init__(self) -> None:
        self.user = (self.user,) if isinstance(self.user, str) else tuple(self.user)
        if self.parts not in (2, 3) or not self.user:
            raise ValueError(
                f"SplitLeaveOneOut takes users and 2 or 3 parts; got {list(self.user)} and {self.parts}"
            )

    def __call__(self, source: Any) -> list[Source]:
        """Return the parts of `source`: train, valid if there are three, and test."""
        source = scan(source)
        source.require(self.user)
        for name in self.user:
            if isinstance(source.types[name], pl.List | pl.Array):
                raise SchemaError(
                    f"{source.name}: column {name!r} is {source.types[name]}; a user must be one value per row"
                )
        frame = source.select([*self.user, *([] if self.time is None else [self.time])]).lazy()
        times = []
        if self.time is not None:
            time_type(source, self.time)
            times = [time_values(source, self.time).alias("__time__")]
        users = [pl.col(name).alias(f"__user{i}__") for i, name in enumerate(self.user)]
        with source.explain_errors():
            rows = frame.select(ROW, *users, *times).collect(engine="streaming")
        if times:
            _refuse_null_times(source, self.time or "", rows.filter(pl.col("__time__").is_null()))
        keys = [f"__user{i}__" for i in range(len(users))]
        total = int(rows[ROW].max() or 0) + 1
        rows = rows.drop_nulls(keys).sort(*keys, *(["__time__"] if times else []), ROW)
        starts = rows.select(
            pl.any_horizontal(pl.col(key) != pl.col(key).shift(1) for key in keys).fill_null(True)
        )
        first = np.flatnonzero(starts.to_series().to_numpy())
        sizes = np.diff(first, append=len(rows))
        long = sizes >= self.parts
        part = np.zeros(total, np.uint8)
        numbers = rows[ROW].to_numpy()
        for i in range(1, self.parts):
            part[numbers[(first + sizes)[long] - (self.parts - i)]] = i
        description = f"one left out of {self.user} by {self.time}"
        return [
            _part(
                source,
                f"{description}, part {i} of {self.parts}",
                pl.col(ROW).map_batches(
                    partial(_is_part, part=part, number=i), return_dtype=pl.Boolean(), is_elementwise=True
                ),
            )
            for i in range(self.parts)
        ]


def _is_part(rows: pl.Series, part: np.ndarray, number: int) -> pl.Series:
    return pl.Series(rows.name, part[rows.to_numpy()] == number)


def _part(source: Source, description: str, keep: pl.Expr) -> Source:
    """Return the rows of `source` for which `keep` is true."""
    return replace(source, filters={**source.filters, f"{len(source.filters)}: {description}": keep})


def time_values(source: Source, name: str, format: str | None = None) -> pl.Expr:
    """Return a column of times as numbers; NaN, and text of another format, is null."""
    dtype = source.types[name]
    if format is not None and dtype == pl.String:
        polars_format = format.replace(".%f", "%.f")  # of a fraction of any number of digits
        return pl.col(name).str.to_datetime(polars_format, time_unit="us", strict=False).to_physical()
    x = pl.col(name).cast(plain_type(dtype)) if isinstance(dtype, pl.Decimal) else pl.col(name)
    return x.to_physical().fill_nan(None)


def time_type(source: Source, name: str, format: str | None = None) -> pl.DataType:
    """Return the type of a column of times. Raise `SchemaError` for one that is not of times."""
    source.require([name])
    dtype = source.types[name]
    if format is not None and dtype == pl.String:
        return pl.Datetime("us")
    if isinstance(dtype, pl.Decimal):
        return plain_type(dtype)
    if not (dtype.is_integer() or dtype.is_float() or isinstance(dtype, pl.Date | pl.Datetime)):
        raise SchemaError(
            f"{source.name}: column {name!r} is {dtype}; times are numbers, dates or datetimes: pass a LazyFrame "
            "that converts it (pl.scan_csv(..., try_parse_dates=True), or .str.to_datetime()), or the format of "
            'its strings, SplitByTime(..., format="%Y-%m-%d %H:%M:%S")'
        )
    return dtype


def _refuse_null_times(source: Source, name: str, rows: pl.DataFrame) -> None:
    if len(rows):
        place = source.locate(int(rows[ROW].min()))  # type: ignore[arg-type]
        problem = "null, or not in the format" if source.types[name] == pl.String else "null"
        raise SchemaError(f"{place}: column {name!r} is {problem}; a row without a time belongs to no part")


def _moment(time: Time, dtype: pl.DataType, name: str) -> int | float:
    """Return a time as a number, in the unit of the column."""
    try:
        if not dtype.is_temporal():
            if isinstance(time, bool) or not isinstance(time, int | float) or time != time:
                raise TypeError("it is not a number")
            return time
        when = datetime.datetime.fromisoformat(time) if isinstance(time, str) else time
        if not isinstance(when, datetime.date):
            raise TypeError("it is not a date")
        if not isinstance(when, datetime.datetime):
            when = datetime.datetime(when.year, when.month, when.day)
        zone = getattr(dtype, "time_zone", None)
        if zone == OFFSET and when.tzinfo is None:
            raise TypeError(
                "it has no time zone, and that of the column is an offset: write 2024-03-01T00:00+05:30"
            )
        if zone is not None:
            when = when.replace(tzinfo=ZoneInfo(zone)) if when.tzinfo is None else when
            when = when.astimezone(datetime.UTC)
        elif when.tzinfo is not None:
            raise TypeError("it has a time zone, but the column has none")
        if isinstance(dtype, pl.Date) and when.time() != datetime.time():
            raise TypeError("it has a time of day, but the column has dates")
        value = pl.Series([when.replace(tzinfo=None)], dtype=pl.Datetime("us"))
        plain = pl.Datetime(dtype.time_unit) if isinstance(dtype, pl.Datetime) else dtype
        return value.cast(plain).to_physical().item()
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise ValueError(
            f"SplitByTime: {time!r} is not a time of column {name!r}, which is {dtype}: {error}"
        ) from None
