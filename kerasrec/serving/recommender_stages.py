"""What the stages of a recommender read and compute, checked against each other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import tensorflow as tf

from kerasrec.etl.lookup.expression_values import Compute
from kerasrec.schema import Column, Schema, SchemaError
from kerasrec.serving.column_rows import TensorColumns, of_frame
from kerasrec.serving.index_model import IndexGraphs
from kerasrec.serving.ranker import Ranker, Split
from kerasrec.serving.reads import FeatureRead

if TYPE_CHECKING:
    from kerasrec.etl.workflow import Workflow


@dataclass(frozen=True)
class Stages:
    """What the stages of a recommender read and compute.

    Attributes:
        retriever: encodes queries.
        ids: the raw ids of the items that may be recommended.
        vectors: theirs, (m, dim).
        ranker: scores pairs of a query and an item.
        split: what its features are computed from.
        item_key: the column of ids in rows of items.
        items: raw columns of the items, in the order of ids.
        item_features: what the ranker reads of items.
        filters: conditions on columns of items and requests.
        filter_columns: the columns of items that they read.
        score: of the ranker's outputs, and columns of items and requests; or an output's name.
        score_columns: the columns of items that it reads.
        request: the columns of a request, without those to leave out.
        request_read: those that filters and score read.
        exclude: the list column of ids to leave out.
        k: the name of the input of how many.
        candidates: how many are retrieved.
        diversity: of the order, from 0 to 1.
    """

    retriever: IndexGraphs
    ids: pl.Series
    vectors: np.ndarray
    ranker: Ranker
    split: Split
    item_key: str
    items: pl.DataFrame
    item_features: TensorColumns
    filters: list[Compute]
    filter_columns: Schema
    score: Compute | str
    score_columns: Schema
    request: Schema
    request_read: list[str]
    exclude: Column
    k: str
    candidates: int
    diversity: float


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
        plain_columns = [Column(c.name, made.schema[c.name].dtype, c.tags) for c in columns]
        values = of_frame(made.collect(), plain_columns)
    except ValueError as error:  # a SchemaError is one
        raise SchemaError(
            f"item_features: {error}. The rows are counted among those of the index that meet the filters; "
            "pl.col(name).is_not_null() is one"
        ) from error
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
