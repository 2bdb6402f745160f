"""The part of `kerasrec train` that all ranks take part in: fit the model, measure it, and write the run."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import polars as pl
from rich.console import Console

from kerasrec import etl, serving
from kerasrec.cli.baselines import score_baselines
from kerasrec.cli.config import write_config
from kerasrec.cli.errors import CommandError
from kerasrec.cli.feature_files import count_rows
from kerasrec.cli.file_names import CONFIG, FEATURES, FILES, MODEL, REPORT, RESULTS, SERVED, WORKFLOW
from kerasrec.cli.importance import permutation_importance
from kerasrec.cli.inspection import Inspection
from kerasrec.cli.keep_on_failure import keep_on_failure
from kerasrec.cli.model_choice import ModelChoice, OptimizerChoice, check_restorable, default_optimizer
from kerasrec.cli.options import TrainOptions
from kerasrec.cli.progress import stage
from kerasrec.cli.ranks import Job
from kerasrec.cli.report import write_report
from kerasrec.cli.results import (
    Measured,
    column_reports,
    print_figures,
    saved_options,
    target_reports,
    write_results,
)
from kerasrec.cli.rows import HELD_OUT, STOP, TRAIN
from kerasrec.cli.run_report import RunReport
from kerasrec.cli.scores import score
from kerasrec.cli.script import ScriptParts, write_script
from kerasrec.cli.segments import segment_columns
from kerasrec.cli.training import (
    EVALUATION_BATCH,
    Fitted,
    checks_every,
    fit_model,
    lists_of_backend,
    predict,
    read_labels,
)
from kerasrec.data.batch_size import default_batch_size
from kerasrec.data.loader import Loader
from kerasrec.files import check_target, flush_tree
from kerasrec.models.sequence.base import SequenceModel
from kerasrec.schema import SchemaError, Tag


class TrainingRun:
    """A run whose features are in `folder`.

    Args:
        options: the command's.
        inspection: what rank 0 found out about the data; None on other ranks.
        job: the ranks.
        folder: where the run is written.
        console: where to print; quiet on other ranks.
        seconds: how long the features took.
        rate: rows per second of making them.
    """

    def __init__(
        self,
        options: TrainOptions,
        inspection: Inspection,
        job: Job,
        folder: Path,
        console: Console,
        seconds: float,
        rate: float | None,
    ):
        self.options, self.inspection, self.job = options, inspection, job
        self.folder, self.features, self.console = folder, folder / FEATURES, console
        self.seconds = {"feature engineering": seconds}
        self.rates = {} if rate is None else {"feature engineering": rate}

    def run(self, choice: ModelChoice, optimizer: OptimizerChoice | None) -> None:
        """Train, measure, write and print; without an optimizer, with that of `model.compile()`."""
        options = self.options
        rows = Loader(self.features / TRAIN, lists=lists_of_backend()).num_rows
        self.choice, self.optimizer = choice, optimizer or default_optimizer(rows)
        batch = options.batch_size or default_batch_size(rows // self.job.size, shuffle=True)
        train = self._loader(TRAIN, batch_size=batch, shuffle=True, seed=options.seed)
        checked = self._loader(STOP if options.patience else HELD_OUT, batch_size=EVALUATION_BATCH)
        self.tasks = {
            column.name: "binary" if Tag.BINARY in column.tags else "regression" for column in train.schema.targets
        }
        self.train, self.model = train, self._make_model(train)
        kept = keep_on_failure(self.model, self.folder, options.out) if self.job.size == 1 else nullcontext()
        with kept:
            with self._timed("training"), stage(self.console, "training", options.epochs * rows) as training:
                patience = options.patience
                fitted = fit_model(self.model, train, checked, options.epochs, patience, training, self.tasks)
            if fitted.rows_per_s is not None:
                self.rates["training"] = fitted.rows_per_s
            with self._timed("evaluation"), stage(self.console, "evaluating"):
                measured = self._measure()
                report = self.job.on_rank_0(lambda: self._report(fitted, measured))
            self._write(report, fitted)
        self.job.on_rank_0(lambda: self._print(report, fitted))

    def _loader(self, part: str, **settings: Any) -> Loader:
        return Loader(self.features / part, lists=lists_of_backend(), **settings)

    def _make_model(self, train: Loader) -> Any:
        keras.utils.set_random_seed(self.options.seed)
        try:
            model = self.choice(train.schema)
            if self.choice.module is not None:
                check_restorable(model)
        except SchemaError as error:
            if issubclass(self.choice.architecture, SequenceModel):
                raise CommandError(f"{error}. Here --table NAME=COLUMN,LIST has columns share a table") from error
            raise
        except (TypeError, ValueError) as error:
            raise CommandError(f"--model {self.options.model}: {error}") from error
        optimizer = self.optimizer(self.options.epochs * len(train))
        if self.options.sample_weight:
            metrics = {name: ["auc" if task == "binary" else "rmse"] for name, task in self.tasks.items()}
            model.compile(optimizer, weighted_metrics=metrics)
        else:
            model.compile(optimizer)
        if self.options.export:
            from kerasrec.serving.saved_model import check  # needs TensorFlow, which importing this file does not

            check(model, etl.Workflow.load(self.folder / WORKFLOW))
        return model

    # ---- after the fit -------------------------------------------------------------------------------------
    def _measure(self) -> Measured:
        """Predict the held-out rows, on every rank, and return what is found."""
        valid, names = self.features / HELD_OUT, list(self.tasks)
        predictions = predict(self.model, valid, names)
        importance = permutation_importance(self.model, valid, seed=self.options.seed)
        labels, weights = read_labels(valid)
        scores = {
            name: score(task, labels[name], predictions[name], weights[name]) for name, task in self.tasks.items()
        }
        baselines = score_baselines(self.features / TRAIN, valid) if self.job.rank == 0 else {}
        return Measured(self.tasks, labels, predictions, weights, scores, baselines, importance)

    def _report(self, fitted: Fitted, measured: Measured) -> RunReport:
        inspection, options = self.inspection, self.options
        columns = column_reports(inspection.resolved)
        ids = [column.name for column in columns if column.role == "categorical"]
        targets = target_reports(fitted, measured, self._raw_segments(segment_columns(columns)), ids)
        names = {TRAIN: "training", STOP: "to stop on", HELD_OUT: "held out"}
        parts = {name: part for part, name in names.items() if (self.features / part).exists()}
        rows = {**inspection.rows, **{name: count_rows(self.features / part) for name, part in parts.items()}}
        return RunReport(
            options.model,
            targets,
            {name: count for name, count in rows.items() if name != "data"},
            columns,
            inspection.warnings,
            {
                **saved_options(self._resolved()),
                "optimizer": self.optimizer.written(f"{self.optimizer.learning_rate}"),
            },
            self.seconds,
            self.rates,
            self._repeat,
            f"{options.model}: {' and '.join(options.targets)}",
        )

    @property
    def _repeat(self) -> str:
        """The command that repeats the run."""
        return shlex.join(["kerasrec", "train", "--config", str(self.options.out / CONFIG), "--out", "again"])

    def _raw_segments(self, names: list[str]) -> pl.DataFrame:
        """Return columns of the raw held-out rows, in the order of their features."""
        source = self.inspection.parts[HELD_OUT]
        targets = self.options.targets if self.options.drop_null_targets else []
        with source.explain_errors():
            frame = source.lazy([*names, *targets])
            for name in targets:
                column = pl.col(name)
                frame = frame.filter(
                    column.is_not_null() & (column.is_not_nan() if source.types[name].is_float() else True)
                )
            return frame.select(names).collect(engine="streaming")

    def _resolved(self) -> TrainOptions:
        """Return the options with what was chosen here; the choice of `compile` is left to it in a repetition."""
        options = replace(self.options, batch_size=self.train.batch_size)
        chosen = options.optimizer is not None or options.learning_rate is not None
        return replace(options, learning_rate=self.optimizer.learning_rate) if chosen else options

    def _write(self, report: RunReport, fitted: Fitted) -> None:
        options, folder = self.options, self.folder
        self.model.save(folder / MODEL)
        if options.export:
            with stage(self.console, "exporting"):
                serving.export(self.model, folder / SERVED, workflow=etl.Workflow.load(folder / WORKFLOW))

        def write() -> None:
            self.train.schema.save(folder)
            write_config(folder / CONFIG, self._resolved(), self.inspection.guesses)
            write_results(folder / RESULTS, report, fitted)
            write_report(folder / REPORT, report)
            shutil.rmtree(self.features)
            if options.script is not None:
                write_script(options.script, self._resolved(), self._script_parts())
            # Fail here rather than when the folder is renamed: here the model is kept.
            flush_tree(folder)
            check_target(options.out, overwrite=options.overwrite, files=FILES)

        self.job.on_rank_0(write)

    def _script_parts(self) -> ScriptParts:
        choice = self.choice
        return ScriptParts(
            self.inspection.resolved,
            self.inspection.split,
            choice.written,
            choice.module,
            choice.arguments,
            self.optimizer.written("learning_rate"),
            self.optimizer.learning_rate,
            self.train.batch_size,
            EVALUATION_BATCH,
            checks_every(len(self.train)),
            self.tasks,
        )

    def _print(self, report: RunReport, fitted: Fitted) -> None:
        options = self.options
        print_figures(self.console, report, fitted, self.inspection.split, options)
        rates = [f"{rate:,.0f} rows/s of {work}" for work, rate in self.rates.items()]
        lines = [", ".join(rates), f"{options.out}/ has the run: {REPORT}/index.html is the report"]
        if options.script is not None:
            lines.append(f"{options.script} is the same training as a script")
        lines.append(f"To repeat it:  {self._repeat}")
        if not options.export:
            trust = [] if self.choice.module is None else ["--trust", self.choice.module]
            command = ["kerasrec", "export", str(options.out), "served", *trust]
            lines.append(f"To serve it:   {shlex.join(command)}")
        self.console.print("\n".join(lines), markup=False, highlight=False)

    @contextmanager
    def _timed(self, work: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[work] = time.perf_counter() - started
