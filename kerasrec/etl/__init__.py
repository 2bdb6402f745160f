"""Feature engineering: raw columns to a model's columns, over Polars' streaming engine and inside a served model.

>>> from kerasrec import etl
>>> cats = ["user", "item"] >> etl.Categorify(min_count=2)
>>> conts = ["age"] >> etl.FillMissing() >> etl.LogOp() >> etl.Normalize()
>>> label = ["clicked"] >> etl.Target()
>>> workflow = etl.Workflow(cats + conts + label)
"""

from typing import NoReturn

from kerasrec.etl.compute import compute
from kerasrec.etl.dataset import Dataset
from kerasrec.etl.operator.nvtabular_names import suggestion
from kerasrec.etl.operator.operator import Node
from kerasrec.etl.ops import (
    AddTags,
    Bucketize,
    Categorify,
    Clip,
    ColumnSimilarity,
    DifferenceLag,
    DropLowCardinality,
    DropNA,
    Elementwise,
    FillMedian,
    FillMissing,
    Filter,
    Groupby,
    HashBucket,
    HashedCross,
    JoinExternal,
    JoinGroupby,
    LambdaOp,
    ListSlice,
    LogOp,
    NegativeSampling,
    Normalize,
    NormalizeMinMax,
    Operator,
    ParseTime,
    ReduceDtypeSize,
    Rename,
    SplitString,
    Target,
    TargetEncoding,
    TimeFeatures,
    ValueCount,
)
from kerasrec.etl.sequences.sequences import Sequences
from kerasrec.etl.sources.split_random import SplitRandom
from kerasrec.etl.sources.splits import SplitByTime, SplitLeaveOneOut
from kerasrec.etl.workflow import Workflow

__all__ = [
    "AddTags",
    "Bucketize",
    "Categorify",
    "Clip",
    "ColumnSimilarity",
    "Dataset",
    "DifferenceLag",
    "DropLowCardinality",
    "DropNA",
    "Elementwise",
    "FillMedian",
    "FillMissing",
    "Filter",
    "Groupby",
    "HashBucket",
    "HashedCross",
    "JoinExternal",
    "JoinGroupby",
    "LambdaOp",
    "ListSlice",
    "LogOp",
    "NegativeSampling",
    "Node",
    "Normalize",
    "NormalizeMinMax",
    "Operator",
    "ParseTime",
    "ReduceDtypeSize",
    "Rename",
    "Sequences",
    "SplitByTime",
    "SplitLeaveOneOut",
    "SplitRandom",
    "SplitString",
    "Target",
    "TargetEncoding",
    "TimeFeatures",
    "ValueCount",
    "Workflow",
    "compute",
]


def __getattr__(name: str) -> NoReturn:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; {suggestion(name, __all__)}")


def __dir__() -> list[str]:
    return list(__all__)
