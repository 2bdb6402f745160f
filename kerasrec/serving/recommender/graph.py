"""The graph of a recommender: four stages for a block of requests at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from kerasrec.etl.lookup.tensor_column import TensorColumn
from kerasrec.schema import Column, Schema
from kerasrec.serving.candidates import BLOCK, Candidates, ids_at, scores_without
from kerasrec.serving.column_rows import ColumnRows, TensorColumns, from_wire, of_frame, to_wire
from kerasrec.serving.description import Description
from kerasrec.serving.reads import FeatureRead
from kerasrec.serving.recommender.diversity import diversified
from kerasrec.serving.recommender.ranker import is_of_item
from kerasrec.serving.recommender.stages import Stages, served_columns
from kerasrec.serving.signatures import Tensors, input_of, traced_columns
from kerasrec.tensor_names import tensor_names

if TYPE_CHECKING:
    from kerasrec.etl.workflow import Workflow

ROWS = 1 << 15  # of candidates that are ranked at a time


class RecommenderGraph(tf.Module):
    """The variables of a recommender, and the function of a request."""

    def __init__(self, stages: Stages, candidates: int, diversity: float):
        super().__init__(name="recommender")
        self.stages, self.count, self.diversity = stages, candidates, diversity
        similarity = stages.retriever.index.model.similarity
        self.candidates = Candidates(stages.ids, stages.retriever.key.dtype, stages.vectors, similarity)
        self.query_features = QueryFeatures(stages)
        self.ranking = Ranking(stages)
        read = stages.filters.request_names
        self.filters = stages.filters.computed(stages.types(read))
        self.filter_columns = in_variables(of_frame(stages.frame, stages.of_items(read)))
        of_items = self.ranking.item_columns | self.filter_columns.keys()
        self.requests_read = [
            name for name in stages.request.names if name in {*read, *self.ranking.columns} - of_items
        ]
        lengths = np.linalg.norm(stages.vectors, axis=1, keepdims=True)
        of_length_1 = stages.vectors / np.where(lengths > 0, lengths, 1)
        self.unit_vectors = tf.Variable(of_length_1, trainable=False) if diversity else None

    def trace(self) -> Any:
        """Return the signature: raw columns, k and ids to leave out, to ids and scores."""
        stages = self.stages
        columns = Schema([*stages.request, stages.exclude])
        return traced_columns(self._recommend, columns, {stages.k: ("int32", (1,))})

    def describe(self, signature: Any) -> Description:
        """Describe what the signature takes and returns."""
        stages = self.stages
        return Description.of(
            signature, Schema([*stages.request, stages.exclude]), [stages.exclude.name], [stages.k]
        )

    def _recommend(self, wire: Tensors) -> Tensors:
        stages = self.stages
        at_least_1 = tf.debugging.Assert(wire[stages.k][0] > 0, ["k must be at least 1; got", wire[stages.k]])
        with tf.control_dependencies([at_least_1]):
            wanted = tf.identity(wire[stages.k][0])
        request = from_wire(wire, Schema([*stages.request, stages.exclude]))
        exclude = request[stages.exclude.name]
        factors, ids = self.candidates.factors.read_value(), self.candidates.ids.read_value()
        count = tf.shape(factors)[0]
        vectors, features = self.query_features(request)
        queries, _ = self.candidates.query_factors(vectors)
        left_out = self.candidates.left_out(exclude.values, exclude.offsets, count)
        retrieved = tf.minimum(tf.maximum(wanted, self.count), count)
        k = tf.minimum(wanted, retrieved)
        rows, of_query = ColumnRows(features), ColumnRows({name: request[name] for name in self.requests_read})

        def recommend(start: tf.Tensor, stop: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            similarities = scores_without(queries, factors, left_out, start, stop)
            similarities, places = tf.math.top_k(self._filtered(similarities, of_query, start, stop), retrieved)
            pairs = tf.where(similarities > -np.inf)
            query, item = pairs[:, 0] + tf.cast(start, tf.int64), tf.gather_nd(places, pairs)
            ranked = self.ranking(rows(query), of_query, query, item)
            scores = tf.tensor_scatter_nd_update(tf.fill(tf.shape(places), -np.inf), pairs, ranked)
            scores, order = self._ordered(scores, places, k)
            return scores, tf.gather(places, order, batch_dims=1)

        block = tf.maximum(tf.minimum(ROWS // retrieved, BLOCK // count), 1)
        scores, places = in_blocks(recommend, tf.shape(queries)[0], block)
        more = [[0, 0], [0, wanted - k]]
        scores = tf.pad(scores, more, constant_values=-np.inf)
        return {"ids": ids_at(ids, tf.pad(places, more), scores), "scores": scores}

    def _filtered(self, scores: tf.Tensor, of_query: ColumnRows, start: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
        """Return scores (n, count) of some queries, -inf where an item does not meet a filter."""
        if not self.filters:
            return scores
        values = of_query(tf.range(start, stop))
        columns = self.filter_columns | {name: _across(x) for name, x in values.items() if x.offsets is None}
        for condition in self.filters:
            result = condition(columns)
            scores = tf.where(result.values & result.valid, scores, -np.inf)
        return scores

    def _ordered(self, scores: tf.Tensor, places: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the k first scores of each query (n, k), and their places among the retrieved."""
        if self.unit_vectors is None:
            best, order = tf.math.top_k(scores, k)
            return best, order
        return diversified(scores, tf.gather(self.unit_vectors, places), k, self.diversity)


