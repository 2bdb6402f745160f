"""Files at addresses (s3://, https://, memory://), read through fsspec's file systems."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Any, TypeGuard
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from kerasrec.files import globs
from kerasrec.files.addresses import has_secrets, hide_secrets
from kerasrec.parquet.footers import read_footer

TAIL = 65_536  # bytes that are fetched from the end of a file for its footer
GAP = 65_536  # the most bytes between two ranges of a file that are fetched in one request


@dataclass(frozen=True)
class Remote:
    """A file or a folder at an address, with those methods of `pathlib.Path` that the loader calls.

    Args:
        address: the address with its protocol; messages contain it without the keys in it.
        path: its path on the file system.
        system: an fsspec file system.
        folder: whether it is a folder in a listing.
    """

    address: str
    path: str = field(compare=False, repr=False)
    system: Any = field(compare=False, repr=False)
    folder: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        return hide_secrets(self.address)

    def __repr__(self) -> str:
        return f"Remote({str(self)!r})"

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(unquote(part) if self.web else part for part in self._bare.split("/"))

    @property
    def name(self) -> str:
        return self.parts[-1]

    @property
    def parent(self) -> Remote:
        return self._at(self._bare.rpartition("/")[0])

    @property
    def web(self) -> bool:
        """Whether it is a web address, whose path is quoted and may end in a query."""
        return self.path.startswith(("http://", "https://"))

    @property
    def _bare(self) -> str:
        return self.path.partition("?")[0] if self.web else self.path

    def __truediv__(self, name: str) -> Remote:
        return self._at(f"{self.path}/{name}")

    def _at(self, path: str, folder: bool = False) -> Remote:
        return Remote(self.system.unstrip_protocol(path), path, self.system, folder)

    def is_dir(self) -> bool:
        return self.folder

    def iterdir(self) -> Iterator[Remote]:
        with self.naming_address():
            listed = self.system.ls(self.path, detail=True)
        for entry in listed:
            path = entry["name"].rstrip("/")
            if path != self.path:  # S3 lists an empty object for the folder itself
                yield self._at(path, folder=entry["type"] == "directory")

    def read_bytes(self) -> bytes:
        with self.naming_address():
            return self.system.cat_file(self.path)

    def info(self) -> Mapping[str, Any]:
        """Return the store's current information about the file."""
        with self.naming_address():
            self.system.invalidate_cache(self.system._parent(self.path))
            return self.system.info(self.path)

    @cached_property
    def size(self) -> int:
        with self.naming_address():
            size = self.system.size(self.path)
            if size is None:
                raise OSError("the server does not say how long the file is")
            return size

    @cached_property
    def footer(self) -> pq.FileMetaData:
        """The Parquet footer, fetched once. Raises `OSError`, or other errors if it is not a footer."""
        return read_footer(_Ranges(self, [(max(0, self.size - TAIL), self.size)]))

    def read_row_groups(self, row_groups: Iterable[int], names: Iterable[str], verify: bool) -> pa.Table:
        """Read some columns of some row groups; `verify` compares checksums. Raises `OSError`.

        Only their bytes are fetched, and those of gaps up to `GAP`, in concurrent requests if the file system can.
        """
        row_groups, columns = list(row_groups), set(names)
        ranges = []
        for index in row_groups:
            group = self.footer.row_group(index)
            for at in range(group.num_columns):
                leaf = group.column(at)
                parts = leaf.path_in_schema.split(".")
                if not columns.isdisjoint(accumulate(parts, "{}.{}".format)):  # as Arrow chooses leaves
                    start = leaf.data_page_offset
                    if leaf.has_dictionary_page and leaf.dictionary_page_offset:
                        start = min(start, leaf.dictionary_page_offset)
                    ranges.append((start, start + leaf.total_compressed_size))
        source = _Ranges(self, _joined(ranges))
        with self.naming_address(), _opened(source, self.footer, verify) as file:
            return file.read_row_groups(row_groups, columns=sorted(columns))

    def fetch(self, ranges: list[tuple[int, int]]) -> list[bytes]:
        """Fetch ranges of bytes. Raises `OSError`."""
        if not ranges:
            return []
        with self.naming_address():
            starts, stops = map(list, zip(*ranges, strict=True))
            fetched = self.system.cat_ranges([self.path] * len(ranges), starts, stops, on_error="raise")
            for (start, stop), data in zip(ranges, fetched, strict=True):
                if isinstance(data, BaseException):
                    raise data
                if len(data) != stop - start:
                    hint = "; does the server support range requests?" if len(data) > stop - start else ""
                    raise OSError(f"asked for {stop - start:,} bytes at {start:,}, got {len(data):,}{hint}")
            return fetched

    @contextmanager
    def naming_address(self) -> Iterator[None]:
        """Raise the error of a store, whatever its type, as one that names the address."""
        try:
            yield
        except RemoteError:
            raise
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{self}: there is no such file or folder") from _cause(self.address, error)
        except Exception as error:
            reason = hide_secrets(error) or type(error).__name__
            raise RemoteError(f"{self}: cannot be read: {reason}") from _cause(self.address, error)


