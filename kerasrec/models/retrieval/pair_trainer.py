"""`PairTrainer`: `compile` and the loss of a model that is trained on pairs of a query and a candidate."""

from __future__ import annotations

import warnings
from typing import Any, TypeAlias

import keras
from keras import ops

from kerasrec.layers.inputs import present
from kerasrec.losses.batch_candidates import BatchCandidates
from kerasrec.losses.in_batch import InBatchLoss, InBatchSoftmax
from kerasrec.losses.item_vectors import CandidateLoss
from kerasrec.models.compile_arguments import OptimizerOrName, resolve_optimizer, suit_to_rows
from kerasrec.models.dataset_arguments import by_name
from kerasrec.models.fit_data import rows_of
from kerasrec.models.retrieval.items import EncodedRows
from kerasrec.models.retrieval.positives import check_dataset, refusing_negatives, where_positive
from kerasrec.models.retrieval.similarity import factors_of, products_of
from kerasrec.models.trainer import SchemaTrainer
from kerasrec.retrieval.scores import Similarity
from kerasrec.schema import Schema
from kerasrec.typing import Tensor

RankingLoss: TypeAlias = InBatchLoss | CandidateLoss


class PairTrainer(SchemaTrainer):
    """Trains a model whose output for a batch of pairs is a vector of each query and of each candidate.

    A subclass has the attributes, and defines `vector_dim` and `items`.

    Attributes:
        item_id: the column that names the candidate.
        similarity: of a query's vector and a candidate's.
    """

    item_id: str
    similarity: Similarity
    loss: RankingLoss
    _batch_candidates: list[BatchCandidates]  # none, or that of the loss; Keras forgets what a list no longer has
    _generator: keras.random.SeedGenerator
    _chose_optimizer = False

    @property
    def vector_dim(self) -> int:
        """The width of the vectors."""
        raise NotImplementedError

    def items(self) -> EncodedRows:
        """Return the vectors of all candidates, as factors of dot products. Raises `ValueError` without such."""
        raise NotImplementedError

    def compile(
        self,
        optimizer: OptimizerOrName = None,
        loss: RankingLoss | None = None,
        loss_weights: None = None,
        metrics: None = None,
        weighted_metrics: None = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Compile as Keras does.

        Args:
            optimizer: as in `SchemaModel.compile`.
            loss: an `InBatchLoss` or a `CandidateLoss` of `kr.losses`; by default `InBatchSoftmax()`, with
                temperature 0.05 for similarity "cosine".
            loss_weights, metrics, weighted_metrics: none: what ranks among a batch's candidates says little about
                all of them. `kr.retrieval.Index` evaluates among all.
            run_eagerly, steps_per_execution, jit_compile, auto_scale_loss: as in Keras.

        Raises:
            ValueError: another loss, or metrics.
        """
        given = {"loss_weights": loss_weights, "metrics": metrics, "weighted_metrics": weighted_metrics}
        for name, value in given.items():
            if value:
                raise ValueError(
                    f"{self.name}: {name} is not supported; kr.retrieval.Index(model, items).evaluate(...) "
                    "has the metrics, among all candidates"
                )
        if loss is None:
            loss = InBatchSoftmax(0.05 if self.similarity == "cosine" else 1.0)
        self._check_loss(loss)
        self._chose_optimizer = optimizer is None
        super().compile(
            resolve_optimizer(optimizer, auto_scale_loss and self.dtype_policy.name == "mixed_float16"),
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            auto_scale_loss=auto_scale_loss,
        )
        self.loss = loss
        self._batch_candidates.clear()
        if isinstance(loss, InBatchLoss):
            width = self.vector_dim + (2 if self.similarity == "l2" else 0)
            self._batch_candidates.append(loss.make_candidates(width, self.item_count))

    def _check_loss(self, loss: object) -> None:
        if isinstance(loss, CandidateLoss):
            self.items()  # it raises where there are none
        elif not isinstance(loss, InBatchLoss):
            raise ValueError(
                f"{self.name}: loss must compare candidates, as kr.losses.InBatchSoftmax() does; got {loss!r}"
            )
        elif isinstance(loss, InBatchSoftmax) and self.similarity == "cosine" and loss.temperature > 0.5:
            warnings.warn(
                f"{self.name}: cosines are in [-1, 1], which a softmax at temperature {loss.temperature} hardly "
                "tells apart; use InBatchSoftmax(temperature=0.05), or similarity='dot'",
                stacklevel=3,
            )

    @property
    def batch_candidates(self) -> BatchCandidates:
        """What the compiled loss keeps between batches. Raises `IndexError` for a loss that keeps nothing."""
        return self._batch_candidates[0]

    @property
    def item_count(self) -> int:
        """The number of ids of candidates."""
        return int(self.schema[self.item_id].cardinality or 0)

    def get_compile_config(self) -> dict[str, Any]:
        config = super().get_compile_config()
        return {**config, "loss": keras.saving.serialize_keras_object(self.loss)} if config else config

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Tensor:
        """Return the mean loss of a batch's pairs, and the penalties of regularizers."""
        penalties = list(self.losses)
        queries, candidates = (ops.cast(y_pred[name], "float32") for name in ("query", "candidate"))
        queries = products_of(queries, self.similarity)
        ids = ops.reshape(present(x, self.item_id), (-1,))
        weights = None if sample_weight is None else ops.reshape(ops.cast(sample_weight, "float32"), (-1,))
        if isinstance(self.loss, InBatchLoss):
            candidates = factors_of(candidates, self.similarity)
            losses = self.loss.per_example(queries, candidates, ids, self.batch_candidates, training)
            total = ops.sum(losses if weights is None else losses * weights)
        else:
            items = self.items()
            total = self.loss.weighted_sum(queries, ids, items, self._generator, weights)
            penalties += items.penalties if training else []
        mean = total / ops.cast(ops.shape(ids)[0], "float32")
        return where_positive(sum(penalties, mean), y)

    def fit(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Fit as `SchemaModel` does, on rows each of which is a pair; a target must be 1 in all of them."""
        arguments = by_name(keras.Model.fit, self, x, *args, **kwargs)
        if arguments.get("class_weight") is not None:
            raise ValueError(f"{self.name}: class_weight needs a target; pairs have no classes")
        for data in (x, arguments.get("validation_data")):
            check_dataset(data)
        with refusing_negatives():
            return super().fit(x, *args, **kwargs)

    def evaluate(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Return the mean loss; `kr.retrieval.Index` has the metrics among all candidates."""
        check_dataset(x)
        with refusing_negatives():
            return super().evaluate(x, *args, **kwargs)

    def _fit(self, arguments: dict[str, Any]) -> Any:
        if self._chose_optimizer and (rows := rows_of(arguments["x"])) is not None:
            suit_to_rows(self.optimizer, rows)
        return super()._fit(arguments)

    def _check_targets(self, schema: Schema, role: str) -> None:
        """Accept targets: `compute_loss` checks that they are all 1."""
