"""The similarity of two ids by their weighted features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from kerasrec.etl.lookup.key_index import KeyIndex, Positions, check_keys
from kerasrec.etl.sources.external_frame import of_types, read
from kerasrec.etl.sources.scan import scan
from kerasrec.schema import Column, SchemaError

if TYPE_CHECKING:
    import tensorflow as tf

Numbers = np.ndarray[Any, np.dtype[Any]]
ROWS = 65_536  # compared at a time
LAST = np.iinfo(np.int64).max


def read_features(sources: Sequence[Any], metric: str) -> list[pl.DataFrame]:
    """Read frames or matrices of features; return frames with one row per id.

    A row has the id's features, as ascending numbers that are the same in all frames, and their weights.
    """
    tables = [_entries(source) for source in sources]
    types = {str(table.schema["feature"]) for table, _ in tables}
    if len(types) > 1:
        raise SchemaError(
            f"left and right features have different types, {', '.join(sorted(types))}; cast one of them"
        )
    known = pl.concat([table.select("feature") for table, _ in tables]).unique().sort("feature")
    index = KeyIndex(known)
    frames = []
    for table, ids in tables:
        numbers = pl.Series("feature", index.find([table["feature"]])).cast(pl.Int64)
        table = table.with_columns(numbers).group_by("id", "feature").agg(pl.col("weight").sum())
        w = pl.col("weight")
        if metric == "tfidf":
            w = w * (ids / pl.len().over("feature")).log()
        table = table.with_columns(w)
        if metric != "inner":
            norm = (pl.col("weight") ** 2).sum().over("id").sqrt()
            table = table.with_columns(weight=pl.when(norm > 0).then(pl.col("weight") / norm).otherwise(0.0))
        frames.append(table.sort("id", "feature").group_by("id", maintain_order=True).agg("feature", "weight"))
    return frames


def _entries(features: Any) -> tuple[pl.DataFrame, int]:
    """Return rows of id, feature and weight, and the number of ids, including those without features."""
    if hasattr(features, "tocsr"):  # a sparse matrix of SciPy or CuPy, neither of which is a dependency
        matrix = (features.get() if type(features).__module__.startswith("cupy") else features).tocsr()
        rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        table = pl.DataFrame({"id": rows, "feature": matrix.indices, "weight": matrix.data.astype(np.float64)})
        return _checked(table, "the matrix"), matrix.shape[0]
    source = scan(features)
    names, op = list(source.types), f"ColumnSimilarity, in {source.name},"
    if len(names) not in (2, 3):
        raise SchemaError(
            f"{source.name}: expected columns id, feature and optionally weight; got {', '.join(names)}"
        )
    columns = dict(zip(("id", "feature", "weight"), map(source.column, names), strict=False))
    feature, weight = columns["feature"], columns.get("weight")
    check_keys([columns["id"], Column(feature.name, feature.dtype)], op)
    lists = ["feature", "weight"][: len(columns) - 1] if feature.is_list else []
    if weight is not None and (weight.dtype == "string" or weight.is_list != feature.is_list):
        raise SchemaError(
            f"{source.name}: column {weight.name!r} must have a number per feature in {feature.name!r}"
        )
    table = read(source, columns)
    ids = table["id"].n_unique()
    if len(lists) == 2 and len(bad := table.filter(pl.col("feature").list.len() != pl.col("weight").list.len())):
        raise SchemaError(f"{source.name}: id {bad['id'][0]!r} has different numbers of features and weights")
    if lists:
        table = table.filter(pl.col("feature").list.len() > 0).explode(lists)
    if weight is None:
        table = table.with_columns(weight=1.0)
    table = table.with_columns(pl.col("weight").cast(pl.Float64)).drop_nulls("feature")
    return _checked(table, source.name), ids


def _checked(table: pl.DataFrame, name: str) -> pl.DataFrame:
    bad = table.filter(~pl.col("weight").is_finite().fill_null(False))
    if len(bad):
        raise SchemaError(f"{name}: a weight of id {bad['id'][0]!r} is {bad['weight'][0]}; weights must be finite")
    return table


class FeatureSets:
    """Looks up the features of ids.

    Args:
        frame: as `read_features` returns it.
        dtype: the dtype of the ids.
    """

    def __init__(self, frame: pl.DataFrame, dtype: pl.DataType):
        frame = of_types(frame, {"id": dtype})
        self.keys = KeyIndex(frame.select("id"))
        lengths = frame["feature"].list.len().to_numpy().astype(np.int64)
        self.splits = np.concatenate([[0], np.cumsum(lengths), [lengths.sum()]])  # unknown ids have an empty set
        self.features = frame["feature"].explode().to_numpy()
        self.weights = frame["weight"].explode().to_numpy()

    def entries(self, at: Positions, features: int) -> tuple[Numbers, Numbers]:
        """Return the features of the ids at positions `at`, each as i * features + feature for the i-th position,
        in ascending order, and their weights."""
        begins, ends = self.splits[at], self.splits[at + 1]
        lengths = ends - begins
        rows = np.repeat(np.arange(len(at)), lengths)
        entry = np.arange(len(rows)) + np.repeat(begins - (np.cumsum(lengths) - lengths), lengths)
        return rows * features + self.features[entry], self.weights[entry]

    def tensors(self, resources: list[Any]) -> tuple[Any, Callable[[tf.Tensor, int], Any]]:
        """Return a function that finds positions, and one that computes `entries` with the i of each."""
        import tensorflow as tf

        arrays = [tf.Variable(x, trainable=False) for x in (self.splits, self.features, self.weights)]
        splits, of_entry, weights = arrays
        resources += arrays

        def entries(at: tf.Tensor, features: int) -> Any:
            ranges = tf.ragged.range(tf.gather(splits, at), tf.gather(splits, at + 1))
            rows, entry = ranges.value_rowids(), ranges.values
            return rows * features + tf.gather(of_entry, entry), tf.gather(weights, entry), rows

        return self.keys.tensors(resources), entries


def similarity(left: FeatureSets, right: FeatureSets, features: int, at: Positions, other: Positions) -> Numbers:
    """Return, for pairs of positions in `left` and `right`, the sum over common features of the products of
    weights."""
    sums: list[Numbers] = [np.zeros(0)]
    for first in range(0, len(at), ROWS):
        rows = at[first : first + ROWS]
        left_entries, left_weights = left.entries(rows, features)
        right_entries, right_weights = right.entries(other[first : first + ROWS], features)
        right_entries, right_weights = np.append(right_entries, LAST), np.append(right_weights, 0)
        match = np.searchsorted(right_entries, left_entries)
        products = np.where(right_entries[match] == left_entries, left_weights * right_weights[match], 0)
        sums.append(np.bincount(left_entries // features, products, len(rows)))
    return np.concatenate(sums)


def similarity_tensors(
    left: FeatureSets, right: FeatureSets, features: int, resources: list[Any]
) -> Callable[[Any, Any], tf.Tensor]:
    """Return a function that computes `similarity` of two columns of ids."""
    import tensorflow as tf

    find_left, entries_left = left.tensors(resources)
    find_right, entries_right = right.tensors(resources)

    def similar(ids: Any, others: Any) -> tf.Tensor:
        at = find_left([ids])
        left_entries, left_weights, rows = entries_left(at, features)
        right_entries, right_weights, _ = entries_right(find_right([others]), features)
        right_entries = tf.concat([right_entries, [LAST]], 0)
        right_weights = tf.concat([right_weights, [0]], 0)
        match = tf.searchsorted(right_entries, left_entries)
        common = tf.equal(tf.gather(right_entries, match), left_entries)
        products = tf.where(common, left_weights * tf.gather(right_weights, match), tf.zeros_like(left_weights))
        return tf.math.unsorted_segment_sum(products, rows, tf.size(at))

    return similar
