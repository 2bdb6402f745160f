"""Raw rows as the inputs of a served model: NumPy arrays by name, with nulls and lists in arrays of their own."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from kerasrec.files.versions import Version
from kerasrec.schema import FILENAME, Column, Schema
from kerasrec.serving.dict_rows import dict_reader
from kerasrec.serving.frame_rows import frame_reader
from kerasrec.serving.wire import wire_names
from kerasrec.tensor_names import TensorNames, tensor_names

EXTRA = "assets.extra"  # the folder of a SavedModel that TensorFlow leaves to its writer
FILES = ("*.pb", "variables/*", "assets/*", f"{EXTRA}/*")  # of a SavedModel


class FittedWorkflow(Protocol):
    """A workflow that knows its raw columns, as `etl.Workflow` does."""

    @property
    def input_schema(self) -> Schema: ...


def rows(data: Any, schema: Schema | FittedWorkflow | str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Return the inputs of a SavedModel's `serving_default` signature for some raw rows.

    A tensor has no nulls and no rows of different lengths, so a column `X` of the raw data becomes

    - `X` (batch,) in the file's dtype, strings as bytes; if the column was nullable when the workflow was fitted,
      also `X__valid` (batch,) bool, false for a null;
    - for a list column `X__values` (n,) and `X__offsets` (batch + 1,) int64: row i's elements are
      `values[offsets[i]:offsets[i + 1]]`; if elements were nullable, also `X__valid` (n,) bool. A null list
      is an empty one.

    Names that are not Python identifiers are changed by `kerasrec.serving.wire.wire_names`. A date becomes int64,
    microseconds since 1970 in UTC; in dicts it may be that number, or ISO 8601 text, as JSON has it. A number may
    have any type that represents the same value; NaN counts as null, '' does not. Columns that are not in the
    schema, and targets, are left out.

    Args:
        data: a Polars, pandas or Arrow frame, rows as dicts, or a dict of columns. A key that is missing from
            a row is a null; if all rows lack it but have one of a similar name, that is an error.
        schema: the raw columns: the path of an exported SavedModel, for those that its model reads; or a fitted
            `Workflow` or a `Schema`, if the model reads all features of that.

    Raises:
        SchemaError: a column is missing, or of another kind than in the schema.
        ValueError: a value does not fit, or a null if there was none when the workflow was fitted; names column,
            row and value.

    Example:

    >>> from kerasrec import Column, Schema
    >>> schema = Schema([Column("user", "string", nullable=True), Column("tags", "int32", ("list",))])
    >>> rows([{"user": "ann", "tags": [3, 1]}, {"tags": []}], schema)
    ... # doctest: +NORMALIZE_WHITESPACE
    {'user': array([b'ann', b''], dtype=object), 'user__valid': array([ True, False]),
     'tags__values': array([3, 1], dtype=int32), 'tags__offsets': array([0, 2, 2])}

    A signature takes them as they are: `served.signatures["serving_default"](**rows(...))`.
    """
    return _format(schema).arrays(data)


class RowFormat:
    """The arrays that rows of some columns become.

    Args:
        columns: the raw columns.
    """

    def __init__(self, columns: Iterable[Column]):
        self.columns = list(columns)
        tensors = tensor_names(self.columns)
        wire = wire_names([name for names in tensors.values() for name in names.all])

        def renamed(name: str | None) -> str | None:
            return None if name is None else wire[name]

        self._names = [
            TensorNames(wire[names.values], renamed(names.offsets), renamed(names.valid))
            for names in tensors.values()
        ]

    def arrays(self, data: Any) -> dict[str, np.ndarray]:
        """Return the arrays of some rows; see `rows`."""
        read = dict_reader(data, self.columns) if _is_rows(data) else frame_reader(data)
        arrays: dict[str, np.ndarray] = {}
        for column, names in zip(self.columns, self._names, strict=True):
            elements = read(column)
            if not column.nullable and not elements.valid.all():
                row = elements.row_of(int(np.argmin(elements.valid)))
                raise ValueError(
                    f"column {column.name!r}, row {row}: null, but there was none when the workflow was fitted"
                )
            parts = (elements.values, elements.offsets, elements.valid)
            for name, array in zip((names.values, names.offsets, names.valid), parts, strict=True):
                if name is not None and array is not None:
                    arrays[name] = array
        return arrays


def _format(schema: Schema | FittedWorkflow | str | os.PathLike[str]) -> RowFormat:
    if isinstance(schema, str | os.PathLike) and (file := Path(schema) / EXTRA / FILENAME).exists():
        return _format_of_file(file, Version.of(file))
    return RowFormat(raw_schema(schema).features)


@lru_cache(maxsize=64)
def _format_of_file(file: Path, version: Version) -> RowFormat:
    """Return the format of a schema's file, which is read once per version."""
    return RowFormat(Schema.load(file).features)


def check_path(path: str | os.PathLike[str]) -> None:
    """Raise `ValueError` for a path at which TensorFlow would not find a SavedModel."""
    if any(mark in os.fspath(path) for mark in "*?[\\"):
        raise ValueError(
            f"{path}: TensorFlow reads a SavedModel's path as a pattern, in which *, ?, [ and \\ do not stand for "
            "themselves; choose a path without them"
        )


def raw_schema(source: Schema | FittedWorkflow | str | os.PathLike[str]) -> Schema:
    """Return the raw columns of a schema, a fitted workflow, or the folder of an exported SavedModel."""
    if isinstance(source, Schema):
        return source
    if isinstance(source, str | os.PathLike):
        return Schema.load(Path(source) / EXTRA)
    if isinstance(getattr(source, "input_schema", None), Schema):
        return source.input_schema
    raise TypeError(f"expected a Schema, a fitted Workflow or a SavedModel's path; got {type(source).__name__}")


def _is_rows(data: Any) -> bool:
    return isinstance(data, Sequence | Iterator) and not isinstance(data, str | bytes)
