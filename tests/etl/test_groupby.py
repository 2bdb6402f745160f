"""Groupby: the rows of users and sessions, against pandas, and which operators may follow it."""

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

import kerasrec as kr
from kerasrec import etl
from kerasrec.etl.ops.groupby import AGGREGATIONS, NUMERIC, ORDERED
from kerasrec.etl.run import gather
from kerasrec.etl.run.column_expr import ColumnExpr, select
from kerasrec.etl.run.evaluate import evaluate
from kerasrec.etl.sources.scan import scan
from kerasrec.schema import Schema, SchemaError, Tag

SCHEMA = {"u": pl.String, "v": pl.Int8, "t": pl.Int64, "x": pl.Float32, "i": pl.Int8}
ROW = st.tuples(
    st.none() | st.sampled_from("ab"),
    st.none() | st.integers(0, 1),
    st.none() | st.integers(0, 3),
    st.none() | st.sampled_from([float("nan"), -1.5, 0.0, 2.0]),
    st.none() | st.sampled_from([-128, 1, 127]),
)


def made(op: etl.Groupby, frame: pl.DataFrame) -> pl.DataFrame:
    """The operator's outputs as they are, before a workflow casts them; their types are those it told of."""
    source = scan(frame)
    columns = [source.column(name).evolve(nullable=True) for name in frame.columns]
    raw = {column.name: ColumnExpr(column, source.clean(column)) for column in columns}
    values = evaluate(frame.columns >> op, raw)
    got = select(source.lazy(), values).collect(engine="streaming")
    for value in values:
        assert scan(got).column(value.column.name).dtype == value.column.dtype
        if not value.column.nullable and not value.column.is_list:
            assert got[value.column.name].null_count() == 0
    return got


def expected(rows: list[Any], keys: list[str], sort: list[str], ascending: bool) -> list[dict[str, Any]]:
    """Every aggregation of every column, group by group, by pandas and NumPy."""
    table = pd.DataFrame(rows, columns=list(SCHEMA), dtype=object)
    table["x"] = pd.Series([None if x != x else x for x in table["x"]], dtype=object)
    for name in reversed(sort):
        column = pd.to_numeric(table[name])
        table = table.loc[column.sort_values(ascending=ascending, kind="stable", na_position="last").index]
    table = table.dropna(subset=keys)
    found = []
    for key in sorted(set(table[keys].itertuples(index=False, name=None))):
        group = table[(table[keys] == list(key)).all(axis=1)]
        out: dict[str, Any] = dict(zip(keys, key, strict=True))
        for name in (name for name in SCHEMA if name not in keys):
            values = group[name].tolist()
            known = [value for value in values if value is not None]
            ends = values if ascending or not sort else values[::-1]
            out |= {f"{name}_list": values, f"{name}_first": ends[0], f"{name}_last": ends[-1]}
            out |= {f"{name}_count": len(known), f"{name}_nunique": len(set(known))}
            out |= {f"{name}_min": min(known, default=None), f"{name}_max": max(known, default=None)}
            if name != "u":
                out |= {f"{name}_sum": sum(known)}
                out |= {f"{name}_{f.__name__}": float(f(known)) if known else None for f in (np.mean, np.median)}
                two = len(known) > 1
                out |= {f"{name}_std": np.std(known, ddof=1) if two else None}
                out |= {f"{name}_var": np.var(known, ddof=1) if two else None}
        found.append(out)
    return found


