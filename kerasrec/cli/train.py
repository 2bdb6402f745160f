"""`kerasrec train`: a user's own table, from raw rows to a model that is kept. TensorFlow comes in late."""

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
from kerasrec.cli.before_training import check_backend, check_classes, check_valid
from kerasrec.cli.errors import Refused, naming_flag
from kerasrec.cli.facts import look, take_sample
from kerasrec.cli.features import write_features
from kerasrec.cli.guess import Guess, guess_roles
from kerasrec.cli.kept import keeping
from kerasrec.cli.progress import stage
from kerasrec.cli.run_folder import FEATURES, FILES, MODEL, REPORT, SERVED, WORKFLOW
from kerasrec.cli.said import show_columns, show_leaks
from kerasrec.cli.tables import NAMES
from kerasrec.etl.sources.scan import scan
from kerasrec.etl.sources.source import Source
from kerasrec.etl.sources.types import ROW
from kerasrec.files import check_target, flush_tree, write_aside
from kerasrec.serving.rows import check_path

if TYPE_CHECKING:
    from kerasrec.cli.training import Trained

_SALT = 2_654_435_761  # Knuth's multiplier: row numbers times it, modulo 2**32, are spread evenly


@dataclass(frozen=True)
class Asked:
    """What the command line asked for; see `kerasrec train --help`."""

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


def run_train(asked: Asked) -> None:
    """Everything that can be wrong with the request is found before anything is trained."""
    console = Console()
    if asked.out.exists() and not asked.overwrite:
        raise Refused(f"{asked.out} exists; choose another --out, or pass --overwrite")
    if asked.out.exists() and not (asked.out / WORKFLOW).exists():
        raise Refused(f"{asked.out} exists and is no run of kerasrec train: it is not overwritten")
    source = scan(asked.data)
    with naming_flag("--valid"):
        held = scan(asked.valid) if asked.valid else None
    with source.explain_errors():
        rows, sample = take_sample(source.frame)
    guesses = guess_roles(look(sample, source), asked.target, asked.roles, asked.task)
    show_columns(console, guesses, rows)
    show_leaks(console, sample, guesses)
    del sample
    train, valid = (source, held) if held is not None else hold_out(source, asked.valid_fraction)
    if held is not None:
        check_valid(held, guesses)
    if asked.export:
        check_path(asked.out)
    check_backend("--export" if asked.export else None)

    with write_aside(asked.out, overwrite=asked.overwrite, files=FILES) as aside:
        aside.mkdir()
        workflow = make_workflow(guesses, asked.min_count)
        etl_rate = write_features(workflow, train, valid, aside / FEATURES, console, asked.valid and "--valid")
        workflow.save(aside / WORKFLOW)
        trained = _learn(asked, aside, workflow, {"rows": rows, "etl_rows_per_s": etl_rate}, console)
    _say_how_it_went(asked, trained, etl_rate, console)


def _say_how_it_went(asked: Asked, trained: Trained, etl_rate: float | None, console: Console) -> None:
    say = partial(console.print, markup=False, highlight=False)
    scores = ", ".join(f"{NAMES[name]} {value:.4f}" for name, value in trained.scores.items())
    say(f"\nHeld out: {scores}", style="bold")
    _warn_of_overfitting(trained, console)
    rates = {"feature engineering": etl_rate, "training": trained.rows_per_s}
    if timed := [f"{rate:,.0f} rows/s of {what}" for what, rate in rates.items() if rate is not None]:
        say(", ".join(timed))
    if asked.export:
        say(f"{asked.out}/ holds {WORKFLOW}/, {MODEL}, {REPORT}/ and {SERVED}/")
    else:
        say(f"{asked.out}/ holds {WORKFLOW}/, {MODEL} and {REPORT}/")
        say(f"To serve it: kerasrec export {asked.out} served")


