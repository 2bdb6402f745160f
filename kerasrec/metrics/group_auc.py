"""`GroupAUC`: the AUC within groups of rows, such as those of one user."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass
from typing import Any, Literal

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from kerasrec._keras import in_symbolic_build
from kerasrec.metrics.estimates import group_auc_of_rows
from kerasrec.metrics.on_backend import id_dtype
from kerasrec.metrics.over_ranks import exchange
from kerasrec.metrics.rows import RowMetric
from kerasrec.parallel import comm
from kerasrec.typing import Tensor

Weighting = Literal["rows", "positives", "equal"]


@dataclass(frozen=True)
class GroupCounts:
    """What a value of `GroupAUC` is computed from.

    Attributes:
        groups, rows: those with both labels.
        groups_left_out, rows_left_out: those of groups with one label alone, which have no AUC.
        weighted_sum, weight: of the groups' AUCs; the value is their ratio.
    """

    groups: int
    rows: int
    groups_left_out: int
    rows_left_out: int
    weighted_sum: float
    weight: float


@keras.saving.register_keras_serializable("kerasrec")
class GroupAUC(RowMetric):
    """Computes the mean over groups of the AUC within each (gAUC): how well a model ranks for one user.

    gAUC = sum_g w_g AUC_g / sum_g w_g, over the groups that have both labels, where w_g is by default the weight
    of the group's rows. It ignores whether users who click more have higher scores, which AUC rewards.

    In `compile` of a model of `kr.models`, `column` names the feature that holds the groups; elsewhere pass
    `groups` to `update_state`. It keeps all rows, `capacity` of them at most: 16 bytes each. Over ranks it is
    exact although the rows of one group are on several. While an epoch runs, progress bars show an estimate, from
    at most 32,768 rows; `history` and `evaluate` have the exact value.

    Args:
        column: the name of a feature with one id per row.
        weighting: w_g: "rows" (impressions), "positives" (clicks) or "equal".
        name: in `history`.
        dtype: "float64" keeps scores in float64; by default scores are compared as float32.
        capacity: of rows. More make the value NaN, with a warning.

    Raises:
        ValueError: an unknown weighting; (in `update_state`) no groups, or shapes that are not one value per row.

    Example:

    >>> metric = kr.metrics.GroupAUC()
    >>> metric.update_state([0, 1, 0, 1, 1], [0.1, 0.8, 0.4, 0.3, 0.9], groups=[7, 7, 8, 8, 9])
    >>> float(metric.result())
    0.5
    >>> metric.counts().groups_left_out
    1

    Source: [Zhou et al., 2018, Deep Interest Network](https://arxiv.org/abs/1706.06978), section 6.2, which weighs
    by impressions.
    """

    def __init__(
        self,
        column: str | None = None,
        weighting: Weighting = "rows",
        name: str = "gauc",
        dtype: str | None = None,
        capacity: int = 2**22,
    ):
        if weighting not in ("rows", "positives", "equal"):
            raise ValueError(f"{name}: weighting must be 'rows', 'positives' or 'equal'; got {weighting!r}")
        super().__init__(name, dtype, capacity)
        self.column, self.weighting = column, weighting
        self._columns.append(self.add_variable((capacity,), "zeros", id_dtype(), name="groups"))
        self._beyond = self.add_variable((), "zeros", "int32", name="rows_beyond_capacity")
        self._groups_of_step: Tensor | None = None

    def update_state(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None, groups: Tensor | None = None
    ) -> None:
        """Keep a batch's rows; `groups` are integers, (batch,) or (batch, 1)."""
        groups = self._groups_of_step if groups is None else groups
        columns = self.scores_and_weights(y_true, y_pred, sample_weight)
        if groups is None and in_symbolic_build():
            groups = ops.zeros_like(columns[0])
        if groups is None:
            where = (
                "" if self.column is None else f" in compile of a model of kr.models, which reads {self.column!r},"
            )
            raise ValueError(
                f"{self.name}: no groups; use GroupAUC(column){where} or pass update_state(groups=...)"
            )
        groups = ops.convert_to_tensor(groups)
        if "int" not in keras.backend.standardize_dtype(groups.dtype) and not in_symbolic_build():
            raise ValueError(
                f"{self.name}: groups must be integers; got {groups.dtype}. Encode them (etl.Categorify)"
            )
        groups = ops.reshape(ops.cast(groups, id_dtype()), (-1,))
        if None not in (groups.shape[0], columns[0].shape[0]) and groups.shape[0] != columns[0].shape[0]:
            raise ValueError(
                f"{self.name}: {groups.shape[0]} groups for {columns[0].shape[0]} rows; pass one per row"
            )
        self.add([*columns, groups])

    @contextmanager
    def grouped_by(self, groups: Tensor) -> Iterator[None]:
        """Have `update_state` take these groups within the context, as the training of `kr.models` does."""
        self._groups_of_step = groups
        try:
            yield
        finally:
            self._groups_of_step = None

    def make_room(self, rows: Tensor) -> None:
        """Count rows that do not fit, in whose place the last ones are overwritten."""
        beyond = ops.maximum(self._fill.value + rows - self.capacity, 0)
        self._beyond.assign(self._beyond.value + beyond)
        self._fill.assign(self._fill.value - beyond)

    def sample_value(self, columns: Sequence[Tensor]) -> Tensor:
        return group_auc_of_rows(*columns, self.weighting)

    def reset_state(self) -> None:
        super().reset_state()
        self._beyond.assign(0)

    def get_config(self) -> dict[str, Any]:
        return {"column": self.column, "weighting": self.weighting, **super().get_config()}

    # ---- values ----------------------------------------------------------------------------------------------
    def counts(self) -> GroupCounts:
        """Return how many groups and rows of this rank count, and how many are left out."""
        scores, weights, groups = self.rows()
        return group_counts(scores, weights, groups, self.weighting)

    def value(self) -> float:
        return self._ratio([self.counts()], [int(self._beyond.value)])

    def value_over_ranks(self) -> float:
        scores, weights, groups = self.rows()
        owners = (groups.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(33)) % np.uint64(
            comm.size()
        )
        columns = exchange([scores, weights, groups], owners.astype(np.int64), f"kerasrec.metrics.{self.name}")
        own = group_counts(columns[0], columns[1], columns[2], self.weighting)
        parts = comm.gather_objects([*map(float, astuple(own)), float(self._beyond.value)])
        return self._ratio([GroupCounts(*part[:-1]) for part in parts], [part[-1] for part in parts])

    def _ratio(self, parts: list[GroupCounts], beyond: Sequence[float]) -> float:
        if sum(beyond):
            warnings.warn(
                f"{self.name} is NaN: {int(sum(beyond))} rows are beyond its capacity of {self.capacity}; pass "
                "GroupAUC(capacity=...) with as many as an epoch has",
                stacklevel=2,
            )
            return float("nan")
        weight = sum(part.weight for part in parts)
        return sum(part.weighted_sum for part in parts) / weight if weight else float("nan")


@contextmanager
def groups_from(features: Mapping[str, Tensor], metrics: Iterable[object]) -> Iterator[None]:
    """Have each `GroupAUC` among `metrics` take the groups of a batch from its column of `features`.

    Raises `ValueError` for a column that the batch does not have.
    """
    with ExitStack() as contexts:
        for metric in metrics:
            if isinstance(metric, GroupAUC) and metric.column is not None:
                if metric.column not in features:
                    available = ", ".join(features)
                    raise ValueError(
                        f"{metric.name}: no column {metric.column!r} in the batch; available: {available}"
                    )
                contexts.enter_context(metric.grouped_by(features[metric.column]))
        yield


def group_counts(scores: NDArray, weights: NDArray, groups: NDArray, weighting: Weighting = "rows") -> GroupCounts:
    """Return the weighted sum of the AUCs of groups, and what counts in it.

    Args:
        scores: (n,).
        weights: of positives, and negated of negatives, (n,); 0 does not count.
        groups: (n,).
        weighting: as in `GroupAUC`.
    """
    scores, weights, groups = (column[weights != 0] for column in (scores, weights.astype(np.float64), groups))
    if not len(scores):
        return GroupCounts(0, 0, 0, 0, 0.0, 0.0)
    order = np.lexsort((scores, groups))
    scores, weights, groups = scores[order], weights[order], groups[order]
    new_group = np.concatenate([[True], groups[1:] != groups[:-1]])
    level = np.flatnonzero(new_group | np.concatenate([[True], scores[1:] != scores[:-1]]))
    positives = np.add.reduceat(np.maximum(weights, 0), level)
    negatives = np.add.reduceat(np.maximum(-weights, 0), level)
    first = np.flatnonzero(new_group[level])
    p, n = np.add.reduceat(positives, first), np.add.reduceat(negatives, first)
    before = np.cumsum(negatives) - negatives
    size = np.diff(np.append(first, len(level)))
    below = before - np.repeat(before[first], size) + negatives / 2
    ordered = np.add.reduceat(positives * below, first)
    rows = np.diff(np.append(np.flatnonzero(new_group), len(groups)))
    both = (p > 0) & (n > 0)
    auc = ordered[both] / (p * n)[both]
    weight = {"rows": p + n, "positives": p, "equal": np.ones_like(p)}[weighting][both]
    kept = int(rows[both].sum())
    return GroupCounts(
        int(both.sum()), kept, int((~both).sum()), len(groups) - kept, float(weight @ auc), float(weight.sum())
    )
