"""DIEN: interests that a GRU extracts from a history, and their evolution towards the candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kerasrec.layers import InterestEvolution, NextBehaviourLoss
from kerasrec.layers.mlp import widths
from kerasrec.models.base import chain
from kerasrec.models.sequence.base import SequenceModel
from kerasrec.schema import Schema
from kerasrec.typing import Tensor


@keras.saving.register_keras_serializable("kerasrec")
class DIEN(SequenceModel):
    """Deep interest evolution network.

    With `t` the candidate and `e_1 .. e_L` a history: `h_1 .. h_L = GRU(e_1 .. e_L)` are interests,
    `a_l = softmax_l(h_l W t)` says how they bear on the candidate, and `v = AUGRU(h, a)` is the last state of a
    GRU whose update gate is multiplied by `a_l` (`kr.layers.InterestEvolution`);
    `logit = w . deep([continuous columns, embeddings, v]) + b`.

    In training an auxiliary loss teaches `h_l` to tell the next behaviour `e_{l+1}` from another row's
    (`kr.layers.NextBehaviourLoss`), so that each step of the GRU learns, not only the last. Validation losses are
    without it.

    Args:
        schema: `loader.schema`; with a history at least, and one or more targets. The schema says what is
            compared, as for `DIN`.
        embedding_dim: the width of all embeddings; None takes each column's own suggestion.
        auxiliary_weight: of the auxiliary loss; 0 leaves it out.
        auxiliary_units: widths of the hidden layers of its network.
        attention_softmax: whether a row's attention sums to 1.
        deep_units: widths of the deep tower.
        dropout: in the deep tower.
        task, histories, aligned, max_length: as for `DIN`.

    Inputs, output, errors and `**kwargs` are `DIN`'s.

    Example:

    >>> model = kr.models.DIEN(train.schema, auxiliary_weight=0.5, deep_units=[256, 128], max_length=50)

    Source: Zhou et al., "Deep Interest Evolution Network for Click-Through Rate Prediction",
    https://arxiv.org/abs/1809.03672
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        embedding_dim: int | None = 16,
        auxiliary_weight: float = 1.0,
        auxiliary_units: int | Sequence[int] = (100, 50),
        attention_softmax: bool = True,
        deep_units: int | Sequence[int] = (256, 128),
        dropout: float = 0.0,
        task: str | Mapping[str, str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(schema, embedding_dim, task, **kwargs)
        if auxiliary_weight < 0:
            raise ValueError(f"{self.name}: auxiliary_weight must be >= 0; got {auxiliary_weight!r}")
        self.auxiliary_weight, self.auxiliary_units = (
            auxiliary_weight,
            widths(self.name, "auxiliary_units", auxiliary_units),
        )
        self.attention_softmax = attention_softmax
        self.deep_units, self.dropout = widths(self.name, "deep_units", deep_units), dropout
        self.extractions, self.evolutions, self.auxiliaries = [], [], []
        initializer, policy = self.options.kernel_initializer, {"dtype": self.dtype_policy}
        for name, width in enumerate(self.history_widths, 1):  # a column may have a name that no layer may
            sequence = (None, None, width)
            gru = keras.layers.GRU(
                width, return_sequences=True, kernel_initializer=initializer, name=f"extraction_{name}", **policy
            )
            evolution = InterestEvolution(
                width, attention_softmax, initializer, name=f"evolution_{name}", **policy
            )
            gru.build(sequence)
            evolution.build((None, width), sequence)
            self.extractions.append(gru)
            self.evolutions.append(evolution)
            if auxiliary_weight:
                auxiliary = NextBehaviourLoss(
                    self.auxiliary_units, weight=auxiliary_weight, name=f"auxiliary_{name}", **policy
                )
                auxiliary.build(sequence, sequence)
                self.auxiliaries.append(auxiliary)
        self.deep = self.make_tower(self.deep_units, dropout, "deep")
        self.logit = self.make_logit()
        chain((None, self.side_by_side_width), self.deep, self.logit)
        self.built = True  # not by `build()`, after which subclasses could not add weights

    def call(self, features: Mapping[str, Tensor], training: bool | None = None) -> Tensor | dict[str, Tensor]:
        ids, x = self.inputs_of(features)
        others, behaviours = self.embed_histories(ids)
        states = []
        for k, (target, history, mask) in enumerate(behaviours):
            interests = self.extractions[k](history, mask=mask, training=training)
            if self.auxiliaries:
                interests = self.auxiliaries[k](interests, history, history_mask=mask, training=training)
            states.append(self.evolutions[k](target, interests, history_mask=mask))
        return self.answer(self.logit(self.deep(self.side_by_side(x, [*others, *states]), training=training)))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "auxiliary_weight": self.auxiliary_weight,
            "auxiliary_units": list(self.auxiliary_units),
            "attention_softmax": self.attention_softmax,
            "deep_units": list(self.deep_units),
            "dropout": self.dropout,
        }
