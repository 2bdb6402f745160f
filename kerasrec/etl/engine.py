"""Runs a graph of operators on Polars: composes their expressions, fits them level by level."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from kerasrec.etl.graph import Node, in_order, trace
from kerasrec.etl.observe import Observe
from kerasrec.etl.ops.base import Operator
from kerasrec.etl.sources import Source
from kerasrec.schema import Column, SchemaError

BATCH_ROWS = 262_144


@dataclass(frozen=True)
class Value:
    """A column's facts, and the expression that makes it from raw columns."""

    column: Column
    expr: pl.Expr


def raw_names(root: Node) -> list[str]:
    """The raw columns that a graph reads."""
    return list(dict.fromkeys(name for node in in_order(root) if not node.parents for name in node.outputs))


def evaluate(root: Node, raw: Mapping[str, Value]) -> list[Value]:
    """The outputs of `root`, given the raw columns. Its operators are fitted, or only facts that do not depend
    on that are read."""
    made: dict[int, list[Value]] = {}
    for node in in_order(root):
        if not node.parents:
            made[id(node)] = [raw[name] for name in node.outputs]
            continue
        values = [value for parent in node.parents for value in made[id(parent)]]
        if node.op is not None:
            columns, exprs = [v.column for v in values], [v.expr for v in values]
            made_columns = node.op.output(columns)
            made_exprs = node.op.expressions(columns, exprs)
            values = [Value(*pair) for pair in zip(made_columns, made_exprs, strict=True)]
        made[id(node)] = values
    return made[id(root)]


def fit(root: Node, source: Source, step: Callable[[int], None]) -> list[Column]:
    """Fit every operator below `root`; returns the raw columns with what the data told of them.

    Operators whose inputs need no operator that is still to be fitted share a level, and a pass over the data.
    """
    names = raw_names(root)
    source.require(names)
    columns = [source.column(name) for name in names]
    raw = {column.name: Value(column, source.clean(column)) for column in columns}
    facts = Observe()
    jobs = [Job(facts, list(raw.values()))]
    for nodes in levels(root):
        for node in nodes:
            assert node.op is not None
            node.op.facts, node.op.frames = {}, {}
            jobs.append(Job(node.op, [value for parent in node.parents for value in evaluate(parent, raw)]))
        for job in jobs:
            job.op.output(job.columns)  # refuses types before any data is read
        for job, statistics in zip(jobs, gather(source, names, jobs), strict=True):
            job.op.finalize(statistics, job.columns)
            if job.op is facts and not all(told["rows"] for told in facts.facts.values()):
                raise SchemaError(f"{source.name}: there are no rows to fit on")
        step(1)
        jobs = []
    return facts.output(columns)


@dataclass(frozen=True)
class Job:
    """An operator to be fitted on some columns."""

    op: Operator
    values: list[Value]

    @property
    def columns(self) -> list[Column]:
        return [value.column for value in self.values]

    def queries(self, frame: pl.LazyFrame) -> list[pl.LazyFrame]:
        made = frame.select(value.expr.alias(value.column.name) for value in self.values)
        return self.op.partial(made, self.columns)


def gather(source: Source, names: Sequence[str], jobs: Sequence[Job]) -> list[list[pl.DataFrame]]:
    """The statistics of each job over the whole source, whose raw columns `names` they read.

    Where columns can be read apart, each query runs by itself and reads what it needs. Otherwise (CSV, an
    unknown lazy frame) rows pass once, in batches that are parts to merge. (Both keep memory bounded. One
    `collect_all` does not: it holds the rows that its queries share until the slowest has read them.)
    """
    with source.telling():
        if source.columnar:
            frames = [job.queries(source.frame) for job in jobs]
            return [[query.collect(engine="streaming") for query in queries] for queries in frames]
        parts = [_Statistics(job) for job in jobs]

        def add(batch: pl.DataFrame) -> None:
            queries = [part.job.queries(batch.lazy()) for part in parts]
            results = iter(pl.collect_all([query for some in queries for query in some]))
            for part, some in zip(parts, queries, strict=True):
                part.add([next(results) for _ in some])

        frame = source.frame.select(names)
        add(frame.head(0).collect())
        frame.sink_batches(add, chunk_size=BATCH_ROWS, maintain_order=False, engine="streaming")
        return [part.merged() for part in parts]


class _Statistics:
    """Statistics of one job, merged whenever they have doubled."""

    def __init__(self, job: Job):
        self.job = job
        self.parts: list[list[pl.DataFrame]] = []
        self.limit = BATCH_ROWS

    def add(self, statistics: list[pl.DataFrame]) -> None:
        self.parts.append(statistics)
        if sum(len(frame) for part in self.parts for frame in part) > self.limit:
            self.limit = 2 * max(BATCH_ROWS, sum(map(len, self.merged())))

    def merged(self) -> list[pl.DataFrame]:
        self.parts = [self.job.op.merge(self.parts)]
        return self.parts[0]


def levels(root: Node) -> list[list[Node]]:
    """Stateful nodes by the number of stateful ones before them; at least one level, if an empty one."""
    depth: dict[int, int] = {}
    found: list[list[Node]] = [[]]
    for node in in_order(root):
        before = max((depth[id(parent)] for parent in node.parents), default=0)
        stateful = node.op is not None and node.op.stateful
        depth[id(node)] = before + stateful
        if stateful:
            while len(found) <= before:
                found.append([])
            found[before].append(node)
    return found


def refuse_nulls(root: Node, source: Source, raw: Mapping[str, Value]) -> None:
    """Raise `SchemaError` where outputs of `root` hold nulls."""
    values = [value for value in evaluate(root, raw) if value.column.nullable]
    if not values:
        return
    job = Job(Observe(), values)
    job.op.finalize(gather(source, list(raw), [job])[0], job.columns)
    counts = {name: told["nulls"] for name, told in job.op.facts.items() if told["nulls"]}
    if counts:
        columns = ", ".join(f"column {name!r} ({count:,})" for name, count in counts.items())
        raise SchemaError(
            f"{source.name}: nulls are left after the operators, in {columns}; add FillMissing, "
            "or drop those rows from the input"
        )


def describe(root: Node) -> Iterable[tuple[str, str, str]]:
    """For each output: its name, the operators that make it, and the raw columns it is made from."""
    for name in root.outputs:
        raw, ops = trace(root, name)
        yield name, " >> ".join(map(repr, ops)), ", ".join(raw)
