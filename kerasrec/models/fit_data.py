"""The data that a model of `kr.models` is fitted on: what it knows of a `kr.Loader`."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from kerasrec.data.loader import Loader
from kerasrec.data.loader_of import loader_of
from kerasrec.parallel import comm
from kerasrec.parallel.fit.rank_check import check_same_on_ranks

_COMPARED = (
    "total_rows",
    "batch_size",
    "shuffle",
    "seed",
    "epoch",
    "drop_last",
    "pool_rows",
    "ranks",
    "sample_weight",
)


def on_device(data: Any) -> Any:
    """Return data as `fit` is to read it: batches on a GPU not by `tf.data`, which copies them to the host."""
    if isinstance(data, Loader) and data.engine != "arrow" and keras.backend.backend() == "tensorflow":
        return data.tensorflow()
    return data


def rows_of(data: Any) -> int | None:
    """Return the rows, of all ranks, of a loader or of arrays; None for data of other kinds."""
    loader = loader_of(data)
    if loader is not None:
        return loader.total_rows
    arrays = [array for array in keras.tree.flatten(data) if isinstance(array, np.ndarray)]
    return len(arrays[0]) if arrays else None


def fingerprint_of_data(data: Any) -> dict[str, Any] | None:
    """Return what must be equal on all ranks of a loader; None for other data.

    These are the rows it reads and their order, and its files where the ranks share one data set.
    """
    loader = loader_of(data)
    if loader is None:
        return None
    compared = {"batches": len(loader), **{name: getattr(loader, name) for name in _COMPARED}}
    if loader.ranks == comm.size():  # otherwise each rank may have files of its own
        compared |= {"files": loader.fingerprints, "order of files": list(loader.fingerprints)}
    return compared


def compare_data_on_ranks(where: str, data: Any) -> None:
    """Raise `RanksDiffer` where ranks' loaders read other files, or in another order."""
    if comm.size() > 1:
        check_same_on_ranks(where, {"data": fingerprint_of_data(data)})
