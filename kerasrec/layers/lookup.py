"""One lookup for all features of a stack of tables, each list's vectors combined.

In training on a CPU the compiled kernels do it in one pass. Everywhere else vectors are gathered, then combined,
in `keras.ops` but for ragged tensors, which are TensorFlow's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from kerasrec import kernels
from kerasrec.tables.config import FeatureConfig
from kerasrec.tables.row_io import kept_in
from kerasrec.tables.stack import Stack


@dataclass(frozen=True)
class Wanted:
    """What a batch looks up in one stack; dicts by feature."""

    stack: Stack
    features: Mapping[str, FeatureConfig]
    ids: Mapping[str, Any]  # (batch,), (batch, hotness) or ragged (batch, None)
    flat: Mapping[str, Any]  # all ids of a feature, row after row: (n,) int32 or int64, the same for all
    shares: Mapping[str, Any]  # of features with weights, (n,): each vector's factor in its list's sum

    @classmethod
    def of(
        cls,
        stack: Stack,
        features: Mapping[str, FeatureConfig],
        ids: Mapping[str, Any],
        weights: Mapping[str, Any],
    ) -> Wanted:
        """The features that look up tables of `stack`; `weights` are of some of them, of their ids' shape."""
        features = {name: config for name, config in features.items() if config.table.name in stack.offsets}
        flat = {name: _flat(ids[name]) for name in features}
        dtypes = {keras.backend.standardize_dtype(each.dtype) for each in flat.values()}
        if stack.rows > 2**31 - 1 or len(dtypes) > 1:
            flat = {name: ops.cast(value, "int64") for name, value in flat.items()}
        shares = {
            name: _shares(ids[name], weights[name], config.table.combiner)
            for name, config in features.items()
            if name in weights
        }
        return cls(stack, features, {name: ids[name] for name in features}, flat, shares)

    @property
    def single(self) -> bool:
        """Whether every feature has one id a row, whose vector is the answer as it is."""
        return not self.shares and not any(is_ragged(ids) or _is_padded(ids) for ids in self.ids.values())


def lookup(variable: keras.Variable, wanted: Wanted, dtype: str, one_pass: bool) -> dict[str, Any]:
    """The combined vectors of each feature.

    Args:
        variable: the stack's rows, (rows, embedding_dim).
        wanted: what is looked up.
        dtype: of the vectors.
        one_pass: whether the compiled kernels do it.
    """
    if one_pass:
        return _laid_out(_one_pass(variable, wanted, dtype), wanted)
    # Lists are summed in float32; single vectors may be handed over in the narrower type at once.
    return combine(_gather(variable, rows_of(wanted), dtype if wanted.single else variable.dtype), wanted, dtype)


