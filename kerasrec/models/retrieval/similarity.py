"""How alike two vectors are: by their dot product, their cosine, or their distance."""

from __future__ import annotations

from typing import get_args

from keras import ops

from kerasrec.retrieval.scores import Similarity
from kerasrec.typing import Tensor


def check_similarity(owner: str, similarity: str) -> None:
    """Raise `ValueError` for a name that is not one of `Similarity`."""
    if similarity not in get_args(Similarity):
        known = ", ".join(map(repr, get_args(Similarity)))
        raise ValueError(f"{owner}: similarity must be one of {known}; got {similarity!r}")


def normalized(vectors: Tensor) -> Tensor:
    """Return vectors `(..., dim)` at length 1; zeros stay zeros."""
    squares = ops.sum(ops.square(vectors), axis=-1, keepdims=True)
    return vectors * ops.rsqrt(ops.maximum(squares, 1e-12))


def products_of(queries: Tensor, similarity: Similarity) -> Tensor:
    """Return queries `(n, dim)` such that their dot products with `factors_of` candidates are the similarities.

    The cosine is the dot product of vectors at length 1, as the encoders return them. For "l2" they have two more
    columns: `-|q - c|^2 = [2 q, -|q|^2, -1] . [c, 1, |c|^2]`.
    """
    if similarity != "l2":
        return queries
    squares = ops.sum(ops.square(queries), axis=-1, keepdims=True)
    return ops.concatenate([2 * queries, -squares, -ops.ones_like(squares)], axis=-1)


def factors_of(candidates: Tensor, similarity: Similarity) -> Tensor:
    """Return candidates as `products_of` needs them."""
    if similarity != "l2":
        return candidates
    squares = ops.sum(ops.square(candidates), axis=-1, keepdims=True)
    return ops.concatenate([candidates, ops.ones_like(squares), squares], axis=-1)
