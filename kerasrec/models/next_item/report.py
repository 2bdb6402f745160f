"""`rank_last_items`: the metrics of the last item of each row among all items, with their standard errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import keras
import numpy as np
from keras import ops

from kerasrec.losses.item_vectors import ItemVectors
from kerasrec.models.next_item.events import Events, LastItem
from kerasrec.parallel import comm
from kerasrec.retrieval.lists import Lists
from kerasrec.retrieval.ranking import target_ranks, top_k
from kerasrec.retrieval.report import RankingReport, cutoffs
from kerasrec.typing import Tensor


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
    ranks: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    covered: dict[int, set[int]] = {k: set() for k in at}
    for features in batches:
        queries, events, last = model.last_items(features)
        queries, there = keras.ops.convert_to_numpy(queries), keras.ops.convert_to_numpy(events.weights) > 0
        own = keras.ops.convert_to_numpy(last.items) - items.first_id
        seen = _lists(last.seen, items.first_id)
        targets.append(there)
        lists = Lists(np.maximum(own, -1)[there], np.concatenate([[0], np.cumsum(there)]))
        # An own item that was seen before is ranked all the same.
        left_out = _without(seen, own) if exclude_seen else None
        ranks.append(target_ranks(queries, candidates, lists, exclude=left_out))
        best = top_k(queries, candidates, at[-1], exclude=seen if exclude_seen else None)
        for k in at:
            covered[k].update(np.unique(best.rows[there, :k]).tolist())
    having = _of_all_ranks(np.concatenate(targets).astype(np.int64) if targets else np.zeros(0, np.int64))
    return RankingReport.of(
        _of_all_ranks(np.concatenate(ranks) if ranks else np.zeros(0, np.int64)),
        np.concatenate([[0], np.cumsum(having)]),
        candidates=len(candidates),
        at=at,
        exclude_seen=exclude_seen,
        covered={k: len(np.unique(_of_all_ranks(np.array(sorted(covered[k] - {-1}), np.int64)))) for k in at},
    )


def _of_all_ranks(values: np.ndarray) -> np.ndarray:
    """Return the integers of all ranks, one rank's after another's."""
    if comm.size() == 1:
        return values
    return np.concatenate([np.array(each, np.int64) for each in comm.gather_objects(values.tolist())])


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


def _without(lists: Lists, own: np.ndarray) -> Lists:
    """Return lists without each row's own position."""
    kept = lists.values != own[lists.row_numbers]
    counts = np.bincount(lists.row_numbers[kept], minlength=len(lists))
    return Lists(lists.values[kept], np.concatenate([[0], np.cumsum(counts)]))
