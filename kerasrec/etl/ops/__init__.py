"""The operators, one per file."""

from kerasrec.etl.operator.elementwise import Elementwise
from kerasrec.etl.operator.operator import Operator
from kerasrec.etl.ops.add_tags import AddTags
from kerasrec.etl.ops.bucketize import Bucketize
from kerasrec.etl.ops.categorify import Categorify
from kerasrec.etl.ops.clip import Clip
from kerasrec.etl.ops.column_similarity import ColumnSimilarity
from kerasrec.etl.ops.difference_lag import DifferenceLag
from kerasrec.etl.ops.drop_low_cardinality import DropLowCardinality
from kerasrec.etl.ops.drop_na import DropNA
from kerasrec.etl.ops.fill_median import FillMedian
from kerasrec.etl.ops.fill_missing import FillMissing
from kerasrec.etl.ops.filter import Filter
from kerasrec.etl.ops.groupby import Groupby
from kerasrec.etl.ops.hash_bucket import HashBucket
from kerasrec.etl.ops.hashed_cross import HashedCross
from kerasrec.etl.ops.join_external import JoinExternal
from kerasrec.etl.ops.join_groupby import JoinGroupby
from kerasrec.etl.ops.lambda_op import LambdaOp
from kerasrec.etl.ops.list_slice import ListSlice
from kerasrec.etl.ops.log import LogOp
from kerasrec.etl.ops.negative_sampling import NegativeSampling
from kerasrec.etl.ops.normalize import Normalize
from kerasrec.etl.ops.normalize_min_max import NormalizeMinMax
from kerasrec.etl.ops.parse_time import ParseTime
from kerasrec.etl.ops.reduce_dtype_size import ReduceDtypeSize
from kerasrec.etl.ops.rename import Rename
from kerasrec.etl.ops.split_string import SplitString
from kerasrec.etl.ops.target import Target
from kerasrec.etl.ops.target_encoding import TargetEncoding
from kerasrec.etl.ops.time_features import TimeFeatures
from kerasrec.etl.ops.value_count import ValueCount

OPERATORS: dict[str, type[Operator]] = {
    op.__name__: op
    for op in (
        AddTags,
        Bucketize,
        Categorify,
        Clip,
        ColumnSimilarity,
        DifferenceLag,
        DropLowCardinality,
        DropNA,
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
        ParseTime,
        ReduceDtypeSize,
        Rename,
        SplitString,
        Target,
        TargetEncoding,
        TimeFeatures,
        ValueCount,
    )
}

__all__ = [*OPERATORS, "OPERATORS", "Elementwise", "Operator"]
