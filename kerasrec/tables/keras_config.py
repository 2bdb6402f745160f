"""`plain_config`: the config of a Keras object that is not kept, as data that may be stored."""

from __future__ import annotations

from typing import Any


def plain_config(config: Any) -> Any:
    """Return a copy of what `serialize` gave, without `shared_object_id`.

    While Keras loads or saves a model, it writes the address of an object that it meets twice into the config, so
    that both are loaded as one. Of an object that only lives while it is serialized, Python may use the
    address again: an L2 regularizer would then be loaded as the initializer that lay there before it.
    """
    if isinstance(config, dict):
        return {name: plain_config(value) for name, value in config.items() if name != "shared_object_id"}
    return [plain_config(value) for value in config] if isinstance(config, list) else config
