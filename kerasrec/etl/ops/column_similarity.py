"""ColumnSimilarity: the similarity of two columns of ids by features of the ids."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl

from kerasrec.etl.lookup.feature_sets import FeatureSets, read_features, similarity, similarity_tensors
from kerasrec.etl.lookup.key_index import check_keys
from kerasrec.etl.operator.keyed import common_tags, key_groups
from kerasrec.etl.operator.operator import Columns, Node, Operator, TrustModule
from kerasrec.etl.sources.external_frame import check_types
from kerasrec.etl.sources.types import to_polars
from kerasrec.schema import Column

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn

METRICS = ("tfidf", "cosine", "inner")


@dataclass(repr=False)
class ColumnSimilarity(Operator):
    """Output, for pairs of id columns, the similarity of a row's two ids: the sum over common features of the
    products of weights, float64.

    With `metric="inner"` a feature has the given weight, or 1. With "cosine" the weights of an id are divided by
    their Euclidean norm, so the result is the cosine of the angle between the two ids. With "tfidf" they are first
    multiplied by log(number of ids / number of ids with the feature) (Sparck Jones, 1972). If an id has a feature
    twice, the weights are added. An id without features, such as a new one, has similarity 0. A null is an id like
    any other.

    Features are read when the operator is created, kept in memory, saved with the workflow and included in a
    served model. They are a frame, or files, whose first column is the id, the second its features (one per row,
    or a list), and the optional third their weights (of the same shape); or a SciPy sparse matrix with a row per
    id from 0 on and a column per feature.

    NVTabular's `ColumnSimilarity` has the same arguments and weights, but takes only sparse matrices, and ids
    outside of the matrix or without features are an error or NaN.

    Args:
        left_features: the features of a pair's first column.
        right_features: the features of the second; by default the same.
        metric: "tfidf", "cosine" or "inner".
        pairs: pairs of columns; by default the inner lists before `>>`, or the two columns there.

    Raises:
        ValueError: another metric; columns that are not pairs.
        SchemaError: features of another form, or weights that are null or infinite; (in fit) ids of another dtype
            than those that have features.

    Example:

    >>> topics = pl.DataFrame({"page": [1, 1, 2, 3], "topic": ["art", "film", "film", "golf"]})
    >>> similar = [["page", "advert"]] >> ColumnSimilarity(topics, metric="cosine")
    >>> similar.outputs
    ['page_advert_sim']
    """

    left_features: InitVar[Any]
    right_features: InitVar[Any] = None
    metric: str = "tfidf"
    pairs: Sequence[Sequence[str]] = field(default=(), kw_only=True)

    def __post_init__(self, left_features: Any, right_features: Any) -> None:
        if self.metric not in METRICS:
            raise ValueError(f"ColumnSimilarity: metric must be one of {', '.join(METRICS)}; got {self.metric!r}")
        if left_features is not None or not self.pairs:  # otherwise the frames are loaded with the operator
            features = [left_features] if right_features is None else [left_features, right_features]
            self.frames = dict(zip(("left", "right"), read_features(features, self.metric), strict=False))

    def saved_settings(self, columns: Sequence[Column]) -> dict[str, Any]:
        return {"left_features": None, **self.settings}

    @classmethod
    def from_saved(cls, settings: Mapping[str, Any], trusted: TrustModule) -> Operator:
        return cls(**{**settings, "left_features": None, "right_features": None})

    # ---- in the graph ----------------------------------------------------------------------------------------
    def apply(self, columns: Columns) -> Node:
        node, groups = key_groups(columns)
        op = copy.copy(self)
        op.pairs = [list(pair) for pair in self.pairs or groups or [node.outputs]]
        return Node(op, [node])

    def output_names(self, names: list[str]) -> list[str]:
        for pair in self.pairs:
            if len(pair) != 2 or not set(pair) <= set(names):
                raise ValueError(
                    f"ColumnSimilarity: {list(pair)} is not a pair of columns; available: {', '.join(names)}"
                )
        return [f"{left}_{right}_sim" for left, right in self.pairs]

    def sources(self, names: list[str]) -> dict[str, list[str]]:
        pairs = [list(dict.fromkeys(pair)) for pair in self.pairs]
        return dict(zip(self.output_names(names), pairs, strict=True))

    # ---- the two implementations -----------------------------------------------------------------------------
    def _available_pairs(self, columns: Sequence[Column]) -> list[tuple[int, int]]:
        """Return the pairs that are among `columns`, by index."""
        at = {column.name: i for i, column in enumerate(columns)}
        return [(at[a], at[b]) for a, b in self.pairs if a in at and b in at]

    def output(self, columns: Sequence[Column]) -> list[Column]:
        outputs = []
        for pair in self._available_pairs(columns):
            left_right = [columns[i] for i in pair]
            check_keys(left_right, "ColumnSimilarity")
            if "left" not in self.frames:
                raise TypeError("ColumnSimilarity: left_features is None; pass a frame, files or a matrix")
            for column, frame in zip(left_right, self._frames, strict=True):
                check_types([column], frame, {"id": "id"}, "the features")
            name = f"{left_right[0].name}_{left_right[1].name}_sim"
            outputs.append(Column(name, "float64", common_tags(left_right)))
        return outputs

    @property
    def _frames(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        left = self.frames["left"]
        return left, self.frames.get("right", left)

    def _sets(self, columns: Sequence[Column]) -> tuple[FeatureSets, FeatureSets, int]:
        """Return the features of a pair's columns, and a number above all features; built once."""
        cache = self.__dict__.setdefault("_sets_by_side", {})
        sets = []
        for side, column, frame in zip((0, 1), columns, self._frames, strict=True):
            key = side if "right" in self.frames else 0, column.dtype
            if key not in cache:
                cache[key] = FeatureSets(frame, to_polars(column.dtype))
            sets.append(cache[key])
        return sets[0], sets[1], 1 + max(int(features.features.max(initial=0)) for features in sets)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_sets_by_side"}

    def expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        outputs = []
        for a, b in self._available_pairs(columns):
            left, right, features = self._sets([columns[a], columns[b]])
            at = pl.struct(at=left.keys.position([values[a]]), other=right.keys.position([values[b]]))
            similar = partial(_similar, left, right, features)
            outputs.append(at.map_batches(similar, return_dtype=pl.Float64(), is_elementwise=True))
        return outputs

    def tensorflow(
        self, columns: Sequence[Column], resources: list[Any]
    ) -> Callable[[list[TensorColumn]], list[TensorColumn]]:
        from kerasrec.etl.lookup.tensor_column import TensorColumn

        pairs = self._available_pairs(columns)
        functions = [similarity_tensors(*self._sets([columns[a], columns[b]]), resources) for a, b in pairs]
        return lambda values: [
            TensorColumn(function(values[a], values[b])) for (a, b), function in zip(pairs, functions, strict=True)
        ]


def _similar(left: FeatureSets, right: FeatureSets, features: int, rows: pl.Series) -> pl.Series:
    at, other = (x.to_numpy() for x in rows.struct.unnest().get_columns())
    return pl.Series(rows.name, similarity(left, right, features, at, other))
