"""Vocabularies as tables: a row for each id from 3 on, in order, with its `value` and how often it was seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from kerasrec.etl.lookup.hashing import hashes
from kerasrec.schema import SchemaError

Key = pl.Expr  # of counted values: what they are looked up and hashed by


def summed(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Counts by value of several parts together."""
    if len(frames) == 1:
        return frames[0]
    return pl.concat(frames).group_by("value").agg(pl.col("count").sum())


def frequent(counts: pl.DataFrame, min_count: int, most: int | None) -> pl.DataFrame:
    """Values seen `min_count` times, the most frequent first, equal counts by value; at most so many."""
    value = counts.schema["value"]
    fields = [pl.col("value")]
    if isinstance(value, pl.Struct):  # by its fields one by one: sorting structs is many times slower
        fields = [pl.col("value").struct.field(name) for name in value.to_schema()]
    kept = counts.filter(pl.col("count") >= min_count).sort(
        pl.col("count"), *fields, descending=[True] + [False] * len(fields)
    )
    return kept if most is None else kept.head(most)


def given(words: pl.Series, counts: pl.DataFrame, key: Key) -> pl.DataFrame:
    """The values `words` in their order, with how often they were seen."""
    seen = counts.select(key=key, count="count")
    listed = words.alias("value").to_frame().with_columns(key=key)
    counted = listed.join(seen, on="key", how="left", maintain_order="left")
    return counted.select("value", pl.col("count").fill_null(0))


def tail(counts: pl.DataFrame, kept: pl.DataFrame, key: Key, dtype: str, num_buckets: int) -> pl.DataFrame:
    """A row without a value for each bucket that the values which are not `kept` fall into."""
    rest = counts.select(key=key, count="count").join(kept.select(key=key), on="key", how="anti")
    buckets = rest.select(bucket=hashes(pl.col("key"), dtype) % pl.lit(num_buckets, pl.UInt64), count="count")
    summed = np.zeros(num_buckets, np.int64)
    np.add.at(summed, buckets["bucket"].to_numpy(), buckets["count"].to_numpy())
    value = pl.Series("value", [None], dtype=kept.schema["value"]).new_from_index(0, num_buckets)
    return pl.DataFrame({"value": value, "count": summed})


def plain(words: Any) -> list[Any]:
    """A user's vocabulary as JSON has it: a list, of lists where it is one of combinations."""
    words = words.tolist() if hasattr(words, "tolist") else words.to_list() if hasattr(words, "to_list") else words
    return [list(word) if isinstance(word, tuple | list) else word for word in words]


def typed(words: Sequence[Any], table: str, dtype: pl.DataType) -> pl.Series:
    """A given vocabulary as values of the columns' type. Raises `SchemaError` where it is of another."""
    try:
        if isinstance(dtype, pl.Struct):
            frame = pl.DataFrame([tuple(word) for word in words], schema=dtype.to_schema(), orient="row")
            return frame.to_struct("value")
        return pl.Series(words, dtype=dtype)
    except (TypeError, OverflowError, ValueError, pl.exceptions.PolarsError) as error:
        reason = str(error).split("\n")[0]
        raise SchemaError(f"the vocabulary given for {table!r} is not of its type, {dtype}: {reason}") from None
