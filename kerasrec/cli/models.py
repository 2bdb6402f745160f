"""`kerasrec models`: the models that `kerasrec train --model` takes, from their classes."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping

import keras
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from kerasrec.models.base import SchemaModel
from kerasrec.models.registry import MULTITASK, NEXT_ITEM, PAIRS, RANKING, RETRIEVAL, SEQUENCE

_GROUPS: dict[str, Mapping[str, type[keras.Model]]] = {
    "For any columns": RANKING,
    "For behaviour sequences: a list column and the item that it is compared with": SEQUENCE,
    "For several targets (the others take them too, with one head each)": MULTITASK,
    "For ids of a user and of an item: --set \"candidate_columns=['item']\" names those of the item": PAIRS,
    "In Python alone, for pairs of a query and an item, without a target": RETRIEVAL,
    "In Python alone, for sequences of items, one row per user or session": NEXT_ITEM,
}
_GIVEN = (
    "self",
    "schema",
    "task",
    "args",
    "kwargs",
    "name",
    "dtype",
    "trainable",
)  # by the data, or by other options


def run_models() -> None:
    """Print each model's name, the first sentence of its docstring, and its arguments with their defaults."""
    console, shared = Console(), _shared()
    for group, models in _GROUPS.items():
        console.print(f"[bold underline]{group}[/]\n", highlight=False)
        for name, architecture in models.items():
            console.print(f"[bold]{name}[/]  {_summary(architecture)}", highlight=False)
            own = [argument for argument in _arguments(architecture.__init__) if argument not in shared]
            if own:
                console.print(_indented(own))
            console.print()
    console.print("Models also take these, each where it has such a part:")
    console.print(_indented(shared))
    console.print(
        "\nkerasrec train --model NAME uses towers of modest widths; --set NAME=VALUE sets an argument. "
        "In Python: kr.models.DLRM(schema, ...).",
        markup=False,
        highlight=False,
    )


def _summary(architecture: type[keras.Model]) -> str:
    """Return the first sentence of a class's docstring."""
    return " ".join((inspect.getdoc(architecture) or "").split("\n\n")[0].split())


def _indented(arguments: Iterable[str]) -> Padding:
    return Padding(Text(", ".join(arguments)), (0, 0, 0, 2))


def _arguments(function: object) -> Iterator[str]:
    """Yield the arguments with their defaults, as "dropout=0.0"."""
    if not callable(function):
        return
    for name, parameter in inspect.signature(function).parameters.items():
        if name not in _GIVEN:
            yield (
                name if parameter.default is parameter.empty else f"{name}={parameter.default!r}".replace(" ", "")
            )


def _shared() -> list[str]:
    """Return the arguments of `SchemaModel` that a user of its subclasses sets, but the width of embeddings."""
    hidden = ("embedding_dim", "uncombined")  # each model has the first, and some set the second themselves
    return [a for a in _arguments(SchemaModel.__init__) if a.partition("=")[0] not in hidden]