@given(
    rows=st.lists(ROW, max_size=12),
    keys=st.sampled_from([["u"], ["v"], ["v", "u"]]),
    sort=st.sampled_from([[], ["t"], ["t", "i"]]),
    ascending=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_every_aggregation(rows: list[Any], keys: list[str], sort: list[str], ascending: bool) -> None:
    data = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    aggs = {
        name: [agg for agg in AGGREGATIONS if name != "u" or agg not in NUMERIC]
        for name in SCHEMA
        if name not in keys
    }
    got = made(etl.Groupby(keys, sort, aggs, ascending=ascending), data)
    wanted = pl.DataFrame(expected(rows, keys, sort, ascending), schema=got.schema)
    assert_frame_equal(got, wanted, abs_tol=1e-9)
    # Without any that needs an order, rows are not sorted first.
    plain = {name: [agg for agg in some if agg not in ORDERED] for name, some in aggs.items()}
    got = made(etl.Groupby(keys, sort, plain), data)
    assert_frame_equal(got, wanted.select(got.columns), abs_tol=1e-9)


def events(rows: int = 300, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "session": rng.integers(0, 25, rows),
            "item": [None if i == 0 else f"i{i}" for i in rng.integers(0, 30, rows)],
            "ts": rng.integers(0, 1000, rows),
            "price": rng.exponential(10, rows),
            "clicked": rng.integers(0, 2, rows),
        }
    )


def sessions() -> etl.Workflow:
    """Raw events to sessions, with what a Merlin user puts around: ids in front, the rest behind."""
    items = ["item"] >> etl.Categorify()
    clicked = ["clicked"] >> etl.Target()
    aggs = {"item": ["list", "count"], "price": "mean", "ts": "first", "clicked": "max"}
    grouped = items + clicked + ["session", "ts", "price"] >> etl.Groupby("session", "ts", aggs, name_sep="-")
    long = grouped >> etl.Filter(pl.col("item-count") >= 5)
    lists = long["item-list"] >> etl.ListSlice(-6) >> etl.ValueCount()
    return etl.Workflow(lists + (long["price-mean"] >> etl.Normalize()) + long["clicked-max"])


def by_hand(data: pl.DataFrame) -> tuple[list[list[int]], list[float], list[float]]:
    words = data["item"].drop_nulls().to_list()
    order = sorted(set(words), key=lambda word: (-words.count(word), word))
    lists, prices, clicked = [], [], []
    for _, group in data.to_pandas().groupby("session"):
        group = group.sort_values("ts", kind="stable")
        if len(group) < 5:  # nulls have an id, so they count
            continue
        lists.append([3 + order.index(item) if item in order else 1 for item in group["item"]][-6:])
        prices.append(group["price"].mean())
        clicked.append(float(group["clicked"].max()))
    return lists, list((prices - np.mean(prices)) / np.std(prices)), clicked


def test_from_raw_events_to_the_loader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "BATCH_ROWS", 17)
    data = events()
    lists, prices, clicked = by_hand(data)
    (tmp_path / "raw").mkdir()
    data.head(101).write_parquet(tmp_path / "raw" / "a.parquet", row_group_size=10)
    data.slice(101).write_parquet(tmp_path / "raw" / "b.parquet")
    data.write_csv(tmp_path / "a.csv")
    for source in (data, tmp_path / "raw", tmp_path / "a.csv", data.lazy()):
        work = sessions().fit(source)
        got = work.transform(source).collect()
        assert got["item-list"].to_list() == lists
        assert got["clicked-max"].to_list() == clicked
        np.testing.assert_allclose(got["price-mean"], prices, rtol=1e-5, atol=1e-6)
    schema = work.output_schema
    assert schema.names == ["item-list", "price-mean", "clicked-max"]
    column = schema["item-list"]
    assert set(column.tags) == {Tag.LIST, Tag.CATEGORICAL}
    assert (column.table, column.hotness and column.hotness.max) == ("item", 6)
    assert schema.targets.names == ["clicked-max"]
    assert set(schema["clicked-max"].tags) == {Tag.TARGET, Tag.BINARY}
    assert work.input_schema.targets.names == ["clicked"]
    assert len(work.transform(data.drop("clicked"), targets=False).collect()) == len(lists)

    work.save(tmp_path / "w")
    pytest.importorskip("tensorflow")
    folder = etl.Workflow.load(tmp_path / "w").transform(tmp_path / "raw").to_parquet(tmp_path / "out")
    read: list[list[int]] = []
    for x, y in kr.Loader(folder, batch_size=7, shuffle=False, drop_last=False):
        read += x["item-list"].to_list()
        assert len(y) == x["item-list"].shape[0]
    assert read == lists
    assert Schema.load(folder) == schema


