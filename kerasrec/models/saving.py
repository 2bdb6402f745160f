"""Save any Keras model so that a save that fails or is killed leaves the previous file."""

from __future__ import annotations

import os

import keras

from kerasrec.parallel.checkpoint.model_files import save_model_aside, save_weights_aside
from kerasrec.parallel.fit.model_files import save_on_ranks
from kerasrec.parallel.fit.steps import RankSteps


def save_model(
    model: keras.Model, path: str | os.PathLike[str], *, overwrite: bool = True, zipped: bool | None = None
) -> None:
    """Save a model as `keras.Model.save` does, without emptying the existing file first.

    Keras opens the old file and writes over it, so a job that is killed while it saves, or a disk that is full,
    leaves neither the old model nor the new one. Here the model is written beside `path` and takes that name once
    it is complete. `model.save` of `kr.models` and `kr.parallel.Model` does so by itself; this function is for any
    other model. On several ranks all of them call it.

    Args:
        model: any Keras model.
        path: ends in `.keras`, or names a folder with `zipped=False`.
        overwrite: False asks before it replaces something, as Keras does.
        zipped: False writes a folder, not one file.

    Raises:
        FileExistsError: `path` is a folder that holds other files than a saved model's, or one where a file is to
            be written; or `overwrite` is false and nobody answers.

    Example:

    >>> kr.save_model(model, "model.keras")
    >>> save = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: kr.save_model(model, "model.keras"))
    """
    if isinstance(model, RankSteps):
        model.save(path, overwrite=overwrite, zipped=zipped)
    else:
        save_on_ranks(model, model.save, save_model_aside, path, overwrite, zipped=zipped)


def save_weights(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = True,
    max_shard_size: float | None = None,
) -> None:
    """Save weights as `keras.Model.save_weights` does, without emptying the existing file first.

    As `save_model`. With `max_shard_size` the index, `.weights.json`, is replaced last and in one step; the shards
    of each save have names of their own, and the earlier ones are removed when they are no longer listed.

    Args:
        model: any built Keras model.
        path: ends in `.weights.h5`, or in `.weights.json` with `max_shard_size`.
        overwrite: False asks before it replaces something, as Keras does.
        max_shard_size: the most that a file may hold, in GB.
    """
    if isinstance(model, RankSteps):
        model.save_weights(path, overwrite=overwrite, max_shard_size=max_shard_size)
    else:
        options = {"max_shard_size": max_shard_size}
        save_on_ranks(model, model.save_weights, save_weights_aside, path, overwrite, **options)
