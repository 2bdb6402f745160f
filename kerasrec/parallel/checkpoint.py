"""Saving and restoring embedding tables and their optimizer state, a block of rows at a time.

A checkpoint is a folder: `tables.json`, and a safetensors file for each table, in the table's own row order. What
a table is stacked with, and where it lives, does not show.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import keras
import numpy as np
from safetensors import SafetensorError, safe_open

from kerasrec import __version__
from kerasrec.files import write_aside
from kerasrec.parallel.rows import read_rows, row_blocks, write_rows

FORMAT = 1
_DTYPES = {"float32": "F32", "float64": "F64", "float16": "F16", "bfloat16": "BF16"}


def save_tables(
    model: keras.Model, path: str | os.PathLike[str], *, overwrite: bool = False, optimizer: bool = True
) -> None:
    """Save every embedding table of a model, and what its optimizer keeps for each row.

    Rows are copied some 16 MiB at a time, so saving needs no memory to speak of. The folder takes its name only
    when it is whole: a save that is cut off leaves what stood there. Weights that are no tables are not in it.

    Args:
        model: a built model with `DistributedEmbedding` layers, at any depth.
        path: the folder to write.
        overwrite: whether a checkpoint that stands there is replaced.
        optimizer: whether to save the optimizer's state too; a model that is not compiled or was never trained
            has none.

    Raises:
        FileExistsError: `path` exists and `overwrite` is false.
        ValueError: the model has no tables or two of one name, or its optimizer is not one of `kr.optimizers`.

    Example:

    >>> kr.save_tables(model, "run/tables")
    >>> kr.restore_tables(model, "run/tables")

    Source: the files are safetensors' (https://github.com/huggingface/safetensors): a JSON header, then raw rows.
    """
    tables = _tables(model)
    trainer = _optimizer(model) if optimizer else None
    trainer = trainer if trainer is not None and trainer.built else None
    facts: dict[str, Any] = {"format": FORMAT, "kerasrec": __version__, "keras": keras.__version__, "tables": {}}
    with write_aside(path, overwrite=overwrite) as folder:
        folder.mkdir()
        for name, table in tables.items():
            arrays = table.arrays(trainer)
            file = f"{quote(name, safe='')}.safetensors"
            _write(folder / file, arrays)
            facts["tables"][name] = {
                "file": file,
                "optimizer": None if trainer is None else table.optimizer(trainer),
                "arrays": {key: {"shape": rows.shape, "dtype": rows.dtype} for key, rows in arrays.items()},
            }
        (folder / "tables.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def restore_tables(model: keras.Model, path: str | os.PathLike[str], *, optimizer: bool = True) -> None:
    """Read a model's embedding tables, and what its optimizer keeps for each row, from `save_tables`' folder.

    The model may have other layers, stack its tables in another way and have fewer of them; the rest of the
    folder is then left alone. All is checked before the first row is changed. Like saving, it takes some 16 MiB;
    on JAX, whose arrays cannot be changed in place, a copy of the largest stack of tables.

    Args:
        model: a built model with `DistributedEmbedding` layers, at any depth. Where it is compiled, the state of
            its optimizer is restored too, if it was saved.
        path: a folder that `save_tables` wrote.
        optimizer: False reads the tables alone, so that they can be trained on with another optimizer.

    Raises:
        FileNotFoundError: there is no checkpoint at `path`, or one of its files is gone.
        ValueError: a file that is damaged or of a later version, a table that the checkpoint lacks or that has
            another shape there, or the state of another optimizer; names the file or the table.
    """
    folder = Path(path)
    saved = _facts(folder)
    tables = _tables(model)
    trainer = _optimizer(model) if optimizer else None
    reads: list[tuple[Path, str, _Rows]] = []
    for name, table in tables.items():
        if name not in saved:
            raise ValueError(f"{folder} has no table {name!r}; it has {sorted(saved)}")
        file, saved_with = folder / saved[name]["file"], saved[name]["optimizer"]
        there = _shapes(file)
        with_state = trainer if saved_with else None
        if with_state is not None and not with_state.built:
            model.optimizer.build(model.trainable_variables)
        here = table.arrays(with_state)
        if there.get(name) != here[name].shape:
            raise ValueError(f"table {name!r} is {there.get(name)} in {file}, but {here[name].shape} in the model")
        if with_state is not None and there != {key: rows.shape for key, rows in here.items()}:
            state = {key: rows.shape for key, rows in here.items() if key != name}
            raise ValueError(
                f"table {name!r} was saved in {file} with the state of {saved_with}, "
                f"{ {key: shape for key, shape in there.items() if key != name} }, but the model's "
                f"{table.optimizer(with_state)} keeps {state}. Compile with the same optimizer, or pass "
                "optimizer=False to restore the table alone"
            )
        reads += [(file, key, rows) for key, rows in here.items()]
    for file, key, rows in reads:
        write_rows(rows.variable, _read(file, key, rows))


@dataclass(frozen=True)
class _Rows:
    """Some consecutive rows of a variable: a table, or what an optimizer keeps for it."""

    variable: keras.Variable
    first: int
    count: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.count, *self.variable.shape[1:])

    @property
    def dtype(self) -> str:
        return keras.backend.standardize_dtype(self.variable.dtype)

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * (2 if "16" in self.dtype else 8 if "64" in self.dtype else 4)

    def blocks(self) -> Iterator[tuple[int, int]]:
        return row_blocks(self.count, self.row_bytes)


@dataclass(frozen=True)
class _Table:
    name: str
    rows: _Rows

    def optimizer(self, optimizer: Any) -> str:
        """The class of what a model's optimizer trains this table with."""
        return type(optimizer.optimizer_of(self.rows.variable)).__name__

    def arrays(self, optimizer: Any) -> dict[str, _Rows]:
        """What is saved of a table, by the names it has in the file: the values first."""
        slots = optimizer.table_slots(self.rows.variable) if optimizer is not None else {}
        return {
            self.name: self.rows,
            **{f"{self.name}/{slot}": _Rows(of, self.rows.first, self.rows.count) for slot, of in slots.items()},
        }


