"""Splits of raw rows into those to train on, to validate on and to test on."""

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

Moment = int | float | str | datetime.date


@dataclass
class SplitByTime:
    """Earlier rows to train on, later ones to validate and test on: one cut through time, the same for all users.

    With `fractions`, the cut is the time at which that share of the rows has passed; rows of one moment are never
    torn apart, they all belong to the later part. So where many rows share a moment, the earlier part is smaller
    than asked for.

    A split is no node of a graph: it takes raw data, whatever `Workflow.fit` does, and gives sources, which
    `fit` and `transform` take. They read the data as it lies when they are used, nothing is copied; errors call
    rows by their numbers in the files. Fractions take the time column in memory, 8 bytes a row; times nothing.

    NVTabular has no such operator; its examples filter a frame by hand.

    Args:
        time: a column of numbers, dates or datetimes.
        fractions: of the rows, earliest part first; at least two, of sum 1. By default (0.8, 0.1, 0.1).
        at: instead, ascending, the times at which the second part begins, and the third, ...: numbers, dates,
            datetimes or ISO 8601 strings; a time without a zone is in the column's.

    Raises:
        ValueError: fractions that are none, times that do not ascend, or both.
        SchemaError: (when called) no such column, one that holds no times, a null in it; the message names the
            row.

    Example:

    >>> train, valid, test = SplitByTime("timestamp", fractions=(0.8, 0.1, 0.1))("events/*.parquet")
    >>> workflow.fit(train)
    >>> workflow.transform(valid).to_parquet("valid/")
    >>> past, future = SplitByTime("timestamp", at=["2024-03-01"])("events/*.parquet")
    """

    time: str
    fractions: Sequence[float] | None = None
    at: Sequence[Moment] | None = None

    def __post_init__(self) -> None:
        if self.at is None and self.fractions is None:
            self.fractions = (0.8, 0.1, 0.1)
        if self.at is not None and self.fractions is not None:
            raise ValueError("SplitByTime takes fractions or at, not both")
        if self.at is not None and (isinstance(self.at, str) or not len(self.at)):
            raise ValueError(f"SplitByTime: at is a list of times, not {self.at!r}")
        f = self.fractions
        if f is not None and (len(f) < 2 or min(f) <= 0 or abs(sum(f) - 1) > 1e-6):
            raise ValueError(f"SplitByTime: fractions are two or more, above 0 and of sum 1, not {tuple(f)}")

    def __call__(self, source: Any) -> list[Source]:
        """The parts of `source`, the earliest first."""
        source = scan(source)
        dtype = _time_type(source, self.time)
        x = _time(source, self.time)
        times = source.select([self.time]).lazy().select(ROW, x)
        if self.fractions is not None:
            with source.explain_errors():
                known = times.collect(engine="streaming")
            _refuse_null_times(source, self.time, known.filter(pl.col(self.time).is_null()))
            ordered = np.sort(known[self.time].to_numpy())
            places = np.rint(np.cumsum(self.fractions[:-1]) * len(ordered)).astype(int)
            cuts: list[Any] = [ordered[place].item() if place < len(ordered) else None for place in places]
        else:
            with source.explain_errors():
                _refuse_null_times(
                    source,
                    self.time,
                    times.filter(pl.col(self.time).is_null()).head(1).collect(engine="streaming"),
                )
            cuts = [_moment(moment, dtype, self.time) for moment in self.at or ()]
            if any(late <= early for early, late in itertools.pairwise(cuts)):
                raise ValueError(f"SplitByTime: at must ascend, not {self.at!r}")
        # A cut that lies behind all rows, as those of few rows may: nothing is left for the parts behind.
        after = [pl.lit(True), *(pl.lit(False) if cut is None else x >= cut for cut in cuts), pl.lit(False)]
        words = ["", *(f"{self.time} from {cut!r}" for cut in cuts), ""]
        return [
            _part(source, f"{words[i]} up to {words[i + 1]}", after[i] & ~after[i + 1])
            for i in range(len(cuts) + 1)
        ]


