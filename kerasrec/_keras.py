"""Every private name of Keras that this package reads or overrides, with what it is needed for.

Nothing else in the package may use one (`tests/test_keras_private.py` holds it to that), and each has a test that
fails by its name where Keras changes; `pyproject.toml` names the first release of Keras that is not tested yet.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, Literal

import keras
from keras.src.backend.common.global_state import get_global_attribute
from keras.src.backend.common.stateless_scope import get_stateless_scope
from keras.src.backend.common.symbolic_scope import in_symbolic_scope
from keras.src.models.functional import Functional as Functional
from keras.src.models.model import functional_init_arguments
from keras.src.random.seed_generator import GLOBAL_SEED_GENERATOR, global_seed_generator
from keras.src.trainers.compile_utils import CompileLoss

# Keras's trainers take an instance as their data as it is. The public `keras.utils.PyDataset` is asked for batches
# in random order, and its tensors pass one by one through Python.
from keras.src.trainers.data_adapters.data_adapter import DataAdapter as DataAdapter
from keras.src.trainers.data_adapters.data_adapter_utils import get_torch_dataloader
from keras.src.trainers.epoch_iterator import EpochIterator
from keras.src.utils.rng_utils import get_random_seed

from kerasrec.typing import Optimizer, Tensor, Variable

# What an optimizer keeps for each variable of the model, by the names that Keras's optimizers have for it.
Slot = Literal["accumulator", "linear", "momentum", "velocity", "velocity_hat"]
_SLOT_LISTS: dict[Slot, str] = {
    "accumulator": "_accumulators",
    "linear": "_linears",
    "momentum": "_momentums",
    "velocity": "_velocities",
    "velocity_hat": "_velocity_hats",
}
# What a `ModelCheckpoint` with a `save_freq` in batches counts.
MODEL_CHECKPOINT_COUNTS = ("_batches_seen_since_last_saving", "_last_batch_seen")


# ---- layers and models ---------------------------------------------------------------------------------------
def layers_of(model: keras.Model) -> list[keras.layers.Layer]:
    """Return all layers within a model in order, at any depth; the public `model.layers` has the outermost."""
    return model._flatten_layers(include_self=False)


def model_being_called(layer: keras.layers.Layer) -> keras.Model | None:
    """Return the model whose call `layer` is called in; None where it is called by itself."""
    caller = layer._get_call_context().entry_layer
    return caller if isinstance(caller, keras.Model) else None


def is_created(variable: Variable) -> bool:
    """Return whether a variable has its value.

    One that Keras makes while it traces a model's shapes gets it afterwards; until then each reading of it draws
    the initial values anew. In a step of JAX the scope has the value, not the variable.
    """
    if variable._value is not None:
        return True
    scope = get_stateless_scope()
    return scope is not None and scope.get_current_value(variable) is not None


def in_stateless_scope() -> bool:
    """Return whether variables are not to be changed: new values belong to a scope, as in a step of JAX."""
    return get_stateless_scope() is not None


def in_symbolic_build() -> bool:
    """Return whether Keras only infers shapes and dtypes, as `fit` does before the first step."""
    return in_symbolic_scope()


def compiled_metrics(model: keras.Model) -> list[Any]:
    """Return the metrics that `compile` was given, as names, functions or `Metric`s; Keras builds them later."""
    if model._compile_metrics is None:
        return []
    given = (model._compile_metrics._user_metrics, model._compile_metrics._user_weighted_metrics)
    return [metric for metric in keras.tree.flatten(given) if metric is not None]


class _MeanOverRows(keras.metrics.Mean):
    """The mean of a loss over batches, weighted by their rows. Its name may be any, such as "größe_loss"."""

    def __init__(self, loss: LossByRows, name: str):
        super().__init__(name="loss")  # of its variables, whose names TensorFlow takes in ASCII alone
        self._loss, self.name = loss, name

    def update_state(self, values: Tensor, sample_weight: Any = None) -> None:
        super().update_state(values, sample_weight=self._loss.rows)


class LossByRows(CompileLoss):
    """The loss of a compiled model, whose value of each of several outputs is a mean over rows, as their sum is.

    Keras takes it over batches where the size of a batch is not known when the step is traced, and fails for an
    output whose name TensorFlow does not take as a scope's.
    """

    rows: Tensor | None = None  # of the batch that is under way

    def build(self, y_true: Any, y_pred: Any) -> None:
        self._names: list[str] = []  # of the outputs that have a loss
        super().build(y_true, y_pred)
        if self._metrics:
            self._metrics[:] = [_MeanOverRows(self, f"{name}_loss") for name in self._names]

    def _build_nested(self, y_true: Any, y_pred: Any, loss: Any, output_names: Any, current_path: Any) -> None:
        before = len(self._flat_losses)
        super()._build_nested(y_true, y_pred, loss, output_names, current_path)
        if not keras.tree.is_nested(loss) and len(self._flat_losses) > before:
            last = self._flat_losses.pop()
            self._names.append(last.name)
            self._flat_losses.append(last._replace(name=f"output_{before}"))

    def call(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        self.rows = keras.ops.shape(keras.tree.flatten(y_pred)[0])[0]
        try:
            return super().call(y_true, y_pred, sample_weight)
        finally:
            self.rows = None  # it belongs to the graph that is being traced


def use_loss_by_rows(model: keras.Model) -> None:
    """Have a compiled model's loss be a `LossByRows`."""
    loss = model._compile_loss
    if loss is not None and not isinstance(loss, LossByRows):
        model._compile_loss = LossByRows(loss._user_loss, loss._user_loss_weights, output_names=loss.output_names)


