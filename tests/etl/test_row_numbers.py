"""Rows have numbers, whole or in parts; operators may ask for them, and for the rows they were fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from kerasrec import etl
from kerasrec.etl import storage
from kerasrec.etl.operator.graph import topological_order
from kerasrec.etl.run import gather
from kerasrec.etl.run.column_expr import ColumnExpr
from kerasrec.etl.run.evaluate import evaluate
from kerasrec.etl.run.gather import Job
from kerasrec.etl.sources.scan import scan
from kerasrec.etl.sources.types import ROW
from kerasrec.schema import Column, SchemaError


@dataclass(repr=False)
class Numbers(etl.Elementwise):
    """Each row's number; what was learned is the sum of number * value. Negative on the rows it was fitted on."""

    stateful: ClassVar[bool] = True
    needs_row_numbers: ClassVar[bool] = True

    def column(self, column: Column) -> Column:
        return column.evolve(dtype="int64", nullable=False)

    def expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        return [pl.col(ROW).cast(pl.Int64) for _ in values]

    def fitted_expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        return [-value for value in self.expressions(columns, values)]

    def partial(self, frame: pl.LazyFrame, columns: Sequence[Column]) -> list[pl.LazyFrame]:
        return [frame.select(total=(pl.col(ROW) * pl.col(columns[0].name)).cast(pl.Int64).sum())]

    def merge(self, parts: Sequence[Sequence[pl.DataFrame]]) -> list[pl.DataFrame]:
        return [pl.concat(frames).sum() for frames in zip(*parts, strict=True)]

    def finalize(self, statistics: Sequence[pl.DataFrame], columns: Sequence[Column]) -> None:
        self.state["total"] = statistics[0].item()


DATA = pl.DataFrame({"x": [i % 5 for i in range(40)], "y": range(40)})


def make() -> etl.Workflow:
    return etl.Workflow((["x"] >> etl.Filter(pl.col("x") > 1) >> Numbers()) + ["y"])


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "raw").mkdir()
    DATA.head(23).write_parquet(tmp_path / "raw" / "a.parquet", row_group_size=5)
    DATA.slice(23).write_parquet(tmp_path / "raw" / "b.parquet")
    return tmp_path / "raw"


def test_every_source_counts_from_0(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "BATCH_ROWS", 7)
    DATA.write_csv(files.parent / "a.csv")
    kept = [(i, i % 5) for i in range(40) if i % 5 > 1]
    for source in (DATA, files, files.parent / "a.csv", DATA.lazy()):
        work = make().fit(source)
        (total,) = (n.op.state["total"] for n in topological_order(work._root) if isinstance(n.op, Numbers))
        assert total == sum(i * x for i, x in kept)
        other = work.transform(pl.concat([DATA, DATA])).collect()
        assert other["x"].to_list() == [float(i + 40 * k) for k in (0, 1) for i, _ in kept]


def test_parts_keep_their_numbers(files: Path) -> None:
    work = make().fit(DATA)
    source = scan(files)
    assert source.lazy().select(ROW).collect()[ROW].to_list() == list(range(40))
    dataset = work.transform(files)
    for rows in (1, 6, 20, 100):
        parts = source.parts(rows)
        assert [part.start for part in parts][-1] > 0
        assert sum(part.rows or 0 for part in parts) == 40
        assert max(part.rows or 0 for part in parts) <= rows
        smaller = [(piece.start, piece.rows) for part in source.parts(rows) for piece in part.parts(4)]
        assert [start for start, _ in smaller] == list(accumulate((n or 0 for _, n in smaller[:-1]), initial=0))
        assert max(n or 0 for _, n in smaller) <= min(rows, 4)
        pieces = [replace(dataset, source=piece) for part in parts for piece in part.parts(4)]
        assert_frame_equal(pl.concat([piece.collect() for piece in pieces]), dataset.collect())
        # Statistics of the parts are merged into those of the whole.
        node = next(n for n in topological_order(work._root) if isinstance(n.op, Numbers))
        raw = {c.name: ColumnExpr(c, source.clean(c)) for c in work.input_schema}
        assert node.op is not None
        job = Job(node.op, evaluate(node.parents[0], raw))
        merged = node.op.merge([gather.gather(part, ["x", "y"], [job])[0] for part in parts])
        assert merged[0].item() == node.op.state["total"]
    bad = etl.Workflow(["y"]).fit(DATA).transform(files)
    bad = replace(bad, values=[replace(v, expr=v.expr.replace(30, None)) for v in bad.values])
    for part in scan(files).parts(5):
        if part.start == 28:
            with pytest.raises(SchemaError, match=r"b\.parquet, row 7: column 'y' is null"):
                replace(bad, source=part).collect()


def test_the_fitted_rows_are_known_again(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(storage.OPERATORS, "Numbers", Numbers)

    def first(work: etl.Workflow, source: Any) -> float:
        return work.transform(source).collect()["x"][0]

    for source in (DATA, DATA.with_columns(l=pl.lit([1])), files):
        work = make().fit(source)
        assert first(work, source) == -2
        assert first(work, DATA.reverse()) == 0
        work.save(tmp_path / "w", overwrite=True)
        assert first(etl.Workflow.load(tmp_path / "w"), source) == -2
    copied = tmp_path / "copy"
    copied.mkdir()
    for file in files.iterdir():
        (copied / file.name).write_bytes(file.read_bytes())
    assert first(work, copied) == -2
    assert first(work, DATA) == -2  # in another form
    with pytest.raises(SchemaError, match="some, but not all, of these files were used in fit"):
        first(work, files / "a.parquet")
    assert first(make().fit(DATA.lazy()), DATA.lazy()) == -2
    assert make().fit_transform(DATA.lazy()).collect()["x"][0] == -2
    assert etl.Workflow(["x"]).fit(DATA)._fitted_on is None
