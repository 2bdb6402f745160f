"""The schema of a dataset: its columns, their dtypes, tags, cardinalities and embedding tables.

Feature engineering writes a `Schema`, the loader carries it, models build their inputs from it, and exports turn
it into serving signatures. It is saved as `schema.json` beside the data.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from kerasrec.files import write_aside
from kerasrec.files.readable import KEY, check_checksum, parse_json, what_is_wrong, with_checksum
from kerasrec.tags import Tag, as_tag

__all__ = ["Column", "Hotness", "Schema", "SchemaError", "Tag", "suggest_embedding_dim"]

VERSION = 1
FILENAME = "schema.json"
DTYPES = (
    "bool",
    *("int8", "int16", "int32", "int64"),
    *("uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64"),
    "string",
    "datetime",  # of raw columns; on the wire int64 microseconds since 1970 in UTC
)


class SchemaError(ValueError):
    """A schema that cannot be read, or data that does not fit a schema."""


@dataclass(frozen=True)
class Hotness:
    """The least, the mean and the greatest number of elements in a row of a list column."""

    min: int
    mean: float
    max: int


@dataclass(frozen=True)
class Column:
    """One column of a dataset.

    Args:
        name: the column's name.
        dtype: the dtype of one element, as NumPy names it ("int32", "float32", ...), "string" or "datetime".
        tags: the roles of the column, sorted: each a `Tag`, or any other string.
        cardinality: of a categorical column, the number of ids: every value is in [0, cardinality).
        embedding_dim: of a categorical column, a suggested embedding dimension.
        table: of a categorical column, the embedding table it looks up; columns that share a vocabulary
            share a table.
        hotness: of a list column, the number of elements per row.
        nullable: whether the column had nulls in fit.
        lookup_cdf: of a categorical column, the shares of its table's lookups that go to the first 1, 2, 4, 8, ...
            ids: the cumulative distribution of lookups by id. It is called "head" in `schema.json`.
        weight: of a target, the column with the weights of its rows in the loss, where it has its own.
    """

    name: str
    dtype: str
    tags: tuple[str, ...] = ()
    cardinality: int | None = None
    embedding_dim: int | None = None
    table: str | None = None
    hotness: Hotness | None = None
    nullable: bool = False
    lookup_cdf: tuple[float, ...] | None = None
    weight: str | None = None

    def __post_init__(self) -> None:
        if not self.name or not isinstance(self.name, str):
            raise SchemaError(f"a column's name must be a non-empty string; got {self.name!r}")
        if self.dtype not in DTYPES:
            raise SchemaError(f"column {self.name!r}: unknown dtype {self.dtype!r}; known: {', '.join(DTYPES)}")
        try:
            tags = tuple(sorted({as_tag(tag) for tag in self.tags}))
        except ValueError as error:
            raise SchemaError(f"column {self.name!r}: {error}") from None
        object.__setattr__(self, "tags", tags)
        if self.cardinality is not None and self.cardinality < 1:
            raise SchemaError(f"column {self.name!r}: cardinality must be an integer >= 1; got {self.cardinality}")
        if self.lookup_cdf is not None:
            object.__setattr__(self, "lookup_cdf", _check_cdf(self.name, self.lookup_cdf))

    @property
    def is_list(self) -> bool:
        """Whether each row of the column is a list."""
        return Tag.LIST in self.tags

    @property
    def width(self) -> int | None:
        """The length of the rows of a list column of numbers that are not ids, such as an embedding; None where
        lengths differ, and for other columns."""
        hot = self.hotness
        has_numbers = self.is_list and Tag.CATEGORICAL not in self.tags
        return hot.max if has_numbers and hot is not None and hot.min == hot.max > 0 else None

    def evolve(self, *, add_tags: Iterable[str] = (), **changes: Any) -> Column:
        """Return this column with some fields changed and tags added."""
        tags = (*changes.pop("tags", self.tags), *add_tags)
        return replace(self, tags=tags, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values, without fields that do not apply."""
        present = {name: value for name, value in asdict(self).items() if value not in (None, (), False)}
        values = {_JSON_NAMES.get(name, name): value for name, value in present.items()}
        if self.tags:
            values["tags"] = [str(tag) for tag in self.tags]
        if self.lookup_cdf is not None:
            values["head"] = list(self.lookup_cdf)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Column:
        """Convert from the result of `to_dict`. Raise `SchemaError` for anything else."""
        unknown = set(values) - {_JSON_NAMES.get(field.name, field.name) for field in fields(cls)}
        if unknown:
            raise SchemaError(f"column {values.get('name')!r}: unknown fields {sorted(unknown)}")
        missing = {"name", "dtype"} - set(values)
        if missing:
            raise SchemaError(f"column {values.get('name')!r}: missing fields {sorted(missing)}")
        values = dict(values)
        for name, kind in _KINDS.items():
            value = values.get(name)
            if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
                raise SchemaError(f"column {values['name']!r}: {name} must be {kind.__name__}; got {value!r}")
        if values.get("hotness") is not None:
            try:
                values["hotness"] = _hotness(**values["hotness"])
            except TypeError as error:
                raise SchemaError(f"column {values['name']!r}: bad hotness: {error}") from None
        values["tags"] = tuple(values.get("tags", ()))
        fields_by_json_name = {_JSON_NAMES.get(field.name, field.name): field.name for field in fields(cls)}
        return cls(**{fields_by_json_name[name]: value for name, value in values.items()})


