"""`RetrievalModel`: a model that makes a vector of a query and one of a candidate; the base of such models."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from keras import ops

from kerasrec.etl.operator.id_columns import FIRST
from kerasrec.layers import MLP, DistributedEmbedding
from kerasrec.layers.embedding.table_vectors import TableVectors
from kerasrec.layers.inputs import ContinuousInputs, ids_of, present
from kerasrec.losses.item_vectors import CandidateLoss
from kerasrec.models.options import Options
from kerasrec.models.retrieval.columns import TowerColumns
from kerasrec.models.retrieval.items import EncodedRows
from kerasrec.models.retrieval.pair_trainer import PairTrainer
from kerasrec.models.retrieval.similarity import check_similarity, factors_of, normalized
from kerasrec.retrieval.scores import Similarity
from kerasrec.schema import Schema
from kerasrec.tables.config import FeatureConfig
from kerasrec.typing import Activation, Initializer, Regularizer, Shape, Tensor


class RetrievalModel(PairTrainer):
    """A Keras model that makes a vector of a query's columns and one of a candidate's.

    Each row that it is trained on is a pair of a query and a candidate that belongs to it, such as a user and a
    film that he watched. It needs no target; one whose values are all 1 is ignored. A subclass creates its layers
    in `__init__`, sets `self.built = True` and defines `vector_dim`, `query_of` and `candidate_of`.

    Args:
        schema: a `Schema`, or its `to_dict()`. Columns with the tag user, context, session or sequence, and lists
            whose table the candidate's id looks up too, are a query's; those with item or item_id a candidate's.
        embedding_dim: the width of all embeddings; None takes the one that each column suggests.
        similarity: of the two vectors: "dot", "cosine", or "l2", minus their squared distance.
        candidate_columns: the candidate's columns, where tags do not say it; all others are the query's.
        item_id: the column that names the candidate; by default the one with the tag item_id.
        embed_item_id: whether the candidate's vector is made from its id, too. If it is not, it is made from the
            other columns alone, for new candidates as for old ones.
        combiner, embeddings_initializer, activation, kernel_initializer, kernel_regularizer, seed: as in
            `SchemaModel`.
        embeddings_regularizer: as there, of the rows that a batch looks up; of candidates those that a loss over
            all ids looks up, as its negatives.
        id_width: the width of a table of its own for the candidate's id, which then shares none with lists of past
            ids; an argument for subclasses, which is not in the config.
        name, dtype, trainable: as in any Keras layer; dtype is the policy of the dense layers.

    Output: `{"query": (batch, dim), "candidate": (batch, dim)}` float32.

    Raises:
        SchemaError: it is unclear where a column belongs, or the schema lacks columns of a query, of a candidate,
            or an id.

    Attributes:
        query_schema, candidate_schema: the columns that the encoders read.
        item_id: the column that names the candidate.
        first_id: the first id of a candidate; those below stand for padding, nulls and unknown values.
        similarity: of the vectors.
    """

    first_id = FIRST

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        embedding_dim: int | None,
        similarity: Similarity,
        *,
        candidate_columns: Collection[str] | None = None,
        item_id: str | None = None,
        embed_item_id: bool = True,
        combiner: str | Mapping[str, str] = "mean",
        embeddings_initializer: Initializer = "uniform",
        embeddings_regularizer: Regularizer | None = None,
        activation: Activation = "relu",
        kernel_initializer: Initializer = "glorot_uniform",
        kernel_regularizer: Regularizer | None = None,
        seed: int | None = None,
        id_width: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(autocast=False, **kwargs)
        self.supports_jit = keras.backend.backend() != "tensorflow"
        check_similarity(self.name, similarity)
        schema = schema if isinstance(schema, Schema) else Schema.from_dict(schema)
        columns = TowerColumns.of(self.name, schema, candidate_columns, item_id, embed_item_id)
        self.schema, self.item_id = Schema([*columns.queries, *columns.candidates]), columns.item_id
        self.query_schema, self.candidate_schema = columns.queries, columns.candidates
        self.embedding_dim, self.similarity, self.embed_item_id = embedding_dim, similarity, embed_item_id
        self.options = Options(
            combiner,
            embeddings_initializer,
            embeddings_regularizer,
            activation,
            kernel_initializer,
            kernel_regularizer,
        )
        self._make_tables(self.options.features(columns.embedded, embedding_dim), seed, id_width)
        self._generator = keras.random.SeedGenerator(self.seed)
        self._batch_candidates = []
        self._numbers = [ContinuousInputs.of(side) for side in (self.query_schema, self.candidate_schema)]

    def _make_tables(self, configs: dict[str, FeatureConfig], seed: int | None, id_width: int | None) -> None:
        """Make a layer for all tables, but one of its own for the candidate's id if it has a width."""
        own = {}
        if id_width is not None and self.item_id in configs:
            table = configs.pop(self.item_id).table
            table = replace(table, name=f"candidate {table.name}", embedding_dim=id_width)
            own = {self.item_id: FeatureConfig(self.item_id, table)}
        self.widths = {name: config.table.embedding_dim for name, config in {**configs, **own}.items()}
        self.embeddings = self._tables(configs, seed, "embeddings")
        self.item_table = self._tables(own, seed, "item_table")
        layer = self.embeddings or self.item_table
        self.seed = seed if layer is None else layer.seed

    def _tables(
        self, configs: dict[str, FeatureConfig], seed: int | None, name: str
    ) -> DistributedEmbedding | None:
        if not configs:
            return None
        layer = DistributedEmbedding(configs, seed, dtype=self.dtype_policy, name=name)
        layer.build(dict.fromkeys(configs, (None,)))
        return layer

    # ---- parts for subclasses ------------------------------------------------------------------------------
    def query_of(self, vectors: Mapping[str, Tensor], numbers: Tensor | None, training: bool | None) -> Tensor:
        """Return the vector of each query, `(batch, dim)`.

        Args:
            vectors: that of each of its categorical columns, `(batch, width)`.
            numbers: its continuous columns `(batch, n)`, None without such.
            training: as Keras gives it to `call`.
        """
        raise NotImplementedError

    def candidate_of(self, vectors: Mapping[str, Tensor], numbers: Tensor | None, training: bool | None) -> Tensor:
        """Return the vector of each candidate, as `query_of` those of queries."""
        raise NotImplementedError

    def width_of(self, schema: Schema) -> int:
        """Return the width of what `side_by_side` makes of a schema's columns."""
        return len(schema.continuous) + sum(self.widths.get(name, 0) for name in schema.categorical.names)

    def side_by_side(self, vectors: Mapping[str, Tensor], numbers: Tensor | None) -> Tensor:
        """Return continuous columns and embeddings as one tensor `(batch, width)`."""
        parts = [] if numbers is None else [ops.cast(numbers, self.compute_dtype)]
        return ops.concatenate([*parts, *vectors.values()], axis=1)

    def make_tower(self, units: int | Sequence[int], dropout: float, name: str) -> MLP:
        """Return a dense tower whose last layer is linear, with the model's other options."""
        options = self.options.tower()
        return MLP(units, final_activation=None, dropout=dropout, **options, dtype=self.dtype_policy, name=name)

    # ---- encoders ------------------------------------------------------------------------------------------
    def encode_queries(self, features: Mapping[str, Tensor], training: bool | None = False) -> Tensor:
        """Return the vectors of queries, `(batch, dim)` float32, at length 1 for similarity "cosine".

        Args:
            features: a batch of the columns of `query_schema`; others are left alone.
            training: whether there is dropout.
        """
        return self._query(self._look_up(features, self.query_schema, training), features, training)

    def encode_candidates(self, features: Mapping[str, Tensor], training: bool | None = False) -> Tensor:
        """Return the vectors of candidates, as `encode_queries` those of queries."""
        return self._candidate(self._look_up(features, self.candidate_schema, training), features, training)

    def call(self, features: Mapping[str, Tensor], training: bool | None = None) -> dict[str, Tensor]:
        ids = ids_of(self.schema, features)
        vectors = {} if self.embeddings is None else self.embeddings(ids, training=training)
        if self.item_table is not None:
            # A loss over all ids looks up the candidates itself, and penalizes what it looks up.
            trained = training and not isinstance(self.loss, CandidateLoss)
            vectors = {**vectors, **self.item_table(ids, training=trained)}
        return {
            "query": self._query(vectors, features, training),
            "candidate": self._candidate(vectors, features, training),
        }

    def items(self) -> EncodedRows:
        if self.candidate_schema.names != [self.item_id] or self.item_table is None:
            raise ValueError(
                f"{self.name}: this loss needs the vectors of all candidates in each step, but they are made from "
                f"the batch's columns {', '.join(self.candidate_schema.names)}; use a loss such as "
                "kr.losses.InBatchSoftmax()"
            )
        rows = TableVectors(self.item_table, self.item_id, self.first_id, training=True)
        return EncodedRows(rows, self._factors_of_rows)

    def _factors_of_rows(self, rows: Tensor) -> Tensor:
        """Return candidates for dot products, given the rows of their ids."""
        vectors = self._output(self.candidate_of({self.item_id: rows}, None, True))
        return factors_of(vectors, self.similarity)

    def _query(self, vectors: Mapping[str, Tensor], features: Mapping[str, Tensor], training: Any) -> Tensor:
        own = {name: vectors[name] for name in self.query_schema.names if name in vectors}
        return self._output(self.query_of(own, self._numbers_of(0, features), training))

    def _candidate(self, vectors: Mapping[str, Tensor], features: Mapping[str, Tensor], training: Any) -> Tensor:
        own = {name: vectors[name] for name in self.candidate_schema.names if name in vectors}
        return self._output(self.candidate_of(own, self._numbers_of(1, features), training))

    def _output(self, vectors: Tensor) -> Tensor:
        vectors = ops.cast(vectors, "float32")
        return normalized(vectors) if self.similarity == "cosine" else vectors

    def _numbers_of(self, side: int, features: Mapping[str, Tensor]) -> Tensor | None:
        layer = self._numbers[side]
        return None if layer is None else layer({name: present(features, name) for name in layer.columns})

    def _look_up(self, features: Mapping[str, Tensor], schema: Schema, training: bool | None) -> dict[str, Tensor]:
        """Return the vectors of some columns; the layer looks up all, so that the others get no rows."""
        ids = ids_of(schema, features)
        vectors: dict[str, Tensor] = {}
        for layer in (self.embeddings, self.item_table):
            if layer is not None and any(name in ids for name in layer.features):
                # No rows of lists, not of single ids, which would be put side by side with the batch's.
                none = {name: ops.zeros((0, 2), "int32") for name in layer.features}
                vectors |= layer({**none, **ids}, training=training)
        return vectors

    def no_outputs(self) -> dict[str, np.ndarray]:
        return {side: np.empty((0, self.vector_dim), "float32") for side in ("query", "candidate")}

    # ---- Keras's own -----------------------------------------------------------------------------------------
    def build(self, input_shape: Mapping[str, Shape] | None = None) -> None:
        """Do nothing: all variables are created from the schema in `__init__`."""

    def compute_output_shape(self, input_shape: Mapping[str, Shape]) -> dict[str, Shape]:
        shape = (next(iter(input_shape.values()))[0], self.vector_dim)
        return {"query": shape, "candidate": shape}

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "schema": self.schema.to_dict(),
            "embedding_dim": self.embedding_dim,
            "similarity": self.similarity,
            "candidate_columns": self.candidate_schema.names,
            "item_id": self.item_id,
            "embed_item_id": self.embed_item_id,
            "seed": self.seed,
            **self.options.config(),
        }
