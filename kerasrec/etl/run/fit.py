"""Runs a graph of operators on Polars: composes their expressions, fits them level by level."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain

import polars as pl

from kerasrec.etl.operator.graph import in_order, trace
from kerasrec.etl.operator.operator import Node, Operator
from kerasrec.etl.operator.row_operators import KeepsRows, MakesRows
from kerasrec.etl.run.column_expr import Mask, Rows, Value, names_in, select, unite
from kerasrec.etl.run.column_stats import Observe
from kerasrec.etl.sources.source import Source
from kerasrec.etl.sources.types import ROW
from kerasrec.schema import Column, SchemaError

BATCH_ROWS = 262_144


def raw_names(root: Node) -> list[str]:
    """The raw columns that a graph reads."""
    return list(dict.fromkeys(name for node in in_order(root) if not node.parents for name in node.outputs))


def evaluate(root: Node, raw: Mapping[str, Value], *, fitted: bool = False, served: bool = False) -> list[Value]:
    """The outputs of `root`, given the raw columns. Its operators are fitted, or only facts that do not depend
    on that are read.

    Args:
        fitted: whether the rows are those that the operators were fitted on.
        served: whether each row is to come out, as of a served model: none dropped, none added.
    """
    outputs = evaluate_nodes(root, raw, fitted=fitted, served=served)[id(root)]
    return [replace(value, rows=replace(value.rows, masks={})) for value in outputs] if served else outputs


def evaluate_nodes(
    root: Node, raw: Mapping[str, Value], *, fitted: bool = False, served: bool = False
) -> dict[int, list[Value]]:
    """The outputs of each node below `root`, by its `id`."""
    made: dict[int, list[Value]] = {}
    for place, node in enumerate(in_order(root)):
        if not node.parents:
            made[id(node)] = [raw[name] for name in node.outputs]
            continue
        values = unite([value for parent in node.parents for value in made[id(parent)]])
        if node.op is None:
            given = {value.column.name: value for value in values}
            made[id(node)] = [given[name] for name in node.outputs if name in given]  # others: DropLowCardinality
        else:
            made[id(node)] = _applied(node.op, place, values, fitted, served)
    return made


def _applied(op: Operator, place: int, values: list[Value], fitted: bool, served: bool) -> list[Value]:
    """The outputs of one operator, which stands at `place` in its graph."""
    columns, exprs, rows = [v.column for v in values], [v.expr for v in values], values[0].rows
    made = op.output(columns)
    if isinstance(op, MakesRows) and not (served and op.passes):
        return [Value(column, pl.col(column.name), Rows({}, op, values)) for column in made]
    if isinstance(op, KeepsRows) and op.drops:
        rows = replace(rows, masks={**rows.masks, place: Mask(op, values)})
    if op.windowed and rows.masks:
        before = ", ".join(repr(mask.op) for mask in rows.masks.values())
        raise SchemaError(
            f"{op!r} looks at other rows of column {columns[0].name!r} than the one it is for, so it cannot stand "
            f"behind what drops rows ({before}): put that behind it, or drop the rows from the input"
        )
    windowed = op.windowed or any(value.windowed for value in values)
    expressions = op.fitted_expressions if fitted else op.expressions
    return [Value(c, e, rows, windowed) for c, e in zip(made, expressions(columns, exprs), strict=True)]


def fit(
    root: Node, source: Source, step: Callable[[int], None], gathering: Gathering | None = None
) -> list[Column]:
    """Fit every operator below `root`; returns the raw columns with what the data told of them.

    Operators whose inputs need no operator that is still to be fitted share a level, and a pass over the data.

    Args:
        step: called after each pass.
        gathering: what passes over the data; by default `gather`.
    """
    gathering = gathering or gather
    names = raw_names(root)
    source.require(names)
    if source.rows == 0:
        raise _no_rows(source)
    columns = [source.column(name) for name in names]
    raw = {column.name: Value(column, source.clean(column)) for column in columns}
    facts, known = Observe(), source.null_counts()
    facts.facts = {name: {"rows": source.rows, "nulls": known[name]} for name in names if name in known}
    _refuse_no_rows(source, facts)
    unknown = [value for name, value in raw.items() if name not in known]
    jobs = [Job(facts, unknown)] if unknown else []
    for nodes in levels(root):
        for node in nodes:
            assert node.op is not None
            node.op.facts, node.op.frames = {}, {}
            values = [value for parent in node.parents for value in evaluate(parent, raw, fitted=True)]
            jobs.append(Job(node.op, unite(values)))
        for job in jobs:
            job.op.output(job.columns)  # refuses types before any data is read
        for job, statistics in zip(jobs, gathering(source, names, jobs), strict=True):
            job.op.finalize(statistics, job.columns)
            if job.op is facts:
                _refuse_no_rows(source, facts)
        step(1)
        jobs = []
    return facts.output(columns)


def _refuse_no_rows(source: Source, facts: Observe) -> None:
    if not all(told["rows"] for told in facts.facts.values()):
        raise _no_rows(source)


def _no_rows(source: Source) -> SchemaError:
    return SchemaError(f"{source.name}: there are no rows to fit on")


def tells_rows_apart(root: Node) -> bool:
    """Whether an operator has other values for the rows that it was fitted on."""
    usual = Operator.fitted_expressions
    return any(node.op is not None and type(node.op).fitted_expressions is not usual for node in in_order(root))


@dataclass(frozen=True, eq=False)
class Job:
    """An operator to be fitted on some columns."""

    op: Operator
    values: list[Value]

    @property
    def columns(self) -> list[Column]:
        return [value.column for value in self.values]

    @property
    def whole(self) -> bool:
        """Whether the statistics of parts of the data cannot be merged."""
        numbers_made_rows = self.op.numbered and self.values[0].rows.maker is not None
        return self.op.windowed or numbers_made_rows or any(value.whole for value in self.values)

    def queries(self, raw: Raw) -> list[pl.LazyFrame]:
        """Of some of the source's numbered rows; of all, if `whole`."""
        given = {value.column.name: value for value in self.values}

        def take(names: Sequence[str]) -> pl.LazyFrame:
            values = [given[name] for name in names]
            return select(raw(sorted(names_in(values))), values, numbered=self.op.numbered)

        return self.op.queries(take, self.columns)


