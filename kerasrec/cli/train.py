"""`kerasrec train` and `kerasrec export`: a user's own table, from raw rows to a model that is kept."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import polars as pl
from rich.console import Console

from kerasrec import etl, models, optimizers, serving
from kerasrec.cli.errors import Refused
from kerasrec.cli.facts import look
from kerasrec.cli.features import write_features
from kerasrec.cli.guess import CATEGORICAL, CONTINUOUS, TARGET, Guess, guess_roles
from kerasrec.cli.progress import Stages
from kerasrec.cli.report import NAMES, calibration, learning_curve, table, write_summary
from kerasrec.cli.training import Trained, fit
from kerasrec.data.loader import Loader
from kerasrec.files import write_aside

WORKFLOW, MODEL, REPORT, SERVED = "workflow", "model.keras", "report", "served"
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
    console = Console()
    if asked.out.exists() and not asked.overwrite:
        raise Refused(f"{asked.out} exists; choose another --out, or pass --overwrite")
    if asked.out.exists() and not (asked.out / WORKFLOW).exists():
        raise Refused(f"{asked.out} exists and is no run of kerasrec train: it is not overwritten")
    data = scan(asked.data)
    rows, facts = look(data)
    guesses = guess_roles(facts, asked.target, asked.roles, asked.task)
    console.print(_columns(guesses, rows))
    console.print("Wrong? Say so with --categorical, --continuous, --drop or --task.\n", style="dim")
    if asked.valid:
        train, valid = data, scan(asked.valid)
    else:
        train, valid = hold_out(data, asked.valid_fraction)

    with write_aside(asked.out) as aside, Stages(console) as stages, tempfile.TemporaryDirectory() as scratch:
        aside.mkdir()
        workflow = make_workflow(guesses, asked.min_count)
        etl_rate = write_features(workflow, train, valid, Path(scratch), stages)
        workflow.save(aside / WORKFLOW)
        trained, model = _fit(asked, Path(scratch), stages)
        model.save(aside / MODEL)
        figures = {**trained.scores, "etl_rows_per_s": etl_rate, "train_rows_per_s": trained.rows_per_s}
        _report(aside / REPORT, trained, asked, model, {**figures, "rows": rows})
        if asked.export:
            with stages("exporting"):
                serving.export(model, aside / SERVED, workflow=workflow)
    scores = ", ".join(f"{NAMES[name]} {value:.4f}" for name, value in trained.scores.items())
    console.print(f"\n[bold]Held out: {scores}[/bold]   ({etl_rate:,.0f} rows/s ETL, ", end="")
    console.print(f"{trained.rows_per_s:,.0f} rows/s training)")
    console.print(f"{asked.out}/ holds {WORKFLOW}/, {MODEL} and {REPORT}/; serve it: ", end="")
    console.print(f"kerasrec export {asked.out} served", style="bold")


def _fit(asked: Asked, features: Path, stages: Stages) -> tuple[Trained, Any]:
    probe = Loader(features / "train")
    batch = asked.batch_size or min(8192, max(64, 1 << (probe.num_rows // 500).bit_length()))
    train = Loader(features / "train", batch_size=batch, shuffle=True)
    valid = Loader(features / "valid", batch_size=8192)
    keras.utils.set_random_seed(0)
    model = make_model(asked.model, train.schema, asked.embedding_dim, asked.task)
    loss = "mse" if model.task == "regression" else "binary_crossentropy"
    model.compile(optimizer=optimizers.Adagrad(asked.learning_rate), loss=loss)
    with stages("training", total=asked.epochs * train.num_rows) as stage:
        return fit(model, train, valid, asked.epochs, stage), model


def _report(folder: Path, trained: Trained, asked: Asked, model: Any, figures: Mapping[str, Any]) -> None:
    binary = model.task == "binary"
    learning_curve(folder / "learning_curve.png", trained.checks, "logloss" if binary else "rmse")
    calibration(folder / "calibration.png", trained.labels, trained.predictions, asked.target, binary)
    write_summary(
        folder / "summary.json", {"model": str(asked.model), "target": asked.target, "task": model.task, **figures}
    )


def run_export(run: Path, out: Path, overwrite: bool) -> None:
    console = Console()
    if not run.is_dir():
        raise Refused(f"no folder {run}; kerasrec train writes one")
    missing = [name for name in (WORKFLOW, MODEL) if not (run / name).exists()]
    if missing:
        raise Refused(f"{run} is no run of kerasrec train: it has no {' and no '.join(missing)}")
    workflow = etl.Workflow.load(run / WORKFLOW)
    model = keras.saving.load_model(run / MODEL)
    serving.export(model, out, workflow=workflow, overwrite=overwrite)
    console.print(f"{out}/ is a SavedModel. Its serving_default takes raw rows:")
    for name, (dtype, shape) in workflow.raw_signature().items():
        console.print(f"  {name}: {dtype} {shape}", highlight=False)


# ---- pieces -------------------------------------------------------------------------------------------------
def scan(source: str) -> pl.LazyFrame:
    """Parquet or CSV at a path, in a folder or under a glob, not read yet."""
    raise NotImplementedError


def hold_out(data: pl.LazyFrame, fraction: float) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    """The same rows every time: those whose number, scrambled, falls in the first `fraction` of the range."""
    index = "__row__"
    held = (pl.col(index).cast(pl.UInt64) * _SALT) % 2**32 < int(fraction * 2**32)
    numbered = data.with_row_index(index)
    return numbered.filter(~held).drop(index), numbered.filter(held).drop(index)


def make_workflow(guesses: Sequence[Guess], min_count: int) -> etl.Workflow:
    """Each column through the operators that its guess names."""
    build = {
        "Categorify": lambda: etl.Categorify(min_count=min_count),
        "FillMissing": etl.FillMissing,
        "Clip": lambda: etl.Clip(min_value=0),
        "LogOp": etl.LogOp,
        "Normalize": etl.Normalize,
        "Target": etl.Target,
    }
    nodes = []
    for guess in guesses:
        if guess.role in (CATEGORICAL, CONTINUOUS, TARGET):
            node: Any = [guess.name]
            for name in guess.ops:
                node = node >> build[name]()
            nodes.append(node)
    return etl.Workflow(sum(nodes[1:], nodes[0]))


def make_model(name: str, schema: Any, embedding_dim: int, task: str | None) -> Any:
    """A model of modest size; with `task` None its target's tag decides."""
    sizes: Any = {"embedding_dim": embedding_dim, "task": task}
    if name == "dlrm":
        return models.DLRM(schema, bottom_units=[64, embedding_dim], top_units=[128, 64], **sizes)
    kinds = {"dcn": models.DCN, "deepfm": models.DeepFM, "wide-and-deep": models.WideAndDeep}
    return kinds[name](schema, **sizes)


def _columns(guesses: Sequence[Guess], rows: int) -> Any:
    lines = [
        (
            guess.name,
            str(guess.facts.dtype),
            f"{guess.facts.distinct:,}",
            f"{guess.facts.nulls:,}",
            guess.role,
            " ".join(guess.ops),
            guess.reason,
        )
        for guess in guesses
    ]
    header = ("column", "type", "distinct", "nulls", "role", "operators", "because")
    return table(f"{rows:,} rows", lines, header)