def without_padding(
    ids: Mapping[str, Any], weights: Mapping[str, Any], one_pass: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Padded lists as ragged ones, for training on TensorFlow: an optimizer must not touch row 0 for padding.

    The compiled kernels know padding by themselves, unless it is weighted.
    """
    import tensorflow as tf

    ids, weights = dict(ids), dict(weights)
    for name in ids:
        if not _is_padded(ids[name]) or (one_pass and name not in weights):
            continue
        real = ids[name] != 0
        ids[name] = tf.ragged.boolean_mask(ids[name], real)
        if name in weights:
            weights[name] = tf.ragged.boolean_mask(weights[name], real)
    return ids, weights


def padded_again(vectors: Any, ids: Any) -> Any:
    """The ragged vectors (batch, None, dim) of the ids (batch, hotness) that are not 0, with zeros for those."""
    import tensorflow as tf

    shape = tf.concat([tf.shape(ids, out_type=tf.int64), [vectors.shape[-1]]], 0)
    laid_out = tf.scatter_nd(tf.where(ids != 0), vectors.values, shape)
    return tf.ensure_shape(laid_out, (*ids.shape, vectors.shape[-1]))


def is_ragged(value: Any) -> bool:
    return hasattr(value, "row_splits")


def _is_padded(ids: Any) -> bool:
    """Whether ids are lists in which 0 means nothing."""
    return not is_ragged(ids) and len(ids.shape) == 2 and ids.shape[1] != 1


def _flat(ids: Any) -> Any:
    """All ids of a feature, row after row, as int32 or int64."""
    flat = ids.values if is_ragged(ids) else ops.reshape(ids, (-1,))
    dtype = keras.backend.standardize_dtype(flat.dtype)
    return (
        flat
        if dtype in ("int32", "int64")
        else ops.cast(flat, "int64" if "32" in dtype or "64" in dtype else "int32")
    )


def _laid_out(found: dict[str, Any], wanted: Wanted) -> dict[str, Any]:
    """Without a combiner, the vectors of each id (n, dim) as the ids lie: (batch, hotness, dim), or ragged."""
    for name, config in wanted.features.items():
        ids, vectors = wanted.ids[name], found[name]
        if config.table.combiner is None and is_ragged(ids):
            found[name] = ids.with_values(vectors)
        elif config.table.combiner is None and len(ids.shape) == 2:
            found[name] = ops.reshape(vectors, (*ops.shape(ids), vectors.shape[-1]))
    return found


def _sum_dtype(values: Any) -> str:
    """What vectors and their weights are added up in."""
    return kept_in(keras.backend.standardize_dtype(values.dtype))


def _shares(ids: Any, weights: Any, combiner: str | None) -> Any:
    """What each id's vector is multiplied by in its list's sum, (n,); 0 where a list's weights add up to 0."""
    if is_ragged(ids):
        import tensorflow as tf

        weights, rows = weights.values, ids.value_rowids()
        weights = tf.cast(weights, _sum_dtype(weights))

        def total(values: Any) -> Any:
            return tf.gather(tf.math.unsorted_segment_sum(values, rows, ids.nrows()), rows)
    else:
        weights = ops.cast(weights, _sum_dtype(weights))
        weights = weights * ops.cast(ids != 0, weights.dtype) if _is_padded(ids) else weights
        weights = weights if len(ids.shape) == 2 else ops.expand_dims(weights, 1)

        def total(values: Any) -> Any:
            return ops.sum(values, axis=1, keepdims=True)

    if combiner == "mean":
        weights = ops.divide_no_nan(weights, total(weights))
    elif combiner == "sqrtn":
        squares = total(weights * weights)
        # The inner choice keeps the root's infinite slope at 0 out of the gradient.
        weights = ops.where(squares > 0, weights / ops.sqrt(ops.where(squares > 0, squares, 1.0)), 0.0)
    return ops.reshape(weights, (-1,))


# ---- in one pass ---------------------------------------------------------------------------------------------
def _one_pass(variable: keras.Variable, wanted: Wanted, dtype: str) -> dict[str, Any]:
    """By the compiled kernels: the vectors that are combined are never laid out."""
    import tensorflow as tf

    stack, features, ids = wanted.stack, wanted.features, wanted.ids
    none = tf.zeros((0,), "int64")
    splits, hotness, padded, combiners = [], [], [], []
    for name, config in features.items():
        combiner = config.table.combiner
        length, cuts = (1, none) if combiner is None else _lists(ids[name])
        hotness.append(length or 0)
        splits.append(none if length else cuts)
        padded.append(_is_padded(ids[name]))
        combiners.append("sum" if name in wanted.shares or combiner is None else combiner)
    spans = [(config.table.name, *stack.span(config.table.name)) for config in features.values()]
    tables = [kernels.Span(name, first, last - first) for name, first, last in spans]
    row = tf.int64 if stack.rows > 2**31 - 1 else tf.int32
    bags = kernels.find_rows(list(wanted.flat.values()), splits, hotness, padded, tables, list(features), row)
    once = tf.zeros((0,), "float32")
    weights = [wanted.shares.get(name, once) for name in features]
    kernel_dtype = dtype if dtype in kernels.VECTOR_DTYPES else "float32"
    vectors = kernels.look_up(variable.value, bags, weights, combiners, tables, tf.as_dtype(kernel_dtype))
    vectors = [ops.cast(found, dtype) for found in vectors]
    for name, found in zip(features, vectors, strict=True):
        found.set_shape((_batch(ids[name], features[name].table.combiner), stack.embedding_dim))
    return dict(zip(features, vectors, strict=True))


def _lists(ids: Any) -> tuple[int | None, Any]:
    """How ids are cut into lists: their one length, or where each begins and ends."""
    import tensorflow as tf

    if is_ragged(ids):
        return None, tf.cast(ids.row_splits, "int64")
    if len(ids.shape) == 1:
        return 1, tf.zeros((0,), "int64")
    rows, length = tf.unstack(tf.shape(ids, out_type="int64"))
    return ids.shape[1], tf.range(rows + 1) * length


def _batch(ids: Any, combiner: str | None) -> int | None:
    """How many vectors a feature has, as far as its shape tells."""
    if combiner is None:
        return None if is_ragged(ids) or None in ids.shape else ids.shape.num_elements()
    return ids.shape[0]


# ---- gathered, then combined -----------------------------------------------------------------------------------
def rows_of(wanted: Wanted) -> Any:
    """Where all ids lie in the stack, feature after feature: (n,) int32 or int64."""
    # Features of one id a row go through the few operations below side by side, (features, batch) at once.
    blocks = [list(wanted.features)] if wanted.single else [[name] for name in wanted.features]
    rows = [ops.reshape(block, (-1,)) for block in _rows(wanted.stack, wanted.features, wanted.flat, blocks)]
    return rows[0] if len(rows) == 1 else ops.concatenate(rows)


def combine(vectors: Any, wanted: Wanted, dtype: str) -> dict[str, Any]:
    """The vectors of all of `rows_of`, (n, dim) -> those of each feature's lists."""
    parts = dict(zip(wanted.features, _split(vectors, list(wanted.flat.values())), strict=True))
    for name, config in wanted.features.items():
        ids, shares = wanted.ids[name], wanted.shares.get(name)
        if shares is None and (is_ragged(ids) or _is_padded(ids)):
            ones = ops.ones_like(wanted.flat[name], dtype=_sum_dtype(parts[name]))
            shares = _shares(ids, _like(ids, ones), config.table.combiner)
        parts[name] = weighted(parts[name], ids, shares, config.table.combiner)
    return _laid_out({name: ops.cast(part, dtype) for name, part in parts.items()}, wanted)


def weighted(vectors: Any, ids: Any, shares: Any | None, combiner: str | None) -> Any:
    """Vectors of a feature's ids, (n, dim), each times its share, those of a list added up."""
    if shares is None:
        return vectors
    if is_ragged(ids) or _is_padded(ids):
        return _combine(vectors, ids, shares, combiner)
    return vectors * ops.expand_dims(shares, -1)


def _like(ids: Any, flat: Any) -> Any:
    """Numbers of all ids, row after row, as the ids lie."""
    return ids.with_values(flat) if is_ragged(ids) else ops.reshape(flat, ops.shape(ids))


def _rows(
    stack: Stack, features: Mapping[str, FeatureConfig], flat: Mapping[str, Any], blocks: list[list[str]]
) -> list[Any]:
    """Where ids lie in the stack, for each block of features a matrix (features, ids)."""
    rows, stray = [], []
    for names in blocks:
        ids = ops.stack([flat[name] for name in names])
        tables = [features[name].table for name in names]
        dtype = keras.backend.standardize_dtype(ids.dtype)
        sizes = ops.convert_to_tensor([[table.vocabulary_size] for table in tables], dtype)
        offsets = ops.convert_to_tensor([[stack.offsets[table.name]] for table in tables], dtype)
        stray.append(ops.logical_or(ids < 0, ids >= sizes))
        rows.append(ids + offsets)
    if keras.backend.backend() == "tensorflow":
        return _refuse(stray, features, flat, rows)
    # A compiled JAX program cannot raise: a stray id leaves the stack, so that it reads no other table.
    return [
        ops.where(is_stray, ops.cast(stack.rows, row.dtype), row)
        for is_stray, row in zip(stray, rows, strict=True)
    ]


def _refuse(
    stray: list[Any], features: Mapping[str, FeatureConfig], flat: Mapping[str, Any], rows: list[Any]
) -> list[Any]:
    """`rows`, once no id is known to be stray: in a stack it would read another table."""
    import tensorflow as tf

    def complaint(name: str, ids: Any) -> Any:
        table = features[name].table
        first = tf.boolean_mask(ids, (ids < 0) | (ids >= table.vocabulary_size))[:1]
        outside = f" is outside [0, {table.vocabulary_size}) of table {table.name!r}"
        return tf.strings.join([f"feature {name!r}: id ", tf.strings.reduce_join(tf.as_string(first)), outside])

    bad = tf.concat([tf.reduce_any(block, axis=1) for block in stray], 0)

    def fail() -> Any:
        complaints = tf.stack([complaint(name, ids) for name, ids in flat.items()])
        with tf.control_dependencies([tf.debugging.Assert(False, [tf.boolean_mask(complaints, bad)[0]])]):
            return tf.constant(False)

    with tf.control_dependencies([tf.cond(tf.reduce_any(bad), fail, lambda: tf.constant(True))]):
        return [tf.identity(row) for row in rows]


def _gather(variable: keras.Variable, rows: Any, dtype: str) -> Any:
    if keras.backend.backend() != "tensorflow":
        return ops.cast(ops.take(variable, rows, axis=0), dtype)
    import tensorflow as tf

    from kerasrec.tables.distinct_rows import gather_distinct

    # The tf.Variable itself is read: its gradient is of the distinct rows, and nothing of a table's size is made.
    distinct, position = tf.unique(rows)
    return tf.gather(tf.cast(gather_distinct(variable.value, distinct), dtype), position)


def _split(vectors: Any, flat: list[Any]) -> list[Any]:
    """The vectors of each feature."""
    if len(flat) == 1:
        return [vectors]
    sizes = [ids.shape[0] for ids in flat]
    if None in sizes:
        import tensorflow as tf

        return tf.split(vectors, [tf.shape(ids)[0] for ids in flat], num=len(flat))
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)]
    return ops.split(vectors, ends)


def _combine(vectors: Any, ids: Any, shares: Any, combiner: str | None) -> Any:
    """(n, dim) vectors of all ids -> sums (batch, dim), or, without a combiner, each times its share."""
    if combiner is None or is_ragged(ids):
        vectors = vectors * ops.expand_dims(shares, -1)
        if combiner is None:
            return vectors
        import tensorflow as tf

        return tf.math.unsorted_segment_sum(vectors, ids.value_rowids(), ids.nrows())
    hotness = ops.shape(ids)[1]
    lists = ops.reshape(vectors, (-1, hotness, vectors.shape[-1]))
    return ops.squeeze(ops.matmul(ops.reshape(shares, (-1, 1, hotness)), lists), 1)
