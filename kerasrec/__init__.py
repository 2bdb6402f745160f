"""Recommender systems in Keras 3: feature engineering, loading, embeddings, training and serving.

Nothing heavy is imported until it is used: `import kerasrec` costs milliseconds, `kr.layers` imports Keras.
"""

import importlib
from typing import TYPE_CHECKING, Any

from kerasrec._version import __version__
from kerasrec.registration import register_with_keras

if TYPE_CHECKING:
    from kerasrec import (
        callbacks,
        checkpoint,
        data,
        datasets,
        etl,
        layers,
        models,
        optimizers,
        parallel,
        schema,
        serving,
        tables,
    )
    from kerasrec.data.loader import Loader
    from kerasrec.layers.schema_inputs import inputs
    from kerasrec.models.loading import load_model
    from kerasrec.models.saving import save_model, save_weights
    from kerasrec.parallel.checkpoint.checkpoint import restore_tables, save_tables
    from kerasrec.pipeline import Pipeline, load
    from kerasrec.schema import Column, Schema, Tag
    from kerasrec.tables.config import FeatureConfig, TableConfig

_HOME = {
    "Loader": "kerasrec.data.loader",
    "Pipeline": "kerasrec.pipeline",
    "FeatureConfig": "kerasrec.tables.config",
    "TableConfig": "kerasrec.tables.config",
    "Column": "kerasrec.schema",
    "Schema": "kerasrec.schema",
    "Tag": "kerasrec.schema",
    "inputs": "kerasrec.layers.schema_inputs",
    "load": "kerasrec.pipeline",
    "load_model": "kerasrec.models.loading",
    "restore_tables": "kerasrec.parallel.checkpoint.checkpoint",
    "save_model": "kerasrec.models.saving",
    "save_tables": "kerasrec.parallel.checkpoint.checkpoint",
    "save_weights": "kerasrec.models.saving",
}
_ROOMS = (
    "callbacks",
    "checkpoint",
    "data",
    "datasets",
    "etl",
    "layers",
    "models",
    "optimizers",
    "parallel",
    "schema",
    "serving",
    "tables",
)

__all__ = [
    "Column",
    "FeatureConfig",
    "Loader",
    "Pipeline",
    "Schema",
    "TableConfig",
    "Tag",
    "__version__",
    "callbacks",
    "checkpoint",
    "data",
    "datasets",
    "etl",
    "inputs",
    "layers",
    "load",
    "load_model",
    "models",
    "optimizers",
    "parallel",
    "restore_tables",
    "save_model",
    "save_tables",
    "save_weights",
    "schema",
    "serving",
    "tables",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"kerasrec.{name}")
    raise AttributeError(f"module 'kerasrec' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


register_with_keras()
