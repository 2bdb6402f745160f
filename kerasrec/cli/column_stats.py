"""Statistics of a table's columns, from a sample of its rows."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from kerasrec.cli.errors import CommandError
from kerasrec.cli.outliers import Outliers, find_outliers
from kerasrec.cli.text_columns import contains, list_separator, number_note, time_formats
from kerasrec.etl.sources.source import Source

SAMPLE_ROWS = 1_000_000
_INDEX_NAME = re.compile(r"__index_level_\d+__|Unnamed: 0(\.\d+)*|")  # in files that pandas wrote


@dataclass(frozen=True)
class Moments:
    """The range, mean and skewness of numbers."""

    low: float
    high: float
    mean: float
    skew: float

    @classmethod
    def of(cls, values: pl.Series) -> Moments:
        """Return those of numbers without nulls, of which there is at least one."""
        return cls(*(float(x or 0.0) for x in (values.min(), values.max(), values.mean(), values.skew())))  # type: ignore[arg-type]

    @property
    def heavy_tailed(self) -> bool:
        """Whether the numbers are never negative and skewed, with a maximum far above the mean."""
        return self.low >= 0 and self.skew > 3 and self.high > 20 * self.mean


@dataclass(frozen=True)
class ColumnStats:
    """What a sample says about a column; of a list column, about the elements.

    Args:
        name: the column's name.
        dtype: its Polars type.
        nulls: how many values are null.
        count: how many values are not null.
        distinct: how many different values there are.
        low, high: of numbers; None for other types.
        usual: of the numbers that are not outliers; None for other types.
        outliers: among numbers; None if there are none.
        integral: whether all values are integers, also if they are stored as floats.
        monotonic_steps: how many values are above the one before; or below it, if those are more.
        values: the values as text, if there are at most three.
        time_formats: the formats by which all strings are times.
        separator: of strings that are lists, such as "a|b"; None for others.
        note: on strings that are numbers in disguise.
        index: whether the column is the index of a pandas frame.
        unreadable: why the column cannot be read; "" if it can.
    """

    name: str
    dtype: Any
    nulls: int = 0
    count: int = 0
    distinct: int = 0
    low: float | None = None
    high: float | None = None
    usual: Moments | None = None
    outliers: Outliers | None = None
    integral: bool = False
    monotonic_steps: int = 0
    values: tuple[str, ...] = ()
    time_formats: tuple[str, ...] = ()
    separator: str | None = None
    note: str = ""
    index: bool = False
    unreadable: str = ""

    @property
    def is_list(self) -> bool:
        """Whether the values are lists."""
        return isinstance(self.dtype, pl.List | pl.Array)

    @property
    def value_dtype(self) -> Any:
        """The type of a value, or of a list's elements."""
        return self.dtype.inner if self.is_list else self.dtype

    @property
    def value_kind(self) -> str:
        """What the values, or a list's elements, are: "integers", "decimals", "strings", "dates", "booleans"."""
        dtype = self.value_dtype
        if dtype.is_integer() or (isinstance(dtype, pl.Decimal) and dtype.scale == 0):
            return "integers"
        if dtype.is_float() or isinstance(dtype, pl.Decimal):
            return "decimals"
        if isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
            return "strings"
        if isinstance(dtype, pl.Date | pl.Datetime):
            return "dates"
        return "booleans" if dtype == pl.Boolean else str(dtype)


