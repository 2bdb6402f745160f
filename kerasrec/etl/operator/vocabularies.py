"""Vocabularies as frames: a row per id from 3 on, in order, with its `value` and its `count`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from kerasrec.etl.lookup.hashing import hashes
from kerasrec.schema import SchemaError

Key = pl.Expr  # over the column "value": what values are looked up and hashed by


def sum_counts(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Add up the counts by value of several parts."""
    if len(frames) == 1:
        return frames[0]
    return pl.concat(frames).group_by("value").agg(pl.col("count").sum())


def most_frequent(counts: pl.DataFrame, min_count: int, limit: int | None) -> pl.DataFrame:
    """Return the values counted at least `min_count` times, by descending count, then by value; at most
    `limit`."""
    value = counts.schema["value"]
    fields = [pl.col("value")]
    if isinstance(value, pl.Struct):  # sorting by fields is many times faster than by structs
        fields = [pl.col("value").struct.field(name) for name in value.to_schema()]
    kept = counts.filter(pl.col("count") >= min_count).sort(
        pl.col("count"), *fields, descending=[True] + [False] * len(fields)
    )
    return kept if limit is None else kept.head(limit)


def count_given(values: pl.Series, counts: pl.DataFrame, key: Key) -> pl.DataFrame:
    """Return a given vocabulary in its order, with the counts of its values."""
    seen = counts.select(key=key, count="count")
    listed = values.alias("value").to_frame().with_columns(key=key)
    counted = listed.join(seen, on="key", how="left", maintain_order="left")
    return counted.select("value", pl.col("count").fill_null(0))


def bucket_rows(counts: pl.DataFrame, kept: pl.DataFrame, key: Key, dtype: str, num_buckets: int) -> pl.DataFrame:
    """Return a row per hash bucket, with the count of all values that are not `kept`; its value is null."""
    rest = counts.select(key=key, count="count").join(kept.select(key=key), on="key", how="anti")
    buckets = rest.select(bucket=hashes(pl.col("key"), dtype) % pl.lit(num_buckets, pl.UInt64), count="count")
    totals = np.zeros(num_buckets, np.int64)
    np.add.at(totals, buckets["bucket"].to_numpy(), buckets["count"].to_numpy())
    value = pl.Series("value", [None], dtype=kept.schema["value"]).new_from_index(0, num_buckets)
    return pl.DataFrame({"value": value, "count": totals})


def to_json_values(values: Any) -> list[Any]:
    """Convert a user's vocabulary to JSON values: a list, of lists for one of combinations."""
    if isinstance(values, np.ndarray):
        values = values.tolist()
    elif isinstance(values, pl.Series):
        values = values.to_list()
    return [list(value) if isinstance(value, tuple | list) else value for value in values]


def cast_vocabulary(values: Sequence[Any], table: str, dtype: pl.DataType) -> pl.Series:
    """Convert a given vocabulary to the column's type. Raise `SchemaError` where values do not fit it."""
    try:
        if isinstance(dtype, pl.Struct):
            frame = pl.DataFrame([tuple(value) for value in values], schema=dtype.to_schema(), orient="row")
            return frame.to_struct("value")
        return pl.Series(values, dtype=dtype)
    except (TypeError, OverflowError, ValueError, pl.exceptions.PolarsError) as error:
        reason = str(error).split("\n")[0]
        raise SchemaError(f"vocabs: values for {table!r} must be of type {dtype}: {reason}") from None
