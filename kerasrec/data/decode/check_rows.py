"""Checking rows in memory once, before the first pass: the error names the row, which that of a pass does not."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from zlib import crc32

import numpy as np

from kerasrec.data.decode.arrow import DECODERS, read
from kerasrec.data.decode.layout import Frame, Layout, check_hotness
from kerasrec.data.files.in_memory import InMemory
from kerasrec.data.files.row_groups import RowGroup
from kerasrec.data.threads import side_by_side


def check_rows(rows: InMemory, row_groups: Sequence[RowGroup], layout: Layout) -> None:
    """Decode all rows as a pass will, and set their checksum.

    Raises:
        ValueError: nulls, NaNs, ids outside [0, cardinality), lists that do not fit, values that the schema's
            dtype cannot represent; names the column, and the first row that has one.
    """

    try:
        checksums = side_by_side(lambda row_group: _checksum(_decode(row_group, layout)), row_groups, DECODERS)
    except ValueError:
        _raise_for_first_row(rows, row_groups, layout)
        raise
    rows.checksum = crc32(np.array(checksums, "uint32").data)


def _decode(row_group: RowGroup, layout: Layout) -> Frame:
    frame = read([row_group], layout, permute=False)
    if layout.pad:
        for column in layout.lists:
            try:
                check_hotness(column, np.diff(frame.lists[column.name].offsets).max(initial=0))
            except ValueError as error:
                raise ValueError(f"{row_group.path}: {error}") from None
    return frame


def _raise_for_first_row(rows: InMemory, row_groups: Sequence[RowGroup], layout: Layout) -> None:
    """Raise the error of the first row that cannot be decoded, with its number."""
    number = 0
    for row_group in row_groups:
        try:
            _decode(row_group, layout)
        except ValueError:
            row = _first_row_with_an_error(row_group, layout)
            place = copy.copy(rows)
            place.label = f"{rows}, row {number + row:,}"
            _decode(replace(row_group, path=place, start=row, rows=1), layout)
        number += row_group.rows


def _first_row_with_an_error(row_group: RowGroup, layout: Layout) -> int:
    """Return the position of the first row in a row group that cannot be decoded, given that there is one."""
    good, rows = 0, row_group.rows  # none before `good` has an error, one of the next `rows` does
    while rows > 1:
        half = rows // 2
        try:
            _decode(replace(row_group, start=good, rows=half), layout)
        except ValueError:
            rows = half
        else:
            good, rows = good + half, rows - half
    return good


def _checksum(frame: Frame) -> int:
    """Return a checksum of all values."""
    arrays = [*(block.T for block in frame.blocks.values()), *frame.vectors.values()]
    for column in frame.lists.values():
        arrays += [column.values, column.offsets]
    checksum = 0
    for array in arrays:
        checksum = crc32(np.ascontiguousarray(array).data, checksum)
    return checksum