def step_function(model: keras.Model, step: Callable[[Any], Any]) -> Callable[..., Any]:
    """Return what Keras's TensorFlow trainer makes of a model's `train_step`: traced, several steps at once."""
    return model._make_function(step)


def is_functional_call(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Return whether Keras takes the arguments of `keras.Model` as inputs and outputs of a functional model."""
    return functional_init_arguments(args, kwargs)


# ---- `fit` ---------------------------------------------------------------------------------------------------
def set_first_epoch(model: keras.Model, epoch: int | None) -> None:
    """Let the `fit` under way begin with another epoch, as Keras's `BackupAndRestore` does; None takes it back."""
    model._initial_epoch = epoch


def validation_batches(model: keras.Model) -> int | None:
    """Return how many batches of validation data the `fit` that is under way has; None before it validates."""
    batches = getattr(model, "_eval_epoch_iterator", None)
    return None if batches is None else batches.num_batches


@dataclass(frozen=True)
class FitArguments:
    """Arguments of a `fit`, `evaluate` or `predict`, of which Keras tells a foreign `DataAdapter` nothing.

    Attributes:
        y, sample_weight, class_weight, batch_size, shuffle: as the caller gave them.
        validation: whether the data that is asked about is the validation data of a `fit`.
    """

    y: Any
    sample_weight: Any
    class_weight: Any
    batch_size: Any
    shuffle: Any
    validation: bool


def fit_arguments() -> FitArguments | None:
    """Return the arguments of the call that asks a `DataAdapter` for its number of batches.

    They are read from Keras's frames on the call stack: no public way leads to them. None where not Keras asks.
    """
    asking = _frame_of([EpochIterator.__init__.__code__], sys._getframe(1))
    if asking is None:
        return None
    data = asking.f_locals
    methods = (keras.Model.fit, keras.Model.evaluate, keras.Model.predict)
    call = _frame_of([inspect.unwrap(method).__code__ for method in methods], asking)
    given = {} if call is None else call.f_locals
    validation = given.get("x") is not data["x"]
    return FitArguments(
        y=data["y"],
        sample_weight=data["sample_weight"],
        class_weight=data["class_weight"],
        batch_size=given.get("validation_batch_size" if validation else "batch_size"),
        shuffle=given.get("shuffle"),
        validation=validation,
    )


def _frame_of(codes: Iterable[CodeType], frame: FrameType | None) -> FrameType | None:
    """Return the nearest frame at or above `frame` that runs one of some functions."""
    codes = list(codes)
    while frame is not None and not any(frame.f_code is code for code in codes):
        frame = frame.f_back
    return frame


def torch_dataloader(data: DataAdapter) -> Any:
    """Return the `torch.utils.data.DataLoader` over an adapter's batches that Keras makes of its own adapters."""
    return get_torch_dataloader(data)


# ---- optimizers ----------------------------------------------------------------------------------------------
# A mixin: what it calls on `super()` is the Keras optimizer that it is put before.
_Optimizer: Any = keras.optimizers.Optimizer if TYPE_CHECKING else object


class NoReplicaSum(_Optimizer):
    """Put before a Keras optimizer, it leaves out the sum over the replicas of a `tf.distribute` strategy.

    Without a strategy that sum changes nothing, but where all gradients are dense it registers a
    `tf.custom_gradient`, which keeps the model's graph for ever. Under a strategy Keras's sum is taken.
    """

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> Any:
        import tensorflow as tf

        if tf.distribute.has_strategy():
            return super()._all_reduce_sum_gradients(grads_and_vars)
        return grads_and_vars


def optimized_variables(optimizer: Optimizer) -> list[Variable]:
    """Return the model's variables that an optimizer was built for, in its order."""
    return list(optimizer._trainable_variables)


def variable_index(optimizer: Optimizer, variable: Variable) -> int:
    """Return the place of a model's variable among those of an optimizer, where its slots are too."""
    return optimizer._get_variable_index(variable)


def slot(optimizer: Optimizer, name: Slot, index: int) -> Variable:
    """Return what an optimizer keeps by a name for the model's variable at a place (`variable_index`)."""
    return getattr(optimizer, _SLOT_LISTS[name])[index]


def own_variables(optimizer: Optimizer) -> list[Variable]:
    """Return a `LossScaleOptimizer`'s own variables, without those of the optimizer within it."""
    return list(optimizer._variables)


def learning_rate_variable(optimizer: Optimizer) -> Variable | None:
    """Return the variable of an optimizer's learning rate; None where it follows a schedule."""
    rate = optimizer._learning_rate
    return rate if isinstance(rate, keras.Variable) else None


def decays(optimizer: Optimizer, variable: Variable) -> bool:
    """Return whether an optimizer's weight decay covers a variable (`exclude_from_weight_decay`)."""
    return optimizer._use_weight_decay(variable)


# ---- random numbers ------------------------------------------------------------------------------------------
def random_seed() -> int | None:
    """Return the seed of `keras.utils.set_random_seed`; None where it was not called."""
    return get_random_seed()


def default_generator() -> keras.random.SeedGenerator | None:
    """Return the generator that `keras.random` draws from where it is given no seed; None before it exists."""
    return get_global_attribute(GLOBAL_SEED_GENERATOR)


def make_default_generator() -> keras.random.SeedGenerator:
    """Return the same, made with a seed from Python's generator where it does not exist yet."""
    return global_seed_generator()
