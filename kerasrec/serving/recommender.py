"""`Recommender`: retrieves candidates, filters them, ranks them and orders the best, as one model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import polars as pl

from kerasrec.parallel import comm
from kerasrec.retrieval.encoders import Retriever
from kerasrec.retrieval.index import Index
from kerasrec.schema import Column, Schema, Tag
from kerasrec.serving.expressions import Filters, Score, check_inputs
from kerasrec.serving.index_model import IndexGraphs, free_name
from kerasrec.serving.item_features import ItemData, ItemFeatures, refuse_shared_names
from kerasrec.serving.ranker import FittedPipeline, Ranker, is_of_item, model_and_workflow
from kerasrec.serving.recommend import Recommend, input_names
from kerasrec.serving.recommender_graph import RecommenderGraph
from kerasrec.serving.recommender_stages import Stages, item_features_of, request_columns
from kerasrec.serving.served_model import ServedSignature
from kerasrec.serving.write import require_tensorflow

if TYPE_CHECKING:
    from kerasrec.data.open import Data
    from kerasrec.etl.workflow import Workflow


class Recommender:
    """Retrieves candidates, filters them, ranks them and orders the best: four stages as one model.

    1. **Filter**: items that do not meet the conditions on their columns, and on the request's, are left out, as
       are excluded ones.
    2. **Retrieve**: of the others, the `candidates` whose vectors fit the query's best. All are compared, so a
       request gets k items if there are as many.
    3. **Rank**: the ranker scores each candidate.
    4. **Order**: by score, or by score and difference from the items before it (`diversity`).

    `kr.serving.export(recommender, path)` writes all of it as one SavedModel, with the features of items in it;
    `recommend` computes the same here. Both have the index's items and the rows of items as they are now, and the
    models' weights of the moment.

    Args:
        retriever: a `kr.retrieval.Index`; or a model whose index needs no rows of items, as a next-item model.
        ranker: a model that predicts for a user and an item, or a `kr.Pipeline` of one.
        item_features: the raw columns of items, one row per item of the index: files, a frame, or a `kr.Loader`
            of transformed rows. What the ranker reads of them is computed once, here. By default the ids alone.
        workflow: the fitted workflow of a stage that has none of its own, as an index and a pipeline may; by
            default that of the other stage. Without any, rows and ids are transformed ones.
        filters: Polars expressions, all of which must be true. Those over columns of items may be any; those that
            also read a request are of the functions that `etl.LambdaOp` serves.
        inputs: further columns of a request, which `filters` and `score` read.
        score: what candidates are ordered by: an output of the ranker, or a Polars expression over its outputs and
            columns of items and requests. An item whose score is null is left out. It may be omitted if there is
            one output.
        candidates: how many items are ranked per request; more where a request wants more.
        diversity: from 0 to 1, the weight of an item's similarity to those before it (by the retriever's vectors),
            beside that of its score: `kerasrec.serving.diversity`.
        item_id: the column of `item_features` that names an item, if it has another name than in the index's data.
        name: for messages and servers.

    Attributes:
        request_columns: the raw columns of a request.

    Raises:
        SchemaError: a column is missing, of another type, or both an item's and a request's.
        ValueError: an item of the index has no row, or several; the filters leave no item; several outputs and no
            `score`; or an argument that is out of range or not used.
        RuntimeError: Keras does not run on TensorFlow.

    Example:

    >>> recommender = kr.serving.Recommender(
    ...     retriever=index, ranker=pipeline, item_features="items.parquet",
    ...     filters=[pl.col("in_stock"), pl.col("price") <= pl.col("max_price")],
    ...     inputs=[kr.Column("max_price", "float64")],
    ... )
    >>> recommender.recommend([{"user": "ann", "max_price": 20.0}], k=3, exclude=[["Heat"]])
    {'ids': array([['Alien', 'Fargo', 'Dune']], dtype=object), 'scores': array([[0.31, 0.22, 0.2]], dtype=float32)}
    >>> kr.serving.export(recommender, "recommender/")
    """

    def __init__(
        self,
        retriever: Index | Retriever,
        ranker: keras.Model | FittedPipeline,
        item_features: ItemData = None,
        *,
        workflow: Workflow | None = None,
        filters: pl.Expr | Sequence[pl.Expr] | None = None,
        inputs: Iterable[Column] = (),
        score: str | pl.Expr | None = None,
        candidates: int = 500,
        diversity: float = 0.0,
        item_id: str | None = None,
        name: str = "recommender",
    ):
        require_tensorflow()
        _check_numbers(candidates, diversity)
        self.name = name
        index = _index_of(retriever)
        model, own = model_and_workflow(ranker)
        workflows = _workflows_of(index, own, workflow)
        retrieving, ranking = IndexGraphs(index, workflows[0]), Ranker.of(model, workflows[1])
        self._items = items = ItemFeatures.of(item_features, item_id or retrieving.item_key.name, retrieving.ids)
        raw = ranking.raw(ranking.reads)
        of_items = [column.name for column in raw if is_of_item(column, items.names, items.key)]
        of_requests = Schema(column for column in raw if column.name not in of_items)
        request = request_columns(retrieving.raw_queries, of_requests)
        further = check_inputs(inputs, request, items.names)
        self.request_columns = request = Schema([*request, *further])
        self._filters = Filters.of(filters, items.names, request)
        self._score = Score.of_outputs(score, ranking.targets, items.names, request)
        read = [*self._filters.names, *self._score.names]
        if unread := [column.name for column in further if column.name not in read]:
            raise ValueError(f"inputs: no filter and no score reads {', '.join(map(repr, unread))}; leave it out")
        self._item_columns = [name for name in items.names if name in (*of_items, *read)]
        refuse_shared_names(self._item_columns, request, items.key)
        self.stages = self._prepare(retrieving, ranking, candidates, diversity)

    def _prepare(self, retriever: IndexGraphs, ranker: Ranker, candidates: int, diversity: float) -> Stages:
        items, request, filters, score = self._items, self.request_columns, self._filters, self._score
        frame = items.frame(self._item_columns)
        keep = filters.kept(frame)
        if not keep.any():
            raise ValueError(f"filters: no item of {len(keep):,} meets {' and '.join(map(str, filters.item))}")
        frame = frame.filter(keep)
        split = ranker.split(items.names, items.key)
        exclude = free_name("exclude", request.names)
        filter_columns = items.columns([name for name in filters.request_names if name in items.names])
        score_columns = items.columns([name for name in score.names if name in items.names])
        return Stages(
            retriever=retriever,
            ids=retriever.ids.values.filter(pl.Series(keep)),
            vectors=retriever.index.vectors[keep],
            ranker=ranker,
            split=split,
            item_key=items.key,
            items=frame,
            item_features=item_features_of(ranker, split.item, frame),
            filters=filters.computed(Schema([*filter_columns, *_without(request, filter_columns)])),
            filter_columns=filter_columns,
            score=score.computed(Schema([*score_columns, *_without(request, score_columns)])),
            score_columns=score_columns,
            request=request,
            request_read=[
                name
                for name in (*filters.request_names, *score.names)
                if name in request and name not in items.names
            ],
            exclude=Column(exclude, retriever.key.dtype, (Tag.LIST,)),
            k=free_name("k", [*request.names, exclude]),
            candidates=candidates,
            diversity=diversity,
        )

    def __len__(self) -> int:
        return len(self.stages.ids)

    def __repr__(self) -> str:
        stages, filters, items = self.stages, self._filters, self._items
        index, all_items = stages.retriever.index, len(items.rows)
        of_items = ", ".join(name for name in self._item_columns) or "nothing"
        lines = [
            f"Recommender of {len(self):,} items",
            f"  retrieve  {min(stages.candidates, len(self)):,} of {len(self):,} items: {index.model.name}, "
            f"{index.vectors.shape[1]} wide, by {index.model.similarity}",
            f"  filter    {'; '.join(map(str, [*filters.item, *filters.request])) or 'none'}"
            + (f": {len(self):,} of {all_items:,} items can be recommended" if filters.item else ""),
            f"  rank      {stages.ranker.model.name}, by {self._score}",
            f"  order     by score{f', diversity {stages.diversity:g}' if stages.diversity else ''}",
            f"  requests  {_described(stages.request)}; k, exclude",
            f"  items     {of_items} of item_features, by {items.key!r}",
        ]
        unused = [name for name in items.names if name not in (*self._item_columns, items.key)]
        if unused:
            lines.append(f"            columns that are not used: {', '.join(unused)}")
        if items.others:
            lines.append(f"            rows that are not in the index: {items.others:,}")
        return "\n".join(lines)

    # ---- using -----------------------------------------------------------------------------------------------
    def recommend(
        self, data: Data, k: int = 10, *, exclude: Sequence[Iterable[Any]] | None = None
    ) -> dict[str, np.ndarray]:
        """Return the best items of each raw row, best first; the first call traces the graph.

        Args:
            data: a Polars, pandas or Arrow frame, or dicts, as `kr.serving.rows` takes them.
            k: how many.
            exclude: for each row the raw ids of items to leave out; unknown ones and None are ignored.

        Returns:
            `ids` (rows, k), strings or integers, and `scores` (rows, k) float32. Where a row has fewer items,
            an id is None or -1, and its score -inf.

        Raises:
            SchemaError, ValueError: as for `kr.serving.rows`; `exclude` has not as many lists as there are rows.
            RuntimeError: there are several ranks.
        """
        return self._recommend(data, k, exclude)

    @cached_property
    def _recommend(self) -> Recommend:
        if comm.size() > 1:
            raise RuntimeError(
                "recommend needs all tables in one process: call kr.serving.export on all ranks, then load"
            )
        graph = RecommenderGraph(self.stages)
        signature = graph.trace()
        module = SimpleNamespace(graph=graph, signatures={"serving_default": signature})
        names = input_names(graph.describe(signature))
        return Recommend(ServedSignature(module, self.name, "serving_default"), self.request_columns, names)


def _check_numbers(candidates: int, diversity: float) -> None:
    if isinstance(candidates, bool) or not isinstance(candidates, int) or candidates < 1:
        raise ValueError(f"candidates must be an integer >= 1; got {candidates!r}")
    if not 0 <= diversity <= 1:
        raise ValueError(f"diversity must be in [0, 1]; got {diversity!r}")


def _index_of(retriever: Any) -> Index:
    if isinstance(retriever, Index):
        return retriever
    if isinstance(retriever, Retriever):
        return Index(retriever)
    raise TypeError(
        f"retriever must be a kr.retrieval.Index, or a model of kr.models that has one; got {retriever!r}"
    )


def _workflows_of(
    index: Index, ranker: Workflow | None, given: Workflow | None
) -> tuple[Workflow | None, Workflow | None]:
    """Return the workflows of the retriever and of the ranker."""
    if given is not None and index.workflow is not None and ranker is not None:
        raise ValueError("workflow= is not used: the index and the pipeline each have their own; leave it out")
    others = [workflow for workflow in (given, index.workflow, ranker) if workflow is not None]
    default = others[0] if others else None
    return index.workflow or default, ranker or default


def _without(columns: Schema, others: Schema) -> list[Column]:
    return [column for column in columns if column.name not in others]


def _described(columns: Schema) -> str:
    kinds = {c.name: f"list of {c.dtype}" if c.is_list else c.dtype for c in columns}
    return ", ".join(f"{name} ({kind})" for name, kind in kinds.items())
