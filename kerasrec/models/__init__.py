"""Models that build themselves from a schema: `Model(schema)` is called on the loader's dict of features."""

from kerasrec.models.dcn import DCN
from kerasrec.models.deepfm import DeepFM
from kerasrec.models.dlrm import DLRM
from kerasrec.models.wide_and_deep import WideAndDeep

__all__ = ["DCN", "DLRM", "DeepFM", "WideAndDeep"]
