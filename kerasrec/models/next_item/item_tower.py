"""`ItemTower`: makes vectors of items of the columns that describe them; `DescribedItems`, of all items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from kerasrec.layers import MLP, DistributedEmbedding
from kerasrec.layers.embedding.bags import is_ragged
from kerasrec.layers.embedding.table_vectors import TableVectors
from kerasrec.layers.inputs import ids_of, present
from kerasrec.models.base import chain
from kerasrec.models.next_item.item_rows import ItemRows
from kerasrec.models.options import Options
from kerasrec.schema import Column, Tag
from kerasrec.typing import Tensor


class ItemTower(keras.layers.Layer):
    """Makes the vectors of items of their columns: an MLP of their embeddings and numbers side by side.

    The columns of all items are constants of the layer, which are saved with it.

    Args:
        rows: the columns that describe the items.
        count: the number of ids.
        units: the widths of the layers; all but the last are followed by a ReLU.
        options: of the tables of categorical columns, which are as wide as the last layer.
        seed: of their initial values.

    Inputs: a dict of the columns of items, lists ragged or padded with 0.

    Output: `(items, units[-1])` in the compute dtype.
    """

    def __init__(
        self, rows: ItemRows, count: int, units: Sequence[int], options: Options, seed: int, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.schema, self.rows_config, policy = rows.schema, rows.config(), {"dtype": self.dtype_policy}
        self.numbers = tuple(c.name for c in self.schema.continuous.without(Tag.CATEGORICAL))
        configs = options.of_other_columns().features(self.schema, units[-1], suffix=" of items")
        self.embeddings = DistributedEmbedding(configs, seed, **policy, name="embeddings") if configs else None
        if self.embeddings is not None:
            self.embeddings.build(dict.fromkeys(configs, (None,)))
        self.mlp = MLP(units, final_activation=None, **policy, name="mlp")
        width = sum(self.schema[name].width or 1 for name in self.numbers) + units[-1] * len(configs)
        chain((None, width), self.mlp)
        self.constants = [self._constant(k, column, count, rows) for k, column in enumerate(self.schema)]
        self.built = True

    def _constant(self, number: int, column: Column, count: int, rows: ItemRows) -> keras.Variable:
        width = rows.widths.get(column.name)
        variable = self.add_weight(
            (count,) if width is None else (count, width),
            "zeros",
            column.dtype if Tag.CATEGORICAL in column.tags else "float32",
            trainable=False,
            autocast=False,
            name=f"column_{number}",  # a column's name may not be one of a variable
        )
        if rows.arrays is not None:
            variable.assign(rows.arrays[column.name])
        return variable

    def columns(self, ids: Tensor | None) -> dict[str, Tensor]:
        """Return the columns of items `(n,)`, or of all ids."""
        values = zip(self.schema.names, self.constants, strict=True)
        if ids is None:
            return {name: ops.convert_to_tensor(constant) for name, constant in values}
        return {name: ops.take(constant, ids, axis=0) for name, constant in values}

    def call(self, features: Mapping[str, Tensor], training: bool | None = None) -> Tensor:
        parts = [ops.cast(self._number(name, features), self.compute_dtype) for name in self.numbers]
        if self.embeddings is not None:
            parts += self.embeddings(ids_of(self.schema, features), training=training).values()
        return self.mlp(ops.concatenate(parts, axis=1), training=training)

    def _number(self, name: str, features: Mapping[str, Tensor]) -> Tensor:
        values = present(features, name)
        return ops.reshape(values.values if is_ragged(values) else values, (-1, self.schema[name].width or 1))


@dataclass(frozen=True)
class DescribedItems:
    """The vectors of items of a model that knows their columns: `E[id] + tower(columns of id)`.

    An id that is not an item's has `E[id]`, and an item that is not in the vocabulary `tower(its columns)`.

    Attributes:
        rows: the table `E`; where items have no vector of their own, that of the ids before them.
        tower: makes vectors of columns.
        drop: leaves out `E[id]` of some items in training; None where items have no vector of their own.
        count: the number of ids.
        first_id: the first id of an item.
    """

    rows: TableVectors
    tower: ItemTower
    drop: keras.layers.Dropout | None
    count: int
    first_id: int

    def lookup(self, ids: Tensor) -> Tensor:
        """Return the vectors of ids `(n,)`, `(n, dim)`."""
        own = self.rows.lookup(ids if self.drop is not None else ops.minimum(ids, self.rows.count - 1))
        return self._sum(ids, own, self._of(self.tower.columns(ids)))

    def all(self) -> Tensor:
        """Return the vectors of all ids, `(count, dim)`."""
        own = self.rows.all()
        if self.drop is None:
            own = ops.pad(own, [[0, self.count - self.rows.count], [0, 0]])
        return self._sum(ops.arange(self.count, dtype="int32"), own, self._of(self.tower.columns(None)))

    def of_columns(self, ids: Tensor, features: Mapping[str, Tensor]) -> Tensor:
        """Return the vectors of items with these columns; the id of a new one is not an item's."""
        described = ops.cast(self._of(features), "float32")
        if self.drop is None:
            return described
        own = ops.cast(self.rows.lookup(ids), "float32")
        return described + ops.where(self._is_item(ids), own, ops.zeros_like(own))

    def _of(self, features: Mapping[str, Tensor]) -> Tensor:
        return self.tower(features, training=self.rows.training)

    def _is_item(self, ids: Tensor) -> Tensor:
        return ops.expand_dims(ids >= self.first_id, 1)

    def _sum(self, ids: Tensor, own: Tensor, described: Tensor) -> Tensor:
        described = ops.cast(described, own.dtype)
        of_items = described if self.drop is None else described + self.drop(own, training=self.rows.training)
        return ops.where(self._is_item(ids), of_items, own)
