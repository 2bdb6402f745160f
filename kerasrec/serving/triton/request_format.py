"""How requests to Triton become the arrays of a SavedModel's signature; beside `model.py` in the repository."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np

Arrays = dict[str, np.ndarray]
ReadRows = Callable[[list[Any]], Arrays]
REASON = 500  # characters of a message
MAX_ANSWERS = 1 << 20  # rows of a batch times `k`
MAX_JSON = 64 << 20  # bytes of a request's rows as JSON


class BadRequest(ValueError):
    """The request is wrong, which is no fault of the server."""


class InputTensor(Protocol):
    """An input as Triton's Python backend passes it."""

    def name(self) -> str: ...

    def as_numpy(self) -> np.ndarray: ...


class Format:
    """How requests become the arrays of a signature.

    Args:
        values: what the SavedModel's `signature.json` says; the names of the further input `rows` and output
            `version`; and `max_rows`.
    """

    def __init__(self, values: dict[str, Any]):
        self.columns: dict[str, dict[str, str | None]] = values["columns"]
        self.optional: list[str] = values["optional"]
        self.options: list[str] = values["options"]
        self.inputs: dict[str, str] = values["inputs"]
        self.outputs: list[str] = list(values["outputs"])
        self.rows_input, self.version_output = values["rows"], values["version"]
        self.max_rows: int = values["max_rows"]

    def check_parameters(self, parameters: Iterable[str]) -> None:
        """Refuse what is not an input: Triton makes parameters of keys of `generate` that it does not know.

        Raises:
            BadRequest: there is a parameter that is not one of Triton's.
        """
        for name in parameters:
            if not name.startswith("triton_"):
                others = ", ".join(map(repr, [self.rows_input, *self.inputs]))
                raise BadRequest(f"unknown input {name!r}; the model has: {others}")

    def arrays(self, inputs: Iterable[InputTensor], read_rows: ReadRows | None) -> Arrays:
        """Return the arrays of one request, whose lengths fit each other.

        Args:
            inputs: of the request, columns or rows as JSON.
            read_rows: makes arrays of rows by the schema of the version that answers; None without kerasrec.

        Raises:
            BadRequest: they do not, or one is missing; names the column.
        """
        given: Arrays = {}
        for tensor in inputs:
            name, array = tensor.name(), tensor.as_numpy()
            if array.ndim != 2 or array.shape[0] != 1:
                raise BadRequest(f"input {name!r} has shape {list(array.shape)}; expected [1, n], n of all rows")
            given[name] = array[0]
        if self.rows_input in given:
            given |= self._from_json(given.pop(self.rows_input), given, read_rows)
        for name in self.options:
            if len(given.get(name, ())) != 1:
                raise BadRequest(f"input {name!r} must have one element; it has {len(given.get(name, ()))}")
        counts = {column: self._count(column, given) for column in self.columns if self._is_given(column, given)}
        first = next(iter(counts), None)
        for column, count in counts.items():
            if count != counts[first or column]:
                raise BadRequest(f"column {column!r} has {count:,} rows, {first!r} {counts[first or column]:,}")
            if count > self.max_rows:
                raise BadRequest(self._too_many(count))
            if self._answers(given, count) > MAX_ANSWERS:
                options = ", ".join(f"{name!r} {int(given[name][0]):,}" for name in self.options)
                raise BadRequest(
                    f"{count:,} rows with {options} are more than {MAX_ANSWERS:,} answers: ask for less"
                )
        for column in self.columns.keys() - counts.keys():
            given |= self._empty_lists(column, counts[first] if first is not None else 0)
        return given

    def _answers(self, given: Arrays, rows: int) -> int:
        """Return how many answers a number of rows gets: `k` of an index per row, or else one."""
        return rows * math.prod(max(1, int(given[name][0])) for name in self.options)

    def _is_given(self, column: str, given: Arrays) -> bool:
        return column not in self.optional or any(name in given for name in self.columns[column].values())

    def _empty_lists(self, column: str, rows: int) -> Arrays:
        names = self.columns[column]
        values, offsets = names["values"] or "", names["offsets"] or ""
        return {values: empty(self.inputs[values]), offsets: np.zeros(rows + 1, np.int64)}

    def _count(self, column: str, given: Arrays) -> int:
        """Return the number of rows of a column."""
        names = {part: name for part, name in self.columns[column].items() if name is not None}
        missing = [name for name in names.values() if name not in given]
        if missing:
            raise BadRequest(f"column {column!r} is missing: expected {', '.join(map(repr, names.values()))}")
        elements = len(given[names["values"]])
        if "valid" in names and len(given[names["valid"]]) != elements:
            raise BadRequest(
                f"column {column!r}: {names['valid']!r} has {len(given[names['valid']]):,} elements, "
                f"{names['values']!r} {elements:,}"
            )
        if "offsets" not in names:
            return elements
        offsets = given[names["offsets"]]
        if not len(offsets) or offsets[0] != 0 or offsets[-1] != elements or (np.diff(offsets) < 0).any():
            raise BadRequest(
                f"column {column!r}: {names['offsets']!r} must start with 0, not decrease, and end with "
                f"{elements:,}, the number of {names['values']!r}"
            )
        return len(offsets) - 1

    def _too_many(self, count: int) -> str:
        return f"the request has {count:,} rows; this server takes at most {self.max_rows:,}: send several"

    def _from_json(self, texts: np.ndarray, others: Arrays, read_rows: ReadRows | None) -> Arrays:
        allowed = {name for column in self.optional for name in self.columns[column].values()}
        if columns := [name for name in others if name not in allowed and name not in self.options]:
            raise BadRequest(f"pass {self.rows_input!r} or columns, not both: {', '.join(map(repr, columns))}")
        if read_rows is None:
            raise BadRequest(f"input {self.rows_input!r} needs kerasrec in the server's Python; pass columns")
        if (size := sum(map(len, texts))) > MAX_JSON:
            raise BadRequest(f"input {self.rows_input!r} has {size:,} bytes; at most {MAX_JSON:,}: send several")
        from kerasrec.serving.triton.json_text import read

        records: list[Any] = []
        for text in texts:
            try:
                value, _ = read(text)
            except (ValueError, RecursionError) as error:
                raise BadRequest(f"input {self.rows_input!r} is not JSON: {shortened(error)}") from None
            records += value if isinstance(value, list) else [value]
        if len(records) > self.max_rows:
            raise BadRequest(self._too_many(len(records)))
        try:
            arrays = read_rows(records) | self._optional_lists(records)
        except (ValueError, TypeError) as error:
            raise BadRequest(str(error)) from None
        if twice := [name for name in arrays if name in others]:
            raise BadRequest(f"input {twice[0]!r} is in {self.rows_input!r} as well: pass one of them")
        return arrays

    def _optional_lists(self, records: list[dict[str, Any]]) -> Arrays:
        """Return the arrays of list columns that rows may leave out, such as `exclude`, if one of them has it."""
        from kerasrec.schema import Column, Schema
        from kerasrec.serving import rows

        arrays: Arrays = {}
        for name in self.optional:
            if not any(name in record for record in records):
                continue
            lists = [record.get(name) for record in records]
            known = [[x for x in each if x is not None] if isinstance(each, list) else each for each in lists]
            values, offsets = self.columns[name]["values"] or "", self.columns[name]["offsets"] or ""
            column = Column(name, self.inputs[values], ("list",))
            of_column = rows([{name: each} for each in known], Schema([column]))
            arrays |= dict(zip((values, offsets), of_column.values(), strict=True))
        return arrays

    # ---- several requests ------------------------------------------------------------------------------------
    def rows(self, arrays: Arrays) -> int:
        """Return the number of rows of arrays that fit each other."""
        for names in self.columns.values():
            return len(arrays[names["offsets"]]) - 1 if names["offsets"] else len(arrays[names["values"] or ""])
        return 1

    def batches(self, parsed: dict[int, Arrays]) -> list[list[int]]:
        """Return which requests are computed together: those of equal options, up to `max_rows` rows."""
        batches: dict[tuple[Any, ...], list[list[int]]] = {}
        sizes: dict[tuple[Any, ...], int] = {}
        for at, arrays in parsed.items():
            key, count = tuple(arrays[name][0] for name in self.options), self.rows(arrays)
            rows = sizes.get(key, 0) + count
            if key not in batches or rows > self.max_rows or self._answers(arrays, rows) > MAX_ANSWERS:
                batches.setdefault(key, []).append([])
                sizes[key] = 0
            batches[key][-1].append(at)
            sizes[key] += count
        return [batch for of_key in batches.values() for batch in of_key]

    def joined(self, requests: list[Arrays]) -> Arrays:
        """Return the arrays of the rows of all requests."""
        if len(requests) == 1:
            return {name: requests[0][name] for name in self.inputs}
        joined = {name: requests[0][name] for name in self.options}
        for names in self.columns.values():
            for part, name in names.items():
                if name is None:
                    continue
                arrays = [request[name] for request in requests]
                joined[name] = offsets_joined(arrays) if part == "offsets" else np.concatenate(arrays)
        return joined

    def nothing(self) -> Arrays:
        """Return the arrays of no rows."""
        arrays = {name: empty(dtype) for name, dtype in self.inputs.items()}
        arrays |= {name: np.ones(1, self.inputs[name]) for name in self.options}
        return arrays | {n["offsets"]: np.zeros(1, np.int64) for n in self.columns.values() if n["offsets"]}


def empty(dtype: str) -> np.ndarray:
    """Return the array of no elements."""
    return np.zeros(0, object if dtype == "string" else dtype)


def offsets_joined(offsets: list[np.ndarray]) -> np.ndarray:
    """Return the offsets of lists whose elements follow each other."""
    starts = np.cumsum([0, *(array[-1] for array in offsets[:-1])])
    return np.concatenate([[0], *(array[1:] + start for array, start in zip(offsets, starts, strict=True))])


def shortened(error: Exception) -> str:
    """Return an error's message without its location in the graph."""
    location = ("Graph execution", "Detected at", "<stack", "[[")
    lines = [line.strip() for line in str(error).splitlines()]
    reason = " ".join(line for line in lines if line and not line.startswith(location))
    return (reason.removeprefix("assertion failed: ") or type(error).__name__)[:REASON]
