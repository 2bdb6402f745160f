"""`kerasrec train`: a user's own table, from raw rows to a model that is kept. TensorFlow comes in late."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from rich.console import Console

from kerasrec import etl
from kerasrec.cli.errors import Refused
from kerasrec.cli.facts import look
from kerasrec.cli.features import write_features
from kerasrec.cli.guess import Guess, guess_roles
from kerasrec.cli.progress import stage
from kerasrec.cli.quiet import import_tensorflow
from kerasrec.cli.tables import NAMES, table
from kerasrec.etl.sources import scan
from kerasrec.files import write_aside

if TYPE_CHECKING:
    from kerasrec.cli.training import Trained

WORKFLOW, MODEL, REPORT, SERVED, FEATURES = "workflow", "model.keras", "report", "served", "features"
FILES = (MODEL, *(f"{folder}/*" for folder in (WORKFLOW, REPORT, SERVED, FEATURES)))
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
    """Everything that can be wrong with the request is found before TensorFlow is imported."""
    console = Console()
    if asked.out.exists() and not asked.overwrite:
        raise Refused(f"{asked.out} exists; choose another --out, or pass --overwrite")
    if asked.out.exists() and not (asked.out / WORKFLOW).exists():
        raise Refused(f"{asked.out} exists and is no run of kerasrec train: it is not overwritten")
    source = scan(asked.data)
    held = scan(asked.valid).frame if asked.valid else None
    with source.telling():
        rows, facts = look(source.frame)
    guesses = guess_roles(facts, asked.target, asked.roles, asked.task)
    console.print(_columns(guesses, rows))
    console.print("Not so? Say it with --categorical, --continuous, --drop or --task.\n", style="dim")
    data = source.frame
    train, valid = (data, held) if held is not None else hold_out(data, asked.valid_fraction)

    with write_aside(asked.out, files=FILES) as aside:
        aside.mkdir()
        workflow = make_workflow(guesses, asked.min_count)
        etl_rate = write_features(workflow, train, valid, aside / FEATURES, console)
        workflow.save(aside / WORKFLOW)
        trained = _learn(asked, aside, workflow, {"rows": rows, "etl_rows_per_s": etl_rate}, console)
        shutil.rmtree(aside / FEATURES)
    scores = ", ".join(f"{NAMES[name]} {value:.4f}" for name, value in trained.scores.items())
    console.print(f"\n[bold]Held out: {scores}[/bold]")
    _warn_of_overfitting(trained, console)
    console.print(f"{etl_rate:,.0f} rows/s of feature engineering, {trained.rows_per_s:,.0f} rows/s of training")
    console.print(f"{asked.out}/ holds {WORKFLOW}/, {MODEL} and {REPORT}/", end="")
    console.print(f" and {SERVED}/" if asked.export else f"; serve it with: kerasrec export {asked.out} served")


def _warn_of_overfitting(trained: Trained, console: Console) -> None:
    metric = "rmse" if "rmse" in trained.scores else "logloss"
    best = min(trained.checks, key=lambda check: check.scores[metric])
    if trained.scores[metric] > 1.02 * best.scores[metric]:
        reached = f"{NAMES[metric]} {best.scores[metric]:.4f}"
        console.print(
            f"It was best after {best.rows:,} rows, {reached}, and then learnt rows by heart: "
            "try fewer --epochs, a lower --learning-rate or --embedding-dim, a higher --min-count.",
            style="yellow",
        )


def _learn(
    asked: Asked, out: Path, workflow: etl.Workflow, figures: Mapping[str, Any], console: Console
) -> Trained:
    """From features to a model and a report in `out`."""
    import_tensorflow()
    import keras

    from kerasrec import serving
    from kerasrec.cli.report import calibration, learning_curve, write_summary
    from kerasrec.cli.training import fit, make_model, make_optimizer
    from kerasrec.data.loader import Loader

    rows = Loader(out / FEATURES / "train").num_rows
    batch = asked.batch_size or min(4096, max(64, 1 << (rows // 500).bit_length()))
    train = Loader(out / FEATURES / "train", batch_size=batch, shuffle=True)
    valid = Loader(out / FEATURES / "valid", batch_size=8192)
    keras.utils.set_random_seed(0)
    model = make_model(asked.model, train.schema, asked.embedding_dim)
    loss = "mse" if model.task == "regression" else "binary_crossentropy"
    model.compile(optimizer=make_optimizer(asked.learning_rate, asked.epochs * len(train)), loss=loss)
    with stage(console, "training", total=asked.epochs * train.num_rows) as training:
        trained = fit(model, train, valid, asked.epochs, training)
    model.save(out / MODEL)
    binary = model.task == "binary"
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
    return trained


def hold_out(data: pl.LazyFrame, fraction: float) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    """The same rows every time: those whose number, scrambled, falls in the first `fraction` of the range."""
    index = "__row__"
    held = (pl.col(index).cast(pl.UInt64) * _SALT) % 2**32 < int(fraction * 2**32)
    numbered = data.with_row_index(index)
    return numbered.filter(~held).drop(index), numbered.filter(held).drop(index)


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


def _columns(guesses: Sequence[Guess], rows: int) -> Any:
    lines = [
        (fact.name, str(fact.dtype), f"{fact.distinct:,}", f"{fact.nulls:,}", guess.role, guess.reason)
        for guess in guesses
        for fact in [guess.facts]
    ]
    header = ("column", "type", "distinct", "nulls", "role", "because")
    return table(f"{rows:,} rows", lines, header, right=("distinct", "nulls"))
