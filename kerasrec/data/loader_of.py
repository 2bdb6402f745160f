"""`loader_of`: the `kr.Loader` of what `fit` is given."""

from __future__ import annotations

from typing import Any

from kerasrec.data.frameworks.tf_tensors import TensorFlowBatches
from kerasrec.data.loader import Loader


def loader_of(data: Any) -> Loader | None:
    """Return the loader that data is, or whose batches it converts; None for data of other kinds."""
    if isinstance(data, TensorFlowBatches):
        return loader_of(data.loader)
    return data if isinstance(data, Loader) else None
