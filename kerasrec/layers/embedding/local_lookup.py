"""Lookups in tables that are all on this rank.

In training on a CPU the compiled kernels combine vectors in one pass. Everywhere else vectors are gathered, then
combined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import keras
from keras import ops

from kerasrec import kernels
from kerasrec.layers.embedding.bags import bag_count, factors, without_padding
from kerasrec.layers.embedding.lookup_parts import LookupParts, Part, combined, padded_again, stack_rows
from kerasrec.tables.bags import Bags
from kerasrec.tables.config import FeatureConfig
from kerasrec.tables.plan import Plan
from kerasrec.tables.stack import Stack
from kerasrec.tables.variables import TableVariable
from kerasrec.typing import Tensor, Variable


class Lookup(Protocol):
    """Looks up the ids of a layer's features.

    Attributes:
        variables: this rank's rows of each stack of tables.
    """

    variables: tuple[TableVariable, ...]

    def vectors(self, bags: Mapping[str, Bags], dtype: str, training: bool) -> dict[str, Tensor]:
        """Return the combined vectors of each feature's bags.

        Args:
            bags: the features' ids.
            dtype: of the vectors.
            training: whether gradients will be asked for.

        Returns:
            For each feature (bags, embedding_dim); without a combiner (n, embedding_dim), zeros for padding.
        """


class LocalLookup:
    """Looks features up in this rank's memory.

    Args:
        features: the features by name.
        plan: a plan for one rank.
        variables: the rows of each stack, (rows, embedding_dim).
    """

    def __init__(self, features: Mapping[str, FeatureConfig], plan: Plan, variables: Sequence[TableVariable]):
        self.parts = LookupParts(features, plan, [each.shards for each in variables])
        self.variables = tuple(variables)

    def vectors(self, bags: Mapping[str, Bags], dtype: str, training: bool) -> dict[str, Tensor]:
        """Return what `Lookup.vectors` does, by kernels in training only: no SavedModel may have them."""
        training = training and keras.backend.backend() == "tensorflow"
        look_up = _by_kernels if training and kernels.fits(self.variables[0].value) else _gathered
        vectors = []
        for variable, (parts, padded) in zip(self.variables, self.parts.of_stacks(bags), strict=True):
            # The kernels skip padding themselves, unless it is weighted.
            stay = [not training or (look_up is _by_kernels and each.weights is None) for each in padded]
            unpadded = [each if stays else without_padding(each) for each, stays in zip(padded, stay, strict=True)]
            outputs = look_up(variable.stack, variable, parts, unpadded, dtype)
            vectors.append((parts, padded_again(outputs, parts, padded, unpadded)))
        return self.parts.by_feature(vectors)


def _gathered(
    stack: Stack, variable: Variable, parts: Sequence[Part], bags: Sequence[Bags], dtype: str
) -> list[Tensor]:
    rows = stack_rows(stack, parts, bags)
    # Lists are summed in float32; single vectors may be gathered in the narrower type at once.
    gather_dtype = dtype if all(each.single for each in bags) else variable.dtype
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        from kerasrec.tables.distinct_rows import gather_distinct

        # The tf.Variable itself is read: its gradient is of distinct rows, and nothing of a table's size is made.
        distinct, position = tf.unique(rows)
        vectors = tf.gather(tf.cast(gather_distinct(variable.value, distinct), gather_dtype), position)
    else:
        vectors = ops.cast(ops.take(variable, rows, axis=0), gather_dtype)
    return combined(vectors, parts, bags, dtype)


def _by_kernels(
    stack: Stack, variable: Variable, parts: Sequence[Part], bags: Sequence[Bags], dtype: str
) -> list[Tensor]:
    import tensorflow as tf

    none, once = tf.zeros((0,), "int64"), tf.zeros((0,), "float32")
    splits, hotness, combiners, weights = [], [], [], []
    for part, each in zip(parts, bags, strict=True):
        combiner = part.table.combiner
        cut, length = (none, 1) if combiner is None or each.one_per_bag else (each.row_splits, each.hotness)
        if cut is None and not isinstance(length, int):  # lists of one length that the graph does not know
            cut = tf.range(tf.cast(bag_count(each) + 1, "int64")) * tf.cast(length, "int64")
        splits.append(none if cut is None else cut)
        hotness.append(0 if cut is not None and cut is not none else length)
        combiners.append("sum" if combiner is None or each.weights is not None else combiner)
        weights.append(once if each.weights is None else factors(each, combiner))
    spans = [(part.table.name, *stack.span(part.table.name)) for part in parts]
    tables = [kernels.Span(name, first, last - first) for name, first, last in spans]
    rows = kernels.find_rows(
        [each.ids for each in bags], splits, hotness, [each.padded for each in bags], tables,
        [part.feature for part in parts], tf.int64 if stack.rows > 2**31 - 1 else tf.int32,
    )  # fmt: skip
    kernel_dtype = tf.as_dtype(dtype if dtype in kernels.VECTOR_DTYPES else "float32")
    vectors = kernels.look_up(variable.value, rows, weights, combiners, tables, kernel_dtype)
    for part, each, output in zip(parts, bags, vectors, strict=True):
        count = each.ids.shape[0] if part.table.combiner is None else bag_count(each)
        output.set_shape((count if isinstance(count, int) else None, stack.embedding_dim))
    return [ops.cast(output, dtype) for output in vectors]
