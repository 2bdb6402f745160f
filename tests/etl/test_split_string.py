"""SplitString against Python's `split`, by both implementations and through a SavedModel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from served_frames import served, transformed

import kerasrec as kr
from kerasrec import etl
from kerasrec.schema import SchemaError

WORDS = st.text(alphabet="ab|.* \t\n\x00é", max_size=7)
SEPARATORS = ["|", ".", "*", "||", "a", "é", "| ", ".*", " ", "\t", "\x00", "$", "^", "\\"]


@given(
    values=st.lists(st.none() | WORDS, min_size=1, max_size=8),
    sep=st.sampled_from(SEPARATORS),
    strip=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_strings_are_split_as_pythons_in_both_implementations(
    values: list[str | None], sep: str, strip: bool
) -> None:
    pytest.importorskip("tensorflow")
    ends = " \t\n\x0b\x0c\r"

    def split(value: str | None) -> list[str]:
        value = (value or "").strip(ends) if strip else value or ""
        return [part.strip(ends) if strip else part for part in value.split(sep)] if value else []

    expected = [split(value) for value in values]
    split_then_id = etl.SplitString(sep, strip=strip)
    frame = pl.DataFrame({"x": pl.Series(values, dtype=pl.String)})
    seen = pl.DataFrame({"x": [*values, None]}, schema=frame.schema)
    workflow = etl.Workflow(["x"] >> split_then_id >> etl.Categorify()).fit(seen)
    ids = transformed(workflow, frame)
    words = dict(workflow.vocabulary("x").select("id", "value").iter_rows())
    assert [[words[i] for i in row] for row in ids["x"].to_list()] == expected
    assert served(workflow, frame)["x"].to_list() == ids["x"].to_list()


def test_a_saved_model_takes_the_strings(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    frame = pl.DataFrame({"g": ["a|b", "", None, "c", "b|a|b"], "y": [0, 1, 0, 1, 1]})
    genres = ["g"] >> etl.SplitString("|") >> etl.Categorify() >> etl.ListSlice(-2, pad=True, pad_side="left")
    workflow = etl.Workflow(genres + (["y"] >> etl.Target())).fit(frame)
    assert workflow.transform(frame).collect()["g"].to_list() == [[4, 3], [0, 0], [0, 0], [0, 5], [4, 3]]
    ids = keras.Input((2,), dtype="int32", name="g")
    model = keras.Model({"g": ids}, keras.ops.cast(ids, "float32"))
    workflow.save(tmp_path / "w")
    kr.serving.export(model, tmp_path / "m", workflow=etl.Workflow.load(tmp_path / "w"))
    signature = tf.saved_model.load(str(tmp_path / "m")).signatures["serving_default"]
    assert sorted(signature.structured_input_signature[1]) == ["g", "g__valid"]
    (made,) = kr.serving.load(tmp_path / "m").predict(frame.select("g")).values()
    assert made.tolist() == workflow.transform(frame).collect()["g"].to_list()
    (none,) = kr.serving.load(tmp_path / "m").predict(frame.select("g").head(0)).values()
    assert none.shape == (0, 2)


def test_lengths_are_noted_by_value_count() -> None:
    frame = pl.DataFrame({"g": ["a|b", "", "a"]})
    ids = ["g"] >> etl.SplitString("|") >> etl.Categorify()
    assert etl.Workflow(ids).fit(frame).output_schema["g"].hotness is None
    counted: Any = etl.Workflow(ids >> etl.ValueCount()).fit(frame).output_schema["g"].hotness
    assert (counted.min, counted.max) == (0, 2)


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="SplitString: sep must be a non-empty string; got ''"):
        etl.SplitString("")
    for values, kind in (([1], "int64"), ([["a"]], "lists of string")):
        with pytest.raises(SchemaError, match=f"'x' is {kind}: SplitString takes one string per row"):
            etl.Workflow(["x"] >> etl.SplitString(",")).fit(pl.DataFrame({"x": values}))
    with pytest.raises(SchemaError, match="column 'x' is still string after its operators; Categorify it"):
        etl.Workflow(["x"] >> etl.SplitString(",")).fit(pl.DataFrame({"x": ["a"]}))
