"""DIN: a history summed by target attention, and a deep tower."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kerasrec.layers import TargetAttention
from kerasrec.layers.mlp import widths
from kerasrec.models.base import chain
from kerasrec.models.sequence.base import SequenceModel
from kerasrec.schema import Schema
from kerasrec.typing import Activation, Tensor


@keras.saving.register_keras_serializable("kerasrec")
class DIN(SequenceModel):
    """Deep interest network.

    With `t` the candidate and `h_1 .. h_L` a history: `logit = w . deep([continuous columns, embeddings, v]) + b`
    with `v = sum_l a(t, h_l) h_l` for each history, where the network `a` of `[t, h, t - h, t * h]` says how a
    behaviour bears on the candidate (`kr.layers.TargetAttention`). So a person of several interests is described
    by the one that the candidate touches.

    **The schema says what is compared.** A history is a list column whose `table` a scalar column looks up too, as
    `["item", "clicked_items"] >> etl.Categorify(table="item")` writes both. Several histories each have a network
    of their own. List columns without such a column, such as the genres of an item, are combined as in other
    models. The last element of a list is the most recent behaviour, and id 0 is padding.

    Args:
        schema: `loader.schema`; with a history at least, and one or more targets.
        embedding_dim: the width of all embeddings; None takes each column's own suggestion.
        attention_units: widths of the hidden layers of `a`.
        attention_activation: of these layers: "dice", or any activation of Keras.
        attention_softmax: whether a row's weights sum to 1. By default they do not, as in the paper, so that many
            similar behaviours add up to a strong interest.
        deep_units: widths of the deep tower.
        dropout: in the deep tower.
        task: "binary" or "regression", or a dict of these by target; by default by the target's tag.
        histories: `{list column: column of the candidate}`, where the schema does not say it, since several scalar
            columns share a table; other lists are then combined.
        aligned: groups of histories whose k-th elements describe the same behaviour, such as
            `[["clicked_items", "clicked_categories"]]`: their vectors are put side by side, as the paper does with
            goods, shop and category, and get one weight.
        max_length: only the last behaviours of a row count; None is all.

    Inputs, output, other errors and `**kwargs` are `DLRM`'s.

    Raises:
        SchemaError: no history, or several scalar columns that it may be compared with; names the columns.

    Example:

    >>> model = kr.models.DIN(train.schema, attention_units=[64, 16], deep_units=[256, 128], max_length=50)

    Source: Zhou et al., "Deep Interest Network for Click-Through Rate Prediction",
    https://arxiv.org/abs/1706.06978
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        embedding_dim: int | None = 16,
        attention_units: int | Sequence[int] = (64,),
        attention_activation: Activation = "dice",
        attention_softmax: bool = False,
        deep_units: int | Sequence[int] = (256, 128),
        dropout: float = 0.0,
        task: str | Mapping[str, str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(schema, embedding_dim, task, **kwargs)
        self.deep_units, self.dropout = widths(self.name, "deep_units", deep_units), dropout
        self.attentions = [
            TargetAttention(
                attention_units,
                attention_activation,
                attention_softmax,
                kernel_initializer=self.options.kernel_initializer,
                dtype=self.dtype_policy,
                name=f"attention_{number}",  # a column may have a name that no layer may
            )
            for number in range(1, len(self.histories) + 1)
        ]
        for attention, width in zip(self.attentions, self.history_widths, strict=True):
            attention.build((None, width), (None, None, width))
        self.deep = self.make_tower(self.deep_units, dropout, "deep")
        self.logit = self.make_logit()
        chain((None, self.side_by_side_width), self.deep, self.logit)
        self.built = True  # not by `build()`, after which subclasses could not add weights

    def call(self, features: Mapping[str, Tensor], training: bool | None = None) -> Tensor | dict[str, Tensor]:
        ids, x = self.inputs_of(features)
        others, behaviours = self.embed_histories(ids)
        interests = [
            attention(target, history, history_mask=mask, training=training)
            for attention, (target, history, mask) in zip(self.attentions, behaviours, strict=True)
        ]
        return self.answer(self.logit(self.deep(self.side_by_side(x, [*others, *interests]), training=training)))

    def get_config(self) -> dict[str, Any]:
        attention = self.attentions[0].get_config()
        return {
            **super().get_config(),
            "attention_units": attention["units"],
            "attention_activation": attention["activation"],
            "attention_softmax": attention["softmax"],
            "deep_units": list(self.deep_units),
            "dropout": self.dropout,
        }
