"""`TargetTrainer`: `compile` and `fit` of a model with targets, each of which has a task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kerasrec._keras import DataAdapter, compiled_metrics, use_loss_by_rows
from kerasrec.layers import DistributedEmbedding
from kerasrec.metrics.group_auc import groups_from
from kerasrec.models.checks import check_binary
from kerasrec.models.class_weights import with_class_weights
from kerasrec.models.compile_arguments import (
    Loss,
    Metrics,
    OptimizerOrName,
    default_metrics,
    resolve_loss_weights,
    resolve_losses,
    resolve_metrics,
    resolve_optimizer,
    suit_to_rows,
)
from kerasrec.models.fit_data import rows_of
from kerasrec.models.heads import Heads, Task
from kerasrec.models.trainer import SchemaTrainer
from kerasrec.schema import Schema


class TargetTrainer(SchemaTrainer):
    """What `SchemaModel` adds to Keras's training: defaults of its tasks, and classes that weigh."""

    heads: Heads
    embeddings: DistributedEmbedding | None
    _class_weight: tuple[tuple[int, float], ...] | None = None
    _chose_optimizer = False

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of the targets, in the schema's order."""
        return self.heads.targets

    @property
    def tasks(self) -> dict[str, Task]:
        """The task of each target by name: "binary" or "regression"."""
        return self.heads.tasks

    @property
    def target(self) -> str:
        """The name of the only target. Raises `ValueError` if there are several."""
        return self._only("targets", self.heads.targets)

    @property
    def task(self) -> Task:
        """The task of the only target. Raises `ValueError` if there are several."""
        return self._only("tasks", self.heads.tasks_in_order)

    def _only(self, attribute: str, values: tuple[Any, ...]) -> Any:
        if len(values) > 1:
            raise ValueError(f"{self.name} has several targets, {', '.join(self.targets)}; use model.{attribute}")
        return values[0]

    def compile(
        self,
        optimizer: OptimizerOrName = None,
        loss: Loss | Mapping[str, Loss] = None,
        loss_weights: float | Mapping[str, float] | None = None,
        metrics: Metrics = None,
        weighted_metrics: Metrics = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Compile as Keras does; what is left out follows from the tasks of the targets.

        Args:
            optimizer: `kr.optimizers.Adagrad(dense_factor=0.4)` by default, gentler with fewer than 5,000 rows.
                Names such as "adam" are those of `kr.optimizers`; `fit` warns if one updates whole tables.
            loss: one for all targets, or a dict by target, where those left out have their default, which is
                "binary_crossentropy" for a binary target and "mse" for regression.
            loss_weights: of several targets in the sum that is minimised; those left out are 1.
            metrics: a list for every target, or a dict by target. By default "auc" for a binary target and
                "rmse" for regression, or none if there is a `loss`, as in Keras; `[]` is none.
            weighted_metrics: the same, weighted by the rows' weights.
            run_eagerly, steps_per_execution, jit_compile, auto_scale_loss: as in Keras.

        Where there are several targets, names in `logs` begin with the target's: "click_auc".

        Raises:
            ValueError: an unknown target or optimizer, or a loss or metric that does not fit a target's task.

        Example:

        >>> model.compile("adam", loss={"rating": "mae"}, loss_weights={"rating": 0.1})
        """
        if loss is metrics is weighted_metrics is None:
            metrics = default_metrics(self.heads)
        self._chose_optimizer = optimizer is None
        super().compile(
            resolve_optimizer(optimizer, auto_scale_loss and self.dtype_policy.name == "mixed_float16"),
            resolve_losses(self.heads, loss),
            resolve_loss_weights(self.heads, loss_weights),
            resolve_metrics("metrics", self.heads, metrics),
            resolve_metrics("weighted_metrics", self.heads, weighted_metrics),
            run_eagerly,
            steps_per_execution,
            jit_compile,
            auto_scale_loss,
        )
        if len(self.targets) > 1:
            use_loss_by_rows(self)

    def _fit(self, arguments: dict[str, Any]) -> Any:
        """Fit with `class_weight` applied to a loader's rows, too.

        With several targets a row has several classes, so it is refused; `loss_weights` of `compile` weighs the
        targets.
        """
        class_weight = None
        if arguments.get("class_weight") is not None and len(self.targets) > 1:
            raise ValueError(
                f"class_weight: a row has one class for each of {len(self.targets)} targets "
                f"({', '.join(self.targets)}); weigh rows with Loader(sample_weight=...), and targets with "
                "compile(loss_weights={...})"
            )
        if isinstance(arguments["x"], DataAdapter):
            class_weight = arguments.pop("class_weight", None)
        if self._chose_optimizer and (rows := rows_of(arguments["x"])) is not None:
            suit_to_rows(self.optimizer, rows)
        with self._class_weights(class_weight):
            return super()._fit(arguments)

    @contextmanager
    def _class_weights(self, class_weight: Mapping[int, float] | None) -> Iterator[None]:
        """Have training steps weigh rows by their class within the context: a step is traced with the weights."""
        if class_weight is None:
            yield
            return
        self._class_weight, self.train_function = tuple(class_weight.items()), None
        try:
            yield
        finally:
            self._class_weight, self.train_function = None, None

    def train_step(self, *args: Any) -> Any:
        *state, data = args
        if self._class_weight is not None:
            data = with_class_weights(data, dict(self._class_weight))
        return super().train_step(*state, data)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        with groups_from(x, compiled_metrics(self)):
            return super().compute_metrics(x, y, y_pred, sample_weight)

    def no_outputs(self) -> Any:
        return self.heads.no_outputs()

    def _check_targets(self, schema: Schema, role: str) -> None:
        super()._check_targets(schema, role)
        for name, task in self.tasks.items():
            if task == "binary":
                check_binary(schema[name])
