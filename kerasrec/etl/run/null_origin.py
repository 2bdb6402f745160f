"""Which operator made a null that the raw data does not hold."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from kerasrec.etl.operator.operator import Node, Operator
from kerasrec.etl.run.column_expr import Value, select, unite
from kerasrec.etl.run.fit import evaluate_nodes
from kerasrec.etl.sources.source import Source
from kerasrec.etl.sources.types import ROW


@dataclass
class Step:
    """A column on the way to an output.

    Attributes:
        value: how it is made.
        op: what makes it; None for a raw column, and for one of rows that an operator made.
        inputs: the steps that it is made from, by their places.
    """

    value: Value
    op: Operator | None = None
    inputs: list[int] = field(default_factory=list)


def null_origin(
    root: Node, raw: Mapping[str, Value], source: Source, name: str, *, fitted: bool = False, served: bool = False
) -> str | None:
    """Name the operator that makes the first null of output `name`, and what it makes it of; None where the raw
    data holds it, and for lists.

    Args:
        root, raw, fitted, served: as in `engine.evaluate`.
    """
    steps = _steps(root, name, evaluate_nodes(root, raw, fitted=fitted, served=served))
    if steps[0].value.column.is_list:
        return None
    values = unite([step.value for step in steps])
    if served:
        values = [replace(value, rows=replace(value.rows, masks={})) for value in values]
    named = [replace(v, column=v.column.evolve(name=f"step {i}")) for i, v in enumerate(values)]
    frame = select(source.lazy(), named, numbered=True).filter(pl.col("step 0").is_null())
    with source.explain_errors():
        rows = source.collect(frame.head(1)).rows(named=True)
    return _told(steps, rows[0], source) if rows else None


def _steps(root: Node, name: str, made: Mapping[int, list[Value]]) -> list[Step]:
    """The output, and all columns of the same rows that it is made from."""
    steps: list[Step] = []
    places: dict[tuple[int, str], int] = {}

    def add(node: Node, name: str) -> int | None:
        """The place of a column of `node`; None where it has other rows than the output."""
        if node.op is None and node.parents:
            return add(next(parent for parent in node.parents if name in parent.sources), name)
        if (id(node), name) not in places:
            value = next(value for value in made[id(node)] if value.column.name == name)
            if steps and value.rows.maker is not steps[0].value.rows.maker:
                return None
            places[id(node), name] = len(steps)
            steps.append(step := Step(value, node.op))
            inputs = [add(parent, i) for i in node.sources[name] for parent in node.parents if i in parent.sources]
            step.inputs = [at for at in inputs if at is not None]
            if node.op is not None and node.op.makes_rows:
                step.op = None
        return places[id(node), name]

    add(root, name)
    return steps


def _told(steps: list[Step], row: Mapping[str, Any], source: Source) -> str | None:
    at = 0
    while null := [i for i in steps[at].inputs if row[f"step {i}"] is None]:
        at = null[0]
    op = steps[at].op
    if op is None:
        return None
    given = (f"{steps[i].value.column.name!r} = {reprlib.repr(row[f'step {i}'])}" for i in steps[at].inputs)
    place = "" if steps[0].value.rows.maker else f" ({source.locate(row[ROW])})"
    return f"{op!r} makes a null of {', '.join(given)}{place}; put FillMissing after it, or DropNA"
