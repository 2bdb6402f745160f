"""JoinGroupby against pandas, and keys looked up by both implementations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from served_frames import assert_served_as_transformed, parts, transformed

from kerasrec import etl
from kerasrec.etl.lookup.key_index import KeyIndex
from kerasrec.schema import Column, SchemaError, Tag

pandas = pytest.importorskip("pandas")

STATS = ["count", "sum", "mean", "min", "max", "std", "var"]
SCHEMA = {"user": pl.String, "item": pl.Int64, "x": pl.Float64, "n": pl.Int32}
ROW = st.tuples(
    st.none() | st.sampled_from(["", "a", "b", "é\n"]),
    st.none() | st.sampled_from([-1, 0, 1, 2**40]),
    st.none() | st.floats(-1e6, 1e6, width=32),
    st.none() | st.integers(-3, 3),
)


def frame(rows: list[Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def by_pandas(seen: pl.DataFrame, new: pl.DataFrame, key: list[str], cont: str) -> dict[str, np.ndarray]:
    """The statistics of the group that each new row's key has among the seen rows."""
    grouped = seen.to_pandas().groupby(key, dropna=False)[cont]
    table = pandas.DataFrame(
        {
            "count": grouped.size(),
            "sum": grouped.sum(),
            **{stat: getattr(grouped, stat)() for stat in ("mean", "min", "max", "std", "var")},
        }
    ).reset_index()
    made = new.to_pandas()[key].merge(table, on=key, how="left")
    made[["count", "sum"]] = made[["count", "sum"]].fillna(0)
    return {stat: made[stat].to_numpy("float32") for stat in STATS}


NULL = -123_456_789


@given(seen=st.lists(ROW, min_size=1, max_size=20), new=st.lists(ROW, max_size=8), lazy=st.booleans())
@settings(max_examples=15, deadline=None)
def test_against_pandas(seen: list[Any], new: list[Any], lazy: bool) -> None:
    fitted, rows = frame(seen), frame(seen + new)
    spent = ["user", "item", ["user", "item"]] >> etl.JoinGroupby(["x", "n"], stats=STATS)
    workflow = etl.Workflow(spent >> etl.FillMissing(NULL)).fit(fitted.lazy() if lazy else fitted)
    got = transformed(workflow, rows)
    for key in (["user"], ["item"], ["user", "item"]):
        for cont in ("x", "n"):
            expected = by_pandas(fitted, rows, key, cont)
            tolerance = 1e-6 * (1 + np.abs(fitted[cont].fill_null(0).to_numpy()).max())
            for stat in STATS:
                name = "_".join([*key, "count"] if stat == "count" else [*key, cont, stat])
                values = got[name].to_numpy()
                values = np.where(values == NULL, np.nan, values)
                np.testing.assert_allclose(values, expected[stat], rtol=2e-6, atol=tolerance, err_msg=name)


@given(rows=st.lists(ROW, min_size=1, max_size=20), cuts=st.lists(st.integers(0, 20), max_size=4))
@settings(max_examples=15, deadline=None)
def test_any_split(rows: list[Any], cuts: list[int]) -> None:
    op = (["user", ["item", "user"]] >> etl.JoinGroupby(["x", "n"], stats=STATS)).op
    assert op is not None
    columns = [Column("user", "string"), Column("item", "int64"), Column("x", "float64"), Column("n", "int32")]

    def partial(some: list[Any]) -> list[pl.DataFrame]:
        return [query.collect() for query in op.partial(frame(some).lazy(), columns)]

    def learned(statistics: list[pl.DataFrame]) -> dict[str, pl.DataFrame]:
        op.frames = {}
        op.finalize(statistics, columns)
        return op.frames

    some = [partial(part) for part in parts(rows, cuts)]
    nested = some[0]
    for part in some[1:]:
        nested = op.merge([part, nested])
    whole = learned(partial(rows))
    for split in (learned(op.merge(some)), learned(nested)):
        assert whole.keys() == split.keys()
        for name in whole:
            assert_frame_equal(whole[name], split[name], rel_tol=1e-9, abs_tol=1e-3)  # std of nearly equal values


