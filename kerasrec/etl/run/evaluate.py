"""Composes the Polars expressions of a graph of operators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import polars as pl

from kerasrec.etl.operator.graph import topological_order
from kerasrec.etl.operator.operator import Node, Operator
from kerasrec.etl.operator.row_operators import RowFilter, RowMaker
from kerasrec.etl.run.column_expr import ColumnExpr, Mask, Rows, align_rows
from kerasrec.schema import SchemaError


def raw_names(root: Node) -> list[str]:
    """Return the raw columns that a graph reads."""
    return list(
        dict.fromkeys(name for node in topological_order(root) if not node.parents for name in node.outputs)
    )


def evaluate(
    root: Node, raw: Mapping[str, ColumnExpr], *, fitted: bool = False, served: bool = False
) -> list[ColumnExpr]:
    """Return the outputs of `root`, given the raw columns.

    If an operator is not fitted yet, only properties of the outputs that do not depend on fitting may be used.

    Args:
        fitted: whether the rows are those that the operators were fitted on.
        served: whether all rows come out unchanged, as of a served model: none dropped, none added.
    """
    outputs = evaluate_nodes(root, raw, fitted=fitted, served=served)[id(root)]
    return [replace(value, rows=replace(value.rows, masks={})) for value in outputs] if served else outputs


def evaluate_nodes(
    root: Node, raw: Mapping[str, ColumnExpr], *, fitted: bool = False, served: bool = False
) -> dict[int, list[ColumnExpr]]:
    """Return the outputs of every node that `root` depends on, by the node's id."""
    outputs: dict[int, list[ColumnExpr]] = {}
    for index, node in enumerate(topological_order(root)):
        if not node.parents:
            outputs[id(node)] = [raw[name] for name in node.outputs]
            continue
        values = align_rows([value for parent in node.parents for value in outputs[id(parent)]])
        if node.op is None:
            by_name = {value.column.name: value for value in values}
            # DropLowCardinality may have dropped some columns.
            outputs[id(node)] = [by_name[name] for name in node.outputs if name in by_name]
        else:
            outputs[id(node)] = _apply(node.op, index, values, fitted, served)
    return outputs


def _apply(op: Operator, index: int, values: list[ColumnExpr], fitted: bool, served: bool) -> list[ColumnExpr]:
    """Return the outputs of one operator, whose node has `index` in the graph."""
    columns, exprs, rows = [v.column for v in values], [v.expr for v in values], values[0].rows
    outputs = op.output(columns)
    if isinstance(op, RowMaker) and not (served and op.served_unchanged):
        return [ColumnExpr(column, pl.col(column.name), Rows({}, op, values)) for column in outputs]
    if isinstance(op, RowFilter) and op.drops_rows:
        rows = replace(rows, masks={**rows.masks, index: Mask(op, values)})
    if op.windowed and rows.masks:
        filters = ", ".join(repr(mask.op) for mask in rows.masks.values())
        raise SchemaError(
            f"{op!r} of column {columns[0].name!r} reads other rows, so it cannot come after an operator that "
            f"drops rows ({filters}); place that one after it, or drop the rows from the input"
        )
    windowed = op.windowed or any(value.windowed for value in values)
    expressions = op.fitted_expressions if fitted else op.expressions
    return [ColumnExpr(c, e, rows, windowed) for c, e in zip(outputs, expressions(columns, exprs), strict=True)]
