"""Multi-head self-attention over tokens in rows, of which no padded row is longer than its group."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerasrec.layers.sequence.dropout import Dropout
from kerasrec.layers.sequence.token_rows import TokenRows
from kerasrec.typing import Initializer, Shape, Tensor


class TokenAttention(keras.layers.Layer):
    """Attends from each token to those of its row: with `causal`, to itself and those before it.

    With queries `q` and context `x`, per head: `softmax(q W_q (x W_k)^T / sqrt(dim / heads)) x W_v`, heads side by
    side times `W_o`.

    Args:
        heads: they divide the width.
        dropout: of the attention weights.
        causal: whether later tokens are hidden.
        kernel_initializer: of the four matrices.

    Inputs: queries and context, both `(tokens, dim)`, and their `TokenRows`.

    Output: `(tokens, dim)`.

    Source: Vaswani et al., "Attention Is All You Need", https://arxiv.org/abs/1706.03762
    """

    def __init__(
        self,
        heads: int = 1,
        dropout: float = 0.0,
        causal: bool = True,
        kernel_initializer: Initializer = "glorot_uniform",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.heads, self.causal = heads, causal
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.drop = Dropout(dropout, dtype=self.dtype_policy)

    def build(self, input_shape: Shape) -> None:
        dim = input_shape[-1]
        if dim is None or dim % self.heads:
            raise ValueError(f"{self.name}: heads must divide the width, {dim}; got {self.heads}")
        self.query, self.key_value, self.out = (
            keras.layers.Dense(
                width, kernel_initializer=self.kernel_initializer.clone(), dtype=self.dtype_policy, name=name
            )
            for name, width in (("query", dim), ("key_value", 2 * dim), ("out", dim))
        )
        for layer in (self.query, self.key_value, self.out):
            layer.build(input_shape)
        self.scale = (dim / self.heads) ** -0.5

    def call(self, queries: Tensor, context: Tensor, rows: TokenRows, training: bool | None = None) -> Tensor:
        both = ops.concatenate([self.query(queries) * self.scale, self.key_value(context)], axis=-1)
        masks: list[Any] = rows.masks()
        groups = [
            self._attended(group, mask, training) for group, mask in zip(rows.split(both), masks, strict=True)
        ]
        return self.out(rows.join(groups))

    def _attended(self, group: Tensor, mask: Tensor, training: bool | None) -> Tensor:
        q, k, v = (split_heads(x, self.heads) for x in ops.split(group, 3, axis=-1))
        scores = ops.matmul(q, ops.swapaxes(k, -1, -2))
        hidden = ops.cast(-30_000.0, scores.dtype)  # exactly 0 after the softmax, and small enough for float16
        # A padded key comes after all tokens of its row, so a causal mask hides it as well.
        visible = earlier(ops.shape(group)[1]) if self.causal else self._rows_mask(mask)
        weights = ops.softmax(ops.where(visible, scores, hidden), axis=-1)
        return join_heads(ops.matmul(self.drop(weights, training=training), v), self.heads)

    def _rows_mask(self, mask: Tensor) -> Tensor:
        mask = ops.expand_dims(mask, 1)
        return mask if self.heads == 1 else ops.expand_dims(mask, 1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)


def earlier(length: Any) -> Tensor:
    """Return whether token j, the column, is token i, the row, or comes before it: `(length, length)` bool."""
    places = ops.arange(length)
    return ops.expand_dims(places, 0) <= ops.expand_dims(places, 1)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Return `(rows, length, dim)` as `(rows, heads, length, dim / heads)`; unchanged where there is one head."""
    if heads == 1:
        return x
    shape = ops.shape(x)
    return ops.transpose(ops.reshape(x, (shape[0], shape[1], heads, x.shape[-1] // heads)), (0, 2, 1, 3))


def join_heads(x: Tensor, heads: int) -> Tensor:
    """Return what `split_heads` returns as `(rows, length, dim)` again."""
    if heads == 1:
        return x
    x = ops.transpose(x, (0, 2, 1, 3))
    shape = ops.shape(x)
    return ops.reshape(x, (shape[0], shape[1], x.shape[2] * x.shape[3]))
