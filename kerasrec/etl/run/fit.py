"""Fits the operators of a graph, level by level."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kerasrec.etl.operator.graph import topological_order, trace
from kerasrec.etl.operator.operator import Node, Operator
from kerasrec.etl.run.column_expr import ColumnExpr, align_rows, select
from kerasrec.etl.run.column_stats import ColumnStats
from kerasrec.etl.run.evaluate import evaluate, raw_names
from kerasrec.etl.run.gather import Gather, Job, gather
from kerasrec.etl.sources.source import Source
from kerasrec.etl.sources.types import ROW
from kerasrec.schema import Column, SchemaError


def fit(root: Node, source: Source, advance: Callable[[int], None], gather: Gather = gather) -> list[Column]:
    """Fit every operator that `root` depends on; return the raw columns with their statistics.

    Operators form a level, and share a pass over the data, if their inputs depend on operators of earlier levels
    only.

    Args:
        advance: called after each pass.
        gather: computes statistics over the data.
    """
    names = raw_names(root)
    source.require(names)
    if source.rows == 0:
        raise _no_rows(source)
    columns = [source.column(name) for name in names]
    raw = {column.name: ColumnExpr(column, source.clean(column)) for column in columns}
    stats, known = ColumnStats(), source.null_counts()
    stats.state = {name: {"rows": source.rows, "nulls": known[name]} for name in names if name in known}
    _require_rows(source, stats)
    unknown = [value for name, value in raw.items() if name not in known]
    jobs = [Job(stats, unknown)] if unknown else []
    for nodes in levels(root):
        for node in nodes:
            assert node.op is not None
            node.op.state, node.op.frames = {}, {}
            values = [value for parent in node.parents for value in evaluate(parent, raw, fitted=True)]
            jobs.append(Job(node.op, align_rows(values)))
        for job in jobs:
            job.op.output(job.columns)  # refuses types before any data is read
        for job, statistics in zip(jobs, gather(source, names, jobs), strict=True):
            job.op.finalize(statistics, job.columns)
            if job.op is stats:
                _require_rows(source, stats)
        advance(1)
        jobs = []
    return stats.output(columns)


def _require_rows(source: Source, stats: ColumnStats) -> None:
    if not stats.has_rows():
        raise _no_rows(source)


def _no_rows(source: Source) -> SchemaError:
    return SchemaError(f"{source.name}: there are no rows to fit on; check the files and filters of the source")


def levels(root: Node) -> list[list[Node]]:
    """Group stateful nodes by the number of stateful nodes they depend on; there is at least one level."""
    depth: dict[int, int] = {}
    by_level: list[list[Node]] = [[]]
    for node in topological_order(root):
        level = max((depth[id(parent)] for parent in node.parents), default=0)
        stateful = node.op is not None and node.op.stateful
        depth[id(node)] = level + stateful
        if stateful:
            while len(by_level) <= level:
                by_level.append([])
            by_level[level].append(node)
    return by_level


def has_out_of_fold_values(root: Node) -> bool:
    """Return whether an operator outputs other values for the rows that it was fitted on."""
    default = Operator.fitted_expressions
    ops = (node.op for node in topological_order(root))
    return any(op is not None and type(op).fitted_expressions is not default for op in ops)


def folds_by_position(fitted: Sequence[ColumnExpr], new: Sequence[ColumnExpr]) -> bool:
    """Return whether the values of fitted rows depend on their numbers where those of new rows do not."""
    numbered = [{v.column.name for v in values if ROW in v.expr.meta.root_names()} for values in (fitted, new)]
    return bool(numbered[0] - numbered[1])


def refuse_nulls(
    source: Source,
    names: Sequence[str],
    values: Sequence[ColumnExpr],
    null_origin: Callable[[str], str | None],
    gather: Gather = gather,
) -> None:
    """Raise `SchemaError` where `values`, outputs that read raw columns `names`, have nulls, or no rows are left.

    Args:
        null_origin: given the name of an output, names the operator that made a null; None where it is in the
            data.
        gather: computes statistics over the data.
    """
    rows = values[0].rows
    nullable = [value for value in values if value.column.nullable]
    counts: dict[str, int] = {}
    empty = False
    if nullable:
        stats = ColumnStats()
        job = Job(stats, list(nullable))
        stats.finalize(gather(source, names, [job])[0], job.columns)
        counts = {name: column["nulls"] for name, column in stats.state.items() if column["nulls"]}
        empty = not stats.has_rows()
    elif rows.ops:
        with source.explain_errors():
            empty = select(source.lazy(), values[:1]).head(1).collect(engine="streaming").is_empty()
    if empty:
        raise SchemaError(f"{source.name}: no rows are left to fit on after {', '.join(map(repr, rows.ops))}")
    if counts:
        columns = ", ".join(f"column {name!r} ({count:,})" for name, count in counts.items())
        origin = next(filter(None, map(null_origin, counts)), None)
        reason = f": {origin}" if origin else "; add FillMissing, or DropNA"
        raise SchemaError(f"{source.name}: nulls are left after the operators, in {columns}{reason}")


def describe(root: Node) -> str:
    """Return a table of each output, the operators that compute it, and the raw columns that it depends on."""
    rows = [("output", "operators", "raw columns")]
    for name in root.outputs:
        raw, ops = trace(root, name)
        rows.append((name, " >> ".join(map(repr, ops)), ", ".join(raw)))
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return "\n".join(" <- ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
