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
from kerasrec.schema import Column, Schema
from kerasrec.serving.index_model import IndexGraphs
from kerasrec.serving.recommend import Recommend, input_names
from kerasrec.serving.recommender.graph import RecommenderGraph
from kerasrec.serving.recommender.item_features import ItemData, ItemFeatures
from kerasrec.serving.recommender.ranker import FittedPipeline, Ranker, model_and_workflow
from kerasrec.serving.recommender.stages import Stages
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
            beside that of its score: `kerasrec.serving.recommender.diversity`.
        item_id: the column of `item_features` that names an item, if it has another name than in the index's data.
        name: for messages and servers.

    Attributes:
        stages: what each stage reads and computes.
        candidates, diversity: as given.

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
        rows = ItemFeatures.of(item_features, item_id or retrieving.item_key.name, retrieving.ids)
        self.stages = Stages.of(retrieving, ranking, rows, filters, inputs, score)
        self.candidates, self.diversity = candidates, float(diversity)

    @property
    def request_columns(self) -> Schema:
        """The raw columns of a request."""
        return self.stages.request

    def __len__(self) -> int:
        return len(self.stages.ids)

    def __repr__(self) -> str:
        order = f"diversity {self.diversity:g}" if self.diversity else "no diversity"
        first = f"Recommender: ranks {min(self.candidates, len(self)):,} candidates per request, {order}"
        return "\n  ".join([first, *str(self.stages).splitlines()])

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

    def graph(self) -> RecommenderGraph:
        """Return the graph of these stages, with the present weights."""
        return RecommenderGraph(self.stages, self.candidates, self.diversity)

    @cached_property
    def _recommend(self) -> Recommend:
        if comm.size() > 1:
            raise RuntimeError(
                "recommend needs all tables in one process: call kr.serving.export on all ranks, then load"
            )
        graph = self.graph()
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
