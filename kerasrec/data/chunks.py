"""What to read, in which order: files, their row groups, and the pools of these that are shuffled together."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kerasrec.data.checks import check_ids, check_nulls, check_type
from kerasrec.schema import Schema, SchemaError

Source: TypeAlias = str | os.PathLike[str]


@dataclass(frozen=True)
class Chunk:
    """One row group of a file, the least that is decoded at once, or a rank's part of it.

    Args:
        path: the file.
        row_group: which of its row groups.
        rows: how many rows of it are read.
        unchecked: categorical columns whose statistics say nothing of the ids: decoded ids are looked at.
        start: the first row that is read, where the row group is cut; `None` where it is read whole.
    """

    path: Path
    row_group: int
    rows: int
    unchecked: frozenset[str] = frozenset()
    start: int | None = None

    def within(self, start: int, stop: int) -> Chunk | None:
        """The part of this whole row group from row `start` to before `stop`, which may be beyond its ends."""
        start, stop = max(start, 0), min(stop, self.rows)
        if start >= stop:
            return None
        return self if stop - start == self.rows else replace(self, start=start, rows=stop - start)


def find_files(source: Source | Iterable[Source]) -> list[Path]:
    """The Parquet files of a file name, a folder (its `*.parquet` by name), a glob, or a list of these.

    Raises:
        FileNotFoundError: a source names nothing.
    """
    sources = [source] if isinstance(source, str | os.PathLike) else list(source)
    if not sources:
        raise FileNotFoundError("no data: the list of files is empty")
    files = []
    for each in map(Path, sources):
        if each.is_dir():
            found = sorted(path for path in each.glob("*.parquet") if path.is_file() and path.name[0] not in "._")
        elif each.exists():
            found = [each]
        else:
            found = [Path(path) for path in sorted(glob.glob(str(each), recursive=True))]
        if not found:
            raise FileNotFoundError(
                f"no data: {each} {'holds no *.parquet file' if each.is_dir() else 'does not exist'}"
            )
        files += found
    return files


def find_schema(files: Sequence[Path]) -> Schema:
    """The schema beside the files. Raises `SchemaError` where several folders come with different ones."""
    folders = list(dict.fromkeys(path.parent for path in files))
    schemas = [Schema.load(folder) for folder in folders]
    for folder, schema in zip(folders, schemas, strict=True):
        if schema != schemas[0]:
            raise SchemaError(f"the schemas in {folders[0]} and {folder} differ; pass the one to use as schema=")
    return schemas[0]


def scan(files: Iterable[Path], schema: Schema) -> list[Chunk]:
    """The row groups of the files, each checked against the schema as far as footers tell; no column is read.

    Raises:
        SchemaError: a file lacks a column or has it with another dtype.
        ValueError: a file is not readable as Parquet, or its statistics show nulls or ids out of range.
    """
    chunks = []
    for path in files:
        try:
            footer = pq.read_metadata(path)
            fields = footer.schema.to_arrow_schema()
        except pa.ArrowException as error:
            raise ValueError(f"{path}: not readable as Parquet: {error}") from None
        for column in schema:
            check_type(column, fields, path)
        leaves = _leaves(footer, schema)
        for index in range(footer.num_row_groups):
            group = footer.row_group(index)
            unchecked = set()
            for column in schema:
                facts = group.column(leaves[column.name]).statistics
                if facts is not None and facts.has_null_count and not column.is_list:  # lists count empty ones too
                    check_nulls(column, facts.null_count, path)
                if column.cardinality is not None:
                    if facts is not None and facts.has_min_max:
                        check_ids(column, facts.min, facts.max, path)
                    else:
                        unchecked.add(column.name)
            if group.num_rows:
                chunks.append(Chunk(path, index, group.num_rows, frozenset(unchecked)))
    return chunks


def _leaves(footer: pq.FileMetaData, schema: Schema) -> dict[str, int]:
    """Where a row group keeps each column: Parquet names a list's one leaf `NAME.list.element` or alike."""
    paths = {footer.schema.column(index).path: index for index in range(footer.num_columns)}
    return {
        column.name: next(at for path, at in paths.items() if path.startswith(column.name + "."))
        if column.is_list
        else paths[column.name]
        for column in schema
    }


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
