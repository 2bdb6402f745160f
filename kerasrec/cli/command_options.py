"""A command whose options are the fields of a dataclass."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar, get_type_hints

import typer

Options = TypeVar("Options")


def command_of(
    options: type[Options],
) -> Callable[[Callable[[typer.Context, Options], None]], Callable[..., None]]:
    """Return a decorator that makes a function of a context and options a function that typer can read.

    Args:
        options: a dataclass whose fields are annotated with `typer.Option` or `typer.Argument`, and have defaults.
    """

    def decorate(function: Callable[[typer.Context, Options], None]) -> Callable[..., None]:
        def command(context: typer.Context, **values: Any) -> None:
            function(context, options(**values))

        hints = get_type_hints(options, include_extras=True)
        keyword = inspect.Parameter.KEYWORD_ONLY
        defaults = {field.name: field.default for field in fields(options)}  # type: ignore[arg-type]
        parameters = [
            inspect.Parameter("context", keyword, annotation=typer.Context),
            *(inspect.Parameter(n, keyword, default=d, annotation=hints[n]) for n, d in defaults.items()),
        ]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        command.__name__, command.__doc__ = function.__name__, function.__doc__
        return command

    return decorate


def given_options(context: typer.Context) -> set[str]:
    """Return the names of the options that were given on the command line."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source is not None and source.name != "DEFAULT"}
