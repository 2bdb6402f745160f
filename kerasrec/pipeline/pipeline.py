"""`Pipeline`: a workflow and a model as one object, from raw rows to predictions."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np
import polars as pl

from kerasrec import serving
from kerasrec.etl.dataset import PART_ROWS
from kerasrec.etl.sources.scan import scan
from kerasrec.etl.sources.source import Source
from kerasrec.etl.sources.split_random import SplitRandom
from kerasrec.etl.sources.types import column_type
from kerasrec.etl.workflow import Workflow
from kerasrec.files import write_aside
from kerasrec.models.base import SchemaModel
from kerasrec.models.loading import load_model
from kerasrec.models.registry import MakeModel, make_model
from kerasrec.models.saving import save_model
from kerasrec.models.trainer import SchemaTrainer
from kerasrec.parallel import comm
from kerasrec.parallel.comm.raise_on_all import raise_on_all
from kerasrec.pipeline.features import Features, reads_of, transformed

WORKFLOW, MODEL = "workflow", "model.keras"  # in the folder that `save` writes
FILES = (f"{WORKFLOW}/*", MODEL)

Predictions: TypeAlias = np.ndarray | dict[str, np.ndarray]


class Pipeline:
    """A workflow and a model that are fitted, saved and served together; it takes raw rows.

    Raw rows are a Polars, pandas or Arrow frame, a list of dicts or a dict of columns, which are transformed in
    memory; or Parquet or CSV files, as `Workflow.fit` takes them, of any size.

    On several ranks every rank calls each method, with the same rows. `fit` and `evaluate` share the rows among
    the ranks, `predict` returns the predictions of all rows on every rank, and rank 0 writes files.

    Args:
        workflow: makes the features and targets. `fit` fits it, unless it is fitted already.
        model: what `fit` builds the model of: a class of `kr.models`, a function that takes a schema and returns a
            model, or a name: "dlrm", "dcn", "deepfm" or "wide-and-deep". Or a model that is built, even trained,
            with the fitted workflow that made its data. If it is not compiled, it is compiled with the defaults of
            `kr.models`.

    Attributes:
        workflow: the workflow.
        model: the model; None before `fit` builds it.
        history: what the last `fit` reported, as in Keras: lists by name, one value per epoch.

    Raises:
        TypeError: `workflow` or `model` is not one of these.
        ValueError: an unknown name, or a model that is built with a workflow that is not fitted.
        SchemaError: the workflow does not make a feature that the model reads.

    Example:

    >>> pipeline = kr.Pipeline(workflow, kr.models.DLRM)
    >>> pipeline.fit(frame, validation_fraction=0.1, epochs=3)
    >>> pipeline.predict([{"user": "u17", "item": "i3"}])
    array([[0.2861]], dtype=float32)
    >>> pipeline.save("clicks/")
    >>> pipeline = kr.load("clicks/")
    """

    def __init__(self, workflow: Workflow, model: str | MakeModel | keras.Model = "dlrm"):
        if not isinstance(workflow, Workflow):
            raise TypeError(f"workflow must be a kr.etl.Workflow; got {type(workflow).__name__}")
        self.workflow = workflow
        self.model: keras.Model | None = None
        self.history: dict[str, list[float]] = {}
        self._make_model: MakeModel | None = None
        if isinstance(model, keras.Model):
            if not workflow.fitted:
                raise ValueError(
                    f"{model.name!r} is built, so the workflow must be the fitted one that made its features; "
                    "this one is not fitted. Pass the model's class, or a function of the schema, to fit both"
                )
            self.model = _compiled(model, workflow)
        else:
            self._make_model = make_model(model)

    # ---- fitting ---------------------------------------------------------------------------------------------
    def fit(
        self,
        data: Any,
        validation: Any = None,
        *,
        validation_fraction: float | None = None,
        epochs: int = 1,
        batch_size: int | None = None,
        features: str | os.PathLike[str] | None = None,
        **arguments: Any,
    ) -> Pipeline:
        """Fit the workflow, build the model and train it, with Keras's progress bar.

        Called again it trains on: the workflow stays fitted and the model keeps its weights.

        Args:
            data: raw rows, with the targets.
            validation: raw rows to validate on after each epoch; the workflow is not fitted on them.
            validation_fraction: the share of `data`, drawn at random, to hold out as these rows instead.
            epochs: how often to train on all rows.
            batch_size: rows per step on each rank; by default as `kr.Loader` chooses it.
            features: a new folder for the transformed rows, `train/` and `valid/`, which is kept. By default rows
                in memory stay there, and those of files are in a temporary folder, in the place that TMPDIR names.
                On ranks of several machines, a folder that all of them see.
            arguments: further arguments of `keras.Model.fit`, such as `callbacks`, `verbose`, `class_weight`.

        Returns:
            The pipeline itself.

        Raises:
            SchemaError: as for `Workflow.fit` and `transform`; names the column and the row.
            ValueError: both `validation` and `validation_fraction`, a fraction that is not in (0, 1), or an
                argument that Keras or the loader refuses.
        """
        sources = _split(scan(data), validation, validation_fraction)
        if not self.workflow.fitted:
            self.workflow.fit(sources["train"])
        if self.model is None and self._make_model is not None:
            self.model = _compiled(self._make_model(self.workflow.output_schema), self.workflow)
        model = self._fitted()
        with transformed(self.workflow, sources, features) as rows:
            order = int(model.optimizer.iterations)  # another one in each call
            train_loader = rows["train"].loader(model, batch_size, shuffle=True, seed=order)
            valid_loader = rows["valid"].loader(model) if "valid" in rows else None
            history = model.fit(train_loader, validation_data=valid_loader, epochs=epochs, **arguments)
        self.history = dict(history.history)
        return self

    # ---- using -----------------------------------------------------------------------------------------------
    def predict(self, data: Any, *, batch_size: int | None = None) -> Predictions:
        """Return the model's output for raw rows: an array `(rows, 1)`, or a dict of them by target.

        There is one prediction per row, in their order: as in a served model, no row is dropped or added. Columns
        may come in any order; those that the workflow does not read are ignored, targets included. Of files,
        262,144 rows at a time are in memory.

        Args:
            data: raw rows; targets are not needed.
            batch_size: rows per step; by default as `kr.Loader` chooses it.

        Raises:
            SchemaError: a column is missing or of another type; names it, and the row.
            RuntimeError: the pipeline is not fitted.
        """
        model = self._fitted()
        dataset = self.workflow.transform(_rows(data, self.workflow), targets=False)
        outputs = []
        for part in dataset.parts(PART_ROWS):
            rows = part.collect()
            if len(rows):
                loader = Features(rows, part.schema).loader(model, batch_size, targets=[], rank=0, ranks=1)
                outputs.append(model.predict(loader, verbose=0))
        if not outputs:
            return _nothing(model)
        return keras.tree.map_structure(lambda *arrays: np.concatenate(arrays), *outputs)

    def evaluate(self, data: Any, *, batch_size: int | None = None) -> dict[str, float]:
        """Return the loss and the metrics of raw rows with targets, by name.

        Rows that the workflow drops are left out, as in `fit`.

        Raises:
            SchemaError: a column is missing or of another type; names it, and the row.
            RuntimeError: the pipeline is not fitted.
        """
        model = self._fitted()
        with transformed(self.workflow, {"rows": scan(data)}) as rows:
            results = model.evaluate(rows["rows"].loader(model, batch_size), return_dict=True, verbose=0)
        return {name: float(value) for name, value in results.items()}

    def _fitted(self) -> keras.Model:
        if self.model is None:
            raise RuntimeError("the pipeline is not fitted; call fit(data) first")
        return self.model

    # ---- on disk ---------------------------------------------------------------------------------------------
    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write `workflow/` and `model.keras` into a new folder, which appears when it is complete.

        `kr.load(path)` reads it, as does `kerasrec predict`.

        Raises:
            FileExistsError: `path` exists and `overwrite` is false, or has other files.
            RuntimeError: the pipeline is not fitted.
        """
        model, path = self._fitted(), Path(path)
        with ExitStack() as stack:

            def write() -> str:
                if comm.rank():
                    return ""
                aside = stack.enter_context(write_aside(path, overwrite=overwrite, files=FILES))
                aside.mkdir()
                self.workflow.save(aside / WORKFLOW)
                return str(aside)

            aside = comm.gather_objects(raise_on_all(write))[0]
            save_model(model, Path(aside, MODEL))
            raise_on_all(stack.close)
        return path

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, trust: bool | Collection[str] = False) -> Pipeline:
        """Read a pipeline that `save` or `kerasrec train` wrote.

        Args:
            path: the folder.
            trust: names of modules of yours that the pipeline needs. They are imported: a model's class may be
                defined there, and functions of a `LambdaOp`, as for `Workflow.load`.

        Raises:
            FileNotFoundError: there is no pipeline at `path`.
            ImportError: a module of `trust` cannot be imported.
            SchemaError, ValueError: a file is damaged, or the two do not belong together.
        """
        missing = [name for name in (WORKFLOW, MODEL) if not Path(path, name).exists()]
        if missing:
            raise FileNotFoundError(f"{path} is not a pipeline: it has no {' and no '.join(missing)}")
        if not isinstance(trust, bool):
            for module in [trust] if isinstance(trust, str) else trust:
                import_module(module)
        return cls(Workflow.load(Path(path, WORKFLOW), trust=trust), load_model(Path(path, MODEL)))

    def export(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write a SavedModel that takes raw rows, as `kr.serving.export` does; its predictions are `predict`'s."""
        return serving.export(self._fitted(), path, workflow=self.workflow, overwrite=overwrite)

    def __repr__(self) -> str:
        if self.model is None:
            lines = [f"Pipeline, not fitted: {getattr(self._make_model, '__name__', 'a model')}"]
        else:
            lines = [f"Pipeline: {_summary(self.model)}"]
        lines.append(repr(self.workflow))
        if self.history:
            last = ", ".join(f"{name} {values[-1]:.4f}" for name, values in self.history.items())
            epochs = len(next(iter(self.history.values())))
            lines.append(f"after {epochs} epoch{'' if epochs == 1 else 's'}: {last}")
        return "\n".join(lines)


def _split(data: Source, validation: Any, fraction: float | None) -> dict[str, Source]:
    """Return the raw rows to train on, and those to validate on if there are any."""
    if fraction is None:
        return {"train": data} if validation is None else {"train": data, "valid": scan(validation)}
    if validation is not None:
        raise ValueError("validation and validation_fraction exclude each other; pass one")
    if not 0 < fraction < 1:
        raise ValueError(f"validation_fraction must be in (0, 1); got {fraction!r}")
    train, valid = SplitRandom((1 - fraction, fraction))(data)
    if not data.files and valid.lazy().head(1).collect(engine="streaming").is_empty():
        raise ValueError(f"validation_fraction={fraction!r} holds out no row of {data.name}; raise it")
    return {"train": train, "valid": valid}


def _compiled(model: keras.Model, workflow: Workflow) -> keras.Model:
    """Return a model, compiled, after a check that it reads what the workflow makes."""
    if not isinstance(model, keras.Model):
        raise TypeError(f"the function of the schema must return a keras.Model; got {type(model).__name__}")
    reads_of(model, workflow.output_schema)
    if not model.compiled and not isinstance(model, SchemaTrainer):
        raise ValueError(f"compile {model.name!r} with a loss first: only kr.models have a default")
    if not model.compiled:
        model.compile()
    return model


def _rows(data: Any, workflow: Workflow) -> Any:
    """Return raw rows; for an empty list, which has no columns, a frame of no rows."""
    if isinstance(data, list | tuple) and not data:
        return pl.DataFrame(schema={column.name: column_type(column) for column in workflow.input_schema})
    return data


def _nothing(model: keras.Model) -> Predictions:
    """Return what a model predicts for no rows."""
    if isinstance(model, SchemaTrainer):
        return model.no_outputs()
    return keras.tree.map_structure(lambda output: np.empty((0, *output.shape[1:]), output.dtype), model.output)


def _summary(model: keras.Model) -> str:
    """Return a model's class, size, and what it predicts."""
    text = f"{type(model).__name__}, {model.count_params():,} parameters"
    if isinstance(model, SchemaModel):
        text += f", predicts {', '.join(f'{name} ({task})' for name, task in model.tasks.items())}"
    return text
