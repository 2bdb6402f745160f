"""Rows of queries and items as queries with targets, and the report of a ranking of all candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from kerasrec.data.loader import Loader
from kerasrec.retrieval.encoders import RowReader, Rows, SequenceRetriever, columns_of, to_numpy
from kerasrec.retrieval.engines.engine import Engine
from kerasrec.retrieval.item_ids import ItemIds
from kerasrec.retrieval.lists import Lists
from kerasrec.retrieval.ranking import Ranking, ranking_of
from kerasrec.retrieval.report import RankingReport, cutoffs
from kerasrec.retrieval.scores import Similarity, VectorScores
from kerasrec.schema import SchemaError, Tag

_USER, _ITEM, _QUERY, _ROW = "user", "item", "query", "row"


@dataclass(frozen=True)
class Queries:
    """Queries, and what is known of each.

    Attributes:
        vectors: (n, dim).
        targets: the positions of its items among the candidates, -1 for those that are not candidates.
        seen: the positions of the items to leave out, or None.
    """

    vectors: np.ndarray
    targets: Lists
    seen: Lists | None


def queries_of(
    reader: RowReader,
    data: Rows,
    ids: ItemIds,
    exclude_seen: Rows | Sequence[Rows] | bool | None,
    user: str | None,
) -> Queries:
    """Return the queries of rows, with the arguments of `Index.evaluate`.

    Raises:
        TypeError: `exclude_seen` is true or false of a model without sequences, or rows of one with sequences.
        ValueError: `user` of a model of sequences; and those of the functions below.
    """
    model, item = reader.model, reader.key(reader.model.item_id)
    if not isinstance(model, SequenceRetriever):
        if isinstance(exclude_seen, bool):
            raise TypeError(f"exclude_seen={exclude_seen}: expected rows with users and items, such as train")
        return read_queries(reader, data, ids, item, exclude_seen, user)
    if user is not None:
        raise ValueError(f"user={user!r} is not used: {model.name} has a user's items in the sequence")
    left_out = model.exclude_seen if exclude_seen is None else exclude_seen
    if not isinstance(left_out, bool):
        raise TypeError(
            f"exclude_seen: {model.name} ranks the last item of each sequence, and leaves out those before it, or "
            f"not: expected true or false; got {type(left_out).__name__}"
        )
    return read_sequences(reader, data, ids, item, left_out)


def read_queries(
    reader: RowReader,
    data: Rows,
    ids: ItemIds,
    item: str,
    exclude_seen: Rows | Sequence[Rows] | None,
    user: str | None,
) -> Queries:
    """Return the queries of rows, each once.

    Raises:
        SchemaError: `exclude_seen` without a column that names the user.
        ValueError: there are no rows, or an item is null.
    """
    model = reader.model
    if exclude_seen is not None and user is None:
        user = _user_key(reader)
    keys = [item] if user is None else [item, user]
    vectors, columns = [], []
    for features, values in reader.batches(data, model.query_schema, keys, "queries"):
        vectors.append(to_numpy(model.encode_queries(features)))
        own = columns_of(features, model.query_schema.names)
        own.columns = [f"{_QUERY}{i}" for i in range(own.width)]
        names = [pl.Series(_ITEM, values[item])] + ([] if user is None else [pl.Series(_USER, values[user])])
        columns.append(pl.DataFrame([*own.get_columns(), *names]))
    if not columns:
        raise ValueError("there is nothing to evaluate: the data has no rows")
    rows = pl.concat(columns).with_row_index(_ROW)
    if rows[_ITEM].has_nulls():
        raise ValueError(f"row {rows[_ITEM].is_null().arg_max()} has no item: {item!r} is null")
    by = [name for name in rows.columns if name not in (_ROW, _ITEM)]
    groups = rows.group_by(by, maintain_order=True).agg(
        pl.col(_ROW).first(), pl.col(_ITEM).unique(maintain_order=True)
    )
    first = groups[_ROW].to_numpy()
    targets = Lists(ids.positions(groups[_ITEM].explode()), _offsets(groups[_ITEM]))
    seen = None
    if user is not None and exclude_seen is not None:
        seen = _seen(reader, groups[_USER], exclude_seen, ids, item, user)
    return Queries(np.concatenate(vectors)[first], targets, seen)


def read_sequences(reader: RowReader, data: Rows, ids: ItemIds, item: str, exclude_seen: bool) -> Queries:
    """Return a query for each sequence: of the items before its last one, which is the target.

    Raises:
        ValueError: there are no rows.
    """
    model = reader.model
    assert isinstance(model, SequenceRetriever)
    vectors, items = [], []
    for features, values in reader.batches(data, model.query_schema, [item], "queries"):
        vectors.append(to_numpy(model.encode_histories(features)))
        items.append(values[item].fill_null([]))
    if not items:
        raise ValueError("there is nothing to evaluate: the data has no rows")
    sequences = pl.concat(items)
    before = pl.col(sequences.name).list.len().cast(pl.Int64).sub(1).clip(0)
    histories = sequences.to_frame().select(pl.col(sequences.name).list.head(before)).to_series()
    targets = _positions(ids, sequences.list.tail(1))
    return Queries(np.concatenate(vectors), targets, _positions(ids, histories) if exclude_seen else None)


def report_of(
    queries: Queries, engine: Engine, vectors: np.ndarray, similarity: Similarity, at: int | Sequence[int]
) -> RankingReport:
    """Return the metrics of the exact ranking, or of what another engine recommends."""
    cuts, count = cutoffs(at), len(vectors)
    if engine.exact:
        scores = VectorScores(queries.vectors, vectors, similarity)
        ranking = ranking_of(scores, queries.targets, cuts, exclude=queries.seen)
    else:
        ranking = _ranking_by(engine, queries, cuts, count)
    return RankingReport.of_ranking(ranking, queries.targets, count, cuts, queries.seen is not None)


def _ranking_by(engine: Engine, queries: Queries, at: Sequence[int], count: int) -> Ranking:
    """Return the place of each target among its query's recommendations; for others that can be recommended the
    number of candidates + 1, and for those that cannot the number of candidates."""
    targets, seen, targets_seen = queries.targets, queries.seen, 0
    if seen is not None:
        targets_seen = len(targets.values) - len(targets.without(seen).values)
        seen = seen.without(targets)  # as in `leave_out`
    best = engine.search(queries.vectors, max(at), seen).rows
    hit = best[targets.row_numbers] == targets.values[:, None]
    ranks = np.where(hit.any(axis=1), hit.argmax(axis=1), count + 1)
    covered = {k: np.isin(np.arange(count), best[:, :k]) for k in at}
    return Ranking(np.where(targets.values < 0, count, ranks), covered, targets_seen)


def _user_key(reader: RowReader) -> str:
    model = reader.model
    users = [c.name for c in (*model.query_schema, *model.candidate_schema) if Tag.USER_ID in c.tags]
    if len(users) != 1:
        raise SchemaError(
            f"exclude_seen needs a column that names the user, and {model.name} reads none with the tag "
            "'user_id'; pass user='column'"
        )
    return reader.key(users[0])


def _seen(
    reader: RowReader, users: pl.Series, data: Rows | Sequence[Rows], ids: ItemIds, item: str, user: str
) -> Lists:
    """Return the positions of the items that each query's user has in some rows."""
    several = (
        data
        if isinstance(data, list | tuple) and all(isinstance(x, Loader | pl.DataFrame) for x in data)
        else [data]
    )
    pairs = pl.concat(reader.keys(rows, [user, item]).select(user, item) for rows in several)
    known = pl.DataFrame({_USER: pairs[user], _ROW: ids.positions(pairs[item])}).filter(pl.col(_ROW) >= 0).unique()
    queries = pl.DataFrame({_USER: users}).with_row_index(_QUERY)
    rows = queries.join(known, on=_USER, how="inner").sort(_QUERY, _ROW)
    counts = np.bincount(rows[_QUERY].to_numpy(), minlength=len(users))
    return Lists(rows[_ROW].to_numpy(), np.cumsum([0, *counts]))


def _positions(ids: ItemIds, lists: pl.Series) -> Lists:
    """Return the positions of lists of ids, -1 for those that are not candidates'."""
    return Lists(ids.positions(lists.filter(lists.list.len() > 0).explode()), _offsets(lists))


def _offsets(lists: pl.Series) -> np.ndarray:
    return np.cumsum([0, *lists.list.len().to_numpy()], dtype=np.int64)
