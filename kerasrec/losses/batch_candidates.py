"""`BatchCandidates`: what the queries of a batch are compared with, on all ranks and over several batches."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras import ops

from kerasrec.parallel import comm
from kerasrec.typing import Tensor, Variable

NONE = -1  # the id of a place in the memory that has no candidate yet


class Candidates(NamedTuple):
    """Candidates that each query of a batch is compared with.

    Attributes:
        vectors: `(n, dim)`: those of the batch on all ranks, then those that are remembered.
        ids: `(n,)`; -1 where a remembered one is missing.
        first: the place of the candidate of this rank's first query; the others follow it.
    """

    vectors: Tensor
    ids: Tensor
    first: Tensor | int


class BatchCandidates(keras.layers.Layer):
    """Collects the candidates of a batch: those of all ranks, and the last ones of earlier batches.

    It also counts how often each id was a candidate in training, over all ranks. Its state is equal on every rank.
    A model of `kr.models` makes one for its loss and saves it.

    Args:
        dim: the width of the vectors.
        item_count: the number of ids, which are in [0, item_count), if they are to be counted.
        memory: how many candidates of earlier batches are kept, as constants.

    Inputs: vectors `(batch, dim)` and ids `(batch,)` of this rank's candidates.

    Output: `Candidates`.
    """

    def __init__(self, dim: int, item_count: int | None = None, memory: int = 0, **kwargs: Any):
        super().__init__(**{"dtype": "float32", "name": "batch_candidates", **kwargs})
        self.dim, self.item_count, self.memory = dim, item_count, memory
        fixed = {"trainable": False, "autocast": False}
        self.counts: Variable | None = None
        self.memory_ids: Variable | None = None
        if item_count is not None:
            self.counts = self.add_weight((item_count,), "zeros", "int32", name="counts", **fixed)
        if memory:
            self.memory_vectors = self.add_weight(
                (memory, dim), "zeros", "float32", name="memory_vectors", **fixed
            )
            none = keras.initializers.Constant(NONE)
            self.memory_ids = self.add_weight((memory,), none, "int32", name="memory_ids", **fixed)
        self.built = True

    def call(self, vectors: Tensor, ids: Tensor, training: bool | None = None) -> Candidates:
        ids = ops.cast(ids, "int32")
        first: Tensor | int = 0
        if comm.size() > 1:
            from kerasrec.parallel.comm.gather_rows import gather_rows  # TensorFlow's

            vectors, first = gather_rows(vectors)
            ids = comm.allgather(ids, "kerasrec.candidates")
        if training and self.counts is not None:
            self._add_to(self.counts, ids)
        if self.memory_ids is None:
            return Candidates(vectors, ids, first)
        both = Candidates(
            ops.concatenate([vectors, ops.stop_gradient(ops.convert_to_tensor(self.memory_vectors))]),
            ops.concatenate([ids, ops.convert_to_tensor(self.memory_ids)]),
            first,
        )
        if training:  # the newest come first
            self.memory_vectors.assign(ops.stop_gradient(both.vectors)[: self.memory])
            self.memory_ids.assign(both.ids[: self.memory])
        return both

    def log_counts(self, ids: Tensor) -> Tensor:
        """Return the logarithm of how often each id was a candidate in training, 0 for never, `(n,)` float32."""
        counts = ops.take(self.counts, ops.maximum(ops.cast(ids, "int32"), 0), axis=0)
        return ops.log(ops.cast(ops.maximum(counts, 1), "float32"))

    @staticmethod
    def _add_to(counts: Variable, ids: Tensor) -> None:
        if keras.backend.backend() == "tensorflow":  # in place, with no copy of all counts
            counts.value.scatter_nd_add(ids[:, None], ops.ones_like(ids))
        else:
            counts.assign_add(ops.segment_sum(ops.ones_like(ids), ids, num_segments=counts.shape[0]))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dim": self.dim, "item_count": self.item_count, "memory": self.memory}
