"""Operators that change what is known of columns rather than their values."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from kerasrec import etl
from kerasrec.schema import Tag

FRAME = pl.DataFrame(
    {
        "site": ["a", "b", "c", None],
        "same": ["x", "x", "x", None],
        "pair": [["u"], ["v", "u"], [], None],
        "age": [1.0, 2.0, 3.0, 4.0],
    }
)


def test_low_cardinality_is_dropped(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    from fitted_tables import wire

    cats = ["site", "same", "pair"] >> etl.Categorify()
    workflow = etl.Workflow((cats + ["age"]) >> etl.DropLowCardinality() >> etl.Rename(postfix="_x"))
    rows = workflow.fit(FRAME).transform(FRAME).collect()
    assert rows.columns == workflow.output_schema.names == ["site_x", "pair_x", "age_x"]
    workflow.save(tmp_path / "w")
    again = etl.Workflow.load(tmp_path / "w")
    assert again.transform(FRAME).collect().equals(rows)
    # A column that was dropped need not be there, neither in files nor served.
    assert again.transform(FRAME.drop("same"), targets=False).collect().equals(rows)
    raw: dict[str, object] = {}
    for column in workflow.input_schema.features:
        raw |= wire(FRAME[column.name].to_list(), column)
    assert "same" not in raw
    made = workflow.tensorflow(raw)
    assert made["site_x"].numpy().tolist() == rows["site_x"].to_list()
    beside = etl.Workflow((cats >> etl.DropLowCardinality()) + ["age"]).fit(FRAME)
    assert beside.transform(FRAME).collect().columns == ["site", "pair", "age"]
    few = etl.Workflow(cats >> etl.DropLowCardinality(3)).fit(FRAME)
    assert few.output_schema.names == ["site"]
    with pytest.raises(ValueError, match="min_cardinality must be >= 1; got 0"):
        etl.DropLowCardinality(0)


def test_the_narrowest_type(tmp_path: Path) -> None:
    words = [f"{i}" for i in range(125)]
    frame = pl.DataFrame({"a": words, "b": [words[:-1]] * 125, "c": range(125), "d": [0.1] * 125})
    reduced = ["a", "b"] >> etl.Categorify() >> etl.ReduceDtypeSize()
    buckets = ["c"] >> etl.HashBucket(32_766) >> etl.ReduceDtypeSize()
    workflow = etl.Workflow(reduced + buckets + (["d"] >> etl.ReduceDtypeSize())).fit(frame)
    rows = workflow.transform(frame).collect()
    assert dict(rows.schema) == {"a": pl.Int8, "b": pl.List(pl.Int8), "c": pl.Int32, "d": pl.Float32}
    assert workflow.output_schema["a"].cardinality == 128
    workflow.save(tmp_path / "w")
    assert etl.Workflow.load(tmp_path / "w").transform(frame).collect().equals(rows)
    wide = etl.Workflow(["c"] >> etl.HashBucket(32_765) >> etl.ReduceDtypeSize()).fit(frame)
    assert wide.output_schema["c"].dtype == "int16"


def test_a_model_takes_narrow_ids(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    import kerasrec as kr

    frame = pl.DataFrame({"a": list("abcd") * 8, "b": [["x", "y"], [], ["x"], ["z"]] * 8, "y": [0, 1, 1, 0] * 8})
    cats = ["a", "b"] >> etl.Categorify() >> etl.ReduceDtypeSize()
    etl.Workflow(cats + (["y"] >> etl.Target())).fit_transform(frame).to_parquet(tmp_path / "train")
    train = kr.Loader(tmp_path / "train", batch_size=8)
    model = kr.models.DLRM(train.schema, embedding_dim=8, bottom_units=[8], top_units=[8])
    model.compile(optimizer=kr.optimizers.Adagrad(0.1), loss="binary_crossentropy")
    assert model.fit(train, verbose=0).history["loss"][0] > 0


def test_rename_with_functions_and_one_name(tmp_path: Path) -> None:
    frame = pl.DataFrame({"AGE": [1.0], "City": [2.0]})
    workflow = etl.Workflow((["AGE"] >> etl.Rename("years")) + (["City"] >> etl.Rename(str.lower))).fit(frame)
    assert workflow.output_schema.names == ["years", "city"]
    workflow.save(tmp_path / "w")
    assert etl.Workflow.load(tmp_path / "w").output_schema == workflow.output_schema
    with pytest.raises(ValueError, match="'z' is one name for AGE, City"):
        frame.columns >> etl.Rename("z")


def test_tags() -> None:
    frame = pl.DataFrame({"a": ["x"], "b": ["y"], "c": ["z"]})
    users, items = ["a", "b"] >> etl.AddTags("user"), ["c"] >> etl.AddTags(["item"])
    crosses = (users >> etl.HashedCross(5)) + (users + items >> etl.HashedCross(5))
    schema = etl.Workflow(crosses + (items >> etl.HashBucket(3))).fit(frame).output_schema
    assert [set(column.tags) - {Tag.CATEGORICAL} for column in schema] == [{Tag.USER}, set(), {Tag.ITEM}]


def test_boundaries_by_column(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": [0.0, 5.0], "b": [[1, 9], []]})
    workflow = etl.Workflow(["a", "b"] >> etl.Bucketize({"a": [1], "b": [2, 8]})).fit(frame)
    workflow.save(tmp_path / "w")
    rows = etl.Workflow.load(tmp_path / "w").transform(frame).collect()
    assert rows["a"].to_list() == [3, 4]
    assert rows["b"].to_list() == [[3, 5], []]
    assert [column.cardinality for column in workflow.output_schema] == [5, 6]
    with pytest.raises(ValueError, match="Bucketize: boundaries has no entry for column 'b'"):
        ["a", "b"] >> etl.Bucketize({"a": [1]})
