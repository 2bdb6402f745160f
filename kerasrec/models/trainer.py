"""`SchemaTrainer`: `compile`, `fit`, `evaluate` and `predict` of a model that knows the schema of its data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras

from kerasrec._keras import DataAdapter, compiled_metrics, use_loss_by_rows
from kerasrec.data.loader_of import loader_of
from kerasrec.etl.dataset import Dataset
from kerasrec.layers import DistributedEmbedding
from kerasrec.metrics.group_auc import groups_from
from kerasrec.models.checks import check_binary, check_fit, check_same_features
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
from kerasrec.models.dataset_arguments import DatasetLoaders, by_name, refuse_frames
from kerasrec.models.fit_data import compare_data_on_ranks, fingerprint_of_data, on_device, rows_of
from kerasrec.models.heads import Heads, Task
from kerasrec.parallel import comm
from kerasrec.parallel.fit.checks import check_trainer
from kerasrec.parallel.fit.rank_check import check_same_on_ranks, code_fingerprint
from kerasrec.parallel.fit.trainer import RankTrainer
from kerasrec.schema import Schema, SchemaError


class SchemaTrainer(RankTrainer, keras.Model):
    """What `SchemaModel` adds to Keras's training: defaults of its tasks, and checks of the data's schema."""

    schema: Schema
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

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile a loaded model, which Keras leaves to a class that overrides `compile`."""
        self._build_sublayers()
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def _build_sublayers(self) -> None:
        """Build the layers that a subclass leaves to its first call."""

    def fit(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Fit as Keras does. Raises `SchemaError` first where a loader's schema does not match the model's.

        A dataset, as `workflow.transform` returns it, is computed in memory. `batch_size` (by default as
        `kr.Loader` chooses it), `shuffle` (by default true), `validation_split` and `validation_batch_size` apply
        to it as to arrays, and `validation_data` may be one too.

        With a loader, `class_weight` weighs each row by its class, and the arguments that Keras would ignore (`y`,
        `sample_weight`, `batch_size`, `shuffle`, `validation_split`) are refused. With several targets a row has
        several classes, so `class_weight` is refused; `loss_weights` of `compile` weighs the targets.

        Several ranks train as one (`kr.parallel.Callback`); first they compare what must be equal, here with the
        schema and what the loaders read (`kr.parallel.RanksDiffer`).
        """
        arguments = by_name(keras.Model.fit, self, x, *args, **kwargs)
        seed = 0 if self.optimizer is None else int(self.optimizer.iterations)  # another order in each fit
        arguments = DatasetLoaders(self.schema, self.targets).for_fit(arguments, seed)
        x = arguments["x"]
        validation_data = arguments.get("validation_data")
        self._check_data(x, "the training data", training=True)
        self._check_data(validation_data, "the validation data", training=True)
        class_weight = None
        if arguments.get("class_weight") is not None and len(self.targets) > 1:
            raise ValueError(
                f"class_weight: a row has one class for each of {len(self.targets)} targets "
                f"({', '.join(self.targets)}); weigh rows with Loader(sample_weight=...), and targets with "
                "compile(loss_weights={...})"
            )
        if isinstance(x, DataAdapter):
            check_fit(loader_of(x), arguments)
            class_weight = arguments.pop("class_weight", None)
        if comm.size() > 1:
            check_trainer(self)
            self._compare_on_ranks(x, validation_data)
        if self._chose_optimizer and (rows := rows_of(x)) is not None:
            suit_to_rows(self.optimizer, rows)
        arguments |= {"x": on_device(x), "validation_data": on_device(validation_data)}
        with self._class_weights(class_weight):
            return super().fit(**arguments)

    def _compare_on_ranks(self, data: Any, validation_data: Any) -> None:
        compared = {
            "code": code_fingerprint(),
            "schema": {column.name: column.to_dict() for column in self.schema},
            "data": fingerprint_of_data(data),
            "validation data": fingerprint_of_data(validation_data),
        }
        check_same_on_ranks("fit", compared)

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

    def evaluate(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Evaluate as Keras does, after the same check of the data; on several ranks for the rows of all.

        `x` may be a dataset, as `workflow.transform` returns it.
        """
        arguments = by_name(keras.Model.evaluate, self, x, *args, **kwargs)
        refuse_frames("evaluate", x)
        if isinstance(x, Dataset):
            loaders = DatasetLoaders(self.schema, self.targets)
            x = loaders.loader(x.collect(), x.schema, arguments.pop("batch_size", None))
        self._check_data(x, "the data", training=True)
        compare_data_on_ranks("evaluate", x)
        return super().evaluate(**{**arguments, "x": on_device(x)})

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Predict as Keras does, after the same check; each of several ranks gets predictions for its own rows.

        `x` may be a dataset, as `workflow.transform` returns it; of no rows there are no predictions.
        """
        arguments = by_name(keras.Model.predict, self, x, *args, **kwargs)
        refuse_frames("predict", x)
        if isinstance(x, Dataset):
            rows, schema = x.collect(), x.schema
            if not len(rows):
                return self.heads.no_outputs()
            x = DatasetLoaders(self.schema, ()).loader(rows, schema, arguments.pop("batch_size", None))
        self._check_data(x, "the data", training=False)
        compare_data_on_ranks("predict", x)
        return super().predict(**{**arguments, "x": on_device(x)})

    def _check_data(self, data: Any, role: str, training: bool) -> None:
        """Raise `SchemaError` where a loader's schema does not match the model's."""
        loader = loader_of(data)
        if loader is None:
            return
        check_same_features(self.schema, loader.schema, role)
        if not training:
            return
        targets = loader.schema.targets.names
        if set(targets) != set(self.targets):
            choose = self.targets[0] if len(self.targets) == 1 else list(self.targets)
            raise SchemaError(
                f"the model is trained on {', '.join(map(repr, self.targets))}, but the targets of {role} are "
                f"{targets}; choose with targets={choose!r} in the loader"
            )
        for name, task in self.tasks.items():
            if task == "binary":
                check_binary(loader.schema[name])