@given(seen=st.lists(ROW, min_size=1, max_size=12), new=st.lists(ROW, max_size=6))
@settings(max_examples=6, deadline=None)
def test_both_implementations_make_the_same(seen: list[Any], new: list[Any]) -> None:
    pytest.importorskip("tensorflow")
    seen = [*seen, (None, None, 1.0, 1)]  # so that nulls are expected
    spent = ["item", ["user", "item"]] >> etl.JoinGroupby("x", stats=["count", "min", "std"])
    known = ["user"] >> etl.JoinGroupby(stats="count", name_sep=".")
    workflow = etl.Workflow(spent + known >> etl.FillMissing(NULL))
    workflow.fit(frame(seen))
    rows = frame(seen + new).drop("x", "n")  # what only learning reads is not asked for
    assert_served_as_transformed(workflow, rows)


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_keys_find_their_rows(data: Any) -> None:
    """Against a dict, over types, and over integers near each other and far apart."""
    kinds = {
        pl.String: st.text(max_size=2),
        pl.Int64: st.integers(-5, 5) | st.sampled_from([-(2**63), 2**63 - 1, 2**33]),
        pl.UInt64: st.integers(0, 3) | st.sampled_from([2**64 - 1, 2**63]),
        pl.Int8: st.integers(-128, 127),
        pl.Boolean: st.booleans(),
    }
    dtypes = data.draw(st.lists(st.sampled_from(list(kinds)), min_size=1, max_size=3))
    element = st.tuples(*(st.none() | kinds[dtype] for dtype in dtypes))
    known = data.draw(st.lists(element, unique=True, max_size=8))
    asked = known + data.draw(st.lists(element, max_size=8))
    schema = {f"c{i}": dtype for i, dtype in enumerate(dtypes)}
    keys = KeyIndex(pl.DataFrame(known, schema=schema, orient="row"))
    rows = pl.DataFrame(asked, schema=schema, orient="row")
    at = rows.lazy().select(keys.position([pl.col(name) for name in schema])).collect(engine="streaming")
    places = {key: i for i, key in enumerate(known)}
    assert at.to_series().to_list() == [places.get(key, len(known)) for key in asked]


# ---- names, types, state -------------------------------------------------------------------------
ROWS = frame([("a", 1, 1.0, 1), ("a", 2, 2.0, None), (None, 1, None, 3)])


def test_names_and_columns() -> None:
    tagged = ["user"] >> etl.AddTags("user")
    spent = tagged + ["item"] >> etl.JoinGroupby(["x"], stats=["mean", "count"], keys=["user"], name_sep="-")
    assert spent.outputs == ["user-count", "user-x-mean"]
    workflow = etl.Workflow(spent >> etl.FillMissing()).fit(ROWS)
    assert [column.tags for column in workflow.output_schema] == [(Tag.CONTINUOUS, Tag.USER)] * 2
    assert workflow.raw_signature().keys() == {"user", "user__valid"}


def test_learns_from_a_node() -> None:
    x = ["x"] >> etl.FillMissing(7)
    workflow = etl.Workflow(["user"] >> etl.JoinGroupby(x, stats=["sum"])).fit(ROWS)
    assert transformed(workflow, ROWS)["user_x_sum"].to_list() == [3.0, 3.0, 7.0]


def test_save_and_load(tmp_path: Path) -> None:
    spent = ["user", ["user", "item"]] >> etl.JoinGroupby(["x", "n"], stats=STATS) >> etl.FillMissing()
    workflow = etl.Workflow(spent + (["user"] >> etl.Categorify())).fit(ROWS)
    workflow.save(tmp_path / "w")
    loaded = etl.Workflow.load(tmp_path / "w")
    assert repr(loaded) == repr(workflow)
    assert_frame_equal(transformed(loaded, ROWS), transformed(workflow, ROWS), check_exact=True)
    assert_frame_equal(loaded.vocabulary("user"), workflow.vocabulary("user"))


def test_one_row_and_no_row() -> None:
    workflow = etl.Workflow(["user"] >> etl.JoinGroupby("x", stats=["mean"])).fit(ROWS.head(1))
    assert workflow.transform(ROWS.head(1)).collect().rows() == [(1.0,)]
    assert workflow.transform(ROWS.head(0)).collect().shape == (0, 1)
    with pytest.raises(SchemaError, match="row 2: column 'user_x_mean' is null"):
        workflow.transform(ROWS).collect()


def test_bad_arguments() -> None:
    for make, message in [
        (lambda: etl.JoinGroupby(stats=["median"]), r"stats must be of count, .*got \['median'\]"),
        (lambda: etl.JoinGroupby(stats=[]), "stats must be of"),
        (lambda: ["user"] >> etl.JoinGroupby(stats=["mean"]), "mean needs columns to compute it of"),
        (lambda: ["user"] >> etl.JoinGroupby(["x"], keys=["item"]), r"no column 'item'; available: user"),
        (lambda: ["x"] >> etl.JoinGroupby(["x"]), "no column to use as a key; available: x"),
        (lambda: ["a_b", ["a", "b"]] >> etl.JoinGroupby(), "output columns have 'a_b_count' more than once"),
    ]:
        with pytest.raises(ValueError, match=message):
            make()  # type: ignore[no-untyped-call]


def test_bad_columns() -> None:
    lists = ROWS.with_columns(tags=pl.lit([1]))
    for node, message in [
        (["x"] >> etl.JoinGroupby(), "'x' is float64; JoinGroupby takes one string"),
        (["tags"] >> etl.JoinGroupby(), "'tags' is a list; JoinGroupby takes one string"),
        (["item"] >> etl.JoinGroupby(["user"], stats=["sum"]), "'user' is string; JoinGroupby takes numbers"),
        (
            ["item"] >> etl.JoinGroupby(["tags"], stats=["sum"]),
            "'tags' has lists; JoinGroupby takes",
        ),
    ]:
        with pytest.raises(SchemaError, match=message):
            etl.Workflow(node).fit(lists)
