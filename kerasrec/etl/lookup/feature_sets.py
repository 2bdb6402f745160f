"""Features that ids have, each with a weight, and how alike two ids are by them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from kerasrec.etl.lookup.key_index import Keys, Positions, check_keys
from kerasrec.etl.sources.external_frame import of_types, read
from kerasrec.etl.sources.scan import scan
from kerasrec.schema import Column, SchemaError

if TYPE_CHECKING:
    import tensorflow as tf

Numbers = np.ndarray[Any, np.dtype[Any]]
ROWS = 65_536  # that are compared at once
LAST = np.iinfo(np.int64).max


def learned(given: Sequence[Any], metric: str) -> list[pl.DataFrame]:
    """For each of some frames or matrices, a frame of a row an id: its features, as numbers that are the same in
    all of them and rise in each row, and their weights."""
    tables = [_entries(one) for one in given]
    types = {str(table.schema["feature"]) for table, _ in tables}
    if len(types) > 1:
        raise SchemaError(f"left and right features are of different types: {', '.join(sorted(types))}")
    known = pl.concat([table.select("feature") for table, _ in tables]).unique().sort("feature")
    keys = Keys(known)
    made = []
    for table, ids in tables:
        numbers = pl.Series("feature", keys.find([table["feature"]])).cast(pl.Int64)
        table = table.with_columns(numbers).group_by("id", "feature").agg(pl.col("weight").sum())
        w = pl.col("weight")
        if metric == "tfidf":
            w = w * (ids / pl.len().over("feature")).log()
        table = table.with_columns(w)
        if metric != "inner":
            norm = (pl.col("weight") ** 2).sum().over("id").sqrt()
            table = table.with_columns(weight=pl.when(norm > 0).then(pl.col("weight") / norm).otherwise(0.0))
        made.append(table.sort("id", "feature").group_by("id", maintain_order=True).agg("feature", "weight"))
    return made


def _entries(given: Any) -> tuple[pl.DataFrame, int]:
    """Rows of id, feature, weight; and how many ids there are, those without features as well."""
    if hasattr(given, "tocsr"):
        matrix = (given.get() if type(given).__module__.startswith("cupy") else given).tocsr()
        rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        table = pl.DataFrame({"id": rows, "feature": matrix.indices, "weight": matrix.data.astype(np.float64)})
        return _checked(table, "the matrix"), matrix.shape[0]
    source = scan(given)
    names, op = list(source.types), f"ColumnSimilarity, in {source.name},"
    if len(names) not in (2, 3):
        raise SchemaError(f"{source.name}: columns {', '.join(names)}; expected id, feature and perhaps weight")
    columns = dict(zip(("id", "feature", "weight"), map(source.column, names), strict=False))
    feature, weight = columns["feature"], columns.get("weight")
    check_keys([columns["id"], Column(feature.name, feature.dtype)], op)
    lists = ["feature", "weight"][: len(columns) - 1] if feature.is_list else []
    if weight is not None and (weight.dtype == "string" or weight.is_list != feature.is_list):
        raise SchemaError(f"{source.name}: column {weight.name!r} holds no weights of those in {feature.name!r}")
    table = read(source, columns)
    ids = table["id"].n_unique()
    if len(lists) == 2 and len(bad := table.filter(pl.col("feature").list.len() != pl.col("weight").list.len())):
        raise SchemaError(f"{source.name}: id {bad['id'][0]!r} has other numbers of features and of weights")
    if lists:
        table = table.filter(pl.col("feature").list.len() > 0).explode(lists)
    if weight is None:
        table = table.with_columns(weight=1.0)
    table = table.with_columns(pl.col("weight").cast(pl.Float64)).drop_nulls("feature")
    return _checked(table, source.name), ids


def _checked(table: pl.DataFrame, name: str) -> pl.DataFrame:
    bad = table.filter(~pl.col("weight").is_finite().fill_null(False))
    if len(bad):
        raise SchemaError(f"{name}: the weight of id {bad['id'][0]!r} is {bad['weight'][0]}")
    return table


class FeatureSets:
    """What was learned, to be looked up by ids of some type.

    Args:
        frame: as `learned` makes it.
        dtype: the ids' type.
    """

    def __init__(self, frame: pl.DataFrame, dtype: pl.DataType):
        frame = of_types(frame, {"id": dtype})
        self.keys = Keys(frame.select("id"))
        lengths = frame["feature"].list.len().to_numpy().astype(np.int64)
        self.splits = np.concatenate([[0], np.cumsum(lengths), [lengths.sum()]])  # the last id's is an empty set
        self.features = frame["feature"].explode().to_numpy()
        self.weights = frame["weight"].explode().to_numpy()

    def entries(self, at: Positions, features: int) -> tuple[Numbers, Numbers]:
        """Of the ids at some positions, each feature as a number that tells the place in `at` as well, and its
        weight; in rising order."""
        begins, ends = self.splits[at], self.splits[at + 1]
        lengths = ends - begins
        rows = np.repeat(np.arange(len(at)), lengths)
        entry = np.arange(len(rows)) + np.repeat(begins - (np.cumsum(lengths) - lengths), lengths)
        return rows * features + self.features[entry], self.weights[entry]

    def tensors(self, resources: list[Any]) -> tuple[Any, Callable[[tf.Tensor, int], Any]]:
        """What finds positions, and the same as `entries`, with the places as well."""
        import tensorflow as tf

        arrays = [tf.Variable(x, trainable=False) for x in (self.splits, self.features, self.weights)]
        splits, of_entry, weights = arrays
        resources += arrays

        def entries(at: tf.Tensor, features: int) -> Any:
            some = tf.ragged.range(tf.gather(splits, at), tf.gather(splits, at + 1))
            rows = some.value_rowids()
            return rows * features + tf.gather(of_entry, some.values), tf.gather(weights, some.values), rows

        return self.keys.tensors(resources), entries


def similarity(left: FeatureSets, right: FeatureSets, features: int, at: Positions, other: Positions) -> Numbers:
    """For ids at positions of `left` and others of `right`, the sum over common features of weights' products."""
    made: list[Numbers] = [np.zeros(0)]
    for first in range(0, len(at), ROWS):
        here = at[first : first + ROWS]
        numbers, weights = left.entries(here, features)
        others, theirs = right.entries(other[first : first + ROWS], features)
        others, theirs = np.append(others, LAST), np.append(theirs, 0)
        place = np.searchsorted(others, numbers)
        products = np.where(others[place] == numbers, weights * theirs[place], 0)
        made.append(np.bincount(numbers // features, products, len(here)))
    return np.concatenate(made)


def similarity_tensors(
    left: FeatureSets, right: FeatureSets, features: int, resources: list[Any]
) -> Callable[[Any, Any], tf.Tensor]:
    """`similarity` of two columns of ids."""
    import tensorflow as tf

    find, entries = left.tensors(resources)
    find_other, other_entries = right.tensors(resources)

    def similar(ids: Any, others: Any) -> tf.Tensor:
        at = find([ids])
        numbers, weights, rows = entries(at, features)
        theirs, their_weights, _ = other_entries(find_other([others]), features)
        theirs, their_weights = tf.concat([theirs, [LAST]], 0), tf.concat([their_weights, [0]], 0)
        place = tf.searchsorted(theirs, numbers)
        common = tf.equal(tf.gather(theirs, place), numbers)
        products = tf.where(common, weights * tf.gather(their_weights, place), tf.zeros_like(weights))
        return tf.math.unsorted_segment_sum(products, rows, tf.size(at))

    return similar
