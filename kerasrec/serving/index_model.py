"""An index as a SavedModel, whose candidates are changed without exporting it again.

Signatures:

- `serving_default`: the raw columns of queries, `k` (1,) int32, and the list column `exclude` of raw item ids to
  leave out (`exclude__values`, `exclude__offsets`), to `ids` (batch, k) and `scores` (batch, k). Where a query has
  fewer candidates, an id is -1 or "", and its score -inf.
- `update`: the raw columns of candidates, which are added or replaced; to `added` and `replaced`, how many. The
  index of a next-item model has it if the model knows the columns of its items; otherwise its candidates are
  rows of its table.
- `remove`: the raw ids of candidates; to `removed`, how many. Unknown ids are an error, and none is removed.

An index of `kr.retrieval.TFRS` is searched by that layer, in the graph; "brute_force" has neither `update` nor
`remove`. Other engines are libraries outside TensorFlow: their SavedModel compares all candidates.

Where a raw column is named `k` or `exclude`, these inputs are `k_2` and `exclude_2`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from kerasrec.retrieval.encoders import predicts_next
from kerasrec.retrieval.engines.tfrs_layer import TFRS
from kerasrec.retrieval.index import Index, raw_values
from kerasrec.retrieval.item_ids import ItemIds
from kerasrec.schema import Column, Schema, SchemaError, Tag
from kerasrec.serving.candidates import Candidates
from kerasrec.serving.description import Description
from kerasrec.serving.layer_candidates import LayerCandidates
from kerasrec.serving.reads import FeatureRead, columns_read
from kerasrec.serving.recommend import input_names
from kerasrec.serving.served_index import CANDIDATES, INDEX
from kerasrec.serving.signatures import Tensors, input_of, traced_columns
from kerasrec.serving.write import export_on_ranks, write_saved_model
from kerasrec.tensor_names import tensor_names

if TYPE_CHECKING:
    from kerasrec.etl.workflow import Workflow

Encode = Callable[[Tensors], tf.Tensor]


def export_index(index: Index, path: Path, workflow: Workflow | None, overwrite: bool) -> Path:
    """Write an index as a SavedModel; see `kr.serving.export`."""

    def prepare() -> IndexGraphs:
        return IndexGraphs(index, index.workflow if workflow is None else workflow)

    return export_on_ranks([index.model], path, overwrite, prepare, lambda graphs: graphs.write(path, overwrite))


class IndexGraphs:
    """The graphs of an index that is served.

    Args:
        index: with a built model.
        workflow: the fitted workflow that made the features, or None.

    Raises:
        SchemaError: the workflow does not make a column as the model reads it.
        ValueError: ids have no raw values.
    """

    def __init__(self, index: Index, workflow: Workflow | None):
        self.index, self.workflow, model = index, workflow, index.model
        self.queries = columns_read(model.query_schema, None if workflow is None else workflow.output_schema)
        self.item_workflow = workflow if index.item_workflow is None else index.item_workflow
        self.candidates = self._candidates_read()
        self.key = self._key(workflow)
        self.ids = ItemIds(self._raw_ids())
        if not len(self.ids):
            raise ValueError("the index has no candidates")
        raw = self._raw(self.queries, workflow)
        self.raw_queries = raw
        self.exclude = self.key.evolve(name=free_name("exclude", raw.names), add_tags=[Tag.LIST])
        self.k = free_name("k", [*raw.names, self.exclude.name])

    def _candidates_read(self) -> list[FeatureRead]:
        """Return the columns of candidates; none where they are rows of the table of a next-item model."""
        model, schema = self.index.model, self.index.model.candidate_schema
        of_sequences = self.workflow is not None and self.index.item_workflow is None
        if predicts_next(model) and (len(schema) == 1 or of_sequences):
            return []
        made = self.item_workflow
        return columns_read(schema, None if made is None else made.output_schema)

    def _key(self, workflow: Workflow | None) -> Column:
        """Return the raw column of item ids."""
        model, item = self.index.model, self.index.model.item_id
        if workflow is None:
            known = model.candidate_schema if item in model.candidate_schema else model.query_schema
            column = known[item]
        else:
            raw = workflow.raw_columns([item])
            if len(raw) != 1:
                raise SchemaError(
                    f"{item!r} is made of {len(raw)} raw columns; an index needs one that names an item"
                )
            column = next(iter(raw))
        return Column(column.name, column.dtype)

    def _raw_ids(self) -> Any:
        index = self.index
        if self.workflow is None or index.workflow is not None:
            return index.item_ids.values
        table = self.workflow.output_schema[index.model.item_id].table or index.model.item_id
        return raw_values(self.workflow, table, index.item_ids.values)

    def _raw(self, reads: list[FeatureRead], workflow: Workflow | None) -> Schema:
        """Return the columns that features are computed from."""
        if workflow is None:
            return Schema(read.column for read in reads)
        return workflow.raw_columns(read.column.name for read in reads)

    def _encoder(
        self, reads: list[FeatureRead], encode: Encode, module: tf.Module, name: str, workflow: Workflow | None
    ) -> Encode:
        """Return a function of raw tensors that makes vectors; its lookup tables are in the module."""
        tensors = tensor_names(read.column for read in reads)
        features = None
        if workflow is not None:
            made = workflow.output_schema
            features = workflow.tensorflow_module(Schema(r.cast(made[r.column.name]) for r in reads))
            setattr(module, name, features)

        def vectors(wire: Tensors) -> tf.Tensor:
            wire = wire if features is None else features(wire)
            inputs = {r.column.name: input_of(wire, r, tensors[r.column.name]) for r in reads}
            return tf.ensure_shape(tf.cast(encode(inputs), tf.float32), [None, self.index.vectors.shape[1]])

        return vectors

    def build(self) -> tuple[tf.Module, dict[str, Any]]:
        """Return the module to save and its signatures."""
        index, module = self.index, tf.Module(name="served")
        module.candidates = state = self._state()
        encode_queries = self._encoder(
            self.queries, index.model.encode_queries, module, "query_features", self.workflow
        )
        columns = Schema([*self.raw_queries, self.exclude])
        excluded = tensor_names(columns)[self.exclude.name]

        def search(wire: Tensors) -> Tensors:
            at_least_1 = tf.debugging.Assert(wire[self.k][0] > 0, ["k must be at least 1; got", wire[self.k]])
            with tf.control_dependencies([at_least_1]):
                queries = encode_queries(wire)
            offsets = wire[excluded.offsets or ""]
            ids, scores = state.search(queries, wire[self.k][0], wire[excluded.values], offsets)
            return {"ids": ids, "scores": scores}

        signatures = {
            "serving_default": traced_columns(search, columns, {self.k: ("int32", (1,))}),
        }
        if self.changes:
            signatures["remove"] = traced_columns(
                lambda wire: state.remove(wire[self.key.name]), Schema([self.key])
            )
        if self.changes and self.candidates:
            signatures["update"] = self._update(module, state)
        return module, signatures

    @property
    def changes(self) -> bool:
        """Whether the candidates of the SavedModel can be changed."""
        engine = self.index.engine
        return not isinstance(engine, TFRS) or engine.layer == "streaming"

    def _state(self) -> Candidates:
        index = self.index
        candidates = (self.ids.values, self.key.dtype, index.vectors, index.model.similarity)
        if isinstance(index.engine, TFRS):
            return LayerCandidates(*candidates, index.engine)
        return Candidates(*candidates)

    def _update(self, module: tf.Module, state: Candidates) -> Any:
        encode = self._encoder(
            self.candidates, self.index.model.encode_candidates, module, "item_features", self.item_workflow
        )

        def update(wire: Tensors) -> Tensors:
            key = tensor_names(self.raw_candidates)[self.item_key.name]
            known = tf.constant(True) if key.valid is None else tf.reduce_all(wire[key.valid])
            with tf.control_dependencies([tf.debugging.Assert(known, [f"an id in {key.values} is null"])]):
                return state.update(tf.identity(wire[key.values]), encode(wire))

        return traced_columns(update, self.raw_candidates)

    @property
    def item_key(self) -> Column:
        """The raw column that names a candidate in rows of items."""
        return self._key(self.item_workflow)

    @property
    def raw_candidates(self) -> Schema:
        """The raw columns of candidates, with that of ids."""
        columns, key = self._raw(self.candidates, self.item_workflow), self.item_key
        return columns if key.name in columns else Schema([key, *columns])

    def write(self, path: Path, overwrite: bool) -> None:
        """Write the SavedModel."""
        module, signatures = self.build()
        columns = Schema([*self.raw_queries, self.exclude])
        description = Description.of(signatures["serving_default"], columns, [self.exclude.name], [self.k])
        inputs = {**input_names(description), "item": self.key.name}

        def write_extra(folder: Path) -> None:
            self.raw_queries.save(folder)
            if self.changes and self.candidates:
                self.raw_candidates.save(folder / CANDIDATES)
            (folder / INDEX).write_text(json.dumps(inputs, ensure_ascii=False), encoding="utf-8")

        write_saved_model(module, signatures, path, overwrite, description, write_extra)


def free_name(name: str, taken: list[str]) -> str:
    """Return `name`, with a number after it where a column has that name."""
    candidate, number = name, 2
    while candidate in taken:
        candidate, number = f"{name}_{number}", number + 1
    return candidate