def _tables(model: keras.Model) -> dict[str, _Table]:
    tables: dict[str, _Table] = {}
    for variable in (variable for variable in model.weights if hasattr(variable, "stack")):
        for config in variable.stack.tables:
            if config.name in tables:
                raise ValueError(
                    f"two layers of {model.name!r} have a table {config.name!r}; give one another name"
                )
            rows = _Rows(variable, variable.stack.offsets[config.name], config.vocabulary_size)
            tables[config.name] = _Table(config.name, rows)
    if not tables:
        raise ValueError(f"{model.name!r} has no tables; it needs a DistributedEmbedding layer that is built")
    return tables


def _optimizer(model: keras.Model) -> Any:
    """What a model's tables are trained with; None where it is not compiled."""
    optimizer = getattr(model, "optimizer", None)
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # that of a LossScaleOptimizer
    if optimizer is not None and not hasattr(optimizer, "table_slots"):
        raise ValueError(
            f"{type(optimizer).__name__} does not tell which of its state belongs to a table: use one of "
            "kr.optimizers, or pass optimizer=False to leave the state out"
        )
    return optimizer


def _write(path: Path, arrays: Mapping[str, _Rows]) -> None:
    header: dict[str, Any] = {}
    end = 0
    for key, rows in arrays.items():
        start, end = end, end + rows.count * rows.row_bytes
        header[key] = {"dtype": _DTYPES[rows.dtype], "shape": rows.shape, "data_offsets": (start, end)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for rows in arrays.values():
            for start, stop in rows.blocks():
                values = read_rows(rows.variable, rows.first + start, rows.first + stop)
                file.write(values.view(np.uint8).data)


def _read(file: Path, key: str, rows: _Rows) -> Iterator[tuple[int, np.ndarray]]:
    for start, stop in rows.blocks():
        with safe_open(file, framework="numpy") as tensors:  # opened anew, or all pages read would stay mapped
            yield rows.first + start, tensors.get_slice(key)[start:stop]


def _facts(folder: Path) -> dict[str, Any]:
    path = folder / "tables.json"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        version, tables = facts["format"], facts["tables"]
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{folder} is no checkpoint of tables: there is no {path}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not what save_tables writes: {error!r}") from error
    if version != FORMAT:
        raise ValueError(f"{path} is of format {version}; this kerasrec {__version__} reads format {FORMAT}")
    return tables


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """The arrays of a safetensors file; a file cut short is found here."""
    try:
        with safe_open(file, framework="numpy") as tensors:
            return {key: tuple(tensors.get_slice(key).get_shape()) for key in tensors.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise FileNotFoundError(f"the checkpoint lacks {file}") from error
    except SafetensorError as error:
        raise ValueError(f"{file} is damaged or cut short: {error}") from error
