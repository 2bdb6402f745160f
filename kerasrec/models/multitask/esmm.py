"""ESMM: clicks and conversions, both learned on all impressions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from kerasrec.data.loader_of import loader_of
from kerasrec.layers.experts.parallel_mlp import ParallelMLP
from kerasrec.layers.mlp import widths
from kerasrec.metrics.on_backend import is_traced
from kerasrec.models.base import SchemaModel, chain
from kerasrec.models.heads import check_targets
from kerasrec.schema import Schema, SchemaError
from kerasrec.typing import Tensor


@keras.saving.register_keras_serializable("kerasrec")
class ESMM(SchemaModel):
    """Entire space multi-task model: the probabilities of a click, and of a click with a conversion after it.

    Two towers over the same embeddings compute the rate of clicks `pCTR = sigmoid(a)` and that of conversions
    after a click `pCVR = sigmoid(b)`. The outputs are `pCTR` for the click and `pCTCVR = pCTR * pCVR` for the
    conversion, so that both are learned on all impressions: no tower is trained on clicked rows alone, which are a
    biased sample of those that it will predict for. `pCVR` is what one output divided by the other is:

    >>> y = model.predict(impressions)
    >>> pcvr = y["buy"] / y["click"]

    **The data**: a row for each impression, with two targets of 0 and 1. The conversion is 0 where there was no
    click, also where it is unknown. A product cannot express a conversion without a click: `fit` and `evaluate`
    refuse a loader whose first batch has one, and count those of all batches, which they refuse after an epoch.

    Args:
        schema: `loader.schema`; categorical or continuous columns, or both, and two binary targets.
        embedding_dim: the width of all embeddings; None takes each column's own suggestion.
        deep_units: widths of each tower.
        click, conversion: the names of the two targets; by default the schema's first and second.
        dropout: in the towers.
        task: "binary", if the targets' tags do not say so.

    Inputs and `**kwargs` are `DLRM`'s.

    Output: a dict of two probabilities by target, `(batch, 1)` float32.

    Raises:
        SchemaError: other targets than two binary ones, and what `DLRM` raises.
        ValueError: `click` and `conversion` are not the two targets; or, in `fit` and `evaluate`, conversions
            without a click.

    Example:

    >>> model = kr.models.ESMM(train.schema, click="click", conversion="buy")

    Source: Ma et al., "Entire Space Multi-Task Model: An Effective Approach for Estimating Post-Click Conversion
    Rate", SIGIR 2018, https://arxiv.org/abs/1804.07931
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        embedding_dim: int | None = 16,
        deep_units: int | Sequence[int] = (256, 128),
        click: str | None = None,
        conversion: str | None = None,
        dropout: float = 0.0,
        task: str | Mapping[str, str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(schema, embedding_dim, task, **kwargs)
        self.click, self.conversion = self._roles(click, conversion)
        self.deep_units, self.dropout = widths(self.name, "deep_units", deep_units), dropout
        self.towers = self.make_parallel(2, self.deep_units, dropout, "towers")
        self.logit = ParallelMLP(2, 1, final_activation=None, dtype="float32", name="logit")
        chain((None, self.side_by_side_width), self.towers, self.logit)
        self.unclicked = keras.metrics.Sum(name="conversions_without_click")
        self.built = True  # not by `build()`, after which subclasses could not add weights

    def _roles(self, click: str | None, conversion: str | None) -> tuple[str, str]:
        """Return the names of the two targets. Raises `SchemaError` or `ValueError` where they are others."""
        if list(self.tasks.values()) != ["binary", "binary"]:
            listed = ", ".join(f"{name} ({task})" for name, task in self.tasks.items())
            raise SchemaError(
                f"{self.name} needs two binary targets, a click and a conversion; got {listed}. Choose two with "
                "targets=[...] in the loader"
            )
        given = {"click": click, "conversion": conversion}
        for argument, name in given.items():
            check_targets(argument, [] if name is None else [name], self.targets)
        first, second = self.targets
        click = click or (first if conversion != first else second)
        conversion = conversion or (second if click != second else first)
        if click == conversion:
            raise ValueError(f"{self.name}: click and conversion must be two targets; got {click!r} for both")
        return click, conversion

    def call(self, features: Mapping[str, Tensor], training: bool | None = None) -> dict[str, Tensor]:
        ids, x = self.inputs_of(features)
        towers = self.towers(self.side_by_side(x, self.embed(ids)), training=training)
        pctr, pcvr = ops.unstack(ops.sigmoid(self.logit(towers)), axis=1)
        outputs = {self.click: pctr, self.conversion: pctr * pcvr}
        return {name: outputs[name] for name in self.targets}

    # ---- conversions without a click ---------------------------------------------------------------------------
    def _check_data(self, data: Any, role: str, training: bool) -> None:
        super()._check_data(data, role, training)
        loader = loader_of(data) if training else None
        labels = None if loader is None else keras.utils.unpack_x_y_sample_weight(loader.peek())[1]
        if isinstance(labels, Mapping):
            wrong = self._without_click(labels)
            self._refuse(int(ops.sum(wrong)), f"of the first {len(wrong):,} rows of {role}")

    def compute_metrics(
        self,
        x: Mapping[str, Tensor],
        y: Mapping[str, Tensor],
        y_pred: Mapping[str, Tensor],
        sample_weight: Mapping[str, Tensor] | Tensor | None = None,
    ) -> dict[str, Tensor]:
        self.unclicked.update_state(self._without_click(y))
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def get_metrics_result(self) -> dict[str, Tensor]:
        results = dict(super().get_metrics_result())
        wrong = results.pop(self.unclicked.name)
        if not is_traced(wrong):
            self._refuse(int(wrong), "of the rows of this epoch")
        return results

    def _without_click(self, labels: Mapping[str, Tensor]) -> Tensor:
        """Return 1 for rows that have a conversion without a click, else 0."""
        click, conversion = (ops.cast(labels[name], "float32") for name in (self.click, self.conversion))
        return ops.cast(conversion > click, "float32")

    def _refuse(self, wrong: int, rows: str) -> None:
        if wrong:
            raise ValueError(
                f"{self.name}: {wrong:,} {rows} have a conversion ({self.conversion!r}) without a click "
                f"({self.click!r}). If the two are swapped, pass click={self.conversion!r}; else write the "
                "conversion as 0 where there was no click"
            )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "deep_units": list(self.deep_units),
            "click": self.click,
            "conversion": self.conversion,
            "dropout": self.dropout,
        }
