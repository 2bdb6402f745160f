"""FinalMLP: two towers, each over features of its own selection, that meet in bilinear forms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kerasrec.layers import BilinearFusion, ContinuousInputs, DistributedEmbedding, FeatureSelection
from kerasrec.layers.mlp import widths
from kerasrec.models.base import SchemaModel, chain
from kerasrec.schema import Schema
from kerasrec.typing import Tensor


@keras.saving.register_keras_serializable("kerasrec")
class FinalMLP(SchemaModel):
    """Two-stream network with feature selection and bilinear fusion.

    With `e = [continuous columns, embeddings]` side by side, `a = deep(2 * sigmoid(g_1) * e)` and
    `b = second(2 * sigmoid(g_2) * e)`: `logit = c + <w, a> + <v, b> + sum_h a_h^T W_h b_h` over parts `a_h`, `b_h`
    of the streams. The gates' `g_k = gate_k(context_k)` is a network over embeddings of the columns in
    `gate_columns`, from tables of their own, and over continuous ones as they are; it is a trained vector if
    there are none.

    Args:
        schema: `loader.schema`; categorical or continuous columns, or both, and one or more targets.
        embedding_dim: the width of all embeddings; None takes each column's own suggestion.
        deep_units: widths of the first tower.
        second_units: widths of the second tower; None is `deep_units`.
        fusion_heads: how many parts the fusion cuts the streams into; both last widths must be multiples of it.
        gate_columns: the columns that set the gates of the first and of the second tower's inputs, two lists,
            such as `[["user"], ["item"]]`; empty lists give gates that are the same in all rows; None leaves
            the gates out.
        gate_units: widths of the hidden layers of the gates' networks.
        dropout: in the towers.
        task: "binary" or "regression", or a dict of these by target; by default by the target's tag.

    Inputs, output, errors and `**kwargs` are `DLRM`'s.

    Example:

    >>> model = kr.models.FinalMLP(train.schema, fusion_heads=4, gate_columns=[["user"], ["item"]])

    Source: Mao et al., "FinalMLP: An Enhanced Two-Stream MLP Model for CTR Prediction",
    https://arxiv.org/abs/2304.00902
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        embedding_dim: int | None = 16,
        deep_units: int | Sequence[int] = (256, 128),
        second_units: int | Sequence[int] | None = None,
        fusion_heads: int = 1,
        gate_columns: Sequence[Sequence[str]] | None = ((), ()),
        gate_units: int | Sequence[int] = (64,),
        dropout: float = 0.0,
        task: str | Mapping[str, str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(schema, embedding_dim, task, **kwargs)
        self.deep_units, self.dropout = widths(self.name, "deep_units", deep_units), dropout
        self.second_units = (
            self.deep_units if second_units is None else widths(self.name, "second_units", second_units)
        )
        self.fusion_heads, self.gate_units = fusion_heads, widths(self.name, "gate_units", gate_units)
        self.gate_columns = self._checked_columns(gate_columns)

        width, dtype = self.side_by_side_width, self.dtype_policy
        self.gate_numbers: list[ContinuousInputs | None] = []
        self.gate_embeddings: list[DistributedEmbedding | None] = []
        self.gates: list[FeatureSelection] = []
        for i, columns in enumerate(self.gate_columns or (), 1):
            numbers, tables = self._context_layers(columns, f"_gate_{i}")
            gate = FeatureSelection(self.gate_units, **self.options.tower(), dtype=dtype, name=f"gate_{i}")
            gate.build((None, width), (None, _width_of(numbers, tables)) if columns else None)
            self.gate_numbers.append(numbers)
            self.gate_embeddings.append(tables)
            self.gates.append(gate)
        self.deep = self.make_tower(self.deep_units, dropout, "deep")
        self.second = self.make_tower(self.second_units, dropout, "second")
        chain((None, width), self.deep)
        chain((None, width), self.second)
        self.logit = BilinearFusion(len(self.targets), fusion_heads, dtype="float32", name="logit")
        self.logit.build((None, self.deep_units[-1]), (None, self.second_units[-1]))
        self.built = True  # not by `build()`, after which subclasses could not add weights

    def call(self, features: Mapping[str, Tensor], training: bool | None = None) -> Tensor | dict[str, Tensor]:
        ids, x = self.inputs_of(features)
        first = second = self.side_by_side(x, self.embed(ids))
        if self.gates:
            first = self.gates[0](first, self._context(0, features, ids))
            second = self.gates[1](second, self._context(1, features, ids))
        a, b = self.deep(first, training=training), self.second(second, training=training)
        return self.answer(self.logit(a, b))

    def _context(self, gate: int, features: Mapping[str, Tensor], ids: Mapping[str, Tensor]) -> Tensor | None:
        """Return what a gate's network reads: its continuous columns and embeddings side by side, or None."""
        numbers, tables = self.gate_numbers[gate], self.gate_embeddings[gate]
        if numbers is None and tables is None:
            return None
        vectors = [] if tables is None else list(tables({name: ids[name] for name in tables.features}).values())
        return self.side_by_side(None if numbers is None else numbers(features), vectors)

    def _context_layers(
        self, columns: Sequence[str], suffix: str
    ) -> tuple[ContinuousInputs | None, DistributedEmbedding | None]:
        """Return the layers, built, that read the columns of a gate's context."""
        numbers = ContinuousInputs.of(self.schema.subset(columns), name=f"numbers{suffix}")
        if numbers is not None:
            chain(dict.fromkeys(numbers.columns, (None,)), numbers)
        configs = self.options.features(self.schema, self.embedding_dim, suffix=suffix)
        configs = {name: config for name, config in configs.items() if name in columns}
        tables = None
        if configs:
            tables = DistributedEmbedding(configs, self.seed, dtype=self.dtype_policy, name=f"embeddings{suffix}")
            tables.build(dict.fromkeys(configs, (None,)))
        return numbers, tables

    def _checked_columns(self, given: Sequence[Sequence[str]] | None) -> tuple[tuple[str, ...], ...] | None:
        if given is None:
            return None
        if len(given) != 2 or any(isinstance(columns, str) for columns in given):
            raise ValueError(
                f"{self.name}: gate_columns must be two lists of columns, of the first and of the second tower, "
                f"or None; got {given!r}"
            )
        features = [*self.schema.features.categorical.names, *self.schema.features.continuous.names]
        for columns in given:
            for name in columns:
                if name not in features:
                    raise ValueError(
                        f"{self.name}: gate_columns: no column {name!r} among the model's inputs; available: "
                        f"{', '.join(features)}"
                    )
            if len(set(columns)) < len(columns):
                raise ValueError(f"{self.name}: gate_columns names a column twice: {list(columns)}")
        first, second = (tuple(columns) for columns in given)
        return first, second

    def get_config(self) -> dict[str, Any]:
        columns = self.gate_columns
        return {
            **super().get_config(),
            "deep_units": list(self.deep_units),
            "second_units": list(self.second_units),
            "fusion_heads": self.fusion_heads,
            "gate_columns": None if columns is None else [list(each) for each in columns],
            "gate_units": list(self.gate_units),
            "dropout": self.dropout,
        }


def _width_of(numbers: ContinuousInputs | None, tables: DistributedEmbedding | None) -> int:
    """Return the width of a gate's context."""
    width = 0 if numbers is None else len(numbers.columns)
    return width + (0 if tables is None else sum(c.table.embedding_dim for c in tables.features.values()))
