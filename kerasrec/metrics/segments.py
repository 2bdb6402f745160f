"""Neighbouring entries of sorted arrays as groups, and sums over these, with `keras.ops`."""

from __future__ import annotations

from keras import ops

from kerasrec.typing import Tensor


def differs(values: Tensor) -> Tensor:
    """Return which entries differ from the one before, (n,); the first one does."""
    return ops.concatenate([ops.ones((1,), "bool"), values[1:] != values[:-1]])


def numbers(starts: Tensor) -> Tensor:
    """Return each entry's group, from 0, where `starts` says which entries begin one; the first one does."""
    return ops.cumsum(ops.cast(starts, "int32")) - 1


def sums(values: Tensor, groups: Tensor, count: int) -> Tensor:
    """Return the sum of the values of each of `count` groups."""
    return ops.segment_sum(values, groups, count)