@dataclass
class SplitLeaveOneOut:
    """Each user's last row to test on, the one before it to validate on, the rest to train on: the usual split for
    sequential recommenders.

    Rows are in the order of `time`, where that ties or is not given in that of the source. A user of fewer rows
    than there are parts is left to train on as a whole, so each user of the other parts was trained on; so are
    rows whose user is null.

    As with `SplitByTime`, parts are sources. The columns `user` and `time` are sorted in memory; after that, 1
    byte a row is kept for as long as the parts are.

    NVTabular has no such operator; Merlin's examples cut the last item off each session's list instead
    (`ListSlice` does that here).

    Args:
        user: the column of users, or sessions; several are a key together.
        time: the column that rows are in order of.
        parts: 3 for train, valid, test; 2 for train, test.

    Raises:
        ValueError: another number of parts.
        SchemaError: (when called) no such column, users that are lists, times that are none, or null; the message
            names the row.

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
                f"SplitLeaveOneOut takes users and 2 or 3 parts, not {list(self.user)} and {self.parts}"
            )

    def __call__(self, source: Any) -> list[Source]:
        """The parts of `source`: to train, to validate if there are three, to test."""
        source = scan(source)
        source.require(self.user)
        for name in self.user:
            if isinstance(source.types[name], pl.List | pl.Array):
                raise SchemaError(
                    f"{source.name}: column {name!r} is {source.types[name]}; users are single values"
                )
        frame = source.select([*self.user, *([] if self.time is None else [self.time])]).lazy()
        times = []
        if self.time is not None:
            _time_type(source, self.time)
            times = [_time(source, self.time).alias("__time__")]
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
        words = f"one left out of {self.user} by {self.time}"
        return [
            _part(
                source,
                f"{words}, part {i} of {self.parts}",
                pl.col(ROW).map_batches(
                    partial(_is_part, part=part, wanted=i), return_dtype=pl.Boolean(), is_elementwise=True
                ),
            )
            for i in range(self.parts)
        ]


def _is_part(rows: pl.Series, part: np.ndarray, wanted: int) -> pl.Series:
    return pl.Series(rows.name, part[rows.to_numpy()] == wanted)


def _part(source: Source, words: str, keep: pl.Expr) -> Source:
    """The rows of `source` for which `keep` is true."""
    return replace(source, filters={**source.filters, f"{len(source.filters)}: {words}": keep})


def _time(source: Source, name: str) -> pl.Expr:
    """A column of times as numbers; NaN is null."""
    dtype = source.types[name]
    x = pl.col(name).cast(plain_type(dtype)) if isinstance(dtype, pl.Decimal) else pl.col(name)
    return x.to_physical().fill_nan(None)


def _time_type(source: Source, name: str) -> pl.DataType:
    source.require([name])
    dtype = source.types[name]
    if isinstance(dtype, pl.Decimal):
        return plain_type(dtype)
    if not (dtype.is_integer() or dtype.is_float() or isinstance(dtype, pl.Date | pl.Datetime)):
        raise SchemaError(
            f"{source.name}: column {name!r} is {dtype}; times are numbers, dates or datetimes: pass a LazyFrame "
            "in which it is one (pl.scan_csv(..., try_parse_dates=True), or .str.to_datetime())"
        )
    return dtype


def _refuse_null_times(source: Source, name: str, rows: pl.DataFrame) -> None:
    if len(rows):
        place = source.locate(int(rows[ROW].min()))  # type: ignore[arg-type]
        raise SchemaError(f"{place}: column {name!r} is null; a row without a time belongs to no part")


def _moment(moment: Moment, dtype: pl.DataType, name: str) -> int | float:
    """A time as a number, in the unit of the column."""
    try:
        if not dtype.is_temporal():
            if isinstance(moment, bool) or not isinstance(moment, int | float) or moment != moment:
                raise TypeError("no number")
            return moment
        given = datetime.datetime.fromisoformat(moment) if isinstance(moment, str) else moment
        if not isinstance(given, datetime.date):
            raise TypeError("no date")
        if not isinstance(given, datetime.datetime):
            given = datetime.datetime(given.year, given.month, given.day)
        zone = getattr(dtype, "time_zone", None)
        if zone == OFFSET and given.tzinfo is None:
            raise TypeError(
                "a time without a zone, and the column's zone is an offset: write 2024-03-01T00:00+05:30"
            )
        if zone is not None:
            given = given.replace(tzinfo=ZoneInfo(zone)) if given.tzinfo is None else given
            given = given.astimezone(datetime.UTC)
        elif given.tzinfo is not None:
            raise TypeError("a time zone, which the column has not")
        if isinstance(dtype, pl.Date) and given.time() != datetime.time():
            raise TypeError("a time of day, which the column has not")
        value = pl.Series([given.replace(tzinfo=None)], dtype=pl.Datetime("us"))
        plain = pl.Datetime(dtype.time_unit) if isinstance(dtype, pl.Datetime) else dtype
        return value.cast(plain).to_physical().item()
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise ValueError(
            f"SplitByTime: {moment!r} is no time in column {name!r}, which is {dtype}: {error}"
        ) from None