class RemoteError(OSError):
    """An address that cannot be read; the message names it."""


class _Ranges(io.RawIOBase):
    """A binary file for pyarrow, with some ranges fetched at once and the others when they are read."""

    def __init__(self, file: Remote, ranges: Sequence[tuple[int, int]] = ()):
        self.file, self.at = file, 0
        self.fetched = list(zip(ranges, file.fetch(list(ranges)), strict=True))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.file.size}[whence]
        return self.at

    def read(self, size: int | None = -1) -> bytes:
        stop = self.file.size if size is None or size < 0 else min(self.at + size, self.file.size)
        first, self.at = self.at, max(self.at, stop)
        for (start, end), data in self.fetched:
            if start <= first and stop <= end:
                return data[first - start : stop - start]
        return self.file.fetch([(first, stop)])[0] if first < stop else b""


def _opened(source: _Ranges, footer: pq.FileMetaData, verify: bool) -> pq.ParquetFile:
    return pq.ParquetFile(pa.PythonFile(source, mode="r"), metadata=footer, page_checksum_verification=verify)


def _joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join ranges of bytes with gaps up to `GAP`."""
    joined: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if joined and start <= joined[-1][1] + GAP:
            joined[-1] = joined[-1][0], max(stop, joined[-1][1])
        else:
            joined.append((start, stop))
    return joined


def _cause(address: str, error: Exception) -> Exception | None:
    """Return a store's error for a traceback; None if it may contain keys of the address."""
    return None if has_secrets(address) else error


def is_address(source: object) -> TypeGuard[str]:
    return isinstance(source, str) and "://" in source


def find(address: str, storage_options: Mapping[str, Any]) -> list[Remote]:
    """Return the file or the folder at an address, or everything that a glob there matches.

    Raises:
        ImportError: fsspec, or the store's own package, is not installed.
        OSError: nothing is there, or the store does not answer.
        ValueError: there is no file system for the protocol.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise ImportError(
            f'{hide_secrets(address)}: reading addresses needs fsspec ({error}): pip install "kerasrec[remote]"'
        ) from error
    try:
        system, path = url_to_fs(address, **storage_options)
    except (ImportError, ValueError) as error:
        raise type(error)(hide_secrets(f"{address}: {error}")) from _cause(address, error)
    except OSError as error:  # of an address within an address, as zip://part.parquet::https://...
        raise OSError(hide_secrets(f"{address}: cannot be read: {error}")) from _cause(address, error)
    system.invalidate_cache()  # of listings, so that new files are found
    place = Remote(address, path.rstrip("/"), system)
    with place.naming_address():
        marks = "*[" if place.web else globs.MARKS
        if any(mark in path for mark in marks) and not system.exists(path):
            matches = system.glob(globs.escaped(path, system.exists, marks), detail=True)
            return [place._at(name.rstrip("/"), info["type"] == "directory") for name, info in matches.items()]
        if place.web:  # there are no folders, only pages of links
            folder = "?" not in path and not place.name.endswith((".parquet", ".pq"))
        else:
            folder = system.info(path)["type"] == "directory"
    return [Remote(address.rstrip("/"), place.path, system, folder)]