_JSON_NAMES = {"lookup_cdf": "head"}  # of fields that have another name in `schema.json`
_KINDS: dict[str, type] = {  # by name in `schema.json`
    **dict.fromkeys(("name", "dtype", "table", "weight"), str),
    **dict.fromkeys(("cardinality", "embedding_dim"), int),
    **dict.fromkeys(("tags", "head"), list),
    "hotness": dict,
    "nullable": bool,
}


def _hotness(min: int, mean: float, max: int) -> Hotness:
    """Return a `Hotness`. Raise `TypeError` for values that are not numbers."""
    if not (type(min) is int and type(max) is int and type(mean) in (int, float)):
        raise TypeError(f"min, mean and max must be numbers; got {min!r}, {mean!r}, {max!r}")
    return Hotness(min, mean, max)


def _check_cdf(column: str, lookup_cdf: Iterable[float]) -> tuple[float, ...] | None:
    try:
        shares = tuple(map(float, lookup_cdf))
    except (TypeError, ValueError):
        shares = (-1.0,)
    if any(not low <= high for low, high in pairwise((0.0, *shares, 1.0))):
        raise SchemaError(
            f"column {column!r}: lookup_cdf ('head') must be increasing from 0 to 1; got {lookup_cdf!r}"
        )
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

    # ---- reading -------------------------------------------------------------------------------------------
    @property
    def names(self) -> list[str]:
        """The names of the columns, in order."""
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

    def select(self, *tags: str) -> Schema:
        """Return the columns that have all of `tags`. Raise `ValueError` for a tag that is neither a `Tag` nor one
        of a column's."""
        required = self._known(tags)
        return Schema(column for column in self if required <= set(column.tags))

    def without(self, *tags: str) -> Schema:
        """Return the columns that have none of `tags`. Raise `ValueError` as `select` does."""
        excluded = self._known(tags)
        return Schema(column for column in self if not excluded & set(column.tags))

    def _known(self, tags: Iterable[str]) -> set[str]:
        known = dict.fromkeys((*Tag, *(tag for column in self for tag in column.tags)))
        if unknown := [tag for tag in tags if tag not in known]:
            raise ValueError(f"no tag {unknown[0]!r} in the schema; known: {', '.join(known)}")
        return set(tags)

    def subset(self, names: Iterable[str]) -> Schema:
        """Return the named columns, in the order of `names`. Raise `KeyError` for an unknown name."""
        return Schema(self[name] for name in names)

    @property
    def features(self) -> Schema:
        """The columns that a model reads: those that are neither targets nor weights."""
        return Schema(column for column in self if not {Tag.TARGET, Tag.WEIGHT} & set(column.tags))

    @property
    def targets(self) -> Schema:
        """The columns with the tag TARGET."""
        return self.select(Tag.TARGET)

    @property
    def categorical(self) -> Schema:
        """The columns with the tag CATEGORICAL."""
        return self.select(Tag.CATEGORICAL)

    @property
    def continuous(self) -> Schema:
        """The columns with the tag CONTINUOUS."""
        return self.select(Tag.CONTINUOUS)

    # ---- on disk -------------------------------------------------------------------------------------------
    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return {"kerasrec_schema": VERSION, "columns": [column.to_dict() for column in self]}

    @classmethod
    def from_dict(cls, values: Any) -> Schema:
        """Convert from the result of `to_dict`. Raise `SchemaError` for anything else."""
        if not isinstance(values, Mapping) or "kerasrec_schema" not in values:
            raise SchemaError("not a kerasrec schema: there is no 'kerasrec_schema' version")
        if values["kerasrec_schema"] != VERSION:
            raise SchemaError(
                f"the schema has version {values['kerasrec_schema']!r}; this kerasrec reads version {VERSION}"
            )
        columns = values.get("columns")
        if not isinstance(columns, list) or not all(isinstance(column, Mapping) for column in columns):
            raise SchemaError("the schema's 'columns' must be a list of objects")
        return cls(Column.from_dict(column) for column in columns)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the schema to `path`, or to `schema.json` in it if `path` is a folder."""
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
        """Read a schema that `save` wrote. Raise `FileNotFoundError`, or `SchemaError` naming the file."""
        path = _schema_file(path)
        if not path.exists():
            raise FileNotFoundError(f"no schema at {path}; Dataset.to_parquet writes one beside the data")
        if problem := what_is_wrong(path):
            raise SchemaError(f"{path}: not readable as JSON: {problem}")
        return cls.from_json(path.read_bytes(), str(path))

    @classmethod
    def from_json(cls, text: bytes, name: str) -> Schema:
        """Read a schema from the contents `text` of the file `name`. Raise `SchemaError` naming the file."""
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
                    " ".join((*column.tags, *([f"(weight: {column.weight})"] if column.weight else []))),
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
    """Return an embedding dimension for `cardinality` rows: 1.6 * cardinality ** 0.56 (fastai's rule, which
    NVTabular uses), rounded up to a multiple of 8 and clipped to [8, 512]."""
    return min(512, max(8, 8 * round(1.6 * cardinality**0.56 / 8 + 0.4999)))


def __dir__() -> list[str]:
    return __all__
