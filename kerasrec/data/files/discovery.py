"""The Parquet files that a path, a glob or an address stands for, and the schema beside them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

from kerasrec import hive
from kerasrec.data.files import remote
from kerasrec.data.files.in_memory import InMemory
from kerasrec.data.files.remote import Remote
from kerasrec.files import globs
from kerasrec.files.addresses import hide_secrets
from kerasrec.schema import FILENAME, Schema, SchemaError

Source: TypeAlias = str | os.PathLike[str]
DataFile: TypeAlias = Path | Remote
Place: TypeAlias = DataFile | InMemory  # where rows are read from


def find_files(
    source: Source | Iterable[Source], storage_options: Mapping[str, Any] | None = None
) -> list[DataFile]:
    """Return the Parquet files that a file name, a folder, a glob, an address, or a list of these stands for.

    A folder stands for its `*.parquet` files and those in its folders named `column=value`, ordered by name.

    Args:
        storage_options: arguments of the addresses' file systems, as fsspec takes them.

    Raises:
        FileNotFoundError: a source matches nothing.
        ImportError, OSError, ValueError: an address cannot be read, as for `remote.find`.
    """
    sources = [source] if isinstance(source, str | os.PathLike) else list(source)
    if not sources:
        raise FileNotFoundError("no data: the list of files is empty")
    return [file for one in sources for file in _files_of(one, storage_options or {})]


def _files_of(source: Source, storage_options: Mapping[str, Any]) -> Sequence[DataFile]:
    matches: Sequence[DataFile]
    matches = remote.find(source, storage_options) if remote.is_address(source) else globs.files(Path(source))
    folders = [match for match in matches if match.is_dir()]
    if len(folders) == len(matches):  # a glob may match folders: they count only if it matches no file
        files = [file for folder in folders for file in hive.files(folder) if file.name.endswith(".parquet")]
    else:
        files = [match for match in matches if not match.is_dir()]
    if not files:
        raise FileNotFoundError(f"no data: {_why_no_files(source, folders)}")
    return files


def _why_no_files(source: Source, folders: Sequence[DataFile]) -> str:
    if not folders:
        return f"{hide_secrets(source)} does not exist"
    others = sorted(entry.name for entry in folders[0].iterdir() if entry.is_dir() and entry.name[0] not in "._")
    hint = f"; to read those in its folders ({', '.join(others[:3])}), pass {hide_secrets(source)}/**/*.parquet"
    return f"{hide_secrets(source)} contains no *.parquet file{hint if others else ''}"


def find_schema(files: Sequence[DataFile]) -> Schema:
    """Return the schema beside the files.

    If folders are named `column=value`, it is the one beside the outermost of these, else the next further in.

    Raises:
        FileNotFoundError: there is no schema.
        SchemaError: the files are in several folders whose schemas differ.
    """
    read = lru_cache(maxsize=None)(_read_schema)
    schemas: dict[DataFile, Schema] = {}
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


def _read_schema(folder: DataFile) -> Schema | None:
    file = folder / FILENAME
    try:
        return Schema.from_json(file.read_bytes(), str(file))
    except FileNotFoundError:
        return None