def test_no_rows_and_no_groups() -> None:
    data = events()
    work = sessions().fit(data)
    assert work.transform(data.clear()).collect().shape == (0, 3)
    one = etl.Workflow(["session", "price"] >> etl.Groupby("session", aggs=["mean", "count"]))
    assert one.fit_transform(data.head(1)).collect().shape == (1, 3)
    with pytest.raises(
        SchemaError, match=r"no rows are left to fit on after Groupby\(groupby_cols=\('session',\)"
    ):
        one.fit(data.with_columns(session=pl.lit(None, pl.Int64)))
    lone = etl.Workflow(["session", "price"] >> etl.Groupby("session", aggs="std"))
    with pytest.raises(SchemaError, match=r"nulls are left .* column 'price_std' \(1\); add FillMissing"):
        lone.fit(data.head(1))


def test_errors_name_the_group_s_row(tmp_path: Path) -> None:
    data = pl.DataFrame({"session": [1, 1, 2, 3], "x": [1.0, 2.0, 3.0, 4.0]})
    work = etl.Workflow(["session", "x"] >> etl.Groupby("session", aggs="last")).fit(data)
    data.with_columns(x=pl.Series([1.0, 2, None, 4])).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(SchemaError, match=r"a\.parquet: row 1 of the output of Groupby\(.*\): column 'x_last'"):
        work.transform(tmp_path / "a.parquet").collect()


def test_columns_that_groups_are_made_by_are_read() -> None:
    data = events()
    grouped = ["session", "item", "ts"] >> etl.Groupby("session", "ts", ["count", "last"])
    work = etl.Workflow(grouped["item_count"]).fit(data)
    with pytest.raises(SchemaError, match="no column 'session'"):
        work.transform(data.drop("session"))
    assert work.transform(data.drop("ts")).collect().height == 25  # counts need no order
    with pytest.raises(SchemaError, match="no column 'ts'"):
        etl.Workflow(grouped["ts_last"]).fit(data).transform(data.drop("ts"))


def test_it_cannot_be_served() -> None:
    pytest.importorskip("tensorflow")
    work = sessions().fit(events())
    with pytest.raises(
        SchemaError, match=r"Groupby\(groupby_cols=.* of columns 'item'.* makes other rows, so a served model"
    ):
        work.tensorflow_module()


def test_mistakes() -> None:
    for wrong, message in (
        (lambda: etl.Groupby("s", aggs="prod"), "no aggregation 'prod'; available: list, first"),
        (lambda: etl.Groupby("s", aggs={"x": ["sum", "x"]}), "no aggregation 'x' of column 'x'"),
        (lambda: etl.Groupby([]), "groupby_cols must have at least one column"),
        (lambda: ["a"] >> etl.Groupby("s"), r"groupby_cols: no column 's'; available: a"),
        (lambda: ["s", "a"] >> etl.Groupby("s", "t"), r"sort_cols: no column 't'"),
        (
            lambda: ["s", "a"] >> etl.Groupby("s", aggs={"s": "list"}),
            r"aggs: no column 's'; available: a",
        ),
        (lambda: ["s"] >> etl.Groupby("s"), "no column to aggregate besides the keys; available: s"),
        (lambda: (["s", "a"] >> etl.Groupby("s")) + ["a"], "cannot combine columns that come from different rows"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong()  # type: ignore[no-untyped-call]
    data = pl.DataFrame({"s": [1], "c": ["a"], "l": [[1]], "t": [1]})
    label = ["t"] >> etl.Target()
    for node, message in (
        (["s", "c"] >> etl.Groupby("s", aggs="sum"), "column 'c' is string: Groupby cannot compute 'c_sum'"),
        (["s", "l"] >> etl.Groupby("s"), "column 'l' has lists: Groupby cannot compute 'l_list'"),
        (["s", "l"] >> etl.Groupby("l"), "column 'l' has lists; Groupby cannot group or sort by lists"),
        (label + ["s"] >> etl.Groupby("s"), "column 't' is a target, and a list such as 't_list' cannot be one"),
    ):
        with pytest.raises(SchemaError, match=message):
            etl.Workflow(node).fit(data)
