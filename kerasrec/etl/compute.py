"""`compute`: the columns of a graph as a frame, without a workflow."""

from __future__ import annotations

import copy

import polars as pl

from kerasrec.etl.operator.operator import Columns, output_node
from kerasrec.etl.run.column_expr import ColumnExpr, align_rows, select
from kerasrec.etl.run.evaluate import evaluate, raw_names
from kerasrec.etl.run.fit import fit
from kerasrec.etl.sources.scan import scan


def compute(columns: Columns, source: object) -> pl.DataFrame:
    """Fit the operators of a graph on a source, and return its columns as a Polars frame.

    It is `Workflow(columns).fit_transform(source).collect()`, except that columns keep the types that the
    operators make, so strings, dates and nulls may be left: to look at what an operator does, or to make a table
    of groups for `JoinExternal`.

    Args:
        columns: a node, as `>>` and `+` make them, or a list of nodes and names.
        source: as for `Workflow.fit`.

    Raises:
        SchemaError, FileNotFoundError: as `Workflow.fit` does.

    Example:

    >>> groups = ["user", "item", "time"] >> etl.Groupby("user", sort_cols="time")
    >>> history = etl.compute(groups, "events/*.parquet")
    >>> recent = (["user"] >> etl.JoinExternal(history, on="user"))["item_list"] >> etl.Categorify()
    """
    root = copy.deepcopy(output_node(columns))
    names = raw_names(root)
    data = scan(source).select(names)
    inputs = fit(root, data, lambda passes: None)
    raw = {column.name: ColumnExpr(column, data.clean(column)) for column in inputs}
    with data.explain_errors():
        return data.collect(select(data.lazy(names), align_rows(evaluate(root, raw, fitted=True))))
