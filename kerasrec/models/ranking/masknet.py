"""MaskNet: hidden layers whose inputs are multiplied with masks that the row's embeddings set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from kerasrec.layers import MLP, MaskBlock
from kerasrec.layers.mlp import at_least_one, widths
from kerasrec.models.base import SchemaModel, chain
from kerasrec.schema import Schema
from kerasrec.typing import Tensor


@keras.saving.register_keras_serializable("kerasrec")
class MaskNet(SchemaModel):
    """Network of blocks with instance-guided masks.

    With `v = [x, e_1 .. e_n]`, continuous columns and embeddings side by side, `h = [x, ln_1(e_1) .. ln_n(e_n)]`
    the embeddings normalized one by one, and a block `B(h) = relu(ln((mask(v) * h) W))`, whose mask is a network
    of `v`: the logit is linear in `deep([B_1(h), .., B_m(h)])` (parallel) or in `B_m(.. B_1(h))` (serial).
    Continuous columns are not normalized: of a single number that would leave the sign.

    Args:
        schema: `loader.schema`; categorical or continuous columns, or both, and one or more targets.
        embedding_dim: the width of all embeddings.
        structure: "parallel" or "serial".
        blocks: how many parallel blocks; serial ones are as many as `deep_units`.
        block_units: the width of each parallel block's output.
        deep_units: widths of the tower over parallel blocks, or of the serial blocks.
        reduction_ratio: the width of the masks' hidden layers, as a multiple of the width that they mask.
        dropout: in the blocks and the tower.
        task: "binary" or "regression", or a dict of these by target; by default by the target's tag.

    Inputs, output, errors and `**kwargs` are `DLRM`'s.

    Example:

    >>> model = kr.models.MaskNet(train.schema, blocks=3, block_units=64, deep_units=[256, 128])

    Source: Wang et al., "MaskNet: Introducing Feature-Wise Multiplication to CTR Ranking Models by Instance-Guided
    Mask", https://arxiv.org/abs/2102.07619
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        embedding_dim: int = 16,
        structure: str = "parallel",
        blocks: int = 3,
        block_units: int = 64,
        deep_units: int | Sequence[int] = (256, 128),
        reduction_ratio: float = 1,
        dropout: float = 0.0,
        task: str | Mapping[str, str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(schema, embedding_dim, task, **kwargs)
        if structure not in ("parallel", "serial"):
            raise ValueError(f"{self.name}: structure must be 'parallel' or 'serial'; got {structure!r}")
        if embedding_dim is None:
            raise ValueError(f"{self.name}: embedding_dim must be an integer; got None")
        self.structure, self.reduction_ratio, self.dropout = structure, reduction_ratio, dropout
        self.blocks = at_least_one(self.name, "blocks", blocks)
        self.block_units = at_least_one(self.name, "block_units", block_units)
        self.deep_units = widths(self.name, "deep_units", deep_units)

        self.normalization: keras.layers.GroupNormalization | None = None
        if self.embeddings is not None:
            # A group is an embedding: all of them are normalized at once, each with a scale and shift of its own.
            self.normalization = keras.layers.GroupNormalization(
                len(self.widths), epsilon=1e-5, dtype=self.dtype_policy, name="normalization"
            )
            self.normalization.build((None, sum(self.widths)))
        width = self.side_by_side_width
        self.deep: MLP | None = None
        if structure == "parallel":
            self.mask_blocks = [self._block(self.block_units, width, i) for i in range(self.blocks)]
            self.deep = self.make_tower(self.deep_units, dropout, "deep")
            chain((None, self.blocks * self.block_units), self.deep)
        else:
            inputs = (width, *self.deep_units)
            self.mask_blocks = [self._block(units, inputs[i], i) for i, units in enumerate(self.deep_units)]
        self.logit = self.make_logit()
        self.logit.build((None, self.deep_units[-1]))
        self.built = True  # not by `build()`, after which subclasses could not add weights

    def _block(self, units: int, width: int, i: int) -> MaskBlock:
        """Return block `i`, built for `width` hidden features."""
        options = {**self.options.tower(), "dropout": self.dropout, "dtype": self.dtype_policy}
        block = MaskBlock(units, self.reduction_ratio, **options, name=f"block_{i + 1}")
        block.build((None, self.side_by_side_width), (None, width))
        return block

    def call(self, features: Mapping[str, Tensor], training: bool | None = None) -> Tensor | dict[str, Tensor]:
        ids, x = self.inputs_of(features)
        vectors = self.embed(ids)
        v = h = self.side_by_side(x, vectors)
        if self.normalization is not None:
            h = self.side_by_side(x, [self.normalization(ops.concatenate(vectors, axis=1))])
        if self.deep is not None:
            outputs = [block(v, h, training=training) for block in self.mask_blocks]
            h = self.deep(ops.concatenate(outputs, axis=1), training=training)
        else:
            for block in self.mask_blocks:
                h = block(v, h, training=training)
        return self.answer(self.logit(h))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "structure": self.structure,
            "blocks": self.blocks,
            "block_units": self.block_units,
            "deep_units": list(self.deep_units),
            "reduction_ratio": self.reduction_ratio,
            "dropout": self.dropout,
        }
