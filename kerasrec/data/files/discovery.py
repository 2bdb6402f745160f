"""What to read, in which order: files, their row groups, and the pools of these that are shuffled together."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow.parquet as pq

from kerasrec import hive
from kerasrec.data.files import remote
from kerasrec.data.files.checks import check_ids, check_nulls, check_range, check_type, check_weights, parse
from kerasrec.data.files.remote import Remote, RemoteError
from kerasrec.data.files.versions import version_of
from kerasrec.data.threads import side_by_side
from kerasrec.files import globs
from kerasrec.files.addresses import hide_secrets
from kerasrec.files.readable import what_is_wrong
from kerasrec.parquet import row_groups
from kerasrec.parquet.footers import read_footer
from kerasrec.schema import FILENAME, Column, Hotness, Schema, SchemaError, Tag

Source: TypeAlias = str | os.PathLike[str]
Place: TypeAlias = Path | Remote

REQUESTS = 16  # for footers, at the same time


@dataclass(frozen=True)
class Chunk:
    """One row group of a file, the least that is decoded at once, or a rank's part of it.

    Args:
        path: the file.
        row_group: which of its row groups.
        rows: how many rows of it are read.
        unchecked: categorical columns whose statistics say nothing of the ids: decoded ids are looked at.
        start: the first row that is read, where the row group is cut; `None` where it is read whole.
        constants: columns that the file does not hold, but the names of its folders say: name -> value.
        version: of the file, when its footer was read.
    """

    path: Place
    row_group: int
    rows: int
    unchecked: frozenset[str] = frozenset()
    start: int | None = None
    constants: Mapping[str, Any] = field(default_factory=dict)
    version: Any = None

    def within(self, start: int, stop: int) -> Chunk | None:
        """The part of this whole row group from row `start` to before `stop`, which may be beyond its ends."""
        start, stop = max(start, 0), min(stop, self.rows)
        if start >= stop:
            return None
        return self if stop - start == self.rows else replace(self, start=start, rows=stop - start)


def find_files(source: Source | Iterable[Source], storage_options: Mapping[str, Any] | None = None) -> list[Place]:
    """The Parquet files of a file name, a folder, a glob, or a list of these; each may be an address (s3://...).

    A folder stands for its `*.parquet` and those in its folders named `column=value`, by name.

    Args:
        storage_options: of the addresses' file systems, as fsspec takes them.

    Raises:
        FileNotFoundError: a source names nothing.
        ImportError, OSError, ValueError: an address cannot be read, as `remote.find`.
    """
    sources = [source] if isinstance(source, str | os.PathLike) else list(source)
    if not sources:
        raise FileNotFoundError("no data: the list of files is empty")
    files: list[Place] = []
    found: Sequence[Place]
    for each in sources:
        found = remote.find(each, storage_options or {}) if remote.is_address(each) else globs.files(Path(each))
        folders = [place for place in found if place.is_dir()]
        if len(folders) == len(found):  # a glob may match folders: they count where it matches no file
            found = [file for folder in folders for file in hive.files(folder) if file.name.endswith(".parquet")]
        else:
            found = [place for place in found if not place.is_dir()]
        if not found:
            raise FileNotFoundError(f"no data: {_what_is_there(each, folders)}")
        files += found
    return files


def _what_is_there(source: Source, folders: Sequence[Place]) -> str:
    if not folders:
        return f"{hide_secrets(source)} does not exist"
    others = sorted(each.name for each in folders[0].iterdir() if each.is_dir() and each.name[0] not in "._")
    hint = f"; to read those in its folders ({', '.join(others[:3])}), pass {hide_secrets(source)}/**/*.parquet"
    return f"{hide_secrets(source)} holds no *.parquet file{hint if others else ''}"


def find_schema(files: Sequence[Place]) -> Schema:
    """The schema beside the files. Where folders are named `column=value`, that is the one beside the outermost of
    these, else the next further in. Raises `SchemaError` where several folders come with different ones."""
    read = lru_cache(maxsize=None)(_read_schema)
    schemas: dict[Place, Schema] = {}
    for folder in dict.fromkeys(path.parent for path in files):
        folders = [folder]
        while hive.is_partition(folders[-1].name):
            folders.append(folders[-1].parent)
        for outermost in reversed(folders):
            if (schema := read(outermost)) is not None:
                schemas[outermost] = schema
                break
        else:
            raise FileNotFoundError(
                f"no schema at {folders[-1] / FILENAME}; a dataset written by kerasrec has one beside its data"
            )
    first = next(iter(schemas))
    for folder, schema in schemas.items():
        if schema != schemas[first]:
            raise SchemaError(f"the schemas in {first} and {folder} differ; pass the one to use as schema=")
    return schemas[first]


def _read_schema(folder: Place) -> Schema | None:
    file = folder / FILENAME
    try:
        return Schema.from_json(file.read_bytes(), str(file))
    except FileNotFoundError:
        return None


def scan(files: Sequence[Place], schema: Schema) -> tuple[list[Chunk], Schema]:
    """The row groups of the files, each checked against the schema as far as footers tell; no column is read.

    A column that a file does not hold is what the names of the file's folders say: `day=3/part-0.parquet`. The
    schema is returned with the hotness of list columns which are of one fixed size in all files and had none.

    Raises:
        SchemaError: a file lacks a column or has it in a type that does not fit, or a folder's name does not.
        OSError: a file does not answer.
        ValueError: a file is not readable as Parquet, or its statistics show nulls or ids out of range.
    """
    chunks = []
    sizes: dict[str, set[int]] = {}  # of list columns: -1 in a file where rows may differ
    folders = [hive.partitions(path.parts[:-1]) for path in files]
    named = {name: path for path, values in zip(files, folders, strict=True) for name in values}
    for path, values, (version, footer) in zip(files, folders, _footers(files), strict=True):
        if not footer.num_rows:
            continue
        fields = footer.schema.to_arrow_schema()
        constants = {}
        held = []
        for column in schema:
            if column.name in values and column.name not in fields.names:
                constants[column.name] = parse(column, values[column.name], footer.num_rows, path)
            elif column.name in named and column.name not in fields.names:
                raise SchemaError(
                    f"{path}: column {column.name!r} is neither in the file nor in the name of a folder of it, "
                    f"as in that of {named[column.name]}"
                )
            else:
                check_type(column, fields, path)
                held.append(column)
                if column.is_list:
                    size = getattr(fields.field(column.name).type, "list_size", -1)
                    sizes.setdefault(column.name, set()).add(size)
        leaves = row_groups.leaves(footer)
        for index in range(footer.num_row_groups):
            group = footer.row_group(index)
            unchecked = _unchecked(group, leaves, held, path)
            if group.num_rows:
                chunks.append(Chunk(path, index, group.num_rows, unchecked, constants=constants, version=version))
    fixed = {name: found.pop() for name, found in sizes.items() if len(found) == 1}
    return chunks, Schema(_of_size(column, fixed.get(column.name, -1)) for column in schema)


def _of_size(column: Column, size: int) -> Column:
    known = size < 1 or column.hotness is not None
    return column if known else column.evolve(hotness=Hotness(size, float(size), size))


def _footers(files: Sequence[Place]) -> Iterable[tuple[Any, pq.FileMetaData]]:
    def read(path: Place) -> tuple[Any, pq.FileMetaData]:
        try:
            version = version_of(path)
            if not isinstance(path, Remote) and (wrong := what_is_wrong(path)):
                raise ValueError(wrong)
            footer = path.footer if isinstance(path, Remote) else read_footer(path)
            footer.schema.to_arrow_schema()
        except (RemoteError, FileNotFoundError, PermissionError):
            raise
        except Exception as error:  # Arrow has many kinds for what a damaged footer may say
            raise ValueError(f"{path}: not readable as Parquet: {error}") from None
        return version, footer

    if any(isinstance(path, Remote) for path in files):
        return side_by_side(read, files, REQUESTS)  # each waits for a server
    return map(read, files)


def _unchecked(
    group: pq.RowGroupMetaData, leaves: Mapping[str, range], columns: Sequence[Column], path: Place
) -> frozenset[str]:
    """Check columns by what a row group's statistics say; return those whose ids they do not tell."""
    unchecked = set()
    for column in columns:
        facts = _statistics(group, leaves, column)
        if facts is not None and facts.has_null_count and not column.is_list:  # lists count empty ones too
            check_nulls(column, facts.null_count, path)
        known = facts is not None and facts.has_min_max
        low: Any = facts.min if known else None
        high: Any = facts.max if known else None
        if column.cardinality is not None:
            if known:
                check_ids(column, low, high, path)
            else:
                unchecked.add(column.name)
        if isinstance(low, int):
            check_range(column, low, high, path)
        if Tag.WEIGHT in column.tags and isinstance(low, int | float):
            check_weights(column, low, high, path)
    return frozenset(unchecked)


def _statistics(group: pq.RowGroupMetaData, leaves: Mapping[str, range], column: Column) -> Any:
    """Return the statistics of a column of one leaf, as numbers and lists of numbers are; None without any."""
    places = leaves.get(column.name, ())
    return group.column(places[0]).statistics if len(places) == 1 else None


def pools(
    chunks: Sequence[Chunk], span: range, rows: int, rng: np.random.Generator | None = None
) -> Iterator[list[Chunk]]:
    """Groups of chunks of at least `rows` rows each (the last may have fewer), covering each row of a span once.

    `span` counts rows along the row groups in file order or, with `rng`, in an order drawn at random from all
    files; only a row group in which it begins or ends is cut. The chunks of a pool are in file order even then, so
    that neighbours are read in one go: the rows of a pool are permuted anyway.
    """
    order = range(len(chunks)) if rng is None else rng.permutation(len(chunks)).tolist()
    begins = accumulate((chunks[index].rows for index in order), initial=0)
    pool: dict[int, Chunk] = {}
    held = 0
    for index, begin in zip(order, begins, strict=False):
        chunk = chunks[index].within(span.start - begin, span.stop - begin)
        if chunk is None:
            continue
        pool[index] = chunk
        held += chunk.rows
        if held >= rows:
            yield [pool[each] for each in sorted(pool)]
            pool, held = {}, 0
    if pool:
        yield [pool[each] for each in sorted(pool)]
