"""Tokens of sequences as one flat tensor, so that what works token by token never sees padding.

Layers over single tokens work on `(tokens, width)`. Attention and recurrence work on rows, which `TokenRows` pads
in a few groups of similar length.
"""

from __future__ import annotations

from typing import Protocol

import keras
from keras import ops

from kerasrec.typing import Tensor


class TokenRows(Protocol):
    """Splits the tokens of a flat tensor into rows, and joins them again."""

    def split(self, x: Tensor) -> list[Tensor]:
        """Return tokens `(tokens, width)` as groups of rows, each `(rows, length, width)`, padded at the end.

        What stands at the padding is unspecified, and has no gradient.
        """

    def join(self, groups: list[Tensor]) -> Tensor:
        """Return groups of rows, as `split` returns them, as tokens `(tokens, width)`."""

    def padded(self, x: Tensor) -> Tensor:
        """Return tokens as one group of rows, which `unpadded` makes tokens again."""

    def unpadded(self, x: Tensor) -> Tensor:
        """Return one group of all rows, `(rows, length, width)`, as tokens `(tokens, width)`."""

    def masks(self) -> list[Tensor]:
        """Return where each group has tokens, `(rows, length)` bool."""

    def from_end(self) -> Tensor:
        """Return how many tokens of its row come after each token, `(tokens,)` int32; 0 at the last one."""

    def repeat(self, x: Tensor) -> Tensor:
        """Return what there is one of for each row, `(rows, width)`, for each token, `(tokens, width)`."""

    def last(self, x: Tensor) -> Tensor:
        """Return the last of each row's tokens, `(rows, width)`; zeros for a row without tokens."""

    def mask(self) -> Tensor | None:
        """Return which of the flat tokens are tokens, `(tokens,)` bool; None if all are."""


class PaddedRows:
    """Rows of one length, of which the tokens beyond each row's own length are padding: for any backend.

    Args:
        lengths: of the rows, `(rows,)`.
        longest: the length that all are padded to.
    """

    def __init__(self, lengths: Tensor, longest: int):
        self.lengths, self.longest = ops.cast(lengths, "int32"), longest
        self._mask = ops.arange(longest, dtype="int32")[None] < self.lengths[:, None]

    def split(self, x: Tensor) -> list[Tensor]:
        return [ops.reshape(x, (-1, self.longest, x.shape[-1]))]

    def join(self, groups: list[Tensor]) -> Tensor:
        (x,) = groups
        return ops.reshape(x, (-1, x.shape[-1]))

    def padded(self, x: Tensor) -> Tensor:
        return self.split(x)[0]

    def unpadded(self, x: Tensor) -> Tensor:
        return self.join([x])

    def masks(self) -> list[Tensor]:
        return [self._mask]

    def from_end(self) -> Tensor:
        places = self.lengths[:, None] - 1 - ops.arange(self.longest, dtype="int32")[None]
        return ops.reshape(ops.maximum(places, 0), (-1,))

    def repeat(self, x: Tensor) -> Tensor:
        return ops.repeat(x, self.longest, axis=0)

    def last(self, x: Tensor) -> Tensor:
        (rows,) = self.split(x)
        place = ops.maximum(self.lengths - 1, 0)[:, None, None]
        last = ops.squeeze(ops.take_along_axis(rows, place, axis=1), 1)
        return last * ops.cast(self.lengths > 0, x.dtype)[:, None]

    def mask(self) -> Tensor:
        return ops.reshape(self._mask, (-1,))


def token_rows(lengths: Tensor, longest: int | None) -> TokenRows:
    """Return the rows of flat tokens: packed where `longest` is None (TensorFlow), else padded to that length."""
    if longest is None:
        from kerasrec.layers.sequence.packed_rows import PackedRows  # it imports TensorFlow

        return PackedRows(lengths)
    return PaddedRows(lengths, longest)


def is_packed() -> bool:
    """Return whether sequences of this backend are packed: JAX wants shapes that do not depend on the data."""
    return keras.backend.backend() == "tensorflow"
