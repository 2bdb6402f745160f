"""Recommender systems in Keras 3: feature engineering, loading, embeddings, training and serving.

Nothing heavy is imported until it is used: `import kerasrec` costs milliseconds, `kr.layers` imports Keras.
"""

from typing import TYPE_CHECKING

from kerasrec._version import __version__
from kerasrec.public_names import public_names
from kerasrec.registration import register_with_keras

if TYPE_CHECKING:
    from kerasrec import (
        callbacks,
        checkpoint,
        data,
        datasets,
        etl,
        layers,
        losses,
        metrics,
        models,
        optimizers,
        parallel,
        retrieval,
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
    from kerasrec.schema import Column, Schema, SchemaError, Tag
    from kerasrec.tables.config import FeatureConfig, TableConfig

_HOME = {
    "Loader": "kerasrec.data.loader",
    "Pipeline": "kerasrec.pipeline",
    "FeatureConfig": "kerasrec.tables.config",
    "TableConfig": "kerasrec.tables.config",
    "Column": "kerasrec.schema",
    "Schema": "kerasrec.schema",
    "SchemaError": "kerasrec.schema",
    "Tag": "kerasrec.schema",
    "inputs": "kerasrec.layers.schema_inputs",
    "load": "kerasrec.pipeline",
    "load_model": "kerasrec.models.loading",
    "restore_tables": "kerasrec.parallel.checkpoint.checkpoint",
    "save_model": "kerasrec.models.saving",
    "save_tables": "kerasrec.parallel.checkpoint.checkpoint",
    "save_weights": "kerasrec.models.saving",
}
_PACKAGES = (
    "callbacks",
    "checkpoint",
    "data",
    "datasets",
    "etl",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "parallel",
    "retrieval",
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
    "SchemaError",
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
    "losses",
    "metrics",
    "models",
    "optimizers",
    "parallel",
    "restore_tables",
    "retrieval",
    "save_model",
    "save_tables",
    "save_weights",
    "schema",
    "serving",
    "tables",
]


__getattr__, __dir__ = public_names(__name__, __all__, _HOME | {name: f"kerasrec.{name}" for name in _PACKAGES})

register_with_keras()
