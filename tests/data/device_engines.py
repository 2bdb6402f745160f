"""Engines to test beside arrow's: cuDF's where it runs, and one that is a device's in all but the device."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from kerasrec.data import Loader
from kerasrec.data.decode.device import Decoded, DeviceFrames
from kerasrec.data.decode.layout import Ragged


def decode(path, row_groups, columns):
    with pq.ParquetFile(path) as file:
        table = file.read_row_groups(row_groups, columns=[column.name for column in columns])
    return {column.name: decoded(table[column.name].combine_chunks(), column) for column in columns}


def decoded(array, column):
    if not column.is_list:
        return Decoded(array.to_numpy(zero_copy_only=False), array.null_count)
    elements = array.flatten()
    lengths = array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype("int32")
    return Decoded(elements.to_numpy(zero_copy_only=False), elements.null_count, offsets)


def by_numpy(*args, wide=True, **options):
    """A loader that takes NumPy for its device and pyarrow for the decoder there."""
    loader = Loader(*args, **options)
    loader._stream.engine, loader.engine = DeviceFrames(np, decode, wide), "cudf"
    return loader


def by_cudf(*args, **options):
    return Loader(*args, engine="cudf", **options)


def why_no_cudf():
    try:
        import cupy
        import pylibcudf  # noqa: F401

        cupy.cuda.runtime.getDeviceCount()
    except Exception as error:
        return f"no GPU with cuDF: {error}"
    return ""


no_cudf = why_no_cudf()
ENGINES = [
    pytest.param(by_numpy, id="numpy"),
    pytest.param(by_cudf, id="cudf", marks=pytest.mark.skipif(bool(no_cudf), reason=no_cudf)),
]


def host_batches(loader):
    """A pass of any engine's batches as arrays of the host, lists that are not padded as pairs."""
    for batch in loader._stream.batches():
        columns = {}
        for name, column in loader._stream.layout.columns_of(batch).items():
            parts = [column.values, column.offsets] if isinstance(column, Ragged) else [column]
            arrays = tuple(map(loader._stream.engine.host, parts))
            columns[name] = arrays if len(arrays) > 1 else arrays[0]
        yield loader._stream.arrange(columns)


def widened(value):
    """32 bits as 64, as engines for TensorFlow have them."""
    if isinstance(value, dict):
        return {name: widened(each) for name, each in value.items()}
    if isinstance(value, tuple):
        return tuple(map(widened, value))
    return value.astype("int64") if value.dtype == np.int32 else value
