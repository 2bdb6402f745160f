"""`kerasrec models`: the models that `kerasrec train --model` takes, from their classes."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from kerasrec.models.base import SchemaModel
from kerasrec.models.registry import BY_NAME

_GIVEN = ("self", "schema", "task", "args", "kwargs")  # by the data, or by other options


def run_models() -> None:
    """Print each model's name, the first sentence of its docstring, and its arguments with their defaults."""
    console = Console()
    for number, (name, architecture) in enumerate(BY_NAME.items()):
        if number:
            console.print()
        console.print(f"[bold]{name}[/]  {_summary(architecture)}", highlight=False)
        console.print(_indented(_arguments(architecture.__init__)))
    console.print("\nAll models also take:")
    console.print(_indented(_shared()))
    console.print(
        "\nkerasrec train --model NAME uses towers of modest widths; --set NAME=VALUE sets an argument. "
        "In Python: kr.models.DLRM(schema, ...).",
        markup=False,
        highlight=False,
    )


def _summary(architecture: type[SchemaModel]) -> str:
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
    """Return the arguments of every model that the models themselves do not list."""
    of_models = {argument.partition("=")[0] for c in BY_NAME.values() for argument in _arguments(c.__init__)}
    return [a for a in _arguments(SchemaModel.__init__) if a.partition("=")[0] not in of_models]
