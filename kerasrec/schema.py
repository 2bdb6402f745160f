"""The one contract every part reads: what columns a dataset has and what they mean.

Feature engineering writes a `Schema`, the loader carries it, models build their inputs from it and an export
turns it into a serving signature. It is saved as `schema.json` beside the data.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any

from kerasrec.files import write_aside
from kerasrec.files.readable import KEY, check_checksum, parse_json, what_is_wrong, with_checksum

VERSION = 1
FILENAME = "schema.json"
DTYPES = (
    "bool",
    *("int8", "int16", "int32", "int64"),
    *("uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64"),
    "string",
    "datetime",  # of raw columns: microseconds since 1970, UTC, on the wire in int64
)


class SchemaError(ValueError):
    """A schema that cannot be read, or that does not fit what it is used with."""


class Tag(StrEnum):
    """What a column is for."""

    CATEGORICAL = "categorical"
    CONTINUOUS = "continuous"
    TARGET = "target"
    BINARY = "binary"  # a target of 0s and 1s
    REGRESSION = "regression"  # any other target
    WEIGHT = "weight"  # what a row counts for in the loss; neither a feature nor a target
    USER = "user"
    ITEM = "item"
    LIST = "list"


@dataclass(frozen=True)
class Hotness:
    """How many ids a row of a list column holds: the least, the mean and the most seen."""

    min: int
    mean: float
    max: int


@dataclass(frozen=True)
class Column:
    """One column of a dataset.

    Args:
        name: the column's name.
        dtype: of one element, as NumPy names it ("int32", "float32", ...), "string" or "datetime".
        tags: a set of `Tag`; kept sorted.
        cardinality: of a categorical column, the number of ids: every value is in [0, cardinality).
        embedding_dim: of a categorical column, a suggested embedding width.
        table: of a categorical column, the embedding table it looks up; columns that share a vocabulary
            share a table.
        hotness: of a list column, how many elements rows hold.
        nullable: whether nulls were seen.
        head: of a categorical column, what share of its table's lookups goes to the first 1, 2, 4, 8, ... ids;
            so it tells how few ids are most of the data.
    """

    name: str
    dtype: str
    tags: tuple[Tag, ...] = ()
    cardinality: int | None = None
    embedding_dim: int | None = None
    table: str | None = None
    hotness: Hotness | None = None
    nullable: bool = False
    head: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not self.name or not isinstance(self.name, str):
            raise SchemaError(f"a column's name must be a non-empty string, not {self.name!r}")
        if self.dtype not in DTYPES:
            raise SchemaError(f"column {self.name!r}: unknown dtype {self.dtype!r}; known: {', '.join(DTYPES)}")
        try:
            tags = tuple(sorted({Tag(tag) for tag in self.tags}))
        except ValueError as error:
            raise SchemaError(f"column {self.name!r}: {error}; known: {', '.join(Tag)}") from None
        object.__setattr__(self, "tags", tags)
        if self.cardinality is not None and self.cardinality < 1:
            raise SchemaError(f"column {self.name!r}: cardinality must be at least 1, not {self.cardinality}")
        if self.head is not None:
            object.__setattr__(self, "head", _rising_shares(self.name, self.head))

    @property
    def is_list(self) -> bool:
        return Tag.LIST in self.tags

    @property
    def width(self) -> int | None:
        """Of a list column of numbers that are no ids, such as an embedding: how many each row has by `hotness`,
        where all have as many; else None."""
        hot = self.hotness
        numbers = self.is_list and Tag.CATEGORICAL not in self.tags
        return hot.max if numbers and hot is not None and hot.min == hot.max > 0 else None

    def evolve(self, *, add_tags: Iterable[Tag | str] = (), **changes: Any) -> Column:
        """This column with some fields changed and tags added."""
        tags = (*changes.pop("tags", self.tags), *(Tag(tag) for tag in add_tags))
        return replace(self, tags=tags, **changes)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values; facts that do not apply are left out."""
        kept = {name: value for name, value in asdict(self).items() if value not in (None, (), False)}
        if self.tags:
            kept["tags"] = [str(tag) for tag in self.tags]
        if self.head is not None:
            kept["head"] = list(self.head)
        return kept

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Column:
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise SchemaError(f"column {values.get('name')!r}: unknown fields {sorted(unknown)}")
        missing = {"name", "dtype"} - set(values)
        if missing:
            raise SchemaError(f"column {values.get('name')!r}: missing fields {sorted(missing)}")
        values = dict(values)
        for name, kind in _KINDS.items():
            given = values.get(name)
            if given is not None and (not isinstance(given, kind) or (kind is int and isinstance(given, bool))):
                raise SchemaError(f"column {values['name']!r}: {name} must be {kind.__name__}, not {given!r}")
        if values.get("hotness") is not None:
            try:
                values["hotness"] = _hotness(**values["hotness"])
            except TypeError as error:
                raise SchemaError(f"column {values['name']!r}: bad hotness: {error}") from None
        values["tags"] = tuple(values.get("tags", ()))
        return cls(**values)


