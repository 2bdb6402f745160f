"""Models that build themselves from a schema: `Model(schema)` is called on the loader's dict of features."""

from kerasrec.models.base import SchemaModel
from kerasrec.models.dcn import DCN
from kerasrec.models.deepfm import DeepFM
from kerasrec.models.dlrm import DLRM
from kerasrec.models.registry import by_name
from kerasrec.models.wide_and_deep import WideAndDeep
from kerasrec.public_names import public_names

__all__ = ["DCN", "DLRM", "DeepFM", "SchemaModel", "WideAndDeep", "by_name"]

__getattr__, __dir__ = public_names(__name__, __all__)
