"""Arguments of `fit`, `evaluate` and `predict` that Keras silently ignores when the data is a loader."""

from __future__ import annotations

from kerasrec._keras import fit_arguments

_REMEDIES = {
    "y": "its targets are the schema's: choose them with Loader(targets=...)",
    "sample_weight": "name the column with Loader(sample_weight=...), or make weights with loader.map",
    "class_weight": "kr.models take class_weight; for another model make weights with loader.map",
    "batch_size": "set it with Loader(batch_size=...)",
    "validation_batch_size": "set it with Loader(batch_size=...)",
    "shuffle": "set it with Loader(shuffle=...)",
}


def refuse_unused_arguments(batch_size: int, shuffle: bool) -> None:
    """Raise `ValueError` if the call of Keras that asks for a loader's number of batches has such an argument.

    Args:
        batch_size: the loader's.
        shuffle: whether the loader shuffles.
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
    if given.batch_size not in (None, batch_size):
        refuse("validation_batch_size" if given.validation else "batch_size")
    if not given.validation and given.shuffle is False and shuffle:
        refuse("shuffle")


def refuse(name: str) -> None:
    """Raise the `ValueError` for an argument that a loader decides."""
    raise ValueError(f"{name}: Keras ignores this argument when the data is a kr.Loader; {_REMEDIES[name]}")
