"""Arguments of Keras's `fit`, `evaluate` and `predict` that Keras leaves out, without a word, for a loader."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kerasrec._keras import fit_arguments

if TYPE_CHECKING:
    from kerasrec.data.loader import Loader

_REMEDIES = {
    "y": "its targets are the schema's: choose them with Loader(targets=...)",
    "sample_weight": "name the column with Loader(sample_weight=...), or make weights with loader.map",
    "class_weight": "kr.models take class_weight; for another model make weights with loader.map",
    "batch_size": "set it with Loader(batch_size=...)",
    "validation_batch_size": "set it with Loader(batch_size=...)",
    "shuffle": "set it with Loader(shuffle=...)",
}


def refuse_ignored(loader: Loader) -> None:
    """Raise `ValueError` for such an argument; called by what Keras asks first of a data adapter.

    Keras tells an adapter nothing of the arguments (`_keras.fit_arguments`).
    """
    given = fit_arguments()
    if given is None:
        return
    for name, value in (
        ("y", given.y),
        ("sample_weight", given.sample_weight),
        ("class_weight", given.class_weight),
    ):
        if value is not None:
            refuse(name)
    if given.batch_size not in (None, loader.batch_size):
        refuse("validation_batch_size" if given.validation else "batch_size")
    if not given.validation and given.shuffle is False and loader.shuffle:
        refuse("shuffle")


def refuse(name: str) -> None:
    raise ValueError(f"{name}: Keras ignores this argument when the data is a kr.Loader; {_REMEDIES[name]}")
