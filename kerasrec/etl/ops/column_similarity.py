"""ColumnSimilarity: how alike two columns' ids are, by the features that each id has."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl

from kerasrec.etl.lookup.feature_sets import FeatureSets, learned, similarity, similarity_tensors
from kerasrec.etl.lookup.key_index import check_keys
from kerasrec.etl.operator.keyed import grouped, tags_of
from kerasrec.etl.operator.operator import Columns, Node, Operator, Trusted
from kerasrec.etl.sources.external_frame import check_types
from kerasrec.etl.sources.types import to_polars
from kerasrec.schema import Column

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn

METRICS = ("tfidf", "cosine", "inner")


@dataclass(repr=False)
class ColumnSimilarity(Operator):
    """For pairs of id columns, how alike a row's two ids are: the sum over their common features of the product
    of weights.

    A feature weighs what is given, 1 where nothing is (`metric="inner"`); divided by the root of the id's sum of
    squares, which gives the cosine of the angle between the two ids ("cosine"); or that of weights multiplied
    with log(ids / ids that have the feature) before ("tfidf", Sparck Jones, 1972). A feature given to an id twice
    weighs the sum. An id without features, as a new one, is like no other: 0. A null is an id like any other.

    Features are read when the operator is made, lie in memory, are saved with the workflow and go into a served
    model. They come as a frame, or files of one, whose first column is the id and the second its features (one a
    row, or a list in one row), and perhaps the third their weights (of the features' shape); or as a sparse matrix
    of SciPy's, a row an id from 0 on, a column a feature.

    NVTabular's `ColumnSimilarity`, with its names and weights; it takes sparse matrices only, and an id outside of
    one, or without features, is an error or NaN there.

    Args:
        left_features: the features of a pair's first column.
        right_features: those of the second; by default the same.
        metric: "tfidf", "cosine" or "inner".
        pairs: pairs of columns; by default lists within the list before `>>` are, or the two columns there.

    Raises:
        ValueError: another metric; columns that are no pairs.
        SchemaError: features that are not of the form above, or weights that are null or infinite; (when
            fitted) ids of another type than those that have features.

    Example:

    >>> topics = pl.DataFrame({"page": [1, 1, 2, 3], "topic": ["art", "film", "film", "golf"]})
    >>> alike = [["page", "advert"]] >> ColumnSimilarity(topics, metric="cosine")
    >>> alike.outputs
    ['page_advert_sim']
    """

    left_features: InitVar[Any]
    right_features: InitVar[Any] = None
    metric: str = "tfidf"
    pairs: Sequence[Sequence[str]] = field(default=(), kw_only=True)

    def __post_init__(self, left_features: Any, right_features: Any) -> None:
        if self.metric not in METRICS:
            raise ValueError(f"ColumnSimilarity: metric must be one of {', '.join(METRICS)}, not {self.metric!r}")
        if left_features is not None or not self.pairs:  # else the operator was saved, and so are its frames
            given = [left_features] if right_features is None else [left_features, right_features]
            self.frames = dict(zip(("left", "right"), learned(given, self.metric), strict=False))

    def saved(self, names: Sequence[str]) -> dict[str, Any]:
        return {"left_features": None, **self.settings}

    @classmethod
    def restored(cls, settings: Mapping[str, Any], trusted: Trusted) -> Operator:
        return cls(**{**settings, "left_features": None, "right_features": None})

    # ---- in the graph ----------------------------------------------------------------------------------------
    def apply(self, columns: Columns) -> Node:
        node, groups = grouped(columns)
        op = copy.copy(self)
        op.pairs = [list(pair) for pair in self.pairs or groups or [node.outputs]]
        return Node(op, [node])

    def output_names(self, names: list[str]) -> list[str]:
        for pair in self.pairs:
            if len(pair) != 2 or not set(pair) <= set(names):
                raise ValueError(f"ColumnSimilarity: {list(pair)} is no pair of the columns: {', '.join(names)}")
        return [f"{left}_{right}_sim" for left, right in self.pairs]

    def sources(self, names: list[str]) -> dict[str, list[str]]:
        pairs = [list(dict.fromkeys(pair)) for pair in self.pairs]
        return dict(zip(self.output_names(names), pairs, strict=True))

    # ---- the two faces ---------------------------------------------------------------------------------------
    def _given(self, columns: Sequence[Column]) -> list[tuple[int, int]]:
        """The pairs that can be made of some of the columns, by their places."""
        at = {column.name: i for i, column in enumerate(columns)}
        return [(at[a], at[b]) for a, b in self.pairs if a in at and b in at]

    def output(self, columns: Sequence[Column]) -> list[Column]:
        made = []
        for pair in self._given(columns):
            both = [columns[i] for i in pair]
            check_keys(both, "ColumnSimilarity")
            if "left" not in self.frames:
                raise TypeError("ColumnSimilarity: left_features is None")
            for column, frame in zip(both, self._frames, strict=True):
                check_types([column], frame, {"id": "id"}, "the features")
            name = f"{both[0].name}_{both[1].name}_sim"
            made.append(Column(name, "float64", tags_of(both)))
        return made

    @property
    def _frames(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        left = self.frames["left"]
        return left, self.frames.get("right", left)

    def _sets(self, columns: Sequence[Column]) -> tuple[FeatureSets, FeatureSets, int]:
        """The features of a pair's columns, and a number above all of theirs; made once."""
        cache = self.__dict__.setdefault("_found", {})
        made = []
        for side, column, frame in zip((0, 1), columns, self._frames, strict=True):
            key = side if "right" in self.frames else 0, column.dtype
            if key not in cache:
                cache[key] = FeatureSets(frame, to_polars(column.dtype))
            made.append(cache[key])
        return made[0], made[1], 1 + max(int(one.features.max(initial=0)) for one in made)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_found"}

    def expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        made = []
        for a, b in self._given(columns):
            left, right, features = self._sets([columns[a], columns[b]])
            at = pl.struct(at=left.keys.position([values[a]]), other=right.keys.position([values[b]]))
            similar = partial(_similar, left, right, features)
            made.append(at.map_batches(similar, return_dtype=pl.Float64(), is_elementwise=True))
        return made

    def tensorflow(
        self, columns: Sequence[Column], resources: list[Any]
    ) -> Callable[[list[TensorColumn]], list[TensorColumn]]:
        from kerasrec.etl.lookup.tensor_column import TensorColumn

        pairs = self._given(columns)
        faces = [similarity_tensors(*self._sets([columns[a], columns[b]]), resources) for a, b in pairs]
        return lambda values: [
            TensorColumn(face(values[a], values[b])) for (a, b), face in zip(pairs, faces, strict=True)
        ]


def _similar(left: FeatureSets, right: FeatureSets, features: int, rows: pl.Series) -> pl.Series:
    at, other = (x.to_numpy() for x in rows.struct.unnest().get_columns())
    return pl.Series(rows.name, similarity(left, right, features, at, other))
