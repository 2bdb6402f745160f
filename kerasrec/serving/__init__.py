"""Serving a trained model: a SavedModel that takes raw rows.

`Recommender` makes one model of the four stages of a recommender. `export` writes a SavedModel, `load` reads it
to be called (both import TensorFlow), `rows` makes its inputs. `onnx` writes the part behind the features as an
ONNX file. `triton` writes a model repository for Triton Inference Server.
"""

from typing import TYPE_CHECKING

from kerasrec.public_names import public_names
from kerasrec.serving.rows import rows

if TYPE_CHECKING:
    from kerasrec.serving import triton
    from kerasrec.serving.loading import load
    from kerasrec.serving.onnx_model import onnx
    from kerasrec.serving.recommender.recommender import Recommender
    from kerasrec.serving.saved_model import export
    from kerasrec.serving.served_index import ServedIndex
    from kerasrec.serving.served_model import ServedModel
    from kerasrec.serving.served_recommender import ServedRecommender

__all__ = [
    "Recommender",
    "ServedIndex",
    "ServedModel",
    "ServedRecommender",
    "export",
    "load",
    "onnx",
    "rows",
    "triton",
]

_HOME = {
    "Recommender": "kerasrec.serving.recommender.recommender",
    "export": "kerasrec.serving.saved_model",
    "ServedIndex": "kerasrec.serving.served_index",
    "ServedModel": "kerasrec.serving.served_model",
    "ServedRecommender": "kerasrec.serving.served_recommender",
    "load": "kerasrec.serving.loading",
    "onnx": "kerasrec.serving.onnx_model",
    "triton": "kerasrec.serving.triton",
}
__getattr__, __dir__ = public_names(__name__, __all__, _HOME)
