"""`Index`: the candidates of a retrieval model, to find the best ones for queries and to evaluate it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from kerasrec.retrieval import index_files
from kerasrec.retrieval.encoders import Retriever, RowReader, Rows, predicts_next, to_numpy
from kerasrec.retrieval.engines.by_name import engine_of
from kerasrec.retrieval.engines.engine import Engine
from kerasrec.retrieval.evaluation import queries_of, report_of
from kerasrec.retrieval.item_ids import ItemIds, shown
from kerasrec.retrieval.report import RankingReport, cutoffs
from kerasrec.retrieval.vector_files import write_vectors

if TYPE_CHECKING:
    from kerasrec.etl.workflow import Workflow

BATCH = 8192
NEW_ITEMS = (
    ". If these are new items, which all have the id of values out of vocabulary, pass raw rows, and workflow=..."
)


class Recommendations(NamedTuple):
    """The best candidates of each query, best first.

    Attributes:
        ids: (n, k); where a query has fewer, -1 or, of strings, None.
        scores: (n, k) float32; where a query has fewer, -inf.
    """

    ids: np.ndarray
    scores: np.ndarray


class Index:
    """The vectors of a retrieval model's candidates: recommends the best of them, and evaluates the model.

    Args:
        model: a retrieval model of `kr.models`, or any `Retriever`.
        items: one row per candidate, with the columns that the model makes a candidate's vector of: a
            `kr.Loader`, or what it takes. If the model reads the id alone, all ids of its vocabulary by default.
        workflow: the fitted `etl.Workflow`. With it all rows are raw (files or frames, as `workflow.transform`
            takes them), and ids are raw. So new items can be candidates, which have one id of their own only in
            raw data. Without it rows are transformed, and ids are those that `etl.Categorify` made.
        item_workflow: the one that makes the columns of items, if that is another than `workflow`, as for a
            next-item model with `items=...`, whose workflow makes sequences.
        index: what finds the best candidates: "exact", or where installed "faiss", "usearch" or "tfrs"; or
            one of `kr.retrieval.Faiss`, `USearch` and `TFRS`, which have options. A change of candidates builds it
            again.

    Attributes:
        ids: of the candidates, in order.
        vectors: of the candidates, (m, dim) float32.

    Raises:
        ValueError: an id is in several rows, or is null; `item_workflow` without `workflow`, or none for the raw
            items of a next-item model.
        SchemaError: a column is missing.

    Example:

    >>> index = kr.retrieval.Index(model, kr.Loader("items/"))
    >>> index.recommend(kr.Loader("users/"), k=10).ids
    >>> index.evaluate(kr.Loader("valid/"), at=(10, 100), exclude_seen=kr.Loader("train/"))
    6,040 queries over 3,416 candidates, seen items left out
          hit_rate         recall           ndcg             mrr              coverage
    @10   0.1834 ± 0.0050  0.1834 ± 0.0050  0.0954 ± 0.0029  0.0691 ± 0.0025  0.5120
    @100  0.5579 ± 0.0064  0.5579 ± 0.0064  0.1694 ± 0.0028  0.0819 ± 0.0024  0.8914
    """

    def __init__(
        self,
        model: Retriever,
        items: Rows | None = None,
        *,
        workflow: Workflow | None = None,
        item_workflow: Workflow | None = None,
        index: str | Engine = "exact",
    ):
        if not isinstance(model, Retriever):
            raise TypeError(
                "model must be a retrieval model, such as kr.models.TwoTower, or another kr.retrieval.Retriever; "
                f"got {model!r}. A model that scores pairs, as NeuMF does, is ranked by kr.retrieval.top_k_of"
            )
        check_workflows(workflow, item_workflow)
        self.model, self.workflow, self.item_workflow = model, workflow, item_workflow
        self._engine = engine_of(index)
        ids, vectors = self._vocabulary() if items is None else self._encode(items)
        self._set(ItemIds(ids, "" if workflow is not None else NEW_ITEMS), vectors)

    def _set(self, ids: ItemIds, vectors: np.ndarray) -> None:
        self._engine.build(vectors, self.model.similarity)
        self._ids, self.vectors = ids, vectors

    @property
    def reader(self) -> RowReader:
        """Reads the rows of queries for the model."""
        return RowReader(self.model, self.workflow)

    @property
    def item_reader(self) -> RowReader:
        """Reads the rows of items for the model."""
        return RowReader(self.model, self.item_workflow or self.workflow)

    @property
    def engine(self) -> Engine:
        """What finds the best candidates."""
        return self._engine

    @property
    def item_key(self) -> str:
        """The column that names a candidate, in the rows of items that the index takes."""
        return self.item_reader.key(self.model.item_id)

    @property
    def item_ids(self) -> ItemIds:
        """The ids of the candidates, and the position of each."""
        return self._ids

    @property
    def ids(self) -> np.ndarray:
        return self._ids.values.to_numpy()

    def __len__(self) -> int:
        return len(self._ids)

    def __repr__(self) -> str:
        of = "raw ids" if self.workflow is not None else "ids"
        return (
            f"Index of {len(self):,} candidates of {self.model.name}, {self.vectors.shape[1]} wide, by "
            f"{self.model.similarity}, {self._engine.name}, {of} of {self.item_key!r}"
        )

    # ---- candidates ------------------------------------------------------------------------------------------
    def _encode(self, items: Rows) -> tuple[pl.Series, np.ndarray]:
        model, key = self.model, self.item_key
        if predicts_next(model) and self.workflow is not None and self.item_workflow is None:
            raise ValueError(
                f"{model.name}: workflow= makes sequences of {key!r}; pass the workflow that makes the columns of "
                "items as item_workflow=..."
            )
        rows = self.item_reader.encode(items, model.candidate_schema, [key], model.encode_candidates, "candidates")
        if not len(rows.vectors):
            raise ValueError("there are no items: the data has no rows")
        return rows.keys[key], rows.vectors

    def _vocabulary(self) -> tuple[pl.Series, np.ndarray]:
        """Return all ids of the vocabulary and their vectors."""
        model, schema = self.model, self.model.candidate_schema
        count = schema[model.item_id].cardinality if model.item_id in schema else None
        from_ids = schema.names == [model.item_id] or predicts_next(model)  # which knows its items' columns
        if not from_ids or count is None:
            raise ValueError(
                f"{model.name} makes a candidate's vector of {', '.join(map(repr, schema.names))}: make "
                "kr.retrieval.Index(model, items) of rows with these columns, one per candidate"
            )
        ids = np.arange(model.first_id, count, dtype=schema[model.item_id].dtype)
        starts = range(0, len(ids), BATCH)
        vectors = [to_numpy(model.encode_candidates({model.item_id: ids[s : s + BATCH]})) for s in starts]
        if not vectors:
            raise ValueError(f"{model.name}: the vocabulary of {model.item_id!r} is empty")
        names = pl.Series(ids)
        if self.workflow is not None:
            table = schema[model.item_id].table or model.item_id
            names = raw_values(self.workflow, table, names)
        return names, np.concatenate(vectors)

    def update(self, rows: Rows) -> None:
        """Add candidates, or replace those whose ids are there, without training.

        Args:
            rows: as `items`.
        """
        ids, vectors = self._encode(rows)
        given = ItemIds(self._ids.cast(ids).cast(self._ids.values.dtype))
        positions = self._ids.positions(given.values)
        new = positions < 0
        changed = self.vectors.copy()
        changed[positions[~new]] = vectors[~new]
        all_ids = pl.concat([self._ids.values, given.values.filter(pl.Series(new))])
        self._set(ItemIds(all_ids), np.concatenate([changed, vectors[new]]))

    def remove(self, ids: Iterable[Any]) -> None:
        """Remove candidates. Raises `ValueError` for an id that is not a candidate's; then none is removed."""
        positions = self._ids.positions(given := list(ids) if not isinstance(ids, str) else ids)
        if (positions < 0).any():
            unknown = [name for name, position in zip(given, positions, strict=True) if position < 0]
            raise ValueError(f"no candidate {shown(unknown)}; nothing was removed")
        keep = np.ones(len(self), bool)
        keep[positions] = False
        self._set(ItemIds(self._ids.values.filter(pl.Series(keep))), self.vectors[keep])

    # ---- queries ---------------------------------------------------------------------------------------------
    def recommend(
        self, data: Rows, k: int = 10, *, exclude: Sequence[Iterable[Any]] | pl.Series | None = None
    ) -> Recommendations:
        """Return the best candidates for each row.

        Args:
            data: rows with the columns of a query.
            k: how many.
            exclude: for each row the ids of candidates to leave out; others than candidates' are ignored.
        """
        model = self.model
        queries = self.reader.encode(data, model.query_schema, [], model.encode_queries, "queries").vectors
        queries = queries.reshape(len(queries), self.vectors.shape[1])
        best = self._engine.search(queries, k, None if exclude is None else self._ids.lists(exclude))
        return Recommendations(self._ids.at(best.rows), best.scores.astype(np.float32, copy=False))

    def evaluate(
        self,
        data: Rows,
        at: int | Sequence[int] = (10, 100),
        *,
        exclude_seen: Rows | Sequence[Rows] | bool | None = None,
        user: str | None = None,
    ) -> RankingReport:
        """Rank all candidates for each query and return the metrics, with their standard errors.

        Rows with equal query columns are one query, whose targets are all their items. A target that is not a
        candidate counts as missed, and the report says how many there are. Equal scores count against the model.
        An engine that is not exact is evaluated by what it recommends. Of a model of sequences each row is a
        query: its last item is the target, and those before it are the history.

        Args:
            data: rows of a query's columns and the id of an item that belongs to it; or of sequences.
            at: one or several numbers of recommendations.
            exclude_seen: rows with users and items, such as the training data (or a list of several): an item is
                left out of the ranking for the users that have seen it, unless it is a target of the query: the
                report says how many targets were seen before. Of a model of sequences whether the history is left
                out, true or false; by default as the model was made.
            user: the column that names the user, for `exclude_seen`; by default the one with the tag "user_id".

        Example:

        >>> report = index.evaluate(valid, at=(10, 100), exclude_seen=train)
        >>> report["ndcg@10"], report.standard_errors["ndcg@10"]
        """
        cutoffs(at)
        queries = queries_of(self.reader, data, self._ids, exclude_seen, user)
        return report_of(queries, self._engine, self.vectors, self.model.similarity, at)

    # ---- on disk ---------------------------------------------------------------------------------------------
    def write_item_vectors(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the candidates as a Parquet file for another index: their ids, and the lists of float32 `vector`.

        Raises:
            FileExistsError: something is at `path`, and `overwrite` is false.
            ValueError: there are no candidates, or the ids' column is named "vector".
        """
        ids, starts = self._ids.values.alias(self.item_key), range(0, len(self), BATCH)
        parts = ((ids[s : s + BATCH], self.vectors[s : s + BATCH]) for s in starts)
        return write_vectors(path, parts, self.vectors.shape[1], overwrite)

    def write_query_vectors(
        self, data: Rows, path: str | os.PathLike[str], key: str, *, overwrite: bool = False
    ) -> Path:
        """Write the vectors of rows as a Parquet file, batch by batch, as `write_item_vectors` does.

        Args:
            data: rows with the columns of a query, as `recommend` takes them.
            path: the file.
            key: the column that names a row, such as the user.
            overwrite: whether a file at `path` is replaced.

        Example:

        >>> index.write_query_vectors(kr.Loader("users/"), "users.parquet", key="user")
        >>> pl.read_parquet("users.parquet").columns
        ['user', 'vector']
        """
        model = self.model
        batches = self.reader.batches(data, model.query_schema, [key], "queries")
        parts = ((keys[key], to_numpy(model.encode_queries(features))) for features, keys in batches)
        return write_vectors(path, parts, self.vectors.shape[1], overwrite)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write ids and vectors into a new folder. The model and the workflow are saved by themselves.

        Raises:
            FileExistsError: `path` exists and `overwrite` is false, or it has other files.
        """
        return index_files.save(path, self.model, self._ids, self.vectors, self.workflow is not None, overwrite)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        model: Retriever,
        *,
        workflow: Workflow | None = None,
        item_workflow: Workflow | None = None,
        index: str | Engine = "exact",
    ) -> Index:
        """Read an index that `save` wrote, of the same model with the same weights.

        Raises:
            FileNotFoundError: there is no index.
            ValueError: the model's columns or similarity differ, or the index has raw ids and `workflow` is None.
        """
        ids, vectors = index_files.load(path, model, workflow is not None)
        loaded = cls.__new__(cls)
        check_workflows(workflow, item_workflow)
        loaded.model, loaded.workflow, loaded.item_workflow = model, workflow, item_workflow
        loaded._engine = engine_of(index)
        loaded._set(ItemIds(ids), vectors)
        return loaded


def check_workflows(workflow: Workflow | None, item_workflow: Workflow | None) -> None:
    """Raise `ValueError` for a workflow of items without one of queries: ids are raw of both, or of none."""
    if item_workflow is not None and workflow is None:
        raise ValueError("item_workflow=... needs workflow=..., the one that makes the columns of queries")


def raw_values(workflow: Workflow, table: str, ids: pl.Series) -> pl.Series:
    """Return the raw values of the ids of a vocabulary.

    Raises:
        ValueError: an id has none: it stands for unknown values, nulls, or a hash bucket.
    """
    try:
        vocabulary = workflow.vocabulary(table)
    except KeyError as error:
        raise ValueError(f"the raw ids of items are not known: {error.args[0]}") from None
    values = vocabulary.join(
        pl.DataFrame({"id": ids.cast(pl.Int64)}), on="id", how="right", maintain_order="right"
    )
    if values["value"].has_nulls():
        without = values.filter(pl.col("value").is_null())["id"].to_list()
        raise ValueError(
            f"ids {shown(without)} of {table!r} have no raw value: they stand for padding, null, unknown values "
            "or hash buckets; pass raw rows of items and workflow=... to the index"
        )
    return values["value"]
