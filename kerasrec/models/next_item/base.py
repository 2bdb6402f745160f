"""`NextItemModel`: a model of a schema that is trained to predict each item of a sequence by those before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from kerasrec.etl.operator.id_columns import FIRST
from kerasrec.layers import DistributedEmbedding
from kerasrec.layers.embedding.table_vectors import TableVectors
from kerasrec.layers.mlp import at_least_one, widths
from kerasrec.layers.sequence.dropout import Dropout
from kerasrec.layers.sequence.token_rows import TokenRows
from kerasrec.losses.item_vectors import ItemVectors
from kerasrec.models.next_item.columns import SequenceColumns
from kerasrec.models.next_item.events import Evaluation, Events, Ranked
from kerasrec.models.next_item.item_rows import ItemRows, Items
from kerasrec.models.next_item.item_tower import DescribedItems, ItemTower
from kerasrec.models.next_item.reader import EventReader
from kerasrec.models.next_item.retriever import ItemRetriever
from kerasrec.models.next_item.trainer import NextItemTrainer
from kerasrec.models.options import Options
from kerasrec.schema import Schema
from kerasrec.tables.config import FeatureConfig, TableConfig
from kerasrec.typing import Initializer, Regularizer, Shape, Tensor


class NextItemModel(ItemRetriever, NextItemTrainer):
    """A Keras model that reads sequences of events and predicts the next item; the base of `kr.models.SASRec`.

    A row of its data is a user's or a session's sequence: a list column of item ids in the order of time, and
    columns that describe its events or its user (`SequenceColumns`). A subclass defines `encode`.

    **Training**: each event predicts the item of the next one, in the last `max_length + 1` events of a row.
    **Evaluation**: the last item of a row is ranked among all items, by the events before it.
    **Prediction**: `predict` returns the scores of all items by all events of a row; `kr.retrieval.Index(model)`
    recommends the best items.

    Args:
        schema: `loader.schema`, or its `to_dict()`.
        embedding_dim: the width of the items' vectors, and of the model.
        max_length: the most events that are read of a row, its last ones.
        dropout: of the vectors of events, and within the model.
        tied: whether an item has one vector, or another one where it is predicted.
        exclude_seen: whether items of a row's history are left out when items are ranked for it.
        items: a table of one row per item, a `kr.Loader` or a dataset: the column of items' ids, named as that of
            the sequences, and columns that describe an item, ids or numbers. An item's vector is then the sum of
            its own and of what a tower makes of these columns, where it is predicted, and unless `tied=False` also
            where it is read. So there are vectors of items that no one has seen yet: `kr.retrieval.Index`.
        item_units: the widths of the tower's layers, before a last, linear one.
        embed_item_id: whether an item has a vector of its own beside what the tower makes.
        id_dropout: the share of items whose own vectors are left out in a step, as those of new items are.
        first_id: the first id that is an item; those before it stand for padding, nulls and values out of
            vocabulary, as `etl.Categorify` numbers them. They are read, but never predicted.
        embeddings_initializer, embeddings_regularizer: of the tables, as in all `kr.models`.
        seed: of the tables' initial values.
        name, dtype, trainable: as in any Keras layer.

    Raises:
        SchemaError: no list of items, or several; a list that is not tagged as a sequence; `items` without the
            column of ids, with ids of another vocabulary, or with nothing beside them.
        ValueError: `max_length` or `embedding_dim` below 1; an option of the tower without `items`; an item in
            several rows.
    """

    reads_time: ClassVar[bool] = False

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        embedding_dim: int = 64,
        max_length: int = 200,
        dropout: float = 0.1,
        *,
        tied: bool = True,
        exclude_seen: bool = True,
        items: Items | None = None,
        item_units: int | Sequence[int] = (),
        embed_item_id: bool = True,
        id_dropout: float = 0.0,
        first_id: int = FIRST,
        embeddings_initializer: Initializer = "uniform",
        embeddings_regularizer: Regularizer | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(autocast=False, **kwargs)
        schema = schema if isinstance(schema, Schema) else Schema.from_dict(schema)
        self.columns = SequenceColumns.of(self.name, schema, self.reads_time)
        self.schema = schema.subset(self.columns.names)
        self.embedding_dim = at_least_one(self.name, "embedding_dim", embedding_dim)
        self.max_length, self.dropout = at_least_one(self.name, "max_length", max_length), dropout
        self.tied, self.exclude_seen, self.first_id = tied, exclude_seen, first_id
        self.options = Options("mean", embeddings_initializer, embeddings_regularizer)
        self.reader = EventReader(self.columns, self.max_length, first_id)
        self.item_units = widths(self.name, "item_units", item_units) if item_units else ()
        self.embed_item_id, self.id_dropout = bool(embed_item_id), float(id_dropout)
        self._make_tables(seed)
        self.tower = self._make_tower(items)
        self.id_drop = keras.layers.Dropout(
            self.id_dropout, noise_shape=(None, 1), autocast=False, name="id_dropout"
        )
        self.side = self._make_side()
        self.drop = Dropout(dropout, dtype=self.dtype_policy, name="dropout")
        self.negatives = keras.random.SeedGenerator(self.seed, name="negatives")
        self.supports_jit = keras.backend.backend() != "tensorflow"

    def _make_tables(self, seed: int | None) -> None:
        """Make layers for the items' table, for that of the items to predict, and for all other tables."""
        configs = self.options.features(self.schema, self.embedding_dim)
        table = configs[self.columns.item].table
        self._sharing = tuple(name for name in self.columns.ids if configs[name].table.name == table.name)
        others = {name: configs[name] for name in self.columns.ids if name not in self._sharing}
        own = table if self.embed_item_id else self._without_items(table)
        self.items = self._tables("items", self._item_table(own if self.tied else table), seed)
        self.seed = self.items.seed
        self.predicted: DistributedEmbedding | None = None
        if not self.tied:
            self.predicted = self._tables(
                "predicted", self._item_table(replace(own, name=f"predicted {own.name}"))
            )
        self.embeddings = self._tables("embeddings", others) if others else None

    def _item_table(self, table: TableConfig) -> dict[str, FeatureConfig]:
        return {self.columns.item: FeatureConfig(self.columns.item, table)}

    def _without_items(self, table: TableConfig) -> TableConfig:
        """Return the table of the ids that are not items'."""
        ids = max(self.first_id, 1)
        return replace(table, name=f"{table.name} without items", vocabulary_size=ids, lookup_cdf=None)

    def _tables(
        self, name: str, features: Mapping[str, FeatureConfig], seed: int | None = None
    ) -> DistributedEmbedding:
        seed = self.seed if seed is None and name != "items" else seed
        layer = DistributedEmbedding(features, seed, dtype=self.dtype_policy, name=name)
        layer.build(dict.fromkeys(features, (None,)))
        return layer

    def _make_tower(self, items: Items | None) -> ItemTower | None:
        """Return what makes vectors of the columns of items; None where the model knows none."""
        if items is None:
            if self.item_units or self.id_dropout or not self.embed_item_id:
                raise ValueError(
                    f"{self.name}: item_units, embed_item_id and id_dropout are for items with columns; pass "
                    "items=..."
                )
            return None
        rows = ItemRows.of(self.name, items, self.schema[self.item_id], self.first_id)
        units = (*self.item_units, self.embedding_dim)
        return ItemTower(
            rows, self.item_count, units, self.options, self.seed, dtype=self.dtype_policy, name="tower"
        )

    def _make_side(self) -> keras.layers.Dense | None:
        """Return what maps the other columns of an event to the width of its item's vector; None without any."""
        numbers = len(self.columns.event_numbers) + len(self.columns.user_numbers)
        width = numbers + self.embedding_dim * len(self.columns.ids)
        if not width:
            return None
        layer = keras.layers.Dense(self.embedding_dim, use_bias=False, dtype=self.dtype_policy, name="side")
        layer.build((None, width))
        return layer

    # ---- parts for subclasses --------------------------------------------------------------------------------
    def embed(self, events: Events, rows: TokenRows, training: bool | None) -> Tensor:
        """Return the vector of each event, `(tokens, embedding_dim)`: its item's plus `W s`.

        `s` has the vectors of the other categorical columns of the event and its user, and their numbers.
        """
        items = self._vectors(self.items, training) if self.tied else self._rows(self.items, training)
        x = ops.cast(items.lookup(events.items), self.compute_dtype)
        if self.side is None:
            return x
        # A user's columns are of each of its events.
        scalars = {name: rows.repeat(ops.expand_dims(each, 1))[:, 0] for name, each in events.scalars.items()}
        values = {**events.lists, **scalars}
        parts = [items.lookup(values[name]) for name in self._sharing]
        if self.embeddings is not None:
            ids = {name: values[name] for name in self.embeddings.features}
            parts += self.embeddings(ids, training=training).values()
        for name in (*self.columns.event_numbers, *self.columns.user_numbers):
            parts.append(ops.cast(ops.expand_dims(values[name], 1), self.compute_dtype))
        return x + self.side(ops.concatenate(parts, axis=1))

    @property
    def item_count(self) -> int:
        """The number of ids, with those that are not items'."""
        return self.schema[self.columns.item].cardinality or 0

    # ---- queries and scores ----------------------------------------------------------------------------------
    def item_vectors(self, training: bool = False) -> ItemVectors:
        return self._vectors(self.items if self.predicted is None else self.predicted, training)

    def _vectors(self, layer: DistributedEmbedding, training: bool | None) -> ItemVectors:
        """Return the rows of a table of items, with what the columns of items add to them."""
        rows = self._rows(layer, training)
        if self.tower is None:
            return rows
        drop = self.id_drop if self.embed_item_id else None
        return DescribedItems(rows, self.tower, drop, self.item_count, self.first_id)

    def _rows(self, layer: DistributedEmbedding, training: bool | None) -> TableVectors:
        return TableVectors(layer, self.columns.item, self.first_id, bool(training))

    def call(self, features: Any, training: bool | None = None) -> Tensor | Ranked:
        """Return the scores of all ids for a batch, `(batch, ids)` float32: -inf for ids below `first_id`.

        Within the steps of `fit` and `evaluate`, which pass `Events` and an `Evaluation`, return the states after
        the events, and the ranks of the last items.
        """
        if isinstance(features, Evaluation):
            return self.ranked(features)
        if isinstance(features, Events):
            return self.encode(features, features.rows(), training)
        queries = self.encode_queries(features, training)
        scores = ops.matmul(queries, ops.transpose(ops.cast(self.item_vectors().all(), "float32")))
        no_items = ops.arange(scores.shape[1]) < self.first_id
        return ops.where(no_items, ops.cast(float("-inf"), scores.dtype), scores)

    def encode_queries(self, features: Mapping[str, Tensor], training: bool | None = None) -> Tensor:
        """Return the state after the last event of each row of a batch, `(batch, embedding_dim)` float32.

        Its dot products with the items' vectors are the scores. It is 0 for a row without events.
        """
        events = self.reader.scoring(features)
        states = self(events, training=training)
        return self._last_states(events, states)

    # ---- Keras's own -----------------------------------------------------------------------------------------
    def build(self, input_shape: Mapping[str, Shape] | None = None) -> None:
        """Do nothing: all variables are created from the schema in `__init__`."""

    def compute_output_shape(self, input_shape: Mapping[str, Shape]) -> Shape:
        return (input_shape[self.columns.item][0], self.item_count)

    def no_outputs(self) -> np.ndarray:
        return np.empty((0, self.item_count), "float32")

    def get_config(self) -> dict[str, Any]:
        arguments = (
            "embedding_dim",
            "max_length",
            "dropout",
            "tied",
            "exclude_seen",
            "embed_item_id",
            "id_dropout",
        )
        options = self.options.config()
        return {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "schema": self.schema.to_dict(),
            **{name: getattr(self, name) for name in (*arguments, "first_id", "seed")},
            "items": None if self.tower is None else self.tower.rows_config,
            "item_units": list(self.item_units),
            **{name: options[name] for name in ("embeddings_initializer", "embeddings_regularizer")},
        }
