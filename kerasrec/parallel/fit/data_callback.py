"""`DataCallback`: a callback that is given what `fit` trains on, and runs after the others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras


class DataCallback(keras.callbacks.Callback):
    """A callback that `fit` of `kr.models` and `kr.parallel.Model` gives its data and its other callbacks."""

    def set_data(self, data: Any, validation_data: Any, callbacks: Iterable[keras.callbacks.Callback]) -> None:
        """Take what `fit` was given, before it begins."""
        raise NotImplementedError


def with_data(callbacks: Any, data: Any, validation_data: Any) -> Any:
    """Return callbacks as `fit` takes them, a `DataCallback` among them last and with the data of `fit`.

    Raises:
        ValueError: there are several `DataCallback`s.
    """
    is_list = isinstance(callbacks, keras.callbacks.CallbackList)
    flat = callbacks.callbacks if is_list else keras.tree.flatten(callbacks) if callbacks else []
    lasts = [callback for callback in flat if isinstance(callback, DataCallback)]
    if not lasts:
        return callbacks
    if len(lasts) > 1:
        raise ValueError(f"fit takes one kr.callbacks.{type(lasts[0]).__name__}; got {len(lasts)}")
    others = [callback for callback in flat if callback is not lasts[0]]
    lasts[0].set_data(data, validation_data, others)
    return callbacks if is_list else [*others, lasts[0]]
