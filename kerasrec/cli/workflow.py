"""The workflow of a run: each column goes through the steps that were chosen for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from kerasrec import etl
from kerasrec.cli.roles import Guess
from kerasrec.cli.steps import Step
from kerasrec.cli.tables import branches


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
    for branch in branches(guesses):
        inputs: list[Any] = []
        for names, steps in branch.inputs:
            inputs += names if not steps else [_through(names, steps)]
        nodes.append(_through(inputs, branch.steps))
    return etl.Workflow(nodes)


def _through(node: Any, steps: Sequence[Step]) -> Any:
    for step in steps:
        node = node >> step.build()
    return node
