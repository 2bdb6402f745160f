"""`kr.parallel.Model`: a Keras model of one's own that several ranks train as one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from kerasrec._keras import Functional, is_functional_call
from kerasrec.parallel.fit.trainer import RankTrainer


class Model(RankTrainer, keras.Model):
    """A `keras.Model` that several ranks train as one; on one rank it is a `keras.Model`.

    Derive from it, or call it with `inputs` and `outputs`, as you would `keras.Model`. With layers that look up
    tables (`kr.layers.DistributedEmbedding`) or without. `kr.models` are of this kind already. On several ranks:

    - **Metrics and losses are global**: `logs` of batches and epochs, of validation, and what `evaluate` returns
      are of all ranks' rows and equal on every rank, so callbacks that go by them decide the same on each.
    - **Gradients** count by the rows of each rank's batch, so a step is that of one process with the global batch.
    - **Only rank 0 prints and writes files**; every rank must call `fit`, `evaluate`, `predict` and `save`.
    - **What must be equal is compared before the first step**, and a rank that fails or hangs ends the job.

    `kr.parallel.Callback` has the details, and is needed in `callbacks` only to set its `step_limit`.

    Raises:
        ValueError: (in `fit`, on several ranks) an optimizer that is not of `kr.optimizers`, a loss that is not a
            mean over rows, a metric whose state is not a sum, or a callback that cannot work there.
        RanksDiffer: (in `fit`, on several ranks) ranks differ in what must be equal.

    Example, of each way to make one:

    >>> class Towers(kr.parallel.Model):  # doctest: +SKIP
    ...     def __init__(self, features):
    ...         super().__init__()
    ...         self.tables = kr.layers.DistributedEmbedding(features)
    >>> model = kr.parallel.Model(inputs, keras.layers.Dense(1)(x))  # doctest: +SKIP
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        functional = cls is Model and is_functional_call(args, kwargs)
        return super().__new__(FunctionalModel if functional else cls, *args, **kwargs)

    def __init__(self, *args: Any, **kwargs: Any):
        if is_functional_call(args, kwargs):
            _make_functional(type(self))
            Functional.__init__(self, *args, **kwargs)
        else:
            super().__init__(*args, **kwargs)


@keras.saving.register_keras_serializable("kerasrec")
class FunctionalModel(Model, Functional):
    """What `kr.parallel.Model(inputs, outputs)` makes.

    Keras would put its functional model in the place of `keras.Model` among the bases of the class that is called
    so, here those of `Model`, and then no class derived from `Model` could be made without inputs and outputs.

    A batch that is a dict may have more columns than the model has inputs, as a loader's may; they are left alone.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None, **kwargs: Any) -> Any:
        own = self.input
        if isinstance(own, Mapping) and isinstance(inputs, Mapping):
            inputs = {name: inputs[name] for name in own}
            mask = {name: mask[name] for name in own} if isinstance(mask, Mapping) else mask
        return super().call(inputs, training=training, mask=mask, **kwargs)


def _make_functional(cls: type) -> type:
    """Put `FunctionalModel` in the place of `Model` among the bases of a class, as Keras does with its own two."""
    if cls is Model:
        return FunctionalModel
    if issubclass(cls, Model) and not issubclass(cls, FunctionalModel):
        cls.__bases__ = tuple(_make_functional(base) for base in cls.__bases__)
    return cls
