"""`NextItemTrainer`: `compile`, and the steps of `fit` and `evaluate`, of models that predict the next item."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from kerasrec.etl.dataset import Dataset
from kerasrec.layers.sequence.token_rows import TokenRows
from kerasrec.losses.full_softmax import FullSoftmax
from kerasrec.losses.item_vectors import CandidateLoss, ItemVectors
from kerasrec.losses.sampled_softmax import SampledSoftmax
from kerasrec.models.compile_arguments import OptimizerOrName, resolve_optimizer
from kerasrec.models.dataset_arguments import DatasetLoaders, refuse_frames
from kerasrec.models.next_item.events import Evaluation, Events, Following, LastItem, Ranked
from kerasrec.models.next_item.ranking_metrics import RankingMetrics
from kerasrec.models.next_item.ranks import target_ranks
from kerasrec.models.next_item.reader import EventReader, in_batch_order
from kerasrec.models.next_item.report import rank_last_items
from kerasrec.models.trainer import SchemaTrainer
from kerasrec.optimizers import Adam
from kerasrec.parallel.fit.metrics import results_of
from kerasrec.retrieval.report import RankingReport
from kerasrec.typing import Tensor

MOST_ITEMS_OF_FULL_SOFTMAX = 100_000


class NextItemTrainer(SchemaTrainer):
    """Trains on the item after each event, and evaluates the rank of a row's last item among all items."""

    reader: EventReader
    first_id: int
    exclude_seen: bool
    negatives: keras.random.SeedGenerator
    _ranking = RankingMetrics(())

    @abstractmethod
    def item_vectors(self, training: bool = False) -> ItemVectors:
        """Return the vectors of all items, as they are predicted."""

    def compile(
        self,
        optimizer: OptimizerOrName = None,
        loss: CandidateLoss | None = None,
        metrics: Sequence[str] | None = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Compile as Keras does, with a loss over items.

        Args:
            optimizer: `kr.optimizers.Adam(1e-3)` by default.
            loss: of `kr.losses`; by default `FullSoftmax()` up to 100,000 items, and beyond that
                `SampledSoftmax(2048, shared=True)`.
            metrics: names of what `evaluate` returns, "ndcg@k", "hit_rate@k" or "mrr@k" with any k; by default
                `["ndcg@10", "hit_rate@10"]`.
            run_eagerly, steps_per_execution, jit_compile, auto_scale_loss: as in Keras.

        Raises:
            ValueError: an unknown optimizer or metric, or a loss that is not over items.
        """
        if loss is None:
            few = self.item_vectors().count <= MOST_ITEMS_OF_FULL_SOFTMAX
            loss = FullSoftmax() if few else SampledSoftmax(2048, shared=True)
        if not isinstance(loss, CandidateLoss):
            raise ValueError(
                f"{self.name}: loss must be one of kr.losses over items, such as kr.losses.FullSoftmax(); "
                f"got {loss!r}"
            )
        optimizer = Adam(1e-3) if optimizer is None else optimizer
        scale = auto_scale_loss and self.dtype_policy.name == "mixed_float16"
        super().compile(
            resolve_optimizer(optimizer, scale),
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            auto_scale_loss=auto_scale_loss,
        )
        self.loss = loss
        self._ranking = RankingMetrics(metrics)

    def get_compile_config(self) -> dict[str, Any]:
        config = super().get_compile_config()
        arguments = ("optimizer", "run_eagerly", "steps_per_execution", "jit_compile")
        return {
            **{name: config[name] for name in arguments if name in config},
            "loss": keras.saving.serialize_keras_object(self.loss),
            "metrics": [metric.name for metric in self._ranking.metrics],
        }

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [*super().metrics, *self._ranking.metrics]

    # ---- steps -----------------------------------------------------------------------------------------------
    def train_step(self, *args: Any) -> Any:
        *state, data = args
        if keras.backend.backend() == "jax":
            state[0], batch = self._batch_and_state(state[0], data)
        else:
            batch = self._training_batch(data)
        return super().train_step(*state, batch)

    def _batch_and_state(self, state: Any, data: Any) -> tuple[Any, tuple[Events, Following]]:
        """Return the state of a JAX step after a batch was made, which may have drawn numbers, and the batch."""
        trainable, fixed, *others = state
        variables = self.non_trainable_variables
        with keras.StatelessScope(zip(variables, fixed, strict=True)) as scope:
            batch = self._training_batch(data)
        drawn = [scope.get_current_value(variable) for variable in variables]
        after = [old if new is None else new for old, new in zip(fixed, drawn, strict=True)]
        return (trainable, after, *others), batch

    def _training_batch(self, data: Any) -> tuple[Events, Following]:
        return self.reader.training(self._features(data))

    def test_step(self, *args: Any) -> Any:
        *state, data = args
        events, last = self.reader.evaluation(self._features(data))
        return super().test_step(*state, (Evaluation(events, last), last))

    def ranked(self, evaluation: Evaluation) -> Ranked:
        """Return the states after the events, and the ranks of the last items."""
        events, last = evaluation
        queries = self._last_states(events, self.encode(events, events.rows(), False))
        seen = last.seen if self.exclude_seen else None
        ranks = target_ranks(queries, self.item_vectors().all(), last.items, self.first_id, seen)
        return Ranked(queries, ranks)

    @abstractmethod
    def encode(self, events: Events, rows: TokenRows, training: bool | None) -> Tensor:
        """Return the state after each event, `(tokens, embedding_dim)`, which scores items by its dot product."""

    def _train_step_on_ranks(self, data: Any) -> dict[str, Tensor]:
        """Run a step whose gradients count by this rank's share of the predictions, not of the rows."""
        from kerasrec.parallel.comm.batch_share import step  # it imports TensorFlow, which one rank may not have

        events, following = self._training_batch(data)
        with step(ops.sum(events.weights)):
            return super().train_step((events, following))

    def rank(
        self, data: Any, at: int | Sequence[int] = (10, 100), exclude_seen: bool | None = None
    ) -> RankingReport:
        """Rank the last item of each row among all items; return the metrics, with their standard errors.

        Equal scores count against the model, and an item out of vocabulary counts as missed.

        Args:
            data: a loader of sequences, or a dataset, as `workflow.transform` returns it.
            at: one or several numbers of recommendations.
            exclude_seen: whether the items before the last one, other than itself, are left out of the ranking; by
                default as the model was made.

        Example:

        >>> report = model.rank(test, at=(10, 100))
        >>> report["ndcg@10"], report.standard_errors["ndcg@10"]
        """
        refuse_frames("rank", data)
        if isinstance(data, Dataset):
            data = DatasetLoaders(self.schema, ()).loader(data.collect(), data.schema)
        self._check_data(data, "the data", training=True)
        left_out = self.exclude_seen if exclude_seen is None else bool(exclude_seen)
        return rank_last_items(self, (self._features(batch) for batch in data), at, left_out)

    def last_items(self, features: Mapping[str, Tensor]) -> tuple[Tensor, Events, LastItem]:
        """Return a query for each row of a batch, by all events but the last; these events; and the last item."""
        events, last = self.reader.evaluation(features)
        return self._last_states(events, self(events, training=False)), events, last

    def encode_histories(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return the state before the last item of each row of a batch, `(batch, embedding_dim)` float32.

        `evaluate` and `rank` predict the last item by it. It is 0 for a row with no other.
        """
        return self.last_items(features)[0]

    def _features(self, data: Any) -> Mapping[str, Tensor]:
        """Return the columns of a batch as Keras gives it to a step, which must have no target and no weights."""
        features, target, weight = keras.utils.unpack_x_y_sample_weight(data)
        if target is not None or weight is not None or not isinstance(features, Mapping):
            raise ValueError(
                f"{self.name}: a batch must be a dict of columns by name alone, without targets and weights: each "
                "item is predicted by those before it"
            )
        return features

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """Return the mean loss over the predictions that count, with the penalties of layers."""
        queries, events = (y_pred.queries, x.events) if isinstance(y_pred, Ranked) else (y_pred, x)
        # In evaluation a last item out of vocabulary is missed, and has no loss.
        weights = events.weights * ops.cast(y.items >= self.first_id, "float32")
        loss: Any = self.loss
        total = loss.weighted_sum(queries, y.items, self.item_vectors(training), self.negatives, weights)
        mean = total / ops.maximum(ops.sum(weights), 1.0)
        return ops.sum([mean, *self.losses]) if self.losses else mean

    def _last_states(self, events: Events, states: Tensor) -> Tensor:
        """Return the state after the last event of each row, float32, in the batch's order."""
        return ops.cast(in_batch_order(events.rows().last(states), events), "float32")

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Tensor]:
        if not isinstance(y_pred, Ranked):
            return results_of(self.metrics[:1])  # the loss
        for metric in self._ranking.metrics:
            metric.update_state(metric.gains(y_pred.ranks), x.events.weights)
        return self.get_metrics_result()