_KINDS: dict[str, type] = {
    "name": str,
    "dtype": str,
    "tags": list,
    "cardinality": int,
    "embedding_dim": int,
    "table": str,
    "hotness": dict,
    "nullable": bool,
    "head": list,
}


def _hotness(min: int, mean: float, max: int) -> Hotness:
    """Raises `TypeError` for what no list column has."""
    if not (type(min) is int and type(max) is int and type(mean) in (int, float)):
        raise TypeError(f"min, mean and max must be numbers, found {min!r}, {mean!r}, {max!r}")
    return Hotness(min, mean, max)


def _rising_shares(column: str, head: Iterable[float]) -> tuple[float, ...] | None:
    try:
        shares = tuple(map(float, head))
    except (TypeError, ValueError):
        shares = (-1.0,)
    if any(not low <= high for low, high in pairwise((0.0, *shares, 1.0))):
        raise SchemaError(f"column {column!r}: head must be rising shares from 0 to 1, not {head!r}")
    return shares or None


class Schema:
    """An ordered set of columns.

    Example:

    >>> schema = Schema([Column("item", "int32", (Tag.CATEGORICAL,), cardinality=1000), Column("age", "float32")])
    >>> schema["item"].cardinality
    1000
    >>> schema.names
    ['item', 'age']
    """

    def __init__(self, columns: Iterable[Column] = ()):
        self._columns: dict[str, Column] = {}
        for column in columns:
            if column.name in self._columns:
                raise SchemaError(f"two columns are named {column.name!r}")
            self._columns[column.name] = column

    # ---- reading it ----------------------------------------------------------------------------------------
    @property
    def names(self) -> list[str]:
        return list(self._columns)

    def __getitem__(self, name: str) -> Column:
        try:
            return self._columns[name]
        except KeyError:
            raise KeyError(f"no column {name!r}; available: {', '.join(self.names)}") from None

    def __iter__(self) -> Iterator[Column]:
        return iter(self._columns.values())

    def __len__(self) -> int:
        return len(self._columns)

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schema) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def select(self, *tags: Tag | str) -> Schema:
        """The columns that carry every one of `tags`."""
        wanted = {Tag(tag) for tag in tags}
        return Schema(column for column in self if wanted <= set(column.tags))

    def without(self, *tags: Tag | str) -> Schema:
        """The columns that carry none of `tags`."""
        unwanted = {Tag(tag) for tag in tags}
        return Schema(column for column in self if not unwanted & set(column.tags))

    def subset(self, names: Iterable[str]) -> Schema:
        """The named columns, in the order given. Raises `KeyError` for an unknown name."""
        return Schema(self[name] for name in names)

    @property
    def features(self) -> Schema:
        """What a model reads: every column that is neither a target nor a weight."""
        return Schema(column for column in self if not {Tag.TARGET, Tag.WEIGHT} & set(column.tags))

    @property
    def targets(self) -> Schema:
        return self.select(Tag.TARGET)

    @property
    def categorical(self) -> Schema:
        return self.select(Tag.CATEGORICAL)

    @property
    def continuous(self) -> Schema:
        return self.select(Tag.CONTINUOUS)

    # ---- on disk -------------------------------------------------------------------------------------------
    def to_dict(self) -> dict[str, Any]:
        return {"kerasrec_schema": VERSION, "columns": [column.to_dict() for column in self]}

    @classmethod
    def from_dict(cls, values: Any) -> Schema:
        """Raises `SchemaError` for what `to_dict` of a known version cannot have written."""
        if not isinstance(values, Mapping) or "kerasrec_schema" not in values:
            raise SchemaError("this is not a kerasrec schema: it has no 'kerasrec_schema' version")
        if values["kerasrec_schema"] != VERSION:
            raise SchemaError(
                f"the schema is of version {values['kerasrec_schema']!r}; this kerasrec reads version {VERSION}"
            )
        columns = values.get("columns")
        if not isinstance(columns, list) or not all(isinstance(column, Mapping) for column in columns):
            raise SchemaError("the schema's 'columns' must be a list of objects")
        return cls(Column.from_dict(column) for column in columns)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it to `path`, or to `schema.json` inside it where `path` is a folder."""
        path = _schema_file(path)
        lines = ",\n".join("  " + json.dumps(column.to_dict(), ensure_ascii=False) for column in self)
        checksum = with_checksum(self.to_dict())[KEY]
        with write_aside(path) as aside:
            aside.write_text(
                f'{{"kerasrec_schema": {VERSION},\n "columns": [\n{lines}\n ],\n "{KEY}": "{checksum}"}}\n',
                encoding="utf-8",
            )
        return path

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Schema:
        """Read what `save` wrote. Raises `FileNotFoundError`, or `SchemaError` naming the file."""
        path = _schema_file(path)
        if not path.exists():
            raise FileNotFoundError(f"no schema at {path}; a dataset written by kerasrec has one beside its data")
        if wrong := what_is_wrong(path):
            raise SchemaError(f"{path}: not readable as JSON: {wrong}")
        return cls.from_json(path.read_bytes(), str(path))

    @classmethod
    def from_json(cls, text: bytes, name: str) -> Schema:
        """Raises `SchemaError` naming the file `name`, of which `text` is what it holds."""
        try:
            values = parse_json(text, name)
        except ValueError as error:
            raise SchemaError(str(error)) from None
        try:
            schema = cls.from_dict(values)
        except SchemaError as error:
            raise SchemaError(f"{name}: {error}") from None
        try:
            check_checksum(values, name)
        except ValueError as error:
            raise SchemaError(str(error)) from None
        return schema

    def __repr__(self) -> str:
        rows = [("name", "dtype", "tags", "cardinality", "embedding_dim", "table", "hotness")]
        for column in self:
            hot = column.hotness
            rows.append(
                (
                    column.name,
                    column.dtype + ("?" if column.nullable else ""),
                    " ".join(column.tags),
                    "" if column.cardinality is None else f"{column.cardinality:,}",
                    "" if column.embedding_dim is None else str(column.embedding_dim),
                    column.table or "",
                    "" if hot is None else f"{hot.min}..{hot.max} mean {hot.mean:.1f}",
                )
            )
        widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
        lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
        return f"Schema of {len(self)} columns\n" + "\n".join(lines)


def _schema_file(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    return path if path.suffix == ".json" else path / FILENAME


def suggest_embedding_dim(cardinality: int) -> int:
    """A width for a table of `cardinality` rows: 1.6 * cardinality ** 0.56 (fastai's rule, as NVTabular uses
    it), rounded up to a multiple of 8 and kept within [8, 512]."""
    return min(512, max(8, 8 * round(1.6 * cardinality**0.56 / 8 + 0.4999)))