def _warn_of_overfitting(trained: Trained, console: Console) -> None:
    metric = "rmse" if "rmse" in trained.scores else "logloss"
    best = min(trained.checks, key=lambda check: check.scores[metric])
    if trained.scores[metric] > 1.02 * best.scores[metric]:
        reached = f"{NAMES[metric]} {best.scores[metric]:.4f}"
        console.print(
            f"It was best after {best.rows:,} rows, {reached}, and then learnt rows by heart: "
            "try fewer --epochs, a lower --learning-rate or --embedding-dim, a higher --min-count.",
            style="yellow",
            highlight=False,
        )


def _learn(
    asked: Asked, out: Path, workflow: etl.Workflow, figures: Mapping[str, Any], console: Console
) -> Trained:
    """From features to a model and a report in `out`."""
    import keras

    from kerasrec import serving
    from kerasrec.cli.report import calibration, learning_curve, write_summary
    from kerasrec.cli.training import fit, make_model, make_optimizer
    from kerasrec.data.loader import Loader
    from kerasrec.serving.saved_model import check

    rows = Loader(out / FEATURES / "train").num_rows
    batch = asked.batch_size or min(4096, max(64, 1 << (rows // 500).bit_length()))
    train = Loader(out / FEATURES / "train", batch_size=batch, shuffle=True)
    valid = Loader(out / FEATURES / "valid", batch_size=8192)
    keras.utils.set_random_seed(0)
    model = make_model(asked.model, train.schema, asked.embedding_dim)
    binary = model.task == "binary"
    check_classes(out / FEATURES, asked.target, binary)
    loss = "binary_crossentropy" if binary else "mse"
    model.compile(optimizer=make_optimizer(asked.learning_rate, asked.epochs * len(train)), loss=loss)
    if asked.export:
        check(model, workflow)
    with keeping(model, out, asked.out):
        with stage(console, "training", total=asked.epochs * train.num_rows) as training:
            trained = fit(model, train, valid, asked.epochs, training)
        shutil.rmtree(out / FEATURES)
        model.save(out / MODEL)
        report = out / REPORT
        learning_curve(report / "learning_curve.png", trained.checks, "logloss" if binary else "rmse")
        calibration(report / "calibration.png", trained.labels, trained.predictions, asked.target, binary)
        said = {"model": str(asked.model), "target": asked.target, "task": model.task, "batch_size": batch}
        write_summary(
            report / "summary.json",
            {**said, **trained.scores, **figures, "train_rows_per_s": trained.rows_per_s},
        )
        if asked.export:
            with stage(console, "exporting"):
                serving.export(model, out / SERVED, workflow=workflow)
        # What could still go wrong when the run gets its name, while it can be kept under another.
        flush_tree(out)
        check_target(asked.out, overwrite=asked.overwrite, files=FILES)
    return trained


def hold_out(source: Source, fraction: float) -> tuple[Source, Source]:
    """The rows to train on and those held out, the same every time: those whose number, scrambled, falls in the
    first `fraction` of the range."""
    held = (pl.col(ROW).cast(pl.UInt64) * _SALT) % 2**32 < int(fraction * 2**32)
    parts = {f"all but {fraction:g} of the rows": ~held, f"{fraction:g} of the rows": held}
    train, valid = (replace(source, filters={**source.filters, words: keep}) for words, keep in parts.items())
    return train, valid


def make_workflow(guesses: Sequence[Guess], min_count: int) -> etl.Workflow:
    """Each column through the operators that its guess names."""
    build: dict[str, Callable[[], Any]] = {
        "Categorify": lambda: etl.Categorify(min_count=min_count),
        "FillMissing": etl.FillMissing,
        "Clip": lambda: etl.Clip(min=0),
        "LogOp": etl.LogOp,
        "Normalize": etl.Normalize,
        "Target(binary=True)": lambda: etl.Target(binary=True),
        "Target(binary=False)": lambda: etl.Target(binary=False),
    }
    alike: dict[tuple[str, ...], list[str]] = {}
    for guess in guesses:
        if guess.ops:
            alike.setdefault(guess.ops, []).append(guess.name)
    nodes: list[Any] = []
    for ops, names in alike.items():
        node: Any = names
        for op in ops:
            node = node >> build[op]()
        nodes.append(node)
    return etl.Workflow(nodes)
