"""LambdaOp: a user's expressions, in both implementations, saved by where they stand."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from fitted_tables import run_both
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasrec import etl
from kerasrec.schema import Column, SchemaError, Tag


def halved(x: pl.Expr) -> pl.Expr:
    return x / 2


def halved_tensor(x: Any) -> Any:
    import tensorflow as tf

    return tf.cast(x, tf.float64) / 2


def filled_by_kind(x: pl.Expr, column: Column) -> pl.Expr:
    return x.fill_null("none" if column.dtype == "string" else -1)


FRAME = pl.DataFrame(
    {"zip": ["12345", "12999", None], "n": [1, None, 3], "l": [["a", "b"], [], None], "d": [0.0, 2.0, 4.0]}
)


def test_strings_lists_and_several_columns() -> None:
    prefix = ["zip"] >> etl.LambdaOp(lambda x: x.str.slice(0, 2)) >> etl.Categorify()
    length = ["l"] >> etl.LambdaOp(lambda x: x.list.len())
    split = ["zip"] >> etl.LambdaOp(lambda x: x.str.split("9"), name="parts") >> etl.Categorify()
    ratio = ["d", "n"] >> etl.FillMissing(1) >> etl.LambdaOp(lambda d, n: d / n, name="ratio")
    facts = ["zip", "n"] >> etl.LambdaOp(filled_by_kind) >> etl.Rename(postfix="_f")
    facts = facts >> etl.Categorify()
    workflow = etl.Workflow(prefix + length + split + ratio + facts).fit(FRAME)
    rows = workflow.transform(FRAME).collect()
    assert rows["zip"].to_list() == [3, 3, 1]
    assert rows["l"].to_list() == [2, 0, 0]
    assert rows["parts"].to_list() == [[5], [4, 3, 3, 3], []]  # "12345"; "12", "", "", ""
    assert rows["ratio"].to_list() == [0, 2, pytest.approx(4 / 3)]
    assert rows["zip_f"].to_list() == [3, 4, 5]
    assert Tag.LIST in workflow.output_schema["parts"].tags
    assert workflow.transform(FRAME.head(0)).collect().is_empty()


@given(
    st.lists(
        st.tuples(st.none() | st.integers(-99, 99).map(lambda x: x / 8), st.none() | st.integers(-3, 3)),
        max_size=6,
    )
)
@settings(max_examples=10, deadline=None)
def test_both_implementations_make_the_same(rows: list[Any]) -> None:
    ratio = ["a", "b"] >> etl.LambdaOp(lambda a, b: a / b, name="ratio", tf=lambda a, b: a / as_double(b))
    half = ["b"] >> etl.LambdaOp(halved, tf=halved_tensor)
    root = (ratio + half) >> etl.FillMissing(-7)
    _, polars, tensors = run_both(root, ["a", "b"], ["float64", "int64"], [(1.0, 1), (None, None)], rows)
    for name in ("ratio", "b"):
        assert polars[name].to_list() == tensors[name].tolist()


def as_double(x: Any) -> Any:
    import tensorflow as tf

    return tf.cast(x, tf.float64)


def test_lists_are_served_as_ragged_tensors() -> None:
    tf = pytest.importorskip("tensorflow")
    from fitted_tables import Fitted, same

    values = [[1, None, 3], [], None, [4]]
    fitted = Fitted(etl.LambdaOp(halved, tf=halved_tensor), values, "int64", True)
    same(fitted.polars(values), fitted.tensorflow(values))
    length = etl.LambdaOp(lambda x: x.list.len(), tf=lambda x: x.row_lengths())
    counted = Fitted(length, values, "int64", True)
    assert counted.polars(values).to_list() == counted.tensorflow(values) == [3, 0, 0, 1]
    wrong = etl.LambdaOp(halved, tf=lambda x: x.row_lengths())
    with pytest.raises(SchemaError, match="column 'x': f returns lists, but tf no lists"):
        Fitted(wrong, values, "int64", True).tensorflow(values)
    last = etl.LambdaOp(lambda x: x.str.slice(-1), tf=lambda x: tf.strings.substr(x, -1, 1))
    words = Fitted(last, ["ab", "c"], "string", False)
    assert words.polars(["ab", "c"]).to_list() == ["b", "c"]
    assert words.tensorflow(["ab", "c"]) == [b"b", b"c"]


def test_named_functions_that_call_python_are_saved_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_features.py").write_text(
        "import polars as pl\n"
        "def third(x):\n    return x.map_batches(lambda s: s / 3, return_dtype=pl.Float64, is_elementwise=True)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import my_features  # type: ignore[import-not-found]

    frame = pl.DataFrame({"d": [0.0, 3.0], "n": [-1, 2]})
    root = (["d"] >> etl.LambdaOp(my_features.third)) + (["n"] >> etl.LambdaOp(pl.Expr.abs))
    workflow = etl.Workflow(root).fit(frame)
    workflow.save(tmp_path / "w")
    again = etl.Workflow.load(tmp_path / "w", trust=["my_features"])
    assert again.transform(frame).collect().rows() == [(0.0, 1.0), (1.0, 2.0)]
    assert "my_features:third" in (tmp_path / "w" / "workflow.json").read_text()
    assert "LambdaOp(f=third)" in repr(workflow)
    given = etl.Workflow(["d"] >> etl.LambdaOp("my_features:third")).fit(frame)
    assert given.transform(frame).collect()["d"].to_list() == [0.0, 1.0]
    text = (tmp_path / "w" / "workflow.json").read_text()
    (tmp_path / "w" / "workflow.json").write_text(text.replace("my_features:third", "my_features:gone"))
    with pytest.raises(SchemaError, match="cannot import 'my_features:gone'"):
        etl.Workflow.load(tmp_path / "w", trust=True)


def test_lambdas_are_saved_as_expressions_and_need_no_trust(tmp_path: Path) -> None:
    """Also after other operators, of several columns, with a description, and of any names."""
    frame = pl.DataFrame({"user id": [1, None, 3], "^x": ["Ab", None, "c.d"], "größe": [1.5, None, -2.5]})
    filled = ["user id", "größe"] >> etl.FillMissing(0) >> etl.LambdaOp(lambda x: x * 2 + 1)
    both = filled >> etl.LambdaOp(lambda a, b: pl.when(a > b).then(a).otherwise(b), name="a.b")
    kinds = ["^x", "größe"] >> etl.LambdaOp(filled_by_kind) >> etl.Rename(postfix="_k")
    lower = kinds["^x_k"] >> etl.LambdaOp(lambda x: x.str.to_lowercase().str.slice(0, 1)) >> etl.Categorify()
    workflow = etl.Workflow(filled + both + lower + kinds["größe_k"]).fit(frame)
    expected = workflow.transform(frame).collect()
    assert expected["a.b"].to_list() == [4, 1, 7]
    workflow.save(tmp_path / "w")
    again = etl.Workflow.load(tmp_path / "w")
    assert again.transform(frame).collect().equals(expected)
    assert again.output_schema == workflow.output_schema
    assert 'LambdaOp([([(col("user id")) * (dyn int: 2)]) + (dyn int: 1)]' in repr(again)
    again.save(tmp_path / "again")
    assert (tmp_path / "again" / "workflow.json").read_text() == (tmp_path / "w" / "workflow.json").read_text()
    assert etl.Workflow(again._root).fit(frame.head(2)).transform(frame).collect()["a.b"].to_list() == [4, 1, 7]
    lists = etl.Workflow(["l"] >> etl.FillMissing(0) >> etl.LambdaOp(lambda x: x.list.eval(pl.element() + 1)))
    lists.fit(pl.DataFrame({"l": [[1, None], None]})).save(tmp_path / "lists")
    made = etl.Workflow.load(tmp_path / "lists").transform(pl.DataFrame({"l": [[2], [], [None]]})).collect()
    assert made["l"].to_list() == [[3], [], [1]]


def test_a_saved_model_has_lambdas_without_a_tensorflow_function(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    from served_frames import assert_served_as_transformed

    frame = pl.DataFrame(
        {
            "price": [1.5, None, 3.0, 8.0],
            "cost": [1.0, 2.0, None, 0.0],
            "name": ["Ab", "", None, "xyz"],
            "at": [datetime(2024, 2, 29, 13), None, datetime(1969, 12, 31), datetime(2000, 1, 1)],
            "items": [[1, 2], [], None, [3]],
        }
    )
    margin = ["price", "cost"] >> etl.LambdaOp(lambda p, c: (p - c).clip(0, 5).fill_null(-1), name="margin")
    length = ["name"] >> etl.LambdaOp(lambda x: x.str.len_chars().fill_null(0))
    long = ["name"] >> etl.LambdaOp(lambda x: pl.when(x.str.len_chars() > 1).then(pl.lit("long")), name="long")
    late = ["at"] >> etl.LambdaOp(lambda t: t.dt.hour().is_between(12, 23).cast(pl.Int32).fill_null(0))
    count = ["items"] >> etl.LambdaOp(lambda x: x.list.len() > 1, name="many")
    workflow = etl.Workflow(margin + length + (long >> etl.Categorify()) + late + count).fit(frame)
    workflow.save(tmp_path / "w")
    loaded = etl.Workflow.load(tmp_path / "w")
    for rows in (frame, frame.head(0), frame.tail(1)):
        assert_served_as_transformed(loaded, rows)
    assert workflow.transform(frame).collect()["margin"].to_list() == [0.5, -1.0, -1.0, 5.0]


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    def inner(x: pl.Expr) -> pl.Expr:
        return called(x)

    def called(x: pl.Expr) -> pl.Expr:
        return x.map_elements(lambda v: v, return_dtype=pl.Float64)

    for f in (lambda x: called(x), inner):
        workflow = etl.Workflow(["d"] >> etl.LambdaOp(f)).fit(FRAME)
        with pytest.raises(ValueError, match="column 'd' cannot be saved, as f calls a Python function"):
            workflow.save(tmp_path / "w")
    workflow = etl.Workflow(["d"] >> etl.LambdaOp(halved, tf=lambda x: x / 2)).fit(FRAME)
    with pytest.raises(ValueError, match="LambdaOp of column 'd' cannot be saved, as tf is a Python function"):
        workflow.save(tmp_path / "w")
    assert not (tmp_path / "w").exists()


def test_the_part_that_cannot_be_served_is_named() -> None:
    pytest.importorskip("tensorflow")
    root = ["d", "n"] >> etl.FillMissing() >> etl.LambdaOp(lambda x: x.fill_null(1) + x.sin())
    workflow = etl.Workflow(root).fit(FRAME)
    with pytest.raises(
        SchemaError,
        match=r"of column 'd', 'n' cannot be part of a served model: .*sin\(\) has no TensorFlow .*LambdaOp\(tf=",
    ):
        workflow.tensorflow_module()


def test_what_is_refused() -> None:
    for f, message in [
        (lambda x: 7, "LambdaOp of column 'zip' must return a Polars expression; got 7"),
        (lambda x: x + 1, "LambdaOp of column 'zip' does not fit its dtype"),
        (lambda x: x.sort(), "LambdaOp of column 'zip' must not depend on other rows"),
        (lambda x: x.fill_null(x.first()), "LambdaOp of column 'zip' must not depend on other rows"),
        (lambda x: x.str.to_time("%H"), "LambdaOp returns column 'zip' of type Time; supported are numbers"),
    ]:
        if "other rows" in message and not hasattr(pl.col("x").meta, "is_row_separable"):
            continue  # an older Polars cannot tell
        with pytest.raises(SchemaError, match=message):
            etl.Workflow(["zip"] >> etl.LambdaOp(f)).fit(FRAME)
    with pytest.raises(SchemaError, match="nulls are left after the operators, in column 'n'"):
        etl.Workflow(["n"] >> etl.LambdaOp(halved)).fit(FRAME)
    with pytest.raises(TypeError, match="takes a function of Polars expressions; got 3"):
        etl.LambdaOp(3)  # type: ignore[arg-type]


def test_nan_is_null() -> None:
    frame = pl.DataFrame({"x": [0.0, 1.0], "l": [[0.0], [1.0]]})
    zero_by_zero = etl.LambdaOp(lambda x: x * math.nan)
    rows = etl.Workflow(["x"] >> zero_by_zero >> etl.FillMissing(5)).fit_transform(frame).collect()
    assert rows["x"].to_list() == [5, 5]
    lists = etl.LambdaOp(lambda x: x.list.eval(pl.element() * math.nan))
    rows = etl.Workflow(["l"] >> lists >> etl.FillMissing(5)).fit_transform(frame).collect()
    assert rows["l"].to_list() == [[5], [5]]
