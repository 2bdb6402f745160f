"""Keras's own files, written by rank 0 with every rank's rows of the tables."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from typing import Any

import keras

from kerasrec.parallel import comm
from kerasrec.parallel.comm.data_parallel import average_weights
from kerasrec.tables.variables import untrained_weights


def save_on_ranks(
    model: keras.Model,
    save: Callable[..., None],
    save_aside: Callable[..., None],
    filepath: Any,
    overwrite: bool = True,
    **options: Any,
) -> None:
    """Save a model or its weights so that only rank 0 writes; every rank must call it.

    The file is complete on return, on every rank, and until then what was there is untouched.

    Args:
        model: the model that is saved.
        save: its `save` or `save_weights`, Keras's own.
        save_aside: what writes with it beside the final name (`checkpoint.model_files`).
        filepath, overwrite, options: arguments of `save`.

    Raises:
        FileExistsError: something is at `filepath` and `overwrite` is false.
        ValueError: (several ranks) an `.h5` file of a model.
    """
    if comm.size() == 1:
        save_aside(save, filepath, overwrite, **options)
        return
    named = isinstance(filepath, str | os.PathLike)
    name = os.path.basename(str(filepath)) if named else "model.keras"
    if name.endswith((".h5", ".hdf5")) and not name.endswith(".weights.h5"):
        raise ValueError(
            f"{name!r}: Keras's old HDF5 format would hold only this rank's rows of the tables; "
            "save as .keras, or weights as .weights.h5"
        )
    average_weights(untrained_weights(model))
    if comm.rank():  # it takes part in gathering the tables; its own file has none
        with tempfile.TemporaryDirectory(prefix="kerasrec-") as folder:
            save(os.path.join(folder, name), True, **options)
    else:
        if not overwrite and named and os.path.exists(filepath):
            raise FileExistsError(f"{filepath} exists, and {comm.size()} ranks cannot ask whether to overwrite it")
        save_aside(save, filepath, True, **options)
    comm.barrier()
