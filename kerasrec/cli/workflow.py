"""The workflow of a run: each column goes through the steps that were chosen for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from kerasrec import etl
from kerasrec.cli.column_messages import names_by_steps
from kerasrec.cli.roles import Guess


def with_min_count(guesses: Sequence[Guess], min_count: int) -> list[Guess]:
    """Return the guesses with `--min-count` in the steps that take it and do not say it themselves."""
    return [
        replace(
            guess,
            steps=tuple(
                step.with_default(min_count=min_count) if step.operator == "Categorify" else step
                for step in guess.steps
            ),
        )
        for guess in guesses
    ]


def make_workflow(guesses: Sequence[Guess]) -> etl.Workflow:
    """Return a workflow that sends each column through the steps of its guess; equal steps are one node."""
    nodes: list[Any] = []
    for steps, names in names_by_steps(guesses).items():
        node: Any = names
        for step in steps:
            node = node >> step.build()
        nodes.append(node)
    return etl.Workflow(nodes)
