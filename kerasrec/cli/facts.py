"""What is seen of a table's columns in a sample of its rows."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from kerasrec.cli.errors import Refused
from kerasrec.etl.sources.source import Source

SAMPLE_ROWS = 1_000_000
_INDEX_NAME = re.compile(r"__index_level_\d+__|Unnamed: 0(\.\d+)*|")  # pandas', in Parquet and in CSV


@dataclass(frozen=True)
class Facts:
    """One column's facts; of a list column, its elements'.

    `seen` counts the values that are not null, `distinct` the different ones among them. The numbers' facts are
    None where there are no numbers: `whole` says whether all of them are integers, `steps` how many rows go up
    from the row before (or down, where more do). `few` are the values, where they are one or two strings. `index`
    says that the column is the index of a pandas frame, `unreadable` why it cannot be read, if so.
    """

    name: str
    dtype: Any
    nulls: int = 0
    seen: int = 0
    distinct: int = 0
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    skew: float | None = None
    whole: bool = False
    steps: int = 0
    few: tuple[str, ...] = ()
    index: bool = False
    unreadable: str = ""

    @property
    def is_list(self) -> bool:
        return isinstance(self.dtype, pl.List | pl.Array)

    @property
    def kind(self) -> Any:
        """The dtype of a value, or of a list's elements."""
        return self.dtype.inner if self.is_list else self.dtype

    @property
    def holds(self) -> str:
        """The kind of a value, or of a list's elements, in words."""
        kind = self.kind
        if kind.is_integer() or (isinstance(kind, pl.Decimal) and kind.scale == 0):
            return "integers"
        if kind.is_float() or isinstance(kind, pl.Decimal):
            return "decimals"
        if isinstance(kind, pl.String | pl.Categorical | pl.Enum):
            return "strings"
        if isinstance(kind, pl.Date | pl.Datetime):
            return "dates"
        return "booleans" if kind == pl.Boolean else str(kind)


def take_sample(data: pl.LazyFrame) -> tuple[int, pl.DataFrame]:
    """How many rows there are, and up to a million of them, spread evenly.

    Raises `Refused` where there are no rows.
    """
    rows = data.select(pl.len()).collect(engine="streaming").item()
    if not rows:
        raise Refused("the data has no rows")
    return rows, data.gather_every(-(-rows // SAMPLE_ROWS)).collect(engine="streaming")


def look(sample: pl.DataFrame, source: Source | None = None) -> list[Facts]:
    """Every column's facts; `source` is what the rows come from, and may have columns that cannot be read."""
    files = () if source is None else [path for path, _ in source.files]
    index = {column for file in files for column in _pandas_index(file)}
    unreadable = {} if source is None else source.unreadable()
    names = sample.columns if source is None else source.columns.names
    found = []
    for place, name in enumerate(names):
        # A column without a name is an index only where pandas writes one.
        is_index = name in index or (_INDEX_NAME.fullmatch(name) is not None and (name != "" or not place))
        if name in unreadable:
            found.append(Facts(name, pl.Null(), index=is_index, unreadable=unreadable[name]))
        else:
            found.append(_facts(sample[name], index=is_index))
    return found


def _pandas_index(file: Path) -> list[str]:
    """The columns that pandas' metadata in a Parquet file call the frame's index."""
    if file.suffix.lower() not in (".parquet", ".pq"):
        return []
    try:
        said = json.loads((pq.read_schema(file).metadata or {}).get(b"pandas", b"{}"))
        return [column for column in said.get("index_columns", ()) if isinstance(column, str)]  # others are ranges
    except (OSError, pa.ArrowException, ValueError, AttributeError, TypeError):
        return []  # a file that cannot be read is refused where its rows are


def _facts(column: pl.Series, index: bool) -> Facts:
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
        return Facts(name, dtype, nulls, len(values), index=index)
    distinct = values.n_unique()
    if not column.dtype.is_numeric():
        strings = distinct <= 2 and isinstance(column.dtype, pl.String | pl.Categorical | pl.Enum)
        few = tuple(sorted(values.cast(pl.String).unique())) if strings else ()
        return Facts(name, dtype, nulls, len(values), distinct, few=few, index=index)
    wide = values.cast(pl.Float64)
    low, high, mean, skew = (None if value is None else float(value) for value in _moments(wide))
    whole = values.dtype.is_integer() or bool((wide.is_finite() & (wide == wide.round())).all())
    before, after = values.slice(0, len(values) - 1), values.slice(1)
    steps = max(int((before < after).sum()), int((before > after).sum()))
    return Facts(
        name, dtype, nulls, len(values), distinct, low, high, mean, skew, whole=whole, steps=steps, index=index
    )


def _moments(values: pl.Series) -> tuple[Any, Any, Any, Any]:
    return values.min(), values.max(), values.mean(), values.skew()
