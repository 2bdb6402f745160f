"""The code of docs/etl.md on text, times, lambdas and groups runs, and a served model computes the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from kerasrec import etl
from kerasrec.schema import SchemaError

PAGE = (Path(__file__).parents[2] / "docs" / "etl.md").read_text(encoding="utf-8")


def run(*headings: str) -> dict[str, Any]:
    """Run the Python blocks of sections of the page, and return what they define."""
    names: dict[str, Any] = {}
    for heading in headings:
        (section,) = re.findall(rf"^## {heading}$(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)
        for block in re.findall(r"```python\n(.*?)```", section, re.DOTALL):
            exec(block, names)
    return names


def test_text_times_lists_and_lambdas(tmp_path: Path) -> None:
    names = run("Text, times, lists and lambdas")
    workflow, raw = names["workflow"], names["raw"]
    made = workflow.transform(raw).collect()
    assert made["at_hour"].to_list() == [26, 11, 15]  # 3 is midnight
    assert made["at_weekday"].to_list() == [5, 6, 7]  # a Wednesday, a Thursday and a Friday; 3 is Monday
    assert made["genres"].to_list() == [[0, 0, 0, 3, 4], [0] * 5, [0, 0, 0, 0, 3]]
    assert made["price"].to_list() == [2.0, 4.0, 0.0]
    assert made["seconds"].to_list() == [10.0, 600.0, 45.0]
    assert workflow.input_schema.features.names == ["at", "genres", "price"]
    assert "ParseTime(guessed at: format='ISO8601')" in repr(workflow)
    pytest.importorskip("tensorflow")
    from served_frames import assert_served_as_transformed

    workflow.save(tmp_path / "w")
    assert_served_as_transformed(etl.Workflow.load(tmp_path / "w"), raw)


def test_groups_in_a_served_model(tmp_path: Path) -> None:
    names = run("Text, times, lists and lambdas", "Groups in a served model")
    assert names["history"].to_dict(as_series=False) == {
        "user": ["ann", "bob"],
        "item_list": [["x", "y", "z"], ["x", "z"]],
        "price_mean": [7 / 3, 4.0],
    }
    workflow, rows = names["workflow"], names["rows"]
    words = dict(workflow.vocabulary("item").select("id", "value").iter_rows())
    made = workflow.transform(rows).collect()
    assert [[words.get(i) for i in row] for row in made["item_list"]] == [["y", "z"], ["x", "z"], [None, None]]
    assert [words[i] for i in made["item"]] == ["z", "x", "y"]
    assert made["price_mean"].to_list() == [pytest.approx(7 / 3), 4.0, 0.0]
    assert workflow.input_schema.features.names == ["user", "item"]
    of_requests = names["of_requests"]
    assert of_requests.input_schema.features.names == ["item_list", "item"]
    pytest.importorskip("tensorflow")
    from served_frames import assert_served_as_transformed

    workflow.save(tmp_path / "w")
    assert_served_as_transformed(etl.Workflow.load(tmp_path / "w"), rows)
    assert_served_as_transformed(of_requests, names["sessions"])
    with pytest.raises(SchemaError, match="make the rows with etl.compute"):
        etl.Workflow(names["groups"]["price_mean"]).fit(names["events"]).tensorflow_module()


def test_compute_keeps_types_and_rows(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": ["x", None, "y"], "t": ["2024-01-31", "2024-02-29", None], "n": [1.5, 2.5, None]})
    frame.write_parquet(tmp_path / "frame.parquet")
    good = ["a", "t", "n"] >> etl.Filter(pl.col("n") > 1)
    node = (good["a"] >> etl.FillMissing("?")) + (good["t"] >> etl.ParseTime()) + (good["n"] >> etl.Normalize())
    for source in (frame, frame.lazy(), tmp_path / "frame.parquet", frame.to_pandas()):
        made = etl.compute(node, source)
        assert made.schema == {"a": pl.String, "t": pl.Datetime("us"), "n": pl.Float64}
        assert made["a"].to_list() == ["x", "?"]
        assert made["n"].to_list() == [-1.0, 1.0]
    with pytest.raises(ValueError, match="the workflow has no columns"):
        etl.compute([], frame)
    with pytest.raises(SchemaError, match="no column 'b'"):
        etl.compute(["b"], frame)
