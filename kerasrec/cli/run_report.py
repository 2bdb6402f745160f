"""What a report on a training run says, as plain data: `kerasrec.cli.report.write_report` makes pages of it.

>>> target = TargetReport("clicked", "binary", labels, predictions, checks, scores, baselines)
>>> report = RunReport("dlrm", [target], rows={"training": 900, "held out": 100})
>>> write_report(run / "report", report)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True)
class Check:
    """The scores of a model on the held-out rows, after it was trained on `rows` rows.

    `train_loss` is the training loss since the previous check, log loss or RMSE; `scores` maps metrics to values.
    """

    rows: int
    train_loss: float
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Baseline:
    """What a model without embeddings reaches on the held-out rows.

    Args:
        scores: metric -> value, of the same metrics as the model's.
        predictions: for the held-out rows, in their order, (rows,).
    """

    scores: Mapping[str, float]
    predictions: NDArray[Any]


@dataclass(frozen=True)
class Importance:
    """How much worse the score of the held-out rows gets when one column is shuffled over the rows.

    Args:
        drop: of the AUC, or the rise of the RMSE, as a mean over the repeats; > 0 if the model needs the column.
        standard_error: of this mean over the repeats.
    """

    drop: float
    standard_error: float


@dataclass(frozen=True)
class Segment:
    """The held-out rows with one value of a column, or with its values in one range.

    Args:
        column: the raw column's name.
        value: the value, or the range, as text.
        rows: how many there are.
        observed, predicted: the means of the target and of the predictions.
        gap_error: the standard error of their difference.
        score: the AUC, or the RMSE of numbers; None if the rows have only one class.
        score_error: the standard error of `score`.
    """

    column: str
    value: str
    rows: int
    observed: float
    predicted: float
    gap_error: float
    score: float | None
    score_error: float | None


@dataclass(frozen=True)
class ColumnReport:
    """One column of the data: what it is taken for, why, and which operators prepare it."""

    name: str
    dtype: str
    role: str
    operators: Sequence[str]
    reason: str
    distinct: int
    nulls: int


@dataclass(frozen=True)
class TargetReport:
    """How well a target is predicted on the held-out rows.

    Args:
        name: of the target's column.
        task: "binary" or "regression".
        labels, predictions: (rows,) or (rows, 1), in the order of the held-out rows.
        checks: in the order of training.
        scores: metric -> value of the model that was kept: "auc" and "logloss", or "rmse".
        baselines: name -> `Baseline`, from `kerasrec.cli.baselines`.
        bounds: metric -> the best value that any model can reach, if it is known.
        weights: of the rows, (rows,) or (rows, 1); None for equal ones.
        importance: column -> `Importance`, from `kerasrec.cli.importance`.
        segments: from `kerasrec.cli.segments`.
    """

    name: str
    task: str
    labels: NDArray[Any]
    predictions: NDArray[Any]
    checks: Sequence[Check]
    scores: Mapping[str, float]
    baselines: Mapping[str, Baseline] = field(default_factory=dict)
    bounds: Mapping[str, float] = field(default_factory=dict)
    weights: NDArray[Any] | None = None
    importance: Mapping[str, Importance] = field(default_factory=dict)
    segments: Sequence[Segment] = ()

    @property
    def loss_metric(self) -> str:
        """The metric that the training loss compares with: "logloss" or "rmse"."""
        return "rmse" if self.task == "regression" else "logloss"


@dataclass(frozen=True)
class RunReport:
    """What a training run did.

    Args:
        model: the architecture, such as "dlrm".
        targets: one report per target.
        rows: what the rows were used for -> how many, such as "training", "held out", "left out: null target".
        columns: one report per column of the data, in its order.
        warnings: sentences about possible leaks, outliers, rows left out.
        options: the command's options as they were resolved.
        seconds: stage -> how long it took, in the order of the stages.
        rates: work -> rows per second.
        command: the line that repeats the run, such as "kerasrec train --config run/config.json --out again".
        title: of the page; by default "MODEL for TARGET, TARGET".
    """

    model: str
    targets: Sequence[TargetReport]
    rows: Mapping[str, int]
    columns: Sequence[ColumnReport] = ()
    warnings: Sequence[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)
    command: str = ""
    title: str = ""
