"""`Heads`: a model's targets and the task of each; what it returns for their logits."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from keras import ops

from kerasrec.models.checks import check_binary
from kerasrec.schema import Column, Schema, SchemaError, Tag
from kerasrec.typing import Tensor

Task: TypeAlias = Literal["binary", "regression"]


@dataclass(frozen=True)
class Heads:
    """The heads of a model, one per target, in the schema's order.

    Attributes:
        targets: the names of the targets.
        tasks_in_order: the task of each.
    """

    targets: tuple[str, ...]
    tasks_in_order: tuple[Task, ...]

    @classmethod
    def of(cls, schema: Schema, task: str | Mapping[str, str] | None) -> Heads:
        """Return the heads for a schema's targets; each task is the one that is given, or by the target's tag.

        Raises:
            SchemaError: no target, or one whose tags do not fit or do not tell its task.
            ValueError: an unknown task, or one for a target that the schema does not have.
        """
        targets = list(schema.targets)
        if not targets:
            raise SchemaError(
                "a model is trained on one target or several; the schema has none. Tag them with etl.Target() in "
                "the workflow, and leave out targets=[] in the loader"
            )
        given = (
            dict(task) if isinstance(task, Mapping) else {} if task is None else {c.name: task for c in targets}
        )
        check_targets("task", given, [column.name for column in targets])
        tasks = tuple(_task(column, given.get(column.name)) for column in targets)
        return cls(tuple(column.name for column in targets), tasks)

    @property
    def tasks(self) -> dict[str, Task]:
        """The task of each target by name."""
        return dict(zip(self.targets, self.tasks_in_order, strict=True))

    def outputs(self, logits: Tensor) -> Tensor | dict[str, Tensor]:
        """Return a model's output for logits `(batch, targets)`: a probability or a number `(batch, 1)`.

        Of several targets it is a dict by name. Raises `ValueError` for another number of logits.
        """
        if len(self.targets) == 1:
            return _output(logits, self.tasks_in_order[0])
        if logits.shape[-1] != len(self.targets):
            raise ValueError(
                f"the last layer makes {logits.shape[-1]} logits, but there are {len(self.targets)} targets "
                f"({', '.join(self.targets)}); make_logit() returns a layer with one logit per target"
            )
        return {name: _output(logits[:, i : i + 1], task) for i, (name, task) in enumerate(self.tasks.items())}

    def no_outputs(self) -> np.ndarray | dict[str, np.ndarray]:
        """Return what a model predicts for no rows."""
        outputs = {name: np.empty((0, 1), "float32") for name in self.targets}
        return outputs if len(outputs) > 1 else outputs[self.targets[0]]


def check_targets(argument: str, names: Iterable[str], targets: Iterable[str]) -> None:
    """Raise `ValueError` for a name in a dict by target that is not a target's."""
    targets = list(targets)
    for name in names:
        if name not in targets:
            close = difflib.get_close_matches(str(name), targets, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"{argument}: no target {name!r}; the model's targets: {', '.join(targets)}{hint}")


def _output(logit: Tensor, task: Task) -> Tensor:
    return ops.sigmoid(logit) if task == "binary" else logit


def _task(column: Column, given: str | None) -> Task:
    """Return the task of a target: the one that is given, or by its tag."""
    for task in get_args(Task):
        if given == task or (given is None and Tag(task) in column.tags):
            if task == "binary":
                check_binary(column)
            return task
    if given is not None:
        raise ValueError(f"task must be 'binary' or 'regression'; got {given!r}")
    raise SchemaError(
        f"target {column.name!r} is tagged neither binary nor regression; pass task='binary' or 'regression', or "
        f"with several targets task={{{column.name!r}: ...}}"
    )
