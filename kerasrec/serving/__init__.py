"""Serving a trained model: a SavedModel that takes raw rows.

`export` writes it, `load` reads it to be called (both import TensorFlow), `rows` makes its inputs.
"""

from typing import Any

from kerasrec.serving.rows import rows

__all__ = ["export", "load", "rows"]


def __getattr__(name: str) -> Any:
    if name == "export":
        from kerasrec.serving.saved_model import export

        return export
    if name == "load":
        from kerasrec.serving.served_model import ServedModel

        return ServedModel
    raise AttributeError(f"module 'kerasrec.serving' has no attribute {name!r}")
