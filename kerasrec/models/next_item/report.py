"""`rank_last_items`: the metrics of the last item of each row among all items, with their standard errors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import keras
import numpy as np
from keras import ops

from kerasrec.losses.item_vectors import ItemVectors
from kerasrec.models.next_item.events import Events, LastItem
from kerasrec.parallel import comm
from kerasrec.retrieval.lists import Lists
from kerasrec.retrieval.ranking import Ranking, ranking_of
from kerasrec.retrieval.report import RankingReport, cutoffs
from kerasrec.retrieval.scores import VectorScores
from kerasrec.typing import Tensor

QUERIES = 8192  # ranked at a time, at least


class LastItemRanker(Protocol):
    """What is asked of a model."""

    def item_vectors(self, training: bool = False) -> ItemVectors: ...

    def last_items(self, features: Mapping[str, Tensor]) -> tuple[Tensor, Events, LastItem]:
        """Return the query of each row of a batch, without its last item; its events; and that item."""


def rank_last_items(
    model: LastItemRanker, batches: Iterable[Mapping[str, Tensor]], at: int | Sequence[int], exclude_seen: bool
) -> RankingReport:
    """Return the report of batches of sequences; a row without items has no target."""
    at, items = cutoffs(at), model.item_vectors()
    candidates = keras.ops.convert_to_numpy(ops.cast(items.all(), "float32"))[items.first_id :]
    rankings = [Ranking(np.empty(0, np.int64), {k: np.zeros(len(candidates), bool) for k in at}, 0)]
    targets = [np.empty(0, np.int64)]
    for queries, own, seen in _several(_queries(model, batches, items.first_id)):
        scores = VectorScores(queries, candidates)
        rankings.append(ranking_of(scores, own, at, exclude=seen if exclude_seen else None))
        targets.append(own.lengths)
    ranks, having = (_of_all_ranks(np.concatenate(x)) for x in ([r.ranks for r in rankings], targets))
    covered = {k: _any_of_all_ranks(np.any([r.covered[k] for r in rankings], axis=0)) for k in at}
    targets_seen = int(_of_all_ranks(np.array([r.targets_seen for r in rankings])).sum())
    lists = Lists(np.zeros(len(ranks), np.int64), np.concatenate([[0], np.cumsum(having)]))
    return RankingReport.of_ranking(
        Ranking(ranks, covered, targets_seen), lists, len(candidates), at, exclude_seen
    )


def _queries(
    model: LastItemRanker, batches: Iterable[Mapping[str, Tensor]], first_id: int
) -> Iterator[tuple[np.ndarray, Lists, Lists]]:
    """Yield the queries of each batch that have a last item, its position, and those of the items before it."""
    for features in batches:
        queries, events, last = model.last_items(features)
        queries, there = keras.ops.convert_to_numpy(queries), keras.ops.convert_to_numpy(events.weights) > 0
        own = np.maximum(keras.ops.convert_to_numpy(last.items).astype(np.int64) - first_id, -1)
        yield queries, Lists(own[there], np.concatenate([[0], np.cumsum(there)])), _lists(last.seen, first_id)


def _several(
    batches: Iterable[tuple[np.ndarray, Lists, Lists]],
) -> Iterator[tuple[np.ndarray, Lists, Lists]]:
    """Yield several batches as one, since few queries at a time take longer."""
    parts: list[tuple[np.ndarray, Lists, Lists]] = []
    for batch in batches:
        parts.append(batch)
        if sum(len(queries) for queries, *_ in parts) >= QUERIES:
            yield _joined(parts)
            parts = []
    if parts:
        yield _joined(parts)


def _joined(parts: list[tuple[np.ndarray, Lists, Lists]]) -> tuple[np.ndarray, Lists, Lists]:
    queries, own, seen = zip(*parts, strict=True)
    return np.concatenate(queries), Lists.concatenate(own), Lists.concatenate(seen)


def _of_all_ranks(values: np.ndarray) -> np.ndarray:
    """Return the integers of all ranks, one rank's after another's."""
    if comm.size() == 1:
        return values
    return np.concatenate([np.array(each, np.int64) for each in comm.gather_objects(values.tolist())])


def _any_of_all_ranks(chosen: np.ndarray) -> np.ndarray:
    """Return which of some items any rank has chosen."""
    if comm.size() == 1:
        return chosen
    return np.isin(np.arange(len(chosen)), _of_all_ranks(np.flatnonzero(chosen)))


def _lists(seen: Tensor, first_id: int) -> Lists:
    """Return ids, ragged or padded with 0, as positions of candidates; others than items are left out."""
    if hasattr(seen, "row_splits"):
        values, lengths = seen.values.numpy(), np.diff(seen.row_splits.numpy())
    else:
        padded = keras.ops.convert_to_numpy(seen)
        values, lengths = padded.reshape(-1), np.full(len(padded), padded.shape[1])
    rows = np.repeat(np.arange(len(lengths)), lengths)
    kept = values >= first_id
    counts = np.bincount(rows[kept], minlength=len(lengths))
    return Lists(values[kept] - first_id, np.concatenate([[0], np.cumsum(counts)]))
