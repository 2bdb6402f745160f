"""`RankingReport`: the metrics of a ranking over the whole corpus, with their standard errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kerasrec.retrieval.lists import Lists
from kerasrec.retrieval.ranking import Ranking

METRICS = ("hit_rate", "recall", "ndcg", "mrr")


@dataclass(frozen=True, repr=False)
class RankingReport:
    """The metrics of a ranking over the whole corpus, with their standard errors.

    With T targets of a query at the ranks r (0 being the best), and means over the queries that have targets:

    - `hit_rate@k`: whether any r < k;
    - `recall@k`: the share of the T targets with r < k;
    - `ndcg@k`: the sum of 1 / log2(r + 2) over r < k, divided by that of min(T, k) targets at the first ranks;
    - `mrr@k`: 1 / (r + 1) of the best target, 0 unless r < k;
    - `coverage@k`: the share of all candidates that are among the k best of any query, where it was counted.

    Attributes:
        at: the values of k, ascending.
        values: the metrics by name, such as "ndcg@10".
        standard_errors: of the metrics that are means over queries: their standard deviation / sqrt(queries).
        queries: how many were averaged.
        queries_without_targets: how many others were left out.
        targets: how many targets the queries have.
        targets_out_of_reach: those that could not be recommended, since they are not candidates; they count as
            missed.
        candidates: how many there are.
        exclude_seen: whether the items that a query had seen were left out of its ranking. Its targets never are.
        targets_seen: the targets that would have been left out, as others that the query had seen were.

    Example:

    >>> report = RankingReport.of(np.array([0, 3, 30]), Lists.of([[7], [9], [4]]).offsets, candidates=100)
    >>> report["hit_rate@10"], report.standard_errors["hit_rate@10"]
    (0.6666666666666666, 0.33333333333333337)
    """

    at: tuple[int, ...]
    values: dict[str, float]
    standard_errors: dict[str, float]
    queries: int
    queries_without_targets: int
    targets: int
    targets_out_of_reach: int
    candidates: int
    exclude_seen: bool
    targets_seen: int = 0

    @classmethod
    def of(
        cls,
        ranks: np.ndarray,
        offsets: np.ndarray | None = None,
        *,
        candidates: int,
        at: Sequence[int] = (10, 100),
        exclude_seen: bool = False,
        covered: dict[int, int] | None = None,
        targets_seen: int = 0,
    ) -> RankingReport:
        """Return the report of targets' ranks, as `target_ranks` returns them.

        Args:
            ranks: (targets,) integers, 0 for the first.
            offsets: where each query's ranks start, as in `Lists`; by default each query has one.
            candidates: how many candidates were ranked; a target whose rank this is was out of reach.
            at: the values of k.
            exclude_seen, targets_seen: for the report to say.
            covered: for each k how many candidates are among the k best of any query.

        Raises:
            ValueError: a k is not an integer >= 1, or no query has a target.
        """
        at = cutoffs(at)
        lists = Lists(ranks, np.arange(len(ranks) + 1) if offsets is None else offsets)
        having = lists.lengths > 0
        if not having.any():
            raise ValueError("no query has a target: there is nothing to evaluate")
        values: dict[str, float] = {}
        errors: dict[str, float] = {}
        for k in at:
            for metric, per_query in _per_query(lists, having, k, candidates).items():
                values[f"{metric}@{k}"] = float(per_query.mean())
                spread = per_query.std(ddof=1) if len(per_query) > 1 else np.nan
                errors[f"{metric}@{k}"] = float(spread / np.sqrt(len(per_query)))
            if covered is not None:
                values[f"coverage@{k}"] = covered[k] / candidates if candidates else 0.0
        queries, out_of_reach = int(having.sum()), int((lists.values == candidates).sum())
        counts = (queries, len(lists) - queries, len(lists.values), out_of_reach, candidates)
        return cls(at, values, errors, *counts, bool(exclude_seen), targets_seen)

    @classmethod
    def of_ranking(
        cls, ranking: Ranking, targets: Lists, candidates: int, at: Sequence[int], exclude_seen: bool
    ) -> RankingReport:
        """Return the report of the ranking that `ranking_of` makes."""
        return cls.of(
            ranking.ranks,
            targets.offsets,
            candidates=candidates,
            at=at,
            exclude_seen=exclude_seen,
            covered={k: int(covered.sum()) for k, covered in ranking.covered.items()},
            targets_seen=ranking.targets_seen,
        )

    def __getitem__(self, name: str) -> float:
        if name not in self.values:
            raise KeyError(f"no metric {name!r}; available: {', '.join(self.values)}")
        return self.values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values)

    def __len__(self) -> int:
        return len(self.values)

    def to_dict(self) -> dict[str, float | int | bool]:
        """Return metrics, standard errors (as "ndcg@10_se") and counts as one flat dict, ready for JSON.

        A standard error that one query alone does not have is left out."""
        errors = {f"{name}_se": error for name, error in self.standard_errors.items() if np.isfinite(error)}
        return {
            **self.values,
            **errors,
            "queries": self.queries,
            "queries_without_targets": self.queries_without_targets,
            "targets": self.targets,
            "targets_out_of_reach": self.targets_out_of_reach,
            "candidates": self.candidates,
            "exclude_seen": self.exclude_seen,
            "targets_seen": self.targets_seen,
        }

    def __repr__(self) -> str:
        seen = "left out" if self.exclude_seen else "ranked like all others"
        queries = "1 query" if self.queries == 1 else f"{self.queries:,} queries"
        lines = [f"{queries} over {self.candidates:,} candidates, seen items {seen}"]
        names = [name for name in (*METRICS, "coverage") if f"{name}@{self.at[0]}" in self.values]
        table = [["", *names], *([f"@{k}", *(self._cell(f"{name}@{k}") for name in names)] for k in self.at)]
        widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
        lines += ["  ".join(map(str.ljust, row, widths)).rstrip() for row in table]
        if self.queries_without_targets:
            lines.append(f"{self.queries_without_targets:,} more queries have no target and are not averaged")
        if self.targets_out_of_reach:
            of = f"{self.targets_out_of_reach:,} of {self.targets:,} targets"
            lines.append(f"{of} are not candidates: they count as missed")
        if self.targets_seen:
            of = f"{self.targets_seen:,} of {self.targets:,} targets"
            lines.append(f"{of} were seen before: they are ranked, since no target is left out")
        return "\n".join(lines)

    def _cell(self, name: str) -> str:
        error = self.standard_errors.get(name, np.nan)
        return f"{self.values[name]:.4f}" + (f" ± {error:.4f}" if np.isfinite(error) else "")


def cutoffs(at: int | Sequence[int]) -> tuple[int, ...]:
    """Return the values of k, ascending and each once."""
    values = [at] if isinstance(at, int | np.integer) else list(at)
    wrong = [k for k in values if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1]
    if wrong or not values:
        raise ValueError(f"at must be one or several integers >= 1; got {at!r}")
    return tuple(sorted({int(k) for k in values}))


def _per_query(ranks: Lists, having: np.ndarray, k: int, candidates: int) -> dict[str, np.ndarray]:
    """Return each metric's value for each query that has targets."""
    starts, lengths = ranks.offsets[:-1][having], ranks.lengths[having]
    last = min(k, candidates)
    hit = ranks.values < last
    gains = np.where(hit, 1 / np.log2(np.maximum(ranks.values, 0) + 2.0), 0.0)
    ideal = np.cumsum(1 / np.log2(np.arange(2, k + 2)))[np.minimum(lengths, k) - 1]
    best = np.minimum.reduceat(ranks.values, starts)
    hits = np.add.reduceat(hit.astype(np.int64), starts)
    return {
        "hit_rate": (hits > 0).astype(np.float64),
        "recall": hits / lengths,
        "ndcg": np.add.reduceat(gains, starts) / ideal,
        "mrr": np.where(best < last, 1 / (best + 1.0), 0.0),
    }
