"""What the stages of a recommender read and compute, checked against each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import tensorflow as tf

from kerasrec.schema import Column, Schema, SchemaError, Tag
from kerasrec.serving.column_rows import TensorColumns, of_frame
from kerasrec.serving.index_model import IndexGraphs, free_name
from kerasrec.serving.reads import FeatureRead
from kerasrec.serving.recommender.expressions import Filters, Score, check_inputs
from kerasrec.serving.recommender.item_features import ItemFeatures, refuse_shared_names
from kerasrec.serving.recommender.ranker import Ranker, Split, is_of_item

if TYPE_CHECKING:
    from kerasrec.etl.workflow import Workflow


@dataclass(frozen=True)
class Stages:
    """The stages of a recommender, and the items that it may recommend.

    Attributes:
        retriever: encodes queries.
        ranker: scores pairs of a request and an item.
        items: the rows of all items.
        filters: conditions on columns of items and requests.
        score: of the ranker's outputs, and columns of items and requests.
        request: the columns of a request, without those to leave out.
        ids: the raw ids of the items that meet the filters of items.
        vectors: theirs, (m, dim).
        frame: their raw columns that are read.
        item_features: what the ranker reads of them.
    """

    retriever: IndexGraphs
    ranker: Ranker
    items: ItemFeatures
    filters: Filters
    score: Score
    request: Schema
    ids: pl.Series
    vectors: np.ndarray
    frame: pl.DataFrame
    item_features: TensorColumns

    @classmethod
    def of(
        cls,
        retriever: IndexGraphs,
        ranker: Ranker,
        items: ItemFeatures,
        filters: pl.Expr | Sequence[pl.Expr] | None,
        inputs: Iterable[Column],
        score: str | pl.Expr | None,
    ) -> Stages:
        """Check the arguments of a recommender, and read the items."""
        raw = ranker.raw(ranker.reads)
        of_items = [column.name for column in raw if is_of_item(column, items.names, items.key)]
        request = request_columns(retriever.raw_queries, Schema(c for c in raw if c.name not in of_items))
        more = check_inputs(inputs, request, items.names)
        request = Schema([*request, *more])
        conditions = Filters.of(filters, items.names, request)
        order = Score.of_outputs(score, ranker.targets, items.names, request)
        read = [*conditions.names, *order.names]
        if unread := [column.name for column in more if column.name not in read]:
            raise ValueError(
                f"inputs: neither filters nor score reads {', '.join(map(repr, unread))}; leave it out"
            )
        refuse_shared_names([*of_items, *read], items.names, request, items.key)
        conditions.computed(types_of(conditions.request_names, items, request))
        order.computed(types_of(order.names, items, request))
        split = ranker.split(items.names, items.key)

        frame = items.frame([*of_items, *(name for name in read if name in items.names)])
        keep = conditions.kept(frame)
        if not keep.any():
            raise ValueError(f"filters: no item of {len(keep):,} meets {' and '.join(map(str, conditions.item))}")
        frame, vectors = frame.filter(keep), retriever.index.vectors[keep]
        ids, features = retriever.ids.values.filter(pl.Series(keep)), item_features_of(ranker, split.item, frame)
        return cls(retriever, ranker, items, conditions, order, request, ids, vectors, frame, features)

    @property
    def split(self) -> Split:
        """What the ranker's features are computed from."""
        return self.ranker.split(self.items.names, self.items.key)

    @property
    def exclude(self) -> Column:
        """The list column of ids to leave out, in requests."""
        return Column(free_name("exclude", self.request.names), self.retriever.key.dtype, (Tag.LIST,))

    @property
    def k(self) -> str:
        """The name of the input of how many items."""
        return free_name("k", [*self.request.names, self.exclude.name])

    def of_items(self, names: Sequence[str]) -> Schema:
        """Describe those of some columns that are of items."""
        return self.items.columns([name for name in names if name in self.items.names])

    def types(self, names: Sequence[str]) -> Schema:
        """Describe columns of items and requests."""
        return types_of(names, self.items, self.request)

    def __str__(self) -> str:
        index, items, filters = self.retriever.index, self.items, self.filters
        conditions = "; ".join(map(str, [*filters.item, *filters.request]))
        kinds = {c.name: f"list of {c.dtype}" if c.is_list else c.dtype for c in self.request}
        inputs = [*(f"{name} ({kind})" for name, kind in kinds.items()), self.exclude.name, self.k]
        width, similarity = index.vectors.shape[1], index.model.similarity
        lines = [
            f"{len(self.ids):,} items of {index.model.name}, {width} wide, by {similarity}",
            f"filters    {conditions or 'none'}",
            f"score      {self.score} of {self.ranker.model.name}",
            f"requests   {', '.join(inputs)}",
            f"items      {', '.join(self.frame.columns)}",
        ]
        if unread := [name for name in items.names if name not in self.frame.columns]:
            lines.append(f"not read   {', '.join(unread)} of item_features")
        if filters.item:
            lines.append(f"left out   {len(items.rows) - len(self.ids):,} items of the index, by filters")
        if items.others:
            lines.append(f"left out   {items.others:,} rows of item_features that the index does not have")
        return "\n".join(lines)


