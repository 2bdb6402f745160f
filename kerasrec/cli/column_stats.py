"""Statistics of a table's columns, from a sample of its rows."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from kerasrec.cli.errors import CommandError
from kerasrec.etl.sources.source import Source

SAMPLE_ROWS = 1_000_000
_INDEX_NAME = re.compile(r"__index_level_\d+__|Unnamed: 0(\.\d+)*|")  # in files that pandas wrote


@dataclass(frozen=True)
class ColumnStats:
    """What a sample says about a column; of a list column, about the elements.

    Args:
        name: the column's name.
        dtype: its Polars type.
        nulls: how many values are null.
        count: how many values are not null.
        distinct: how many different values there are.
        low, high, mean, skew: of numbers; None for other types.
        integral: whether all values are integers, also if they are stored as floats.
        monotonic_steps: how many values are above the one before; or below it, if those are more.
        strings: the values, if they are one or two strings.
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
    mean: float | None = None
    skew: float | None = None
    integral: bool = False
    monotonic_steps: int = 0
    strings: tuple[str, ...] = ()
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


def column_stats(sample: pl.DataFrame, source: Source | None = None) -> list[ColumnStats]:
    """Return the statistics of every column.

    Args:
        sample: rows of the data.
        source: where they come from; it may have columns that cannot be read and are not in `sample`.
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
            stats.append(_stats(sample[name], index=is_index))
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


def _stats(column: pl.Series, index: bool) -> ColumnStats:
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
    if not column.dtype.is_numeric():
        few_strings = distinct <= 2 and isinstance(column.dtype, pl.String | pl.Categorical | pl.Enum)
        strings = tuple(sorted(values.cast(pl.String).unique())) if few_strings else ()
        return ColumnStats(name, dtype, nulls, len(values), distinct, strings=strings, index=index)
    floats = values.cast(pl.Float64)
    low, high, mean, skew = (None if number is None else float(number) for number in _moments(floats))
    before, after = values.slice(0, len(values) - 1), values.slice(1)
    return ColumnStats(
        name,
        dtype,
        nulls,
        len(values),
        distinct,
        low,
        high,
        mean,
        skew,
        integral=values.dtype.is_integer() or bool((floats.is_finite() & (floats == floats.round())).all()),
        monotonic_steps=max(int((before < after).sum()), int((before > after).sum())),
        index=index,
    )


def _moments(values: pl.Series) -> tuple[Any, Any, Any, Any]:
    return values.min(), values.max(), values.mean(), values.skew()