def read_sample(data: pl.LazyFrame) -> tuple[int, pl.DataFrame]:
    """Return the number of rows, and up to a million of them, evenly spaced.

    Raises:
        CommandError: there are no rows.
    """
    rows = data.select(pl.len()).collect(engine="streaming").item()
    if not rows:
        raise CommandError("the data has no rows")
    return rows, data.gather_every(-(-rows // SAMPLE_ROWS)).collect(engine="streaming")


def column_stats(
    sample: pl.DataFrame, source: Source | None = None, separator: str | None = None
) -> list[ColumnStats]:
    """Return the statistics of every column.

    Args:
        sample: rows of the data.
        source: where they come from; it may have columns that cannot be read and are not in `sample`.
        separator: of lists that are written as strings; by default it is guessed.
    """
    files = () if source is None else [path for path, _ in source.files]
    index_names = {column for file in files for column in _pandas_index(file)}
    unreadable = {} if source is None else source.unreadable()
    names = sample.columns if source is None else source.columns.names
    stats = []
    for place, name in enumerate(names):
        named_like_one = _INDEX_NAME.fullmatch(name) is not None
        # A column without a name is an index only in the place where pandas writes one.
        is_index = name in index_names or (named_like_one and (name != "" or not place))
        if name in unreadable:
            stats.append(ColumnStats(name, pl.Null(), index=is_index, unreadable=unreadable[name]))
        else:
            stats.append(_stats(sample[name], is_index, separator))
    return stats


def _pandas_index(file: Path) -> list[str]:
    """Return the columns that are the frame's index, by pandas' metadata in a Parquet file."""
    if file.suffix.lower() not in (".parquet", ".pq"):
        return []
    try:
        metadata = json.loads((pq.read_schema(file).metadata or {}).get(b"pandas", b"{}"))
        return [column for column in metadata.get("index_columns", ()) if isinstance(column, str)]  # not ranges
    except (OSError, pa.ArrowException, ValueError, AttributeError, TypeError):
        return []  # a file that cannot be read is an error where its rows are read


def _stats(column: pl.Series, index: bool, separator: str | None) -> ColumnStats:
    name, dtype = column.name, column.dtype
    column = column.alias("")  # Polars' own methods of a series take its name for a pattern
    if isinstance(column.dtype, pl.Array):
        column = column.arr.to_list()
    if isinstance(column.dtype, pl.List):
        column = column.filter(column.list.len() > 0).explode()
    if column.dtype.is_float():
        column = column.fill_nan(None)
    nulls, values = column.null_count(), column.drop_nulls()
    if column.dtype.is_nested() or not len(values):
        return ColumnStats(name, dtype, nulls, len(values), index=index)
    distinct = values.n_unique()
    basic = ColumnStats(name, dtype, nulls, len(values), distinct, index=index)
    if distinct <= 3:
        basic = replace(basic, values=tuple(map(str, sorted(values.unique().to_list()))))
    if values.dtype.is_numeric():
        return _with_numbers(basic, values)
    if basic.value_kind == "strings" and not basic.is_list:
        return _with_text(basic, values.cast(pl.String), separator)
    return basic


def _with_numbers(stats: ColumnStats, values: pl.Series) -> ColumnStats:
    floats = values.cast(pl.Float64)
    moments = Moments.of(floats)
    outliers = None if stats.is_list else find_outliers(floats)
    usual = moments
    if outliers is not None:
        low = moments.low if outliers.low is None else outliers.low
        high = moments.high if outliers.high is None else outliers.high
        usual = Moments.of(floats.filter((floats >= low) & (floats <= high)))
    before, after = values.slice(0, len(values) - 1), values.slice(1)
    return replace(
        stats,
        low=moments.low,
        high=moments.high,
        usual=usual,
        outliers=outliers,
        integral=values.dtype.is_integer() or bool((floats.is_finite() & (floats == floats.round())).all()),
        monotonic_steps=max(int((before < after).sum()), int((before > after).sum())),
    )


def _with_text(stats: ColumnStats, values: pl.Series, separator: str | None) -> ColumnStats:
    values = values.unique(maintain_order=True)
    if formats := time_formats(values):
        return replace(stats, time_formats=tuple(formats))
    guessed = list_separator(values) if separator is None else None
    found = separator if separator is not None and contains(values, separator) else guessed
    return replace(stats, separator=found, note="" if found else number_note(values))
