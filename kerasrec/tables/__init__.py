"""What an embedding table is: its configuration, stack, shards, plan, rows and initial values."""

from typing import TYPE_CHECKING

from kerasrec.public_names import public_names

if TYPE_CHECKING:
    from kerasrec.tables.config import FeatureConfig, TableConfig
    from kerasrec.tables.from_schema import embedding_features

_HOME = {
    "FeatureConfig": "kerasrec.tables.config",
    "TableConfig": "kerasrec.tables.config",
    "embedding_features": "kerasrec.tables.from_schema",
}

__all__ = ["FeatureConfig", "TableConfig", "embedding_features"]

__getattr__, __dir__ = public_names(__name__, __all__, _HOME)
