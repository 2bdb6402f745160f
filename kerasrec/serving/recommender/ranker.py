"""The ranking model of a recommender: what it reads of the request, of an item, or of both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import keras

from kerasrec.retrieval.encoders import Retriever
from kerasrec.retrieval.index import Index
from kerasrec.schema import Column, Schema, SchemaError, Tag
from kerasrec.serving.reads import FeatureRead, features_read, target_names

if TYPE_CHECKING:
    from kerasrec.etl.workflow import Workflow


@runtime_checkable
class FittedPipeline(Protocol):
    """A workflow and a model, as `kr.Pipeline` has them."""

    @property
    def workflow(self) -> Workflow: ...

    @property
    def model(self) -> keras.Model | None: ...


class Split(NamedTuple):
    """The features that a model reads, by what they are computed from.

    Attributes:
        item: the item's columns alone; they are computed once.
        query: the request's columns alone; they are computed once per request.
        pair: both; they are computed for each candidate.
    """

    item: list[FeatureRead]
    query: list[FeatureRead]
    pair: list[FeatureRead]


@dataclass(frozen=True)
class Ranker:
    """A ranking model and the workflow that makes its features.

    Attributes:
        model: returns a score per row, or one per target.
        workflow: None where it reads columns as they are.
        reads: its features.
        targets: the names of its outputs.
    """

    model: Any
    workflow: Workflow | None
    reads: list[FeatureRead]
    targets: list[str]

    @classmethod
    def of(cls, model: Any, workflow: Workflow | None) -> Ranker:
        """Check that the workflow makes what the model reads."""
        made = None if workflow is None else workflow.output_schema
        reads, outputs = features_read(model, made), getattr(model, "output", None)
        # A functional model's dict of outputs has names of its own.
        names = list(outputs) if isinstance(outputs, Mapping) else target_names(model, made)
        return cls(model, workflow, reads, names)

    def raw(self, reads: Iterable[FeatureRead]) -> Schema:
        """Return the raw columns that features are computed from."""
        if self.workflow is None:
            return Schema(read.column for read in reads)
        return self.workflow.raw_columns(read.column.name for read in reads)

    def split(self, item_columns: Sequence[str], key: str) -> Split:
        """Return which features are the item's, the request's, or of both.

        Args:
            item_columns: raw columns of an item.
            key: the one that names it.

        Raises:
            SchemaError: a feature's tags say that it is an item's, and it is made of the request, or vice versa.
        """
        split = Split([], [], [])
        for read in self.reads:
            raw = self.raw([read])
            of_item = [is_of_item(column, item_columns, key) for column in raw]
            _check_tags(read, raw.names, any(of_item))
            (split.item if all(of_item) else split.pair if any(of_item) else split.query).append(read)
        return split


def is_of_item(column: Column, item_columns: Sequence[str], key: str) -> bool:
    """Return whether a raw column is an item's. A list of ids is the request's: of what a user had before."""
    return column.name in item_columns and not (column.name == key and column.is_list)


def model_and_workflow(ranker: Any) -> tuple[Any, Workflow | None]:
    """Return the model and, of a pipeline, the workflow."""
    if isinstance(ranker, Index | Retriever):
        raise TypeError(
            "ranker must be a model that predicts for a user and an item, such as kr.models.DLRM, or a "
            f"kr.Pipeline; got {ranker!r}, which retrieves"
        )
    if isinstance(ranker, keras.Model) or not isinstance(ranker, FittedPipeline):
        return ranker, None
    if ranker.model is None:
        raise RuntimeError("the pipeline is not fitted; call fit(data) first")
    return ranker.model, ranker.workflow


def _check_tags(read: FeatureRead, raw: Sequence[str], of_item: bool) -> None:
    name, tags = read.column.name, set(read.column.tags)
    columns = ", ".join(map(repr, raw))
    if not of_item and not read.column.is_list and tags & {Tag.ITEM, Tag.ITEM_ID}:
        raise SchemaError(
            f"the ranker reads {name!r}, an item's by its tags, but item_features has no column {columns}; add it"
        )
    if of_item and tags & {Tag.USER, Tag.USER_ID}:
        raise SchemaError(
            f"the ranker reads {name!r}, a user's by its tags, but item_features has the column {columns}; rename "
            "or drop it there"
        )
