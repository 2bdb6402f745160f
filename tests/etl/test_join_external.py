"""JoinExternal against pandas' merge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from served_frames import assert_served_as_transformed

from kerasrec import etl
from kerasrec.schema import SchemaError, Tag

pandas = pytest.importorskip("pandas")

SCHEMA = {"user": pl.String, "item": pl.Int32, "x": pl.Float64}
ROW = st.tuples(
    st.none() | st.sampled_from(["", "a", "b", "é\n"]),
    st.none() | st.sampled_from([-1, 0, 1, 2**31 - 1]),
    st.floats(-4, 4, width=32),
)
EXTERNAL = {"u": pl.String, "i": pl.Int64, "price": pl.Float64, "tags": pl.List(pl.String), "n": pl.Int16}
EXTERNAL_ROW = st.tuples(
    st.none() | st.sampled_from(["", "a", "b", "c"]),
    st.none() | st.sampled_from([-1, 0, 1, 2**40]),
    st.none() | st.floats(-1e6, 1e6, width=32),
    st.none() | st.lists(st.none() | st.sampled_from(["p", "q"]), max_size=3),
    st.none() | st.integers(-3, 3),
)


def frame(rows: list[Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def external(rows: list[Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=EXTERNAL, orient="row")


def merged(rows: pl.DataFrame, ext: pl.DataFrame, on: list[str], on_ext: list[str], how: str) -> pl.DataFrame:
    """By pandas; of external rows that share a key the first."""
    right = ext.to_pandas().astype({"n": "Int16", "i": "Int64"}).drop_duplicates(on_ext)
    left = rows.to_pandas().astype({"item": "Int64"})
    made = left.merge(right, left_on=on, right_on=on_ext, how=how)
    return pl.DataFrame(
        {
            "x": pl.Series(made["x"].to_list(), dtype=pl.Float32),
            "price": pl.Series(made["price"].to_list(), dtype=pl.Float32, strict=False).fill_nan(None),
            "n": pl.Series([None if n is pandas.NA else n for n in made["n"]], dtype=pl.Int16),
            "tags": [len(tags) if hasattr(tags, "__len__") else 0 for tags in made["tags"]],
        },
        schema_overrides={"tags": pl.Float32},
    )


KEYS = [(["user"], ["u"]), (["item"], ["i"]), (["item", "user"], ["i", "u"])]


@given(
    rows=st.lists(ROW, min_size=1, max_size=12),
    ext=st.lists(EXTERNAL_ROW, max_size=12),
    key=st.sampled_from(KEYS),
    how=st.sampled_from(["left", "inner"]),
)
@settings(max_examples=25, deadline=None)
def test_against_pandas(rows: list[Any], ext: list[Any], key: Any, how: str) -> None:
    on, on_ext = key
    join = etl.JoinExternal(external(ext), on, how, on_ext, ["price", "n", "tags"], drop_duplicates_ext=True)
    made = ["user", "item", "x"] >> join
    length = made["tags"] >> etl.LambdaOp(lambda tags: tags.list.len().cast(pl.Float32))
    workflow = etl.Workflow((made["x", "price", "n"] + length) >> etl.FillMissing(-9))
    expected = merged(frame(rows), external(ext), on, on_ext, how).fill_null(-9)
    if expected.is_empty():
        with pytest.raises(SchemaError, match="no rows are left"):
            workflow.fit(frame(rows))
        return
    assert_frame_equal(workflow.fit(frame(rows)).transform(frame(rows)).collect(), expected)
    assert workflow.transform(frame([])).collect().is_empty()


@given(
    rows=st.lists(ROW, min_size=1, max_size=8), ext=st.lists(EXTERNAL_ROW, max_size=8), key=st.sampled_from(KEYS)
)
@settings(max_examples=6, deadline=None)
def test_both_implementations_make_the_same(rows: list[Any], ext: list[Any], key: Any) -> None:
    """An inner join serves a row without a partner as a left one does."""
    pytest.importorskip("tensorflow")
    on, on_ext = key
    ext = [*ext, (None, None, None, ["q"], 1), ("z", 7, 1.0, [], 2)]
    seen = [*rows, (None, None, 0.5), ("z", 7, 1.0)]
    join = etl.JoinExternal(external(ext), on, "inner", on_ext, drop_duplicates_ext=True)
    made = ["user", "item"] >> join
    tags = made["tags"] >> etl.Categorify()
    workflow = etl.Workflow((made["price", "n"] >> etl.FillMissing(-9)) + tags).fit(frame(seen))
    assert_served_as_transformed(workflow, frame(seen))
    assert "x" not in workflow.input_schema.names


ROWS = frame([("a", 1, 1.0), ("b", 2, 2.0), ("z", 3, 3.0), (None, 1, 4.0)])
USERS = pl.DataFrame({"user": ["a", "b", "c"], "age": [10, 20, 30], "city": ["x", "y", "x"]})


def test_names_tags_and_what_is_read() -> None:
    tagged = (["user"] >> etl.AddTags("user")) + ["item"]
    made = tagged >> etl.JoinExternal(USERS, "user", columns_ext=["user", "age", "city"])
    assert made.outputs == ["user", "item", "age", "city"]
    city = made["city"] >> etl.Categorify()
    workflow = etl.Workflow(city + (made["age"] >> etl.FillMissing())).fit(ROWS)
    assert all(Tag.USER in column.tags for column in workflow.output_schema)
    assert workflow.transform(ROWS.select("user")).collect().to_dict(as_series=False) == {
        "city": [3, 4, 1, 1],
        "age": [10.0, 20.0, 0.0, 0.0],
    }


def test_learning_behind_an_inner_join_and_files(tmp_path: Path) -> None:
    USERS.write_csv(tmp_path / "users.csv")
    ROWS.write_parquet(tmp_path / "raw.parquet")
    for ext in (tmp_path / "users.csv", USERS.lazy(), USERS.to_arrow()):
        made = ["user", "x"] >> etl.JoinExternal(ext, "user", "inner")
        workflow = etl.Workflow((made["age"] >> etl.NormalizeMinMax()) + made["x"]).fit(tmp_path / "raw.parquet")
        assert workflow.transform(tmp_path / "raw.parquet").collect().rows() == [(0.0, 1.0), (1.0, 2.0)]
        rows = workflow.transform(ROWS, targets=False).lazy().collect()
        assert rows["x"].to_list() == [1.0, 2.0, 3.0, 4.0]


def test_save_and_load(tmp_path: Path) -> None:
    made = ["user", "x"] >> etl.JoinExternal(USERS, "user", "inner")
    workflow = etl.Workflow((made["city"] >> etl.Categorify()) + made["age", "x"]).fit(ROWS)
    loaded = etl.Workflow.load(workflow.save(tmp_path / "w"))
    assert repr(loaded) == repr(workflow)
    expected = workflow.transform(ROWS).collect()
    assert_frame_equal(loaded.transform(ROWS).collect(), expected)
    assert_frame_equal(loaded.fit(ROWS).transform(ROWS).collect(), expected)


def test_window_behind_a_left_join() -> None:
    made = ["user", "x"] >> etl.JoinExternal(USERS, "user")
    lag = made["age", "city"] >> etl.DifferenceLag("city") >> etl.FillMissing(-1)
    assert etl.Workflow(lag).fit(ROWS).transform(ROWS).collect().to_series().to_list() == [-1.0] * 4


def test_bad_arguments(tmp_path: Path) -> None:
    USERS.write_parquet(tmp_path / "users.parquet")
    twice = pl.concat([USERS, USERS.head(1)])
    for make, error, message in [
        (
            lambda: etl.JoinExternal(USERS, "user", "outer"),
            ValueError,
            "how must be 'left' or 'inner'",
        ),
        (
            lambda: etl.JoinExternal(USERS, ["user"], on_ext=["user", "age"]),
            ValueError,
            "equally many columns; got 1 and 2",
        ),
        (lambda: etl.JoinExternal(None, "user"), TypeError, "got NoneType"),
        (lambda: etl.JoinExternal(USERS, "user", columns_ext=[]), ValueError, "the frame has no column to add"),
        (lambda: etl.JoinExternal(tmp_path / "users.parquet", "x"), SchemaError, "users.parquet: no column 'x'"),
        (lambda: etl.JoinExternal(twice, "user"), SchemaError, r"key \{'user': 'a'\} is in several rows"),
        (
            lambda: etl.JoinExternal(USERS.cast({"age": pl.Float64}), "age"),
            SchemaError,
            "'age' is float64; JoinExternal, in the frame, takes one string",
        ),
        (lambda: ["x"] >> etl.JoinExternal(USERS, "user"), ValueError, r"on: no column 'user'; available: x"),
        (
            lambda: ["user", "age"] >> etl.JoinExternal(USERS, "user"),
            ValueError,
            r"\['age'\] are columns both before",
        ),
        (
            lambda: etl.Workflow(["item"] >> etl.JoinExternal(USERS, "item", on_ext="user")).fit(ROWS),
            SchemaError,
            "'item' is int32, but 'user' of the external frame is string",
        ),
        (
            lambda: etl.Workflow(["x"] >> etl.JoinExternal(USERS, "x", on_ext="age")).fit(ROWS),
            SchemaError,
            "'x' is float64; JoinExternal takes one string",
        ),
    ]:
        with pytest.raises(error, match=message):
            make()  # type: ignore[no-untyped-call]