class QueryFeatures(tf.Module):
    """Computes what the retriever and the ranker read of requests, once per request."""

    def __init__(self, stages: Stages):
        super().__init__(name="query_features")
        retriever, ranker = stages.retriever, stages.ranker
        self.retriever, self.reads = retriever, (retriever.queries, stages.split.query)
        one, other = retriever.workflow, ranker.workflow
        columns = [served_columns(*pair) for pair in zip((one, other), self.reads, strict=True)]
        both = {column.name: column for schema in columns for column in schema}
        same = one is other and all(both[column.name] == column for schema in columns for column in schema)
        # A vocabulary that both stages read is in the graph once.
        self.features = (
            [Features(one, list(both.values()))]
            if same
            else [Features(workflow, list(schema)) for workflow, schema in zip((one, other), columns, strict=True)]
        )

    def __call__(self, request: TensorColumns) -> tuple[tf.Tensor, TensorColumns]:
        """Return the queries' vectors, and the ranker's features of requests."""
        made = [features(request) for features in self.features]
        index = self.retriever.index
        vectors = index.model.encode_queries(model_inputs(made[0], self.reads[0]))
        vectors = tf.ensure_shape(tf.cast(vectors, tf.float32), [None, index.vectors.shape[1]])
        return vectors, {read.column.name: made[-1][read.column.name] for read in self.reads[1]}


class Features(tf.Module):
    """Computes features of raw columns; without a workflow these are the features."""

    def __init__(self, workflow: Workflow | None, columns: list[Column]):
        super().__init__(name="features")
        self.columns = Schema(columns)
        self.raw = self.columns if workflow is None else workflow.raw_columns(self.columns.names)
        self.made = None
        if workflow is not None and columns:
            self.made = workflow.tensorflow_module(self.columns)

    def __call__(self, raw: Mapping[str, TensorColumn]) -> TensorColumns:
        if self.made is None:
            return {column.name: raw[column.name] for column in self.columns}
        return from_wire(self.made(to_wire(raw, self.raw)), self.columns)


