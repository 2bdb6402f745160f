"""Arguments of Keras's `fit`, `evaluate` and `predict` that Keras leaves out, without a word, for a loader."""

from __future__ import annotations

import sys
from types import FrameType
from typing import TYPE_CHECKING, Any

from keras.src.trainers.epoch_iterator import EpochIterator

if TYPE_CHECKING:
    from kerasrec.data.loader import Loader

_CALLS = ("fit", "evaluate", "predict")
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

    Keras tells an adapter nothing of the arguments, so they are read where the question comes from.
    """
    frame = sys._getframe(2)
    given = frame.f_locals
    if frame.f_code.co_name != "__init__" or not isinstance(given.get("self"), EpochIterator):
        return
    for name in ("y", "sample_weight", "class_weight"):
        if given.get(name) is not None:
            refuse(name)
    call = _call(frame)
    validating = call.get("x") is not given.get("x")
    size = "validation_batch_size" if validating else "batch_size"
    if call.get(size) not in (None, loader.batch_size):
        refuse(size)
    if not validating and call.get("shuffle") is False and loader.shuffle:
        refuse("shuffle")


def refuse(name: str) -> None:
    raise ValueError(f"{name}: Keras ignores this argument when the data is a kr.Loader; {_REMEDIES[name]}")


def _call(frame: FrameType | None) -> dict[str, Any]:
    """The arguments of the `fit`, `evaluate` or `predict` that a frame is in."""
    while frame is not None and frame.f_code.co_name not in _CALLS:
        frame = frame.f_back
    return {} if frame is None else frame.f_locals