def types_of(names: Sequence[str], items: ItemFeatures, request: Schema) -> Schema:
    """Describe columns of items and requests; where both have one, that of items."""
    of_items = items.columns([name for name in dict.fromkeys(names) if name in items.names])
    return Schema([*of_items, *(c for c in request if c.name in names and c.name not in of_items)])


def item_features_of(ranker: Ranker, reads: list[FeatureRead], items: pl.DataFrame) -> TensorColumns:
    """Return the features of items, as the ranker's workflow makes them in Polars.

    Raises:
        SchemaError: a column is missing or of another type, or a feature is null.
    """
    columns = served_columns(ranker.workflow, reads)
    if not reads:
        return {}
    try:
        if ranker.workflow is None:
            return of_frame(items, columns)
        made = ranker.workflow.transform(items, targets=False, columns=columns.names, fitted=False)
        values = of_frame(made.collect(), [Column(c.name, made.schema[c.name].dtype, c.tags) for c in columns])
    except ValueError as error:  # a SchemaError is one
        raise SchemaError(f"item_features, of the items of the index that meet the filters: {error}") from error
    return {c.name: values[c.name].evolve(values=tf.cast(values[c.name].values, c.dtype)) for c in columns}


def served_columns(workflow: Workflow | None, reads: Iterable[FeatureRead]) -> Schema:
    """Return the columns that a model reads, in the dtypes that it takes."""
    if workflow is None:
        return Schema(read.column for read in reads)
    made = workflow.output_schema
    return Schema(read.cast(made[read.column.name]) for read in reads)


def request_columns(retriever: Schema, ranker: Schema) -> Schema:
    """Return the columns of a request that two stages read; null is allowed where both allow it.

    Raises:
        SchemaError: a column is of one type for the retriever, and of another for the ranker.
    """
    columns = {column.name: plain(column) for column in retriever}
    for column in map(plain, ranker):
        other = columns.setdefault(column.name, column)
        if (other.dtype, other.is_list) != (column.dtype, column.is_list):
            kinds = [f"a list of {c.dtype}" if c.is_list else c.dtype for c in (other, column)]
            raise SchemaError(
                f"column {column.name!r} of requests is {kinds[0]} for the retriever and {kinds[1]} for the "
                "ranker: fit both workflows on the same type; or, if it is an item's for the ranker, add it to "
                "item_features"
            )
        columns[column.name] = column.evolve(nullable=column.nullable and other.nullable)
    return Schema(columns.values())


def plain(column: Column) -> Column:
    """Return a column's name, type and whether it has nulls, without what a fit found out."""
    return Column(column.name, column.dtype, ("list",) if column.is_list else (), nullable=column.nullable)
