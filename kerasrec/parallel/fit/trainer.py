"""`RankTrainer`: `fit`, `evaluate` and `predict` of a Keras model as one job on all ranks."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from kerasrec.parallel import comm
from kerasrec.parallel.fit.callback import Callback, callbacks_on_ranks
from kerasrec.parallel.fit.checks import check_trainer
from kerasrec.parallel.fit.data_callback import with_data
from kerasrec.parallel.fit.steps import RankSteps


class RankTrainer(RankSteps):
    """Put before `keras.Model`, it adds a `kr.parallel.Callback` to what `fit`, `evaluate` and `predict` call.

    `kr.models` and `kr.parallel.Model` have it. On one rank it only gives a `DataCallback` what `fit` trains on.
    """

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        call = inspect.signature(super().fit).bind(*args, **kwargs)
        given = call.arguments
        given["callbacks"] = with_data(given.get("callbacks"), given.get("x"), given.get("validation_data"))
        return self._with_callback(super().fit, *call.args, **call.kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        return self._with_callback(super().evaluate, *args, **kwargs)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        return self._with_callback(super().predict, *args, **kwargs)

    def _with_callback(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a method of Keras's, on several ranks with a `Callback` as the first of its callbacks."""
        if comm.size() == 1:
            return method(*args, **kwargs)
        check_trainer(self)
        call = inspect.signature(method).bind(*args, **kwargs)
        callbacks = callbacks_on_ranks(call.arguments.get("callbacks"))
        call.arguments["callbacks"] = callbacks
        try:
            return method(*call.args, **call.kwargs)
        except BaseException:
            if isinstance(callbacks, list):
                next(each for each in callbacks if isinstance(each, Callback)).stop_watchdog()
            raise
