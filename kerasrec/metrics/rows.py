"""`RowMetric`: the base of metrics that keep rows, whose value is in all of them together."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from kerasrec.metrics.on_backend import is_traced, value_of, write_rows
from kerasrec.parallel import comm
from kerasrec.parallel.fit.rank_metric import RankMetric
from kerasrec.typing import Tensor

SAMPLE = 32_768  # rows that an estimate is computed from
REFRESH = 131_072  # rows after which an estimate is renewed at the latest


class RowMetric(RankMetric):
    """Keeps the score and the weight of each row, which is negative for a negative label.

    A subclass may keep more columns, says what happens where there is no room (`make_room`), and computes a value
    from a sample of rows (`sample_value`) and from all of them (`value`).
    """

    def __init__(self, name: str, dtype: str | None, capacity: int):
        super().__init__(name=name, dtype=dtype)
        if not isinstance(capacity, int) or capacity < 2:
            raise ValueError(f"{name}: capacity must be an integer >= 2; got {capacity!r}")
        self.capacity = capacity
        self.score_dtype = "float64" if self.dtype == "float64" else "float32"
        self._columns = [
            self.add_variable((capacity,), "zeros", self.score_dtype, name="scores"),
            self.add_variable((capacity,), "zeros", "float32", name="weights"),
        ]
        self._fill = self.add_variable((), "zeros", "int32", name="fill")
        self._renew_at = self.add_variable((), "ones", "int32", name="renew_at")
        self._estimate = self.add_variable(
            (), keras.initializers.Constant(float("nan")), "float32", name="estimate"
        )
        self._invalid = self.add_variable((), "zeros", "int32", name="invalid_rows")

    @abstractmethod
    def make_room(self, rows: Tensor) -> None:
        """Have the columns take `rows` more."""

    @abstractmethod
    def sample_value(self, columns: Sequence[Tensor]) -> Tensor:
        """Return the value for the rows of a sample, in each of which those not there have weight 0; traceable."""

    @abstractmethod
    def value(self) -> float:
        """Return the value for all rows of this rank."""

    @abstractmethod
    def value_over_ranks(self) -> float:
        """Return the value for all rows of all ranks; every rank must call it."""

    # ---- Keras's own -----------------------------------------------------------------------------------------
    def reset_state(self) -> None:
        self._fill.assign(0)
        self._renew_at.assign(1)
        self._estimate.assign(float("nan"))
        self._invalid.assign(0)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype, "capacity": self.capacity}

    # ---- RankMetric's ----------------------------------------------------------------------------------------
    def is_traced(self) -> bool:
        return is_traced(self._fill.value)

    def estimate(self) -> Tensor:
        return value_of(self._estimate)

    def estimate_over_ranks(self) -> Tensor:
        known = ops.cast(ops.logical_not(ops.isnan(self._estimate.value)), "float32")
        value = ops.where(known > 0, self._estimate.value, ops.zeros_like(self._estimate.value))
        value, known = comm.allreduce([value, known], f"kerasrec.metrics.{self.name}")
        return value / known

    def exact(self) -> Tensor:
        return self._answer(self.value(), self.invalid_rows)

    def exact_over_ranks(self) -> Tensor:
        invalid = sum(comm.gather_objects(self.invalid_rows))
        return self._answer(self.value_over_ranks(), invalid)

    def _answer(self, value: float, invalid: int) -> Tensor:
        if invalid:
            warnings.warn(
                f"{self.name} is NaN: {invalid} rows have a NaN prediction, a label other than 0 and 1, or a "
                "negative, infinite or NaN weight",
                stacklevel=2,
            )
            value = float("nan")
        return ops.convert_to_tensor(value, self.score_dtype)

    # ---- rows ------------------------------------------------------------------------------------------------
    @property
    def invalid_rows(self) -> int:
        """How many rows make the value NaN."""
        return int(self._invalid.value)

    def rows(self) -> list[np.ndarray]:
        """Return the columns of the rows that are kept."""
        fill = int(self._fill.value)
        return [np.asarray(ops.convert_to_numpy(column.value[:fill])) for column in self._columns]

    def add(self, columns: Sequence[Tensor]) -> None:
        """Keep rows: a tensor (n,) for each column, where `scores_and_weights` returned the first two."""
        size = columns[0].shape[0]
        if size is not None and size > self.capacity:
            for start in range(0, size, self.capacity):
                self.add([column[start : start + self.capacity] for column in columns])
            return
        rows = ops.shape(columns[0])[0]
        self.make_room(rows)
        for variable, column in zip(self._columns, columns, strict=True):
            write_rows(variable, self._fill.value, column)
        self._fill.assign(self._fill.value + rows)
        self._renew()

    def scores_and_weights(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None) -> list[Tensor]:
        """Return a batch's scores and weights as they are kept, (n,), and count the invalid rows."""
        labels, scores, weights = flat_rows(self.name, y_true, y_pred, sample_weight, self.score_dtype)
        weights = ops.cast(weights, "float32")
        is_positive = labels == 1
        valid = ops.logical_and(ops.logical_or(is_positive, labels == 0), ops.logical_not(ops.isnan(scores)))
        valid = ops.logical_and(valid, ops.logical_and(weights >= 0, weights < float("inf")))
        invalid = ops.logical_and(ops.logical_not(valid), weights != 0)
        self._invalid.assign(self._invalid.value + ops.sum(ops.cast(invalid, "int32")))
        limit = float(np.finfo(self.score_dtype).max)
        scores = ops.where(valid, ops.clip(scores, -limit, limit), ops.zeros_like(scores))
        weights = ops.where(is_positive, weights, -weights)
        return [scores, ops.where(valid, weights, ops.zeros_like(weights))]

    def _renew(self) -> None:
        """Compute the estimate anew where there are twice as many rows as then, or `REFRESH` more."""

        def renewed() -> tuple[Tensor, Tensor]:
            fill = self._fill.value
            return fill + ops.clip(fill, 1, REFRESH), ops.cast(self.sample_value(self._sample()), "float32")

        def as_it_was() -> tuple[Tensor, Tensor]:
            return self._renew_at.value, self._estimate.value

        due = self._fill.value >= self._renew_at.value
        renew_at, estimate = ops.cond(due, renewed, as_it_was)
        self._renew_at.assign(renew_at)
        self._estimate.assign(estimate)

    def _sample(self) -> list[Tensor]:
        """Return the columns of all rows if they are few, else of `SAMPLE` at equal distances."""
        size = min(SAMPLE, self.capacity)
        place, fill = ops.arange(size), self._fill.value
        spread = ops.cast(ops.cast(place, "float32") * (ops.cast(fill, "float32") / size), "int32")
        place = ops.minimum(ops.where(fill > size, spread, place), ops.maximum(fill - 1, 0))
        scores, weights, *others = (ops.take(column.value, place) for column in self._columns)
        return [scores, ops.where(ops.arange(size) < fill, weights, ops.zeros_like(weights)), *others]


def flat_rows(
    name: str, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None, dtype: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Return labels, predictions and weights of rows, each (n,).

    Raises `ValueError` where they are not one per row, of shape (n,) or (n, 1).
    """
    labels, scores = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
    parts = {"y_true": labels, "y_pred": scores}
    if sample_weight is not None:
        parts["sample_weight"] = ops.convert_to_tensor(sample_weight)
    flat = {part: ops.reshape(ops.cast(tensor, dtype), (-1,)) for part, tensor in parts.items()}
    sizes = {tensor.shape[0] for part, tensor in flat.items()} - {None}
    if len(sizes) > 1 or any(len(t.shape) > 1 and t.shape[-1] not in (None, 1) for t in parts.values()):
        shapes = ", ".join(f"{part} {tuple(tensor.shape)}" for part, tensor in parts.items())
        raise ValueError(f"{name}: pass one value per row in each, of shape (rows,) or (rows, 1); got {shapes}")
    weights = flat["sample_weight"] if sample_weight is not None else ops.ones_like(flat["y_pred"])
    return flat["y_true"], flat["y_pred"], weights
