"""GRU4Rec: a recurrent network over a sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from kerasrec.layers.mlp import widths
from kerasrec.layers.sequence.token_rows import TokenRows
from kerasrec.models.base import chain
from kerasrec.models.next_item.base import NextItemModel
from kerasrec.models.next_item.events import Events
from kerasrec.schema import Schema
from kerasrec.typing import Tensor


@keras.saving.register_keras_serializable("kerasrec")
class GRU4Rec(NextItemModel):
    """Session-based recommendation with recurrent networks.

    With an event's vector `e_t`: `h = gru(dropout(e))`, one GRU after another, and the state after an event is
    `dropout(h_t)`, times a matrix where the last GRU is not `embedding_dim` wide. An item's score is the dot
    product of the state and the item's vector.

    Args:
        schema: `loader.schema`: a list column of item ids in the order of time, and columns of events and users.
        embedding_dim: the width of items' vectors.
        units: widths of the GRUs.
        max_length: the most events that are read of a row, its last ones.
        dropout: of the events' vectors and of the states.
        tied, exclude_seen, items, first_id, **kwargs: as in all next-item models (`NextItemModel`).

    Inputs, output and errors are those of `kr.models.SASRec`.

    Example:

    >>> model = kr.models.GRU4Rec(train.schema, embedding_dim=64, units=[128])
    >>> model.compile(loss=kr.losses.FullSoftmax())

    Source: Hidasi et al., "Session-based Recommendations with Recurrent Neural Networks",
    https://arxiv.org/abs/1511.06939. Losses are those of `kr.losses`, over all or over drawn items, as in their
    later "Recurrent Neural Networks with Top-k Gains", https://arxiv.org/abs/1706.03847
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        embedding_dim: int = 64,
        units: int | Sequence[int] = 64,
        max_length: int = 200,
        dropout: float = 0.1,
        **kwargs: Any,
    ):
        super().__init__(schema, embedding_dim, max_length, dropout, **kwargs)
        self.units = widths(self.name, "units", units)
        policy = {"dtype": self.dtype_policy}
        self.grus = [
            keras.layers.GRU(width, return_sequences=True, **policy, name=f"gru_{k + 1}")
            for k, width in enumerate(self.units)
        ]
        self.out: keras.layers.Dense | None = None
        if self.units[-1] != self.embedding_dim:
            self.out = keras.layers.Dense(self.embedding_dim, use_bias=False, **policy, name="out")
        chain((None, None, self.embedding_dim), *self.grus, *([] if self.out is None else [self.out]))
        self.built = True

    def encode(self, events: Events, rows: TokenRows, training: bool | None) -> Tensor:
        x = rows.padded(self.drop(self.embed(events, rows, training), training=training))
        x = ops.pad(x, [[0, 0], [0, 1], [0, 0]])  # Keras's GRU wants one step at least
        for gru in self.grus:
            x = gru(x, training=training)
        h = self.drop(rows.unpadded(x[:, :-1]), training=training)
        return h if self.out is None else self.out(h)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": list(self.units)}
