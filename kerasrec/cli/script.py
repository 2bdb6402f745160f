"""Write a run as a Python script: the same training with the public API, to go on from."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasrec.cli.feature_files import ROW_GROUP
from kerasrec.cli.options import TrainOptions
from kerasrec.cli.roles import CATEGORICAL, CONTINUOUS, DROPPED, TARGET, TIME, WEIGHT, Guess
from kerasrec.cli.rows import HELD_OUT, STOP, TRAIN, Split
from kerasrec.cli.steps import Step, literal
from kerasrec.cli.tables import Branch, branches
from kerasrec.files import write_aside

_WIDTH = 110
_NAMES = {CATEGORICAL: "categories", CONTINUOUS: "numbers", TIME: "times", TARGET: "target", WEIGHT: "weight"}


@dataclass(frozen=True)
class ScriptParts:
    """What a script needs besides the options.

    Args:
        guesses: of all columns, with the steps that were taken.
        split: of the rows.
        model: the call that makes the model, without the schema: "kr.models.DLRM".
        model_module: where the model is imported from, if it is the user's own.
        arguments: of the model.
        optimizer: the call that makes the optimizer, of kr.optimizers: "Adam(learning_rate)".
        learning_rate: at the start.
        batch_size, evaluation_batch, every: rows per step in training and in evaluation; steps between checks.
        tasks: target -> "binary" or "regression".
    """

    guesses: Sequence[Guess]
    split: Split
    model: str
    model_module: str | None
    arguments: Mapping[str, Any]
    optimizer: str
    learning_rate: float
    batch_size: int
    evaluation_batch: int
    every: int
    tasks: Mapping[str, str]


def write_script(path: Path, options: TrainOptions, parts: ScriptParts) -> None:
    """Write the script of a run."""
    sections = (_head(options, parts), _features(options, parts), _model(options, parts), _figures(parts))
    with write_aside(path) as aside:
        aside.write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def _head(options: TrainOptions, parts: ScriptParts) -> str:
    own = f"\nfrom {parts.model_module} import {parts.model}" if parts.model_module else ""
    dropped = [f"#   {g.name!r}: {g.reason}" for g in parts.guesses if g.role == DROPPED]
    left_out = "\n".join(["\n\n# Columns that are left out:", *dropped]) if dropped else ""
    return f'''"""Train a model of {" and ".join(options.targets)}, as `kerasrec train` did; go on from here."""

import keras
import numpy as np

import kerasrec as kr
from kerasrec import etl
from kerasrec.datasets import metrics{own}

DATA = {literal(str(options.data))}
keras.utils.set_random_seed({options.seed}){left_out}'''


def _features(options: TrainOptions, parts: ScriptParts) -> str:
    lines = [
        "# Rows to train on" + (", to stop on" if STOP in parts.split.parts else "") + ", and for the figures"
    ]
    if len(parts.split.parts) > 1:
        lines.append(f"{', '.join(_part(name) for name in parts.split.parts)} = etl.{parts.split}(DATA)")
    else:
        lines.append(f"{_part(TRAIN)} = DATA")
    if options.valid:
        lines.append(f"{_part(HELD_OUT)} = {literal(options.valid)}")
    lines += ["", "# Features; ids of categories, and numbers of mean 0 and standard deviation 1"]
    nodes: list[str] = []
    for branch in branches(parts.guesses):
        first = branch.inputs[0][0][0]
        role = next(guess.role for guess in parts.guesses if guess.name == first)
        lines.append(_node(name := _free(_NAMES[role], nodes), branch))
        nodes.append(name)
    lines += [f"workflow = etl.Workflow({' + '.join(nodes)})", f"workflow.fit({_part(TRAIN)})"]
    order = [TRAIN, *([STOP] if STOP in parts.split.parts else []), HELD_OUT]
    for part in order:
        features = f"workflow.transform({_part(part)})"
        lines.append(f'{features}.to_parquet("features/{part}", row_group_rows={ROW_GROUP}, overwrite=True)')
    return "\n".join([*lines, 'workflow.save("trained/workflow", overwrite=True)'])


def _node(name: str, branch: Branch) -> str:
    begun = [" >> ".join([literal(list(names)), *_calls(steps)]) for names, steps in branch.inputs]
    if len(begun) > 1:
        begun = [f"({text})" if steps else text for text, (_, steps) in zip(begun, branch.inputs, strict=True)]
    first = begun[0] if len(begun) == 1 else f"({' + '.join(begun)})"
    parts = [first, *_calls(branch.steps)]
    line = f"{name} = {' >> '.join(parts)}"
    if len(line) <= _WIDTH:
        return line
    if len(first) > _WIDTH - 10 and len(begun) == 1:
        listed = textwrap.fill(first[1:-1], _WIDTH - 8, break_long_words=False, break_on_hyphens=False)
        parts[0] = "[\n" + textwrap.indent(listed, "    ") + ",\n]"
    elif len(first) > _WIDTH - 10:
        parts[0] = "(\n" + textwrap.indent("\n+ ".join(begun), "    ") + "\n)"
    return f"{name} = (\n" + textwrap.indent("\n>> ".join(parts), "    ") + "\n)"


def _calls(steps: Sequence[Step]) -> list[str]:
    return [f"etl.{step}" for step in steps]


def _model(options: TrainOptions, parts: ScriptParts) -> str:
    batch, seed = parts.batch_size, options.seed
    arguments = "".join(f", {key}={literal(value)}" for key, value in parts.arguments.items())
    valid = f'valid = kr.Loader("features/{HELD_OUT}", batch_size={parts.evaluation_batch})'
    rate = f"CosineDecay({parts.learning_rate!r}, {options.epochs} * len(train), alpha=0.1)"
    lines = [
        "# The model",
        f'train = kr.Loader("features/{TRAIN}", batch_size={batch}, shuffle=True, seed={seed})',
        *(
            [f'stop = kr.Loader("features/{STOP}", batch_size={parts.evaluation_batch})']
            if options.patience
            else []
        ),
        valid,
        f"model = {parts.model}(train.schema{arguments})",
        f"learning_rate = keras.optimizers.schedules.{rate}",
        f"model.compile(kr.optimizers.{parts.optimizer}{_metrics(options, parts)})",
    ]
    if options.patience:
        stopping = f"kr.callbacks.EarlyStopping(stop, every={parts.every}, patience={options.patience})"
        lines += [f"stopping = {stopping}", f"model.fit(train, epochs={options.epochs}, callbacks=[stopping])"]
    else:
        lines.append(f"model.fit(train, epochs={options.epochs})")
    return "\n".join([*lines, 'model.save("trained/model.keras")'])


def _metrics(options: TrainOptions, parts: ScriptParts) -> str:
    """Return the arguments of `compile` that weigh metrics; without weights, the defaults do."""
    if not options.sample_weight:
        return ""
    names = {name: ["auc" if task == "binary" else "rmse"] for name, task in parts.tasks.items()}
    weighted = names if len(names) > 1 else next(iter(names.values()))
    return f", weighted_metrics={literal(weighted)}"


def _figures(parts: ScriptParts) -> str:
    by_target = any("weight" in dict(step.settings) for g in parts.guesses if g.role == TARGET for step in g.steps)
    weighted = not by_target and any(guess.role == WEIGHT for guess in parts.guesses)
    several = len(parts.tasks) > 1
    lines = ["# The figures", "batches = list(valid)", "predictions = model.predict(valid)"]
    if weighted:
        lines.append("weights = np.concatenate([batch[2] for batch in batches])")
    for name, task in parts.tasks.items():
        key = f"[{literal(name)}]" if several else ""
        if by_target:
            lines.append(f"weights = np.concatenate([batch[2]{key} for batch in batches])")
        weights = ", weights=weights" if weighted or by_target else ""
        lines.append(f"labels, predicted = np.concatenate([batch[1]{key} for batch in batches]), predictions{key}")
        functions = {"RMSE": "rmse"} if task == "regression" else {"AUC": "auc", "log loss": "log_loss"}
        shown = ", ".join(f'"{title}", metrics.{f}(labels, predicted{weights})' for title, f in functions.items())
        lines.append(f"print({literal(name)}, {shown})")
    return "\n".join(lines)


def _part(name: str) -> str:
    return {TRAIN: "train_rows", STOP: "stop_rows", HELD_OUT: "valid_rows"}[name]


def _free(name: str, taken: Sequence[str]) -> str:
    number = sum(other == name or other.startswith(f"{name}_") for other in taken)
    return f"{name}_{number + 1}" if number else name
