"""Checking the pages of Parquet files against the CRC-32s that they were written with, without decoding them.

Source: https://parquet.apache.org/docs/file-format/data-pages/checksumming/: a page's header, in Thrift's compact
protocol, may contain the CRC-32 of the bytes that follow it. Headers themselves have none, so their contents are
compared with the footer. Polars and cuDF do not check them."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from kerasrec.parquet.row_groups import leaf_positions

# Fields of a PageHeader, and of the two headers of data pages in it.
_KIND, _SIZE, _CRC, _DATA, _DATA_2, _VALUES = 1, 3, 4, 5, 8, 1
_DATA_PAGE, _DATA_PAGE_2 = 0, 3


def check_pages(path: Path, footer: pq.FileMetaData, row_groups: Iterable[int], columns: Iterable[str]) -> None:
    """Read columns of row groups and compare the checksums of their pages; stop if the file has none.

    Raises:
        ValueError: a page is damaged; names the file, the column and the row group.
    """
    positions = leaf_positions(footer)
    places = [place for name in columns for place in positions.get(name, ())]
    buffer = bytearray()
    with path.open("rb") as file:
        for index in row_groups:
            group = footer.row_group(index)
            for place in places:
                chunk = group.column(place)
                start, size = chunk.data_page_offset, chunk.total_compressed_size
                if chunk.has_dictionary_page and chunk.dictionary_page_offset:
                    start = min(start, chunk.dictionary_page_offset)
                try:
                    if len(buffer) < size <= path.stat().st_size:
                        buffer = bytearray(size)
                    data = memoryview(buffer)[:size]
                    file.seek(start)
                    if file.readinto(data) != size:
                        raise ValueError(f"its {size:,} bytes from byte {start:,} on are not in the file")
                    has_checksums = _check(data, chunk.num_values)
                except (IndexError, KeyError, TypeError, ValueError, OSError) as error:
                    reason = str(error) if type(error) in (ValueError, OSError) else "a page has no header"
                    name = f"column {chunk.path_in_schema!r} in row group {index}"
                    raise ValueError(f"{path}: the file is damaged: {name}: {reason}") from error
                if not has_checksums:
                    return


def _check(data: memoryview, values: int) -> bool:
    """Return whether the pages of a column chunk have checksums. Raises `ValueError` for a wrong one."""
    at = num_values = pages = checked = 0
    while at < len(data):
        header, start = _struct(data, at)
        at = start + header[_SIZE]
        if header[_SIZE] < 0 or at > len(data):
            raise ValueError("a page reaches beyond the end of its column")
        if _CRC in header:
            checked += 1
            if zlib.crc32(data[start:at]) != header[_CRC] & 0xFFFFFFFF:
                raise ValueError("the CRC-32 of a page is not the one that it was written with")
        if header[_KIND] in (_DATA_PAGE, _DATA_PAGE_2):
            num_values += header[_DATA if header[_KIND] == _DATA_PAGE else _DATA_2][_VALUES]
        pages += 1
    if checked and (checked != pages or num_values != values):
        raise ValueError(
            f"its pages contain {num_values:,} values, the footer says {values:,}; "
            f"{checked} of {pages} have a CRC-32"
        )
    return checked > 0


def _struct(data: memoryview, at: int) -> tuple[dict[int, Any], int]:
    """Return a struct's integers and structs by field number, and the end of the struct."""
    fields: dict[int, Any] = {}
    number = 0
    while data[at]:
        step, kind = data[at] >> 4, data[at] & 15
        at += 1
        if step:
            number += step
        else:
            number, at = _integer(data, at)
        fields[number], at = _value(data, at, kind)
    return fields, at + 1


def _value(data: memoryview, at: int, kind: int) -> tuple[Any, int]:
    """Return a value of a kind that page headers have (boolean, integer, bytes, struct), and its end."""
    if kind in (1, 2):
        return kind == 1, at
    if kind in (4, 5, 6):
        return _integer(data, at)
    if kind == 8:
        size, at = _varint(data, at)
        return None, at + size
    if kind == 12:
        return _struct(data, at)
    raise ValueError("the header of a page cannot be read")


def _integer(data: memoryview, at: int) -> tuple[int, int]:
    number, at = _varint(data, at)
    return (number >> 1) ^ -(number & 1), at


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        number |= (data[at] & 0x7F) << shift
        at += 1
        if not data[at - 1] & 0x80:
            return number, at
        shift += 7
