"""From a trained model to a SavedModel that takes raw rows, and raw rows into its inputs.

`export` writes it and `load` calls it (TensorFlow is imported then), `rows` makes its inputs.
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
