"""From a trained model to a SavedModel that takes raw rows, and raw rows into its inputs.

`export` writes it (TensorFlow is imported then), `rows` makes its inputs (NumPy and Polars only).
"""

from typing import Any

from kerasrec.serving.rows import rows

__all__ = ["export", "rows"]


def __getattr__(name: str) -> Any:
    if name == "export":
        from kerasrec.serving.saved_model import export

        return export
    raise AttributeError(f"module 'kerasrec.serving' has no attribute {name!r}")
