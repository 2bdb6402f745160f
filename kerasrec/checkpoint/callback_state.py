"""The state that callbacks keep from one epoch to the next."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import keras

from kerasrec._keras import MODEL_CHECKPOINT_COUNTS

# Keras's own, and the attributes that they change while they run.
_ATTRIBUTES: dict[type, tuple[str, ...]] = {
    keras.callbacks.EarlyStopping: ("wait", "stopped_epoch", "best", "best_epoch", "best_weights"),
    keras.callbacks.ReduceLROnPlateau: ("wait", "cooldown_counter", "best"),
    keras.callbacks.ModelCheckpoint: ("best", *MODEL_CHECKPOINT_COUNTS),
    keras.callbacks.History: ("epoch", "history"),
}
# Those without a state that training depends on.
_STATELESS = (
    keras.callbacks.CSVLogger,
    keras.callbacks.LambdaCallback,
    keras.callbacks.LearningRateScheduler,
    keras.callbacks.ProgbarLogger,
    keras.callbacks.RemoteMonitor,
    keras.callbacks.TensorBoard,
    keras.callbacks.TerminateOnNaN,
)
_OF_EVERY_CALLBACK = set(vars(keras.callbacks.Callback())) | {"params"}


def callback_states(callbacks: Iterable[Any]) -> dict[str, Any]:
    """Return the state of each callback: attributes that Keras's change, and what `state()` of others returns."""
    states = {}
    for name, callback in _named(callbacks):
        if _has_own_state(callback):
            states[name] = callback.state()
        elif names := _attributes(callback):
            states[name] = {key: getattr(callback, key) for key in names if hasattr(callback, key)}
    return states


def set_callback_states(callbacks: Iterable[Any], states: dict[str, Any]) -> None:
    """Give callbacks the states that `callback_states` returned, by class and, within one class, by order."""
    left = dict(states)
    for name, callback in _named(callbacks):
        if name not in left:
            continue
        state = left.pop(name)
        if _has_own_state(callback):
            callback.restore(state)
        else:
            for key in _attributes(callback):
                if key in state:
                    setattr(callback, key, state[key])
    if left:
        warnings.warn(
            f"the checkpoint has the state of callbacks that this fit does not have: {', '.join(sorted(left))}",
            stacklevel=2,
        )


def warn_of_unknown(callbacks: Iterable[Any]) -> None:
    """Warn of callbacks with attributes that may be state and are not saved."""
    for name, callback in _named(callbacks):
        known = _has_own_state(callback) or _attributes(callback) or isinstance(callback, _STATELESS)
        if not known and set(vars(callback)) - _OF_EVERY_CALLBACK:
            warnings.warn(
                f"the attributes of callback {name.partition('/')[0]} are not in the checkpoints; if they change "
                "in training, give it state(), which returns a dict, and restore(state)",
                stacklevel=2,
            )


def _named(callbacks: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    count: Counter[str] = Counter()
    for callback in callbacks:
        kind = type(callback).__name__
        yield f"{kind}/{count[kind]}", callback
        count[kind] += 1


def _has_own_state(callback: Any) -> bool:
    return callable(getattr(callback, "state", None)) and callable(getattr(callback, "restore", None))


def _attributes(callback: Any) -> tuple[str, ...]:
    return next((names for kind, names in _ATTRIBUTES.items() if isinstance(callback, kind)), ())
