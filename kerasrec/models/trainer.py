"""`SchemaTrainer`: `fit`, `evaluate` and `predict` of a model that knows the schema of its data."""

from __future__ import annotations

from typing import Any

import keras

from kerasrec._keras import DataAdapter
from kerasrec.data.loader_of import loader_of
from kerasrec.etl.dataset import Dataset
from kerasrec.models.checks import check_fit, check_same_features
from kerasrec.models.dataset_arguments import DatasetLoaders, by_name, refuse_frames, weight_column
from kerasrec.models.fit_data import compare_data_on_ranks, fingerprint_of_data, on_device
from kerasrec.models.schema_files import SchemaFiles
from kerasrec.parallel import comm
from kerasrec.parallel.fit.checks import check_trainer
from kerasrec.parallel.fit.rank_check import check_same_on_ranks, code_fingerprint
from kerasrec.parallel.fit.trainer import RankTrainer
from kerasrec.schema import Schema, SchemaError


class SchemaTrainer(SchemaFiles, RankTrainer, keras.Model):
    """Adds to Keras's training checks of the data's schema, and datasets as data.

    As it is, it trains models whose examples are the rows themselves; `TargetTrainer` those with targets.
    """

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile a loaded model, which Keras leaves to a class that overrides `compile`."""
        self._build_sublayers()
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def fit(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Fit as Keras does. Raises `SchemaError` first where a loader's schema does not match the model's.

        A dataset, as `workflow.transform` returns it, is computed in memory. `batch_size` (by default as
        `kr.Loader` chooses it), `shuffle` (by default true), `validation_split` and `validation_batch_size` apply
        to it as to arrays, and `validation_data` may be one too. `sample_weight` names the column with the weights
        of its rows, also of validation rows, or such columns by target, as in `kr.Loader`.

        With a loader, the arguments that Keras would ignore (`y`, `sample_weight`, `batch_size`, `shuffle`,
        `validation_split`) are refused. `class_weight` weighs each row by its class where there is one target; a
        row has several classes where there are several, which `loss_weights` of `compile` weighs.

        Several ranks train as one (`kr.parallel.Callback`); first they compare what must be equal, here with the
        schema and what the loaders read (`kr.parallel.RanksDiffer`).
        """
        arguments = by_name(keras.Model.fit, self, x, *args, **kwargs)
        # Another order in each fit; Keras says what is missing of a model that is not compiled.
        seed = int(self.optimizer.iterations) if self.compiled and self.optimizer is not None else 0
        arguments = DatasetLoaders(self.schema, self.targets).for_fit(arguments, seed)
        x = arguments["x"]
        validation_data = arguments.get("validation_data")
        self._check_data(x, "the training data", training=True)
        self._check_data(validation_data, "the validation data", training=True)
        if isinstance(x, DataAdapter):
            check_fit(loader_of(x), arguments)
        return self._fit(arguments)

    def _fit(self, arguments: dict[str, Any]) -> Any:
        """Run Keras's `fit` with arguments that are checked, by name."""
        x, validation_data = arguments["x"], arguments.get("validation_data")
        if comm.size() > 1:
            check_trainer(self)
            self._compare_on_ranks(x, validation_data)
        return super().fit(**{**arguments, "x": on_device(x), "validation_data": on_device(validation_data)})

    def _compare_on_ranks(self, data: Any, validation_data: Any) -> None:
        compared = {
            "code": code_fingerprint(),
            "schema": {column.name: column.to_dict() for column in self.schema},
            "data": fingerprint_of_data(data),
            "validation data": fingerprint_of_data(validation_data),
        }
        check_same_on_ranks("fit", compared)

    def evaluate(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Evaluate as Keras does, after the same check of the data; on several ranks for the rows of all.

        `x` may be a dataset, as `workflow.transform` returns it; `sample_weight` then names a column of it, or
        columns by target.
        """
        arguments = by_name(keras.Model.evaluate, self, x, *args, **kwargs)
        refuse_frames("evaluate", x)
        if isinstance(x, Dataset):
            loaders = DatasetLoaders(self.schema, self.targets)
            weight = weight_column(arguments.pop("sample_weight", None))
            batch_size = arguments.pop("batch_size", None)
            x = loaders.loader(x.collect(), x.schema, batch_size, sample_weight=weight)
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
                return self.no_outputs()
            x = DatasetLoaders(self.schema, ()).loader(rows, schema, arguments.pop("batch_size", None))
        self._check_data(x, "the data", training=False)
        compare_data_on_ranks("predict", x)
        return super().predict(**{**arguments, "x": on_device(x)})

    def no_outputs(self) -> Any:
        """Return what the model predicts for no rows."""
        raise NotImplementedError

    def _check_data(self, data: Any, role: str, training: bool) -> None:
        """Raise `SchemaError` where a loader's schema does not match the model's."""
        loader = loader_of(data)
        if loader is None:
            return
        check_same_features(self.schema, loader.schema, role)
        if training:
            self._check_targets(loader.schema, role)

    def _check_targets(self, schema: Schema, role: str) -> None:
        """Raise `SchemaError` where the targets that a loader of `role` yields are not the model's."""
        targets = schema.targets.names
        if set(targets) == set(self.targets):
            return
        if not self.targets:
            raise SchemaError(
                f"{self.name} is trained on the rows themselves, but {role} has targets {targets}; leave them out "
                "with targets=[] in the loader"
            )
        choose = self.targets[0] if len(self.targets) == 1 else list(self.targets)
        raise SchemaError(
            f"the model is trained on {', '.join(map(repr, self.targets))}, but the targets of {role} are "
            f"{targets}; choose with targets={choose!r} in the loader"
        )
