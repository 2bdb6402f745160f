"""Ids of combinations: several columns' ids as one column's."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from kerasrec.layers.embedding.bags import is_ragged
from kerasrec.layers.mlp import at_least_one
from kerasrec.typing import Tensor

# A file's weights belong to these: they must never change. Primes below 2^15, so that no product exceeds int32.
_PRIMES, _FACTORS = (32749, 32719), (16807, 25173)
_LIMB = 1 << 15


@keras.saving.register_keras_serializable("kerasrec")
class CrossedIds(keras.layers.Layer):
    """Combines the ids of several columns into ids of their combinations, as keys of a table.

    Where the cardinalities `n_c` multiply to at most `buckets`, every combination has an id of its own:
    `1 + ((i_1 * n_2 + i_2) * n_3 + i_3) ...`. Otherwise it is `1 + hash(i_1, i_2, ..) mod buckets`, and several
    combinations may share an id. The hash is the same on every backend and machine. Id 0 is padding.

    Args:
        cardinalities: of the columns, two or more: their ids are in `[0, cardinality)`.
        buckets: how many ids a cross may have.

    Inputs: a list of integer tensors, one per column: `(batch,)` or `(batch, 1)`, or for a list column
        `(batch, hotness)` padded with 0 or ragged.

    Output: `(batch,)` int32. With list columns `(batch, n)`, padded with 0: every combination of the row's ids,
        one of each column.

    Raises:
        ValueError: fewer than two cardinalities, `buckets` or a cardinality out of range, or another number of
            inputs.

    Example:

    >>> kr.layers.CrossedIds([10, 4])([np.array([7, 0]), np.array([3, 1])])  # 1 + 7 * 4 + 3, 1 + 0 * 4 + 1
    array([32,  2], dtype=int32)

    Source: Cheng et al., "Wide & Deep Learning for Recommender Systems", https://arxiv.org/abs/1606.07792
    """

    def __init__(self, cardinalities: Sequence[int], buckets: int = 1_000_000, **kwargs: Any):
        super().__init__(**kwargs)
        self.cardinalities = tuple(at_least_one(self.name, "cardinalities", each) for each in cardinalities)
        if len(self.cardinalities) < 2 or max(self.cardinalities) >= 2**31:
            raise ValueError(
                f"{self.name}: cardinalities must be two or more integers below 2^31; got {list(cardinalities)}"
            )
        self.buckets = at_least_one(self.name, "buckets", buckets)
        if self.buckets > 2**30:
            raise ValueError(f"{self.name}: buckets must be at most 2^30; got {buckets}")

    @property
    def exact(self) -> bool:
        """Whether every combination has an id of its own."""
        return math.prod(self.cardinalities) <= self.buckets

    @property
    def cardinality(self) -> int:
        """The number of ids, with that of padding."""
        return 1 + min(self.buckets, math.prod(self.cardinalities))

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        if len(inputs) != len(self.cardinalities):
            raise ValueError(
                f"{self.name}: inputs must be a list of {len(self.cardinalities)} columns; got {len(inputs)}"
            )
        lists = [is_ragged(ids) or (len(ids.shape) == 2 and ids.shape[1] != 1) for ids in inputs]
        columns = [_padded(ids) if listed else _single(ids) for ids, listed in zip(inputs, lists, strict=True)]
        present = [ids >= 0 for ids in columns]
        crossed = 1 + (self._index(columns) if self.exact else self._hash(columns))
        if not any(lists):
            return ops.reshape(crossed, (-1,))
        crossed = ops.where(_all_pairs(ops.logical_and, present), crossed, 0)
        # A width of 1 would be read as one id per row.
        return ops.pad(crossed, [[0, 0], [0, 2]]) if crossed.shape[1] in (None, 0, 1) else crossed

    def _index(self, columns: Sequence[Tensor]) -> Tensor:
        """Return the number of each combination in the order of the ids."""
        sizes = [math.prod(self.cardinalities[c + 1 :]) for c in range(len(columns))]
        return _all_pairs(ops.add, [ids * size for ids, size in zip(columns, sizes, strict=True)])

    def _hash(self, columns: Sequence[Tensor]) -> Tensor:
        """Return the bucket of each combination: by two linear hashes of the ids' lower and upper bits."""
        hashes = []
        for prime, factor in zip(_PRIMES, _FACTORS, strict=True):
            terms = []
            for c, ids in enumerate(columns):
                lower, upper = pow(factor, 2 * c + 1, prime), pow(factor, 2 * c + 2, prime)
                terms.append((ids % _LIMB * lower) % prime + (ids // _LIMB * upper) % prime)
            hashes.append(_all_pairs(ops.add, terms) % prime)
        return (hashes[0] * _PRIMES[1] + hashes[1]) % self.buckets

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cardinalities": list(self.cardinalities), "buckets": self.buckets}


def _single(ids: Tensor) -> Tensor:
    return ops.cast(ops.reshape(ids, (-1, 1)), "int32")


def _padded(ids: Tensor) -> Tensor:
    """Return lists of ids as `(batch, hotness)`, padded with -1."""
    if is_ragged(ids):
        return ops.cast(ids.to_tensor(-1), "int32")
    return ops.cast(ops.where(ids == 0, -1, ids), "int32")


def _all_pairs(function: Callable[[Tensor, Tensor], Tensor], columns: Sequence[Tensor]) -> Tensor:
    """Return a function of every combination of a row's values, `(batch, n)`, given those of each column."""
    result = columns[0]
    for values in columns[1:]:
        n, more = ops.shape(result)[1], ops.shape(values)[1]
        pairs = function(ops.expand_dims(result, 2), ops.expand_dims(values, 1))
        result = ops.reshape(pairs, (ops.shape(pairs)[0], n * more))
    return result
