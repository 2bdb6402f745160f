"""Files of checkpoints: safetensors, written as they stream by and read some rows at a time.

Source: https://github.com/huggingface/safetensors: the header's length in 8 bytes, a JSON header, then raw rows.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import ml_dtypes  # noqa: F401  teaches NumPy bfloat16
import numpy as np

from kerasrec.files import flush_tree
from kerasrec.files.readable import what_is_wrong
from kerasrec.tables import row_io

_NAMES = {
    "bool": "BOOL",
    "bfloat16": "BF16",
    **{f"float{bits}": f"F{bits}" for bits in (16, 32, 64)},
    **{f"int{bits}": f"I{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"U{bits}" for bits in (8, 16, 32, 64)},
}
NAME_BYTES = 160  # of the 255 that a file system gives a name
_DTYPES = {name: dtype for dtype, name in _NAMES.items()}


@dataclass(frozen=True)
class Array:
    """An array to be written; `blocks` yields its rows in order, some at a time."""

    shape: tuple[int, ...]
    dtype: str
    blocks: Iterable[np.ndarray]


@dataclass(frozen=True)
class StoredArray:
    """An array in a file; `start` is its first byte there."""

    shape: tuple[int, ...]
    dtype: str
    start: int

    @property
    def stop(self) -> int:
        return self.start + math.prod(self.shape) * np.dtype(self.dtype).itemsize


def is_known(dtype: Any) -> bool:
    """Return whether a file can have arrays of the dtype of that name."""
    return isinstance(dtype, str) and dtype in _NAMES


def file_stems(tables: Iterable[str]) -> dict[str, str]:
    """Return what the names of each table's files begin with: its own name, percent-encoded.

    If that is longer than file systems take, or differs from another by its case alone, it ends in a hash.
    """
    stems = {table: quote(table, safe="") for table in tables}
    times = Counter(stem.lower() for stem in stems.values())
    for table, stem in stems.items():
        if len(stem) > NAME_BYTES or times[stem.lower()] > 1:
            stems[table] = f"{stem[:NAME_BYTES]}@{hashlib.sha256(table.encode()).hexdigest()[:16]}"
    return stems


def write(path: Path, arrays: Mapping[str, Array], save: str) -> dict[str, int]:
    """Write a file of the checkpoint `save`, which it names, and flush it to the disk.

    Returns its number of bytes and its CRC-32.
    """
    header: dict[str, Any] = {"__metadata__": {"save": save}}
    end = 0
    for key, array in arrays.items():
        start, end = end, end + math.prod(array.shape) * np.dtype(array.dtype).itemsize
        header[key] = {"dtype": _NAMES[array.dtype], "shape": array.shape, "data_offsets": (start, end)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    top = len(text).to_bytes(8, "little") + text
    checksum = zlib.crc32(top)
    with path.open("wb") as file:
        file.write(top)
        for array in arrays.values():
            for values in array.blocks:
                data = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
                checksum = zlib.crc32(data, checksum)
                file.write(data)
    flush_tree(path)
    return {"bytes": len(top) + end, "crc32": checksum}


def open_file(path: Path, save: str, size: int) -> dict[str, StoredArray]:
    """Return the arrays of an undamaged file by name, without reading them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, cut short or of another checkpoint than `save`.
    """
    try:
        if wrong := what_is_wrong(path):
            raise ValueError(f"{path} is damaged or cut short: {wrong}")
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            actual_size = path.stat().st_size
            if actual_size != size or length > size:
                raise ValueError(f"{path} is damaged or cut short: expected {size} bytes; got {actual_size}")
            header = json.loads(file.read(length))
        mark = header.pop("__metadata__")["save"]
        arrays = {
            key: StoredArray(tuple(each["shape"]), _DTYPES[each["dtype"]], 8 + length + each["data_offsets"][0])
            for key, each in header.items()
        }
    except FileNotFoundError as error:
        raise FileNotFoundError(f"the checkpoint lacks {path}") from error
    except (UnicodeError, json.JSONDecodeError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged or cut short: its header cannot be read ({error!r})") from error
    for key, array in arrays.items():
        numbers = [*array.shape, array.start]
        if not all(type(number) is int and number >= 0 for number in numbers) or array.stop > size:
            raise ValueError(
                f"{path} is damaged: its header says that {key!r} is {array.shape} from byte {array.start} on"
            )
    if mark != save:
        raise ValueError(f"{path} is of another save: expected {save!r}, as the manifest says; got {mark!r}")
    return arrays


def check(path: Path, save: str, size: int, crc32: int) -> None:
    """Read a file through. Raises as `open_file`, and `ValueError` if any of its bytes changed."""
    open_file(path, save, size)
    checksum = 0
    with path.open("rb") as file:
        while data := file.read(row_io.BLOCK_BYTES):
            checksum = zlib.crc32(data, checksum)
    if checksum != crc32:
        raise ValueError(f"{path} is damaged: expected CRC-32 {crc32:08x}; got {checksum:08x}")


def read(path: Path, array: StoredArray, rows: slice, columns: slice) -> np.ndarray:
    """Return some rows and columns of an array as a view of the file: only what is looked at is read.

    The file is mapped anew for each call, since pages that were read stay mapped as long as the mapping does.
    """
    row_bytes = math.prod(array.shape[1:]) * np.dtype(array.dtype).itemsize
    first = array.start + rows.start * row_bytes
    page = first // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
    length = (rows.stop - rows.start) * row_bytes
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), first - page + length, access=mmap.ACCESS_READ, offset=page)
    values = np.frombuffer(data, array.dtype, length // np.dtype(array.dtype).itemsize, first - page)
    return values.reshape(-1, *array.shape[1:])[:: rows.step, columns]


def read_array(path: Path, array: StoredArray) -> np.ndarray:
    """Return a copy of an array, which should be small."""
    count = math.prod(array.shape)
    return np.fromfile(path, array.dtype, count, offset=array.start).reshape(array.shape)