Raw = Callable[[Sequence[str]], pl.LazyFrame]  # makes a frame of some raw columns, with the rows' numbers


Gathering = Callable[[Source, Sequence[str], Sequence[Job]], list[list[pl.DataFrame]]]


def gather(source: Source, names: Sequence[str], jobs: Sequence[Job]) -> list[list[pl.DataFrame]]:
    """The statistics of each job over the whole source, whose raw columns `names` they read.

    Where columns can be read apart, and for jobs that need all rows at once, each query runs by itself and reads
    what it needs. Otherwise (CSV, an unknown lazy frame) rows pass once, in batches that are parts to merge. (Both
    keep memory bounded. One `collect_all` does not: it holds the rows that its queries share until the slowest has
    read them.) A GPU gets each query by itself, as Polars hands out batches of the CPU's engine alone.
    """
    with source.explain_errors():
        source.check(names)
        apart = [job for job in jobs if source.columnar or job.whole or source.engine == "gpu"]
        queries = [job.queries(lambda some: source.lazy(some or names)) for job in apart]
        # A query ends in work for one core, such as a merge: another one then has the rest.
        with ThreadPoolExecutor(1 if source.engine == "gpu" else 2) as threads:
            found = threads.map(source.collect, chain.from_iterable(queries))
            alone = iter([[next(found) for _ in some] for some in queries])
        parts = [_Statistics(job) for job in jobs if job not in apart]
        if parts:
            _pass(source.lazy().select(*names, ROW), parts)
        merged = iter([part.merged() for part in parts])
        return [next(alone) if job in apart else next(merged) for job in jobs]


def _pass(frame: pl.LazyFrame, parts: Sequence[_Statistics]) -> None:
    """Add the statistics of each batch of `frame`."""

    def add(batch: pl.DataFrame) -> None:
        queries = [part.job.queries(lambda names: batch.select(*names, ROW).lazy()) for part in parts]
        results = iter(pl.collect_all([query for some in queries for query in some]))
        for part, some in zip(parts, queries, strict=True):
            part.add([next(results) for _ in some])

    add(frame.head(0).collect())
    frame.sink_batches(add, chunk_size=BATCH_ROWS, maintain_order=False, engine="streaming")


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


def refuse_nulls(
    source: Source,
    names: Sequence[str],
    values: Sequence[Value],
    gathering: Gathering | None,
    origin: Callable[[str], str | None],
) -> None:
    """Raise `SchemaError` where `values`, outputs that read raw columns `names`, hold nulls.

    Args:
        origin: of an output that does, words for the operator that made one; None where it was in the data.
    """
    rows = values[0].rows
    some = [value for value in values if value.column.nullable]
    counts: dict[str, int] = {}
    empty = False
    if some:
        job = Job(Observe(), list(some))
        job.op.finalize((gathering or gather)(source, names, [job])[0], job.columns)
        counts = {name: told["nulls"] for name, told in job.op.facts.items() if told["nulls"]}
        empty = not all(told["rows"] for told in job.op.facts.values())
    elif rows.ops:
        with source.explain_errors():
            empty = select(source.lazy(), values[:1]).head(1).collect(engine="streaming").is_empty()
    if empty:
        behind = ", ".join(map(repr, rows.ops))
        raise SchemaError(f"{source.name}: no rows are left to fit on behind {behind}")
    if counts:
        columns = ", ".join(f"column {name!r} ({count:,})" for name, count in counts.items())
        maker = next(filter(None, map(origin, counts)), None)
        reason = f": {maker}" if maker else "; add FillMissing, or DropNA"
        raise SchemaError(f"{source.name}: nulls are left after the operators, in {columns}{reason}")


def describe(root: Node) -> Iterable[tuple[str, str, str]]:
    """For each output: its name, the operators that make it, and the raw columns it is made from."""
    for name in root.outputs:
        raw, ops = trace(root, name)
        yield name, " >> ".join(map(repr, ops)), ", ".join(raw)
