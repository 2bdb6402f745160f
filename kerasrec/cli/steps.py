"""A step of a column's preparation: an operator of `kerasrec.etl` and its settings, as data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kerasrec import etl
from kerasrec.cli.errors import CommandError, did_you_mean

# What a config file may name: operators that run no code of others.
OPERATORS = (
    "AddTags",
    "Bucketize",
    "Categorify",
    "Clip",
    "DropNA",
    "FillMedian",
    "FillMissing",
    "HashBucket",
    "ListSlice",
    "LogOp",
    "Normalize",
    "NormalizeMinMax",
    "ParseTime",
    "SplitString",
    "Target",
    "TimeFeatures",
)


@dataclass(frozen=True)
class Step:
    """An operator by name, with its settings in the order in which they are shown.

    >>> str(Step.of("Clip", min=0, max=99.5))
    'Clip(min=0, max=99.5)'
    """

    operator: str
    settings: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, operator: str, **settings: Any) -> Step:
        """Return a step; lists among the settings become tuples, so that equal steps are one in a set."""
        return cls(
            operator,
            tuple((key, tuple(value) if isinstance(value, list) else value) for key, value in settings.items()),
        )

    def build(self) -> Any:
        """Return the operator."""
        return getattr(etl, self.operator)(**dict(self.settings))

    def with_default(self, **settings: Any) -> Step:
        """Return the step with settings that it does not have itself."""
        return Step.of(self.operator, **{**settings, **dict(self.settings)})

    def __str__(self) -> str:
        settings = ", ".join(f"{key}={literal(value)}" for key, value in self.settings)
        return f"{self.operator}({settings})"

    def to_json(self) -> list[Any]:
        """Convert to JSON: `["Clip", {"min": 0}]`."""
        return [self.operator, {key: list(v) if isinstance(v, tuple) else v for key, v in self.settings}]

    @classmethod
    def from_json(cls, value: Any, where: str) -> Step:
        """Convert from the result of `to_json`; `where` begins the message of the `CommandError` for anything
        else."""
        named = isinstance(value, Sequence) and len(value) == 2 and isinstance(value[0], str)
        if not named or not isinstance(value[1], Mapping):
            raise CommandError(f'{where}: a step must be like ["Clip", {{"min": 0}}]; got {value!r}')
        if value[0] not in OPERATORS:
            raise CommandError(f"{where}: no operator {value[0]!r}{did_you_mean(value[0], OPERATORS)}")
        step = cls.of(value[0], **value[1])
        try:
            step.build()
        except (TypeError, ValueError) as error:
            raise CommandError(f"{where}: {step}: {error}") from None
        return step


def literal(value: Any) -> str:
    """Return a value as it is written in Python, with double quotes.

    >>> literal(("hour", 7))
    '["hour", 7]'
    """
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(key)}: {literal(item)}" for key, item in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def chain(steps: Iterable[Step]) -> str:
    """Return steps as they are written in Python, without the module: `FillMissing() >> Normalize()`."""
    return " >> ".join(map(str, steps))
