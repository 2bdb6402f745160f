"""Serving a trained model: a SavedModel that takes raw rows.

`export` writes it, `load` reads it to be called (both import TensorFlow), `rows` makes its inputs.
"""

from typing import TYPE_CHECKING, Any

from kerasrec.serving.rows import rows

if TYPE_CHECKING:
    from kerasrec.serving.saved_model import export
    from kerasrec.serving.served_model import ServedModel as load

__all__ = ["export", "load", "rows"]


def __getattr__(name: str) -> Any:
    if name == "export":
        from kerasrec.serving.saved_model import export

        return export
    if name == "load":
        from kerasrec.serving.served_model import ServedModel

        return ServedModel
    raise AttributeError(f"module 'kerasrec.serving' has no attribute {name!r}")
