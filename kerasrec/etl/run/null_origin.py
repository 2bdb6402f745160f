"""Finds the operator that made a null which the raw data does not have."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from kerasrec.etl.operator.operator import Node, Operator
from kerasrec.etl.run.column_expr import ColumnExpr, align_rows, select
from kerasrec.etl.run.evaluate import evaluate_nodes
from kerasrec.etl.sources.source import Source
from kerasrec.etl.sources.types import ROW


@dataclass
class Step:
    """A column that an output depends on.

    Attributes:
        value: the expression that computes it.
        op: the operator that computes it; None for a raw column, and for one of rows that an operator made.
        inputs: the indices of the steps that it is computed from.
    """

    value: ColumnExpr
    op: Operator | None = None
    inputs: list[int] = field(default_factory=list)


def null_origin(
    root: Node,
    raw: Mapping[str, ColumnExpr],
    source: Source,
    name: str,
    *,
    fitted: bool = False,
    served: bool = False,
) -> str | None:
    """Name the operator that made the first null of output `name`, and its input values.

    Returns None where the raw data has the null, and for lists.

    Args:
        root, raw, fitted, served: as in `evaluate`.
    """
    steps = _steps(root, name, evaluate_nodes(root, raw, fitted=fitted, served=served))
    if steps[0].value.column.is_list:
        return None
    values = align_rows([step.value for step in steps])
    if served:
        values = [replace(value, rows=replace(value.rows, masks={})) for value in values]
    named = [replace(v, column=v.column.evolve(name=f"step {i}")) for i, v in enumerate(values)]
    frame = select(source.lazy(), named, row_numbers=True).filter(pl.col("step 0").is_null())
    with source.explain_errors():
        rows = source.collect(frame.head(1)).rows(named=True)
    return _describe(steps, rows[0], source) if rows else None


def _steps(root: Node, name: str, outputs: Mapping[int, list[ColumnExpr]]) -> list[Step]:
    """Return the output and all columns of the same rows that it depends on."""
    steps: list[Step] = []
    indices: dict[tuple[int, str], int] = {}

    def add(node: Node, name: str) -> int | None:
        """Return the index of a column of `node`; None where it has other rows than the output."""
        if node.op is None and node.parents:
            return add(next(parent for parent in node.parents if name in parent.sources), name)
        if (id(node), name) not in indices:
            value = next(value for value in outputs[id(node)] if value.column.name == name)
            if steps and value.rows.maker is not steps[0].value.rows.maker:
                return None
            indices[id(node), name] = len(steps)
            steps.append(step := Step(value, node.op))
            inputs = [add(parent, i) for i in node.sources[name] for parent in node.parents if i in parent.sources]
            step.inputs = [index for index in inputs if index is not None]
            if node.op is not None and node.op.makes_rows:
                step.op = None
        return indices[id(node), name]

    add(root, name)
    return steps


def _describe(steps: list[Step], row: Mapping[str, Any], source: Source) -> str | None:
    index = 0
    while nulls := [i for i in steps[index].inputs if row[f"step {i}"] is None]:
        index = nulls[0]
    op = steps[index].op
    if op is None:
        return None
    inputs = (f"{steps[i].value.column.name!r} = {reprlib.repr(row[f'step {i}'])}" for i in steps[index].inputs)
    place = "" if steps[0].value.rows.maker else f" ({source.locate(row[ROW])})"
    return f"{op!r} makes a null of {', '.join(inputs)}{place}; put FillMissing after it, or DropNA"