class Ranking(tf.Module):
    """Scores pairs of a request and an item; the item's features are computed when this is made.

    Attributes:
        columns: the raw columns of items and requests that a pair's score is computed from.
        item_columns: those of items.
    """

    def __init__(self, stages: Stages):
        super().__init__(name="ranking")
        self.ranker, self.items = stages.ranker, ColumnRows(stages.item_features, stored=True)
        self.score = stages.score.computed(stages.types(stages.score.names))
        self.pairs = Features(self.ranker.workflow, list(served_columns(self.ranker.workflow, stages.split.pair)))
        names, raw = stages.items.names, self.pairs.raw
        of_items = Schema(column for column in raw if is_of_item(column, names, stages.items.key))
        of_score = stages.of_items(stages.score.names)
        self.pair_items = ColumnRows(of_frame(stages.frame, of_items), stored=True)
        self.score_items = ColumnRows(of_frame(stages.frame, of_score), stored=True)
        self.columns = [*raw.names, *stages.score.names]
        self.item_columns = {*of_items.names, *of_score.names}

    def __call__(
        self, of_query: TensorColumns, requests: ColumnRows, query: tf.Tensor, item: tf.Tensor
    ) -> tf.Tensor:
        """Return the scores of pairs (n,); -inf where one is null.

        Args:
            of_query: the features of each pair's request.
            requests: the raw columns of requests.
            query: the row of each pair's request.
            item: the row of each pair's item.
        """
        raw, values = requests(query), of_query | self.items(item)
        if len(self.pairs.columns):
            values |= self.pairs(raw | self.pair_items(item))
        outputs = self._outputs(model_inputs(values, self.ranker.reads))
        if isinstance(self.score, str):
            scores = outputs[self.score].values
        else:
            score = self.score(raw | self.score_items(item) | outputs)
            scores = tf.where(score.valid, tf.cast(score.values, tf.float32), -np.inf)
        return tf.where(tf.math.is_nan(scores), -np.inf, scores)

    def _outputs(self, inputs: dict[str, Any]) -> TensorColumns:
        outputs = self.ranker.model(inputs, training=False)
        if not isinstance(outputs, Mapping):
            outputs = dict(zip(self.ranker.targets, keras.tree.flatten(outputs), strict=True))
        for name, output in outputs.items():
            if any(size != 1 for size in output.shape[1:]):
                raise ValueError(f"the ranker's output {name!r} is {output.shape}; a score is one number per row")
        return {name: TensorColumn(tf.cast(tf.reshape(x, [-1]), tf.float32)) for name, x in outputs.items()}


def in_blocks(
    function: Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]], rows: tf.Tensor, size: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return scores and places (rows, k), which a function computes of the rows from one to before another."""
    blocks = tf.maximum((rows + size - 1) // size, 1)

    def step(i: tf.Tensor, scores: tf.TensorArray, places: tf.TensorArray) -> tuple[tf.Tensor, ...]:
        here = function(i * size, tf.minimum((i + 1) * size, rows))
        return i + 1, scores.write(i, here[0]), places.write(i, here[1])

    arrays = [
        tf.TensorArray(dtype, size=blocks, infer_shape=False, element_shape=[None, None])
        for dtype in (tf.float32, tf.int32)
    ]
    _, scores, places = tf.while_loop(
        lambda i, *_: i < blocks, step, [tf.constant(0), *arrays], parallel_iterations=1
    )
    return scores.concat(), places.concat()


def in_variables(columns: TensorColumns) -> TensorColumns:
    """Return columns whose tensors are variables."""

    def stored(tensor: tf.Tensor | None) -> tf.Variable | None:
        return None if tensor is None else tf.Variable(tensor, trainable=False)

    return {
        name: TensorColumn(stored(x.values), stored(x.valid), stored(x.offsets)) for name, x in columns.items()
    }


def _across(column: TensorColumn) -> TensorColumn:
    """Return a request's values (n,) as (n, 1), to be compared with those of all items."""
    valid = None if column.valid is None else column.valid[:, tf.newaxis]
    return TensorColumn(column.values[:, tf.newaxis], valid)


def model_inputs(values: Mapping[str, TensorColumn], reads: list[FeatureRead]) -> dict[str, Any]:
    """Return features as a model takes them."""
    columns = [read.column for read in reads]
    wire, names = to_wire(values, columns), tensor_names(columns)
    return {read.column.name: input_of(wire, read, names[read.column.name]) for read in reads}
