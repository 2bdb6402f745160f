"""The model of `--model` with its arguments of `--set`, and the optimizer of `--optimizer`."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from kerasrec import optimizers
from kerasrec.cli.errors import CommandError, did_you_mean
from kerasrec.models.base import SchemaModel
from kerasrec.models.compile_arguments import resolve_optimizer, suit_to_rows
from kerasrec.models.registry import BY_NAME, PAIRS, by_name

_UNITS = [128, 64]  # of towers, a modest size; `--set` gives another
_NOT_SET = ("self", "schema", "args", "kwargs", "embedding_dim", "task")


@dataclass(frozen=True)
class ModelChoice:
    """A model's class, how it is written in Python, and its arguments besides the schema."""

    architecture: Any
    written: str
    module: str | None
    arguments: Mapping[str, Any]

    def __call__(self, schema: Any) -> Any:
        """Return the model of a schema."""
        return self.architecture(schema, **self.arguments)


def choose_model(name: str, settings: Sequence[str], embedding_dim: int) -> ModelChoice:
    """Return the model of a name or "module:Class".

    Args:
        name: as `--model` has it.
        settings: "key=value", as `--set` has them.
        embedding_dim: the width of embeddings, for models that have such an argument.

    Raises:
        CommandError: no such model, or an argument that it does not have.
    """
    module = name.partition(":")[0] if ":" in name else None
    try:
        architecture = by_name(name)
    except ValueError as error:
        raise CommandError(f"--model: {error}") from error
    if architecture in BY_NAME.values() and not issubclass(architecture, SchemaModel):
        raise CommandError(
            f"--model: {name} is trained on pairs or sequences without a target, which this command does not "
            f"make of a table; use it in Python: kr.models.{architecture.__name__}(schema)"
        )
    if not issubclass(architecture, SchemaModel):
        raise CommandError(
            f"--model: {name} must derive from one of kr.models or kerasrec.models.base.SchemaModel"
        )
    known = _arguments(architecture)
    arguments: dict[str, Any] = {"embedding_dim": embedding_dim} if "embedding_dim" in known else {}
    arguments |= dict(_parsed(setting, [n for n in known if n not in _NOT_SET]) for setting in settings)
    if architecture in PAIRS.values() and "candidate_columns" not in arguments:
        raise CommandError(
            f"--model: {name} reads ids of a user and of an item; name the columns of the item: "
            "--set \"candidate_columns=['item']\""
        )
    if module is None:
        arguments = {**_modest(known, embedding_dim, arguments), **arguments}
    written = architecture.__name__ if module else f"kr.models.{architecture.__name__}"
    return ModelChoice(architecture, written, module, arguments)


def check_restorable(model: keras.Model) -> None:
    """Raise `CommandError` if a model of the user's own could be trained and saved, but then not be loaded."""
    cls = type(model)
    if keras.saving.get_registered_object(keras.saving.get_registered_name(cls)) is not cls:
        raise CommandError(
            f"--model: its file could not be loaded; decorate class {cls.__name__} with "
            "@keras.saving.register_keras_serializable()"
        )
    try:
        copy = cls.from_config(model.get_config())
    except Exception as error:  # whatever the user's class raises
        raise CommandError(
            f"--model: its file could not be loaded, since {cls.__name__}.from_config(model.get_config()) raises "
            f"{type(error).__name__}: {error}. get_config() must return the arguments of __init__"
        ) from error
    if copy.get_config() != model.get_config():
        raise CommandError(
            f"--model: its file could not be loaded, since get_config() of {cls.__name__} does not return all "
            "arguments of __init__"
        )


def _modest(known: Sequence[str], embedding_dim: int, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return units of towers of a modest size."""
    units: dict[str, Any] = {name: _UNITS for name in ("top_units", "deep_units", "expert_units") if name in known}
    if "bottom_units" in known and "embedding_dim" in arguments:
        units["bottom_units"] = [64, embedding_dim]
    return units


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def _arguments(architecture: Any) -> list[str]:
    """Return the names of a class's arguments; for a model of ours with `**kwargs`, also those of its base."""
    names: dict[str, None] = {}
    for cls in architecture.__mro__:
        parameters = inspect.signature(cls.__init__).parameters
        names |= dict.fromkeys(parameters)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            break
        if cls is SchemaModel:
            names |= dict.fromkeys(("name", "dtype", "trainable"))
            break
    return list(names)


def _parsed(setting: str, known: Sequence[str]) -> tuple[str, Any]:
    """Return the key and the value of "key=value": a Python literal, JSON, or else a string."""
    key, equals, text = setting.partition("=")
    key = key.strip()
    if not equals:
        raise CommandError(f"--set: expected key=value, such as dropout=0.1; got {setting!r}")
    if key in ("embedding_dim", "task"):
        raise CommandError(f"--set: pass --{key.replace('_', '-')} instead of {key}=...")
    if key not in known:
        raise CommandError(f"--set: the model has no argument {key!r}{did_you_mean(key, known)}")
    for parse in (ast.literal_eval, json.loads):
        try:
            return key, parse(text.strip())
        except (ValueError, SyntaxError):
            continue
    return key, text.strip()


@dataclass(frozen=True)
class OptimizerChoice:
    """An optimizer's class of `kr.optimizers`, its learning rate at the start, and its other arguments."""

    cls: Any
    learning_rate: float
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, steps: int) -> Any:
        """Return the optimizer; its learning rate falls to a tenth over `steps`, so that the last are small."""
        rate = keras.optimizers.schedules.CosineDecay(self.learning_rate, steps, alpha=0.1)
        return self.cls(rate, **self.arguments)

    def written(self, learning_rate: str) -> str:
        """Return the call in Python, with the learning rate as it is written there."""
        arguments = [f"{key}={value!r}" for key, value in self.arguments.items()]
        return f"{self.cls.__name__}({', '.join([learning_rate, *arguments])})"


def choose_optimizer(name: str | None, learning_rate: float | None) -> OptimizerChoice | None:
    """Return the optimizer of a name, Adagrad if there is only a learning rate; None where neither is given.

    Raises:
        CommandError: there is no such optimizer.
    """
    if name is None and learning_rate is None:
        return None
    names = [known for known in optimizers.__all__ if known not in ("LossScaleOptimizer", "Multi", "get")]
    by_name = {known.lower(): known for known in names}
    if name is not None and _plain(name) not in by_name:
        raise CommandError(f"--optimizer: no optimizer {name!r}{did_you_mean(name, by_name)}")
    cls = optimizers.Adagrad if name is None else getattr(optimizers, by_name[_plain(name)])
    rate = inspect.signature(cls.__init__).parameters["learning_rate"].default
    return OptimizerChoice(cls, rate if learning_rate is None else learning_rate)


def default_optimizer(rows: int) -> OptimizerChoice:
    """Return the optimizer that `model.compile()` chooses, and `fit` suits to a number of training rows."""
    optimizer = resolve_optimizer(None, scale_loss=False)
    suit_to_rows(optimizer, rows)
    config, usual = optimizer.get_config(), type(optimizer)().get_config()
    rate = float(f"{config['learning_rate']:.6g}")  # it was rounded to float32
    others = [key for key in config if key not in ("name", "learning_rate") and config[key] != usual[key]]
    return OptimizerChoice(type(optimizer), rate, {key: config[key] for key in others})
