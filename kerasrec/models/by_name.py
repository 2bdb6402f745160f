"""What a model is built of: a class, a function of the schema, or a name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import keras

from kerasrec.models.base import SchemaModel
from kerasrec.models.dcn import DCN
from kerasrec.models.deepfm import DeepFM
from kerasrec.models.dlrm import DLRM
from kerasrec.models.wide_and_deep import WideAndDeep
from kerasrec.schema import Schema

MakeModel: TypeAlias = Callable[[Schema], keras.Model]

BY_NAME: dict[str, type[SchemaModel]] = {
    "dlrm": DLRM,
    "dcn": DCN,
    "deepfm": DeepFM,
    "wide-and-deep": WideAndDeep,
}


def make_model(model: str | MakeModel) -> MakeModel:
    """Return a function that makes a model of a schema.

    Args:
        model: such a function, a class of `kr.models`, or a name of `BY_NAME`; upper case and the kind of dash do
            not matter.

    Raises:
        ValueError: an unknown name.
        TypeError: none of these.
    """
    if isinstance(model, str):
        names = {_plain(name): name for name in BY_NAME}
        if _plain(model) not in names:
            raise ValueError(f"no model {model!r}; available: {', '.join(BY_NAME)}")
        return BY_NAME[names[_plain(model)]]
    if not callable(model):
        raise TypeError(
            "model must be a class of kr.models, a function of the schema, a name such as 'dlrm', or a built "
            f"model; got {type(model).__name__}"
        )
    return model


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")
