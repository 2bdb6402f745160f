"""Filter and DropNA: which rows are kept, what is learned from them, and the row numbers in errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from kerasrec import etl
from kerasrec.etl.run import gather
from kerasrec.schema import SchemaError, Tag

ROW = st.tuples(
    st.none() | st.sampled_from([float("nan"), -1.0, 0.0, 1.0, 2.5]),
    st.none() | st.sampled_from("abc"),
    st.none() | st.lists(st.none() | st.integers(0, 3), max_size=3),
)
SCHEMA = {"x": pl.Float64, "c": pl.String, "l": pl.List(pl.Int64)}


def frame(rows: list[Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def workflow() -> etl.Workflow:
    """A filter on one branch, DropNA on another, a branch without either; a stateful operator behind each."""
    x = ["x"] >> etl.Filter(lambda c: c["x"] < 2) >> etl.Normalize()
    c = ["c"] >> etl.DropNA() >> etl.Categorify()
    every = ["l"] >> etl.Categorify()
    return etl.Workflow(x + c + every)


def expected(rows: list[Any]) -> pl.DataFrame:
    """The same in pandas and plain Python."""
    table = pd.DataFrame(rows, columns=["x", "c", "l"])
    kept = table["x"] < 2
    x = table["x"][kept].to_numpy(float)
    std = x.std() or 1.0
    seen = [e for row in table["l"] for e in (row if isinstance(row, list) else []) if e is not None]
    order = sorted(set(seen), key=lambda e: (-seen.count(e), e))
    words = sorted(table["c"].dropna().unique(), key=lambda w: (-(table["c"] == w).sum(), w))
    out = []
    for _, row in table[kept & table["c"].notna()].iterrows():
        ids = [1 if e is None else 3 + order.index(e) for e in row["l"] or []]
        out.append((np.float32((row["x"] - x.mean()) / std), 3 + words.index(row["c"]), ids))
    return pl.DataFrame(out, schema={"x": pl.Float32, "c": pl.Int32, "l": pl.List(pl.Int32)}, orient="row")


@given(rows=st.lists(ROW, max_size=12))
@settings(max_examples=25, deadline=None)
def test_kept_rows_are_those_of_pandas(rows: list[Any]) -> None:
    rows = [(1.0, "a", [1]), *rows]  # one row is kept for sure
    got = workflow().fit_transform(frame(rows))
    assert_frame_equal(got.collect(), expected(rows), check_exact=False, rel_tol=1e-6)


def test_columnar_and_batches_learn_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gather, "BATCH_ROWS", 7)
    rng = np.random.default_rng(0)
    data = pl.DataFrame({"x": rng.normal(size=100), "c": rng.choice(["a", "b", "c", None], 100).tolist()})
    data.write_csv(tmp_path / "a.csv")
    often = etl.Filter(pl.len().over("c") > 20)  # looks at other rows: batches would not do
    for op in (etl.Filter(pl.col("x") > 0), often, etl.DropNA()):
        node = ["x", "c"] >> op
        work = etl.Workflow((node["x"] >> etl.Normalize()) + (node["c"] >> etl.Categorify()))
        whole = work.fit_transform(data).collect()
        assert 0 < len(whole) < 100
        assert_frame_equal(work.fit_transform(tmp_path / "a.csv").collect(), whole, rel_tol=1e-6)
        assert_frame_equal(work.fit_transform(data.lazy()).collect(), whole, rel_tol=1e-6)
        work.transform(tmp_path / "a.csv").to_parquet(tmp_path / "out", row_group_rows=9, overwrite=True)
        assert_frame_equal(pl.read_parquet(tmp_path / "out" / "*.parquet"), whole, rel_tol=1e-6)


def test_filters_in_a_row_and_on_made_values() -> None:
    data = pl.DataFrame({"x": [0.0, 1.0, 3.0, 7.0, None], "y": [1, 2, 3, 4, 5]})
    logs = ["x"] >> etl.LogOp() >> etl.Filter(pl.col("x") > 0.5) >> etl.Filter(pl.col("x") == pl.col("x").max())
    got = etl.Workflow(logs + ["y"]).fit_transform(data).collect()
    assert got["y"].to_list() == [4.0]  # the second sees what the first kept
    assert got["x"].to_list() == [np.float32(np.log(8))]


def test_selected_columns() -> None:
    data = pl.DataFrame({"user": ["a", "b", "a"], "rating": [5, 1, 4], "clicked": [1, 0, 1]})
    good = ["user", "rating", "clicked"] >> etl.Filter(pl.col("rating") > 3)
    kept = (good["user"] >> etl.Categorify()) + (good["clicked"] >> etl.Target())
    work = etl.Workflow(kept).fit(data)
    assert work.transform(data).collect().rows() == [(3, 1.0), (3, 1.0)]
    assert work.output_schema.names == ["user", "clicked"]
    # No feature is made of it, so rows to be scored come without, and none of them is dropped.
    assert work.input_schema.targets.names == ["rating", "clicked"]
    assert work.transform(data.select("user"), targets=False).collect()["user"].to_list() == [3, 2, 3]
    assert (good - ["clicked"]).outputs == ["user", "rating"]
    assert repr(good["user"]).endswith("['user']")
    with pytest.raises(ValueError, match=r"no column 'age'; available: user, rating, clicked"):
        good["age"]
    assert (good - ["user", "rating", "clicked"]).outputs == []


def test_served_rows_stay() -> None:
    pytest.importorskip("tensorflow")
    data = pl.DataFrame({"x": [1.0, None, 3.0], "c": ["a", "b", None]})
    node = ["x", "c"] >> etl.DropNA() >> etl.Filter(pl.col("x") < 2)
    work = etl.Workflow((node["x"] >> etl.Normalize()) + (node["c"] >> etl.Categorify())).fit(data)
    assert work.transform(data).collect().rows() == [(0.0, 3)]
    raw = {"x": [1.0, np.nan, 3.0], "x__valid": [True, False, True]}
    raw |= {"c": ["a", "b", ""], "c__valid": [True, True, False]}
    import tensorflow as tf

    made = work.tensorflow({name: tf.constant(v, tf.float64 if name == "x" else None) for name, v in raw.items()})
    assert made["c"].numpy().tolist() == [3, 2, 1]
    np.testing.assert_array_equal(made["x"].numpy(), [0, np.nan, 2])


def test_saved_and_loaded(tmp_path: Path) -> None:
    data = frame([(1.0, "a", [1]), (3.0, "b", [2]), (0.0, "a", [])])
    work = workflow().fit(data)
    work.save(tmp_path / "w")
    loaded = etl.Workflow.load(tmp_path / "w")
    assert repr(loaded) == repr(work)
    assert 'Filter([(col("x")) < (dyn int: 2)])' in repr(work)
    assert_frame_equal(loaded.transform(data).collect(), work.transform(data).collect())
    node = ["x"] >> etl.Filter(pl.col("x").map_batches(lambda x: x > 0, return_dtype=pl.Boolean))
    work = etl.Workflow(node).fit(data)
    assert len(work.transform(data).collect()) == 2
    with pytest.raises(ValueError, match="cannot save an expression that calls a Python function"):
        work.save(tmp_path / "v")
    assert [path.name for path in tmp_path.iterdir()] == ["w"]


def test_errors_name_the_row_of_the_file(tmp_path: Path) -> None:
    good = pl.DataFrame({"x": [1.0] * 6, "y": [1.0] * 6, "t": [0, 1] * 3})
    work = etl.Workflow((["x"] >> etl.Filter(pl.col("x") > 0)) + ["y"] + (["t"] >> etl.Target())).fit(good)
    good.write_parquet(tmp_path / "a.parquet")
    bad = good.with_columns(x=pl.Series([-1.0, 1, -1, 1, 1, 1]), y=pl.Series([None, 1.0, 1, 1, None, 1]))
    bad.write_parquet(tmp_path / "b.parquet")
    message = r"b\.parquet, row 4: column 'y' is null .*; add FillMissing or DropNA"
    for write in (lambda d: d.collect(), lambda d: d.to_parquet(tmp_path / "out", row_group_rows=2)):
        with pytest.raises(SchemaError, match=message):
            write(work.transform(tmp_path))
    other = bad.with_columns(y=1.0, t=pl.Series([5, 0, 5, 1, 1, 7]))
    with pytest.raises(SchemaError, match="the frame, row 5: target 't' is 7.0"):
        work.transform(other).collect()


def test_nothing_left() -> None:
    data = pl.DataFrame({"x": [1.0, 2.0], "y": [1, 2]})
    work = etl.Workflow((["x"] >> etl.Filter(pl.col("x") > 5)) + ["y"])
    with pytest.raises(SchemaError, match=r"the frame: no rows are left to fit on after Filter\("):
        work.fit(data)
    work.fit(data * 10)
    assert work.transform(data).collect().shape == (0, 2)
    assert work.transform(data.clear()).collect().shape == (0, 2)


def test_nulls_that_a_filter_drops_are_no_nulls() -> None:
    data = pl.DataFrame({"x": [1.0, None], "l": [[1], [None]]})
    node = ["x", "l"] >> etl.Filter(pl.col("x").is_not_null())
    assert etl.Workflow(node).fit_transform(data).collect().rows() == [(1.0, [1.0])]
    got = etl.Workflow(["x", "l"] >> etl.DropNA()).fit(data)
    assert got.transform(data).collect().rows() == [(1.0, [1.0])]
    assert got.output_schema.select(Tag.LIST).names == ["l"]


def test_mistakes() -> None:
    with pytest.raises(ValueError, match=r"Filter: no column 'y'; available: x"):
        ["x"] >> etl.Filter(pl.col("y") > 0)
    with pytest.raises(TypeError, match="Filter takes a Polars expression or a function that returns one; got 3"):
        etl.Filter(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="got True"):
        ["x"] >> etl.Filter(lambda c: True)  # type: ignore[arg-type,return-value]
    with pytest.raises(SchemaError, match="the frame: .*Boolean"):
        etl.Workflow(["x"] >> etl.Filter(pl.col("x") + 1)).fit(pl.DataFrame({"x": [1.0]}))


class Shift(etl.Elementwise):
    """The value of the row before: what an operator that looks at other rows is like."""

    windowed = True

    def column(self, column: Any) -> Any:
        return column.evolve(nullable=True)

    def expression(self, x: pl.Expr, column: Any) -> pl.Expr:
        return x.shift(1)


def test_operators_that_look_at_other_rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gather, "BATCH_ROWS", 3)
    data = pl.DataFrame({"x": [float(i * i) for i in range(20)]})
    data.write_csv(tmp_path / "a.csv")
    work = etl.Workflow(["x"] >> Shift() >> etl.DropNA() >> etl.Normalize())
    means = [work.fit(source)._root.op.state["x"]["mean"] for source in (data, tmp_path / "a.csv", data.lazy())]
    assert means == [pytest.approx(np.mean(np.arange(19.0) ** 2))] * 3
    with pytest.raises(SchemaError, match=r"Shift\(\) of column 'x' reads other rows.*after .*\(DropNA\(\)\)"):
        etl.Workflow(["x"] >> etl.DropNA() >> Shift()).fit(data)
