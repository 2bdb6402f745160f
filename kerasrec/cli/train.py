"""`kerasrec train`: from raw rows of a user's table to a saved model. TensorFlow is imported late."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from rich.console import Console

from kerasrec import etl
from kerasrec.cli.column_messages import print_columns, warn_of_leaks
from kerasrec.cli.column_stats import column_stats, read_sample
from kerasrec.cli.errors import CommandError, flag_in_errors
from kerasrec.cli.feature_files import write_features
from kerasrec.cli.file_names import FEATURES, FILES, MODEL, REPORT, SERVED, WORKFLOW
from kerasrec.cli.guess_roles import Guess, guess_roles
from kerasrec.cli.keep_on_failure import keep_on_failure
from kerasrec.cli.preconditions import check_backend, check_classes, check_valid
from kerasrec.cli.progress import stage
from kerasrec.cli.text_table import METRIC_NAMES
from kerasrec.etl.sources.scan import scan
from kerasrec.etl.sources.source import Source
from kerasrec.etl.sources.types import ROW
from kerasrec.files import check_target, flush_tree, write_aside
from kerasrec.serving.rows import check_path

if TYPE_CHECKING:
    from kerasrec.cli.fit import Trained

_SALT = 2_654_435_761  # Knuth's multiplier: row numbers times it, modulo 2**32, are spread evenly


@dataclass(frozen=True)
class TrainOptions:
    """The options of the command; see `kerasrec train --help`."""

    data: str
    target: str
    model: str
    out: Path
    valid: str | None
    valid_fraction: float
    task: str | None
    roles: Mapping[str, Sequence[str]]
    min_count: int
    epochs: int
    batch_size: int | None
    embedding_dim: int
    learning_rate: float
    export: bool
    overwrite: bool


def run_train(options: TrainOptions) -> None:
    """Train and save a model; whatever can be wrong with the options is found before training."""
    console = Console()
    if options.out.exists() and not options.overwrite:
        raise CommandError(f"{options.out} exists; choose another --out, or pass --overwrite")
    if options.out.exists() and not (options.out / WORKFLOW).exists():
        raise CommandError(f"{options.out} exists and was not written by kerasrec train; choose another --out")
    source = scan(options.data)
    with flag_in_errors("--valid"):
        valid_source = scan(options.valid) if options.valid else None
    with source.explain_errors():
        rows, sample = read_sample(source.frame)
    guesses = guess_roles(column_stats(sample, source), options.target, options.roles, options.task)
    print_columns(console, guesses, rows)
    warn_of_leaks(console, sample, guesses)
    del sample
    if valid_source is not None:
        train, valid = source, valid_source
        check_valid(valid, guesses)
    else:
        train, valid = hold_out(source, options.valid_fraction)
    if options.export:
        check_path(options.out)
    check_backend("--export" if options.export else None)

    with write_aside(options.out, overwrite=options.overwrite, files=FILES) as folder:
        folder.mkdir()
        workflow = make_workflow(guesses, options.min_count)
        etl_rate = write_features(workflow, train, valid, folder / FEATURES, console, options.valid and "--valid")
        workflow.save(folder / WORKFLOW)
        trained = _train(options, folder, workflow, {"rows": rows, "etl_rows_per_s": etl_rate}, console)
    _print_results(options, trained, etl_rate, console)


def _print_results(options: TrainOptions, trained: Trained, etl_rate: float | None, console: Console) -> None:
    show = partial(console.print, markup=False, highlight=False)
    scores = ", ".join(f"{METRIC_NAMES[name]} {value:.4f}" for name, value in trained.scores.items())
    show(f"\nHeld out: {scores}", style="bold")
    _warn_of_overfitting(trained, console)
    rates = {"feature engineering": etl_rate, "training": trained.rows_per_s}
    if timed := [f"{rate:,.0f} rows/s of {work}" for work, rate in rates.items() if rate is not None]:
        show(", ".join(timed))
    if options.export:
        show(f"{options.out}/ contains {WORKFLOW}/, {MODEL}, {REPORT}/ and {SERVED}/")
    else:
        show(f"{options.out}/ contains {WORKFLOW}/, {MODEL} and {REPORT}/")
        show(f"To serve it: kerasrec export {options.out} served")


def _warn_of_overfitting(trained: Trained, console: Console) -> None:
    metric = "rmse" if "rmse" in trained.scores else "logloss"
    best = min(trained.checks, key=lambda check: check.scores[metric])
    if trained.scores[metric] > 1.02 * best.scores[metric]:
        reached = f"{METRIC_NAMES[metric]} {best.scores[metric]:.4f}"
        console.print(
            f"The model was best after {best.rows:,} rows ({reached}) and then overfitted: try fewer --epochs, "
            "a lower --learning-rate or --embedding-dim, or a higher --min-count.",
            style="yellow",
            highlight=False,
        )


def _train(
    options: TrainOptions, out: Path, workflow: etl.Workflow, figures: Mapping[str, Any], console: Console
) -> Trained:
    """Train on the features in `out`, and write the model and a report there."""
    import keras

    from kerasrec import serving
    from kerasrec.cli.fit import fit, make_model, make_optimizer
    from kerasrec.cli.plots import write_summary
    from kerasrec.cli.report import write_report
    from kerasrec.cli.run_report import RunReport, TargetReport
    from kerasrec.data.loader import Loader
    from kerasrec.serving.saved_model import check

    rows = Loader(out / FEATURES / "train").num_rows
    batch = options.batch_size or min(4096, max(64, 1 << (rows // 500).bit_length()))
    train = Loader(out / FEATURES / "train", batch_size=batch, shuffle=True)
    valid = Loader(out / FEATURES / "valid", batch_size=8192)
    keras.utils.set_random_seed(0)
    model = make_model(options.model, train.schema, options.embedding_dim)
    binary = model.task == "binary"
    check_classes(out / FEATURES, options.target, binary)
    loss = "binary_crossentropy" if binary else "mse"
    model.compile(optimizer=make_optimizer(options.learning_rate, options.epochs * len(train)), loss=loss)
    if options.export:
        check(model, workflow)
    with keep_on_failure(model, out, options.out):
        with stage(console, "training", total=options.epochs * train.num_rows) as training:
            trained = fit(model, train, valid, options.epochs, training)
        shutil.rmtree(out / FEATURES)
        model.save(out / MODEL)
        report = out / REPORT
        target = TargetReport(
            options.target, model.task, trained.labels, trained.predictions, trained.checks, trained.scores
        )
        write_report(report, RunReport(options.model, [target], {"rows": figures["rows"]}))
        setup = {"model": str(options.model), "target": options.target, "task": model.task, "batch_size": batch}
        rates = {**figures, "train_rows_per_s": trained.rows_per_s}
        write_summary(report / "summary.json", {**setup, **trained.scores, **rates})
        if options.export:
            with stage(console, "exporting"):
                serving.export(model, out / SERVED, workflow=workflow)
        # Fail here rather than when the folder is renamed: here the model is kept.
        flush_tree(out)
        check_target(options.out, overwrite=options.overwrite, files=FILES)
    return trained


def hold_out(source: Source, fraction: float) -> tuple[Source, Source]:
    """Return the rows to train on and a `fraction` held out, the same rows every time.

    A row is held out if its number, scrambled, is in the first `fraction` of the range.
    """
    held_out = (pl.col(ROW).cast(pl.UInt64) * _SALT) % 2**32 < int(fraction * 2**32)
    filters = {f"all but {fraction:g} of the rows": ~held_out, f"{fraction:g} of the rows": held_out}
    train, valid = (replace(source, filters={**source.filters, name: rows}) for name, rows in filters.items())
    return train, valid


def make_workflow(guesses: Sequence[Guess], min_count: int) -> etl.Workflow:
    """Return a workflow that sends each column through the operators of its guess."""
    build: dict[str, Callable[[], Any]] = {
        "Categorify": lambda: etl.Categorify(min_count=min_count),
        "FillMissing": etl.FillMissing,
        "Clip": lambda: etl.Clip(min=0),
        "LogOp": etl.LogOp,
        "Normalize": etl.Normalize,
        "Target(binary=True)": lambda: etl.Target(binary=True),
        "Target(binary=False)": lambda: etl.Target(binary=False),
    }
    names_by_ops: dict[tuple[str, ...], list[str]] = {}
    for guess in guesses:
        if guess.ops:
            names_by_ops.setdefault(guess.ops, []).append(guess.name)
    nodes: list[Any] = []
    for ops, names in names_by_ops.items():
        node: Any = names
        for op in ops:
            node = node >> build[op]()
        nodes.append(node)
    return etl.Workflow(nodes)
