"""Roles of columns: what a column is for, why, and what a user says about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from kerasrec.cli.column_stats import ColumnStats
from kerasrec.cli.steps import Step

ROW_NUMBER, INDEX = "numbers the rows", "the index of a pandas frame"  # reasons to leave a column out

CATEGORICAL, CONTINUOUS, TIME = "categorical", "continuous", "time"
TARGET, WEIGHT, DROPPED = "target", "weight", "dropped"
FEATURES = (CATEGORICAL, CONTINUOUS, TIME)
ROLES = (*FEATURES, DROPPED)  # that a user may give a column


@dataclass(frozen=True)
class Guess:
    """The role of a column, the steps that prepare it, and the reason."""

    stats: ColumnStats
    role: str
    steps: tuple[Step, ...]
    reason: str

    @property
    def name(self) -> str:
        """The column's name."""
        return self.stats.name

    @property
    def operators(self) -> tuple[str, ...]:
        """The names of the operators."""
        return tuple(step.operator for step in self.steps)


@dataclass(frozen=True)
class Wishes:
    """What a user says about columns.

    Args:
        targets: the columns to predict.
        task: "binary" or "regression"; None decides by the targets' values.
        positive: values of targets that count as 1.
        drop_null_targets: whether to leave out rows in which a target is null.
        time: the column by which rows are held out; it is also a feature.
        weights: target -> the column with the weights of its rows.
        chosen: role -> names of the columns that the user gives this role.
        columns: roles and steps of columns as a config file has them; `chosen` goes before.
    """

    targets: Sequence[str]
    task: str | None = None
    positive: Sequence[str] = ()
    drop_null_targets: bool = False
    time: str | None = None
    weights: Mapping[str, str] = field(default_factory=dict)
    chosen: Mapping[str, Iterable[str]] = field(default_factory=dict)
    columns: Mapping[str, tuple[str, tuple[Step, ...], str]] = field(default_factory=dict)


def short_type(dtype: object) -> str:
    """Return a Polars type without its arguments, such as "Datetime" or "List(String)"."""
    text = str(dtype)
    return text if text.startswith(("List", "Array")) else text.partition("(")[0]
