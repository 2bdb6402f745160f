"""An engine that is a device's in all but the device: NumPy for its arrays, pyarrow for its decoder."""

import numpy as np
import pyarrow.parquet as pq

from kerasrec.data.device_frames import Decoded, DeviceFrames


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


def on_device(loader, wide=False):
    """The same loader with this engine in place of arrow's."""
    loader._engine, loader.engine = DeviceFrames(np, decode, wide), "numpy"
    return loader
