"""The options of `kerasrec train`: what the command line takes, and what a config file has."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

_DATA, _COLUMNS, _MODEL = "Data", "Columns", "Model"
_TRAINING, _OUTPUT = "Training", "Output"


class Task(StrEnum):
    binary = "binary"
    regression = "regression"


def _option(*names: str, panel: str, help: str, metavar: str | None = None, **settings: Any) -> object:
    shown = {"show_default": False, **settings}
    return typer.Option(*names, rich_help_panel=panel, help=help, metavar=metavar, **shown)


@dataclass(frozen=True)
class TrainOptions:
    """The options of the command; each field is one, under its own name.

    A config file has the same names. Lists of columns are lines of CSV.
    """

    data: Annotated[
        str | None,
        typer.Argument(help="Parquet or CSV: a file, a folder or a quoted glob pattern.", show_default=False),
    ] = None
    target: Annotated[
        list[str] | None,
        _option(
            panel=_DATA,
            metavar="COLUMN",
            help="The column to predict. Give it several times to predict several columns.",
        ),
    ] = None
    valid: Annotated[
        str | None,
        _option(
            panel=_DATA,
            metavar="PATH",
            help="Held-out data for the figures. By default a part of DATA is held out.",
        ),
    ] = None
    valid_fraction: Annotated[
        float,
        _option(
            panel=_DATA,
            metavar="FRACTION",
            show_default=True,
            min=0.001,
            max=0.9,
            help="The part of DATA to hold out for the figures. About as much again is held out to stop on.",
        ),
    ] = 0.1
    time: Annotated[
        str | None,
        _option(
            panel=_DATA,
            metavar="COLUMN",
            help="A column of times: the latest rows are held out, and the hour and weekday become features.",
        ),
    ] = None
    sample_weight: Annotated[
        list[str] | None,
        _option(
            panel=_DATA,
            metavar="[TARGET=]COLUMN",
            help="A column of numbers that says how much each row counts in loss and figures: for all targets, or "
            "as target=column, which can be given once per target.",
        ),
    ] = None
    positive: Annotated[
        list[str] | None,
        _option(
            panel=_DATA,
            metavar="VALUE",
            help="The value of the target that counts as 1, such as yes. All other values count as 0. With "
            "several targets, give it once per value.",
        ),
    ] = None
    drop_null_targets: Annotated[
        bool,
        _option("--drop-null-targets", panel=_DATA, help="Leave out rows without a target, and say how many."),
    ] = False
    task: Annotated[
        Task | None,
        _option(panel=_DATA, metavar="KIND", help="The kind of target. By default its values decide."),
    ] = None
    categorical: Annotated[
        str,
        _option(
            panel=_COLUMNS, metavar="COLUMNS", help='Columns to embed, separated by commas, such as: user, "a, b".'
        ),
    ] = ""
    continuous: Annotated[str, _option(panel=_COLUMNS, metavar="COLUMNS", help="Columns to use as numbers.")] = ""
    drop: Annotated[str, _option(panel=_COLUMNS, metavar="COLUMNS", help="Columns to leave out.")] = ""
    list_separator: Annotated[
        str | None,
        _option(
            panel=_COLUMNS,
            metavar="TEXT",
            help='The separator of lists written as text, such as "|" for a|b|c. By default it is guessed.',
        ),
    ] = None
    table: Annotated[
        list[str] | None,
        _option(
            panel=_COLUMNS,
            metavar="NAME=COLUMNS",
            help="Columns whose values mean the same, such as item=item,clicked_items: they share ids and "
            "embeddings, and din, dien and bst compare such a list with such a value. Give it once per table.",
        ),
    ] = None
    min_count: Annotated[
        int,
        _option(
            panel=_COLUMNS,
            metavar="N",
            show_default=True,
            min=1,
            help="Values that occur less often share one embedding.",
        ),
    ] = 2
    model: Annotated[
        str,
        _option(
            panel=_MODEL,
            metavar="NAME",
            show_default=True,
            help="The architecture: dlrm, dcn, deepfm, wide-and-deep or another of kr.models; or a class of your "
            "own that takes a schema, as module:Class.",
        ),
    ] = "dlrm"
    embedding_dim: Annotated[
        int, _option(panel=_MODEL, metavar="N", show_default=True, min=1, help="The width of the embeddings.")
    ] = 16
    set: Annotated[
        list[str] | None,
        _option(
            panel=_MODEL,
            metavar="KEY=VALUE",
            help="An argument of the model, such as dropout=0.1 or top_units=[256,64]. Give it once per argument.",
        ),
    ] = None
    epochs: Annotated[
        int,
        _option(
            panel=_TRAINING,
            metavar="N",
            show_default=True,
            min=1,
            help="The most passes over the training rows; early stopping ends earlier.",
        ),
    ] = 10
    patience: Annotated[
        int,
        _option(
            panel=_TRAINING,
            metavar="N",
            show_default=True,
            min=0,
            help="Stop after so many checks without improvement, and keep the best weights. There are 4 "
            "checks per epoch. 0 trains for all epochs and holds out no rows to stop on.",
        ),
    ] = 4
    batch_size: Annotated[
        int | None,
        _option(
            panel=_TRAINING,
            metavar="N",
            min=1,
            help="Rows per step. By default 64 to 4096, by the number of rows.",
        ),
    ] = None
    optimizer: Annotated[
        str | None,
        _option(
            panel=_TRAINING,
            metavar="NAME",
            help="One of kr.optimizers: adagrad, adam, adamw, ftrl, rowwiseadagrad or sgd. By default the choice "
            "of model.compile() for so many rows.",
        ),
    ] = None
    learning_rate: Annotated[
        float | None,
        _option(
            panel=_TRAINING,
            metavar="RATE",
            min=1e-8,
            help="The learning rate at the start, of Adagrad without --optimizer; over the epochs it falls to a "
            "tenth. By default the optimizer's.",
        ),
    ] = None
    seed: Annotated[
        int,
        _option(
            panel=_TRAINING,
            metavar="N",
            show_default=True,
            min=0,
            help="The seed of held-out rows, weights and shuffling.",
        ),
    ] = 0
    out: Annotated[
        Path,
        _option(
            panel=_OUTPUT, metavar="FOLDER", show_default=True, help="A new folder for workflow, model and report."
        ),
    ] = Path("run")
    overwrite: Annotated[bool, _option("--overwrite", panel=_OUTPUT, help="Replace an earlier run at OUT.")] = (
        False
    )
    export: Annotated[bool, _option("--export", panel=_OUTPUT, help="Also write a SavedModel, to OUT/served.")] = (
        False
    )
    script: Annotated[
        Path | None,
        _option(
            panel=_OUTPUT, metavar="FILE", help="Also write the same training as a Python script, to go on from."
        ),
    ] = None
    config: Annotated[
        Path | None,
        _option(
            panel=_OUTPUT,
            metavar="FILE",
            help="Options from a config.json, as a run has one, which repeats that run. Options on the command "
            "line replace those of the file.",
        ),
    ] = None

    @property
    def targets(self) -> list[str]:
        """The columns to predict."""
        return list(self.target or ())
