"""The graph of operators that `>>` and `+` build."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from kerasrec import etl
from kerasrec.etl.operator.graph import trace
from kerasrec.schema import Column, Schema, SchemaError, Tag

NEEDS_ARGUMENTS: dict[str, etl.Operator] = {
    "AddTags": etl.AddTags("user"),
    "Bucketize": etl.Bucketize([1]),
    "Clip": etl.Clip(min=0),
    "ColumnSimilarity": etl.ColumnSimilarity(pl.DataFrame({"id": [1], "x": ["a"]})),
    "DifferenceLag": etl.DifferenceLag("user"),
    "Filter": etl.Filter(pl.col("a") > 0),
    "Groupby": etl.Groupby("user"),
    "HashBucket": etl.HashBucket(10),
    "HashedCross": etl.HashedCross(10),
    "JoinExternal": etl.JoinExternal(pl.DataFrame({"a": [1], "b": [2]}), "a"),
    "LambdaOp": etl.LambdaOp(lambda x: x + 1),
    "ListSlice": etl.ListSlice(3),
    "NegativeSampling": etl.NegativeSampling("item"),
    "SplitString": etl.SplitString("|"),
    "TargetEncoding": etl.TargetEncoding("clicked"),
}


def test_what_may_stand_beside_the_operators() -> None:
    node = ["a"] >> etl.Normalize()
    for made in (node + ["b"], ["b"] + node, node + "b", [node, "b"] >> etl.FillMissing()):
        assert sorted(made.outputs) == ["a", "b"]
    assert ("a" >> etl.Normalize()).outputs == ["a"]
    assert (node + (["b", "c"] >> etl.Normalize())).outputs == ["a", "b", "c"]
    assert etl.Workflow([node, "b"]).fit(pl.DataFrame({"a": [1, 2], "b": [3, 4]})).output_schema.names == [
        "a",
        "b",
    ]


def test_an_operator_applied_twice_learns_twice() -> None:
    op = etl.Normalize()
    frame = pl.DataFrame({"a": [0.0, 2.0], "b": [0.0, 20.0]})
    got = etl.Workflow((["a"] >> op) + (["b"] >> op)).fit_transform(frame).collect()
    assert got.rows() == [(-1.0, -1.0), (1.0, 1.0)]
    assert op.state == {}


def test_a_node_used_twice() -> None:
    filled = ["a"] >> etl.FillMissing()
    logs = filled >> etl.LogOp() >> etl.Rename(postfix="_log")
    got = etl.Workflow(filled + logs).fit_transform(pl.DataFrame({"a": [0.0, None]})).collect()
    assert got.to_dict(as_series=False) == {"a": [0.0, 0.0], "a_log": [0.0, 0.0]}


def test_nodes_may_be_empty() -> None:
    cats = ["a"] >> etl.Categorify()
    for made in (cats + [], [] + cats, cats + ([] >> etl.Normalize()), sum([cats])):
        assert made.outputs == ["a"]
        assert etl.Workflow(made).fit_transform(pl.DataFrame({"a": ["x"]})).collect().rows() == [(3,)]
    for name in etl.ops.OPERATORS:
        op = NEEDS_ARGUMENTS.get(name) or getattr(etl, name)()
        for nothing in ([] >> op, (cats - ["a"]) >> op, [[]] >> op, [[] >> op] >> op):
            assert nothing.outputs == []
            assert (nothing >> etl.LogOp() >> etl.AddTags("user")).outputs == []
            assert (cats + nothing).outputs == (nothing + cats).outputs == ["a"]


def test_a_loop_may_begin_with_an_empty_list() -> None:
    features: Any = []
    for name in ("a", "b"):
        features += [name] >> etl.FillMissing() >> etl.Rename(postfix="_f")
    for bounds in ():
        features += ["c"] >> etl.Bucketize(bounds)
    features += ["d"]
    assert features.outputs == ["a_f", "b_f", "d"]
    row = pl.DataFrame({"a": [1, None], "b": [2, 0], "d": [3, 1]})
    assert etl.Workflow(features).fit_transform(row).collect().rows() == [(1, 2, 3), (0, 0, 1)]
    listed = []
    listed.append("d")
    listed.append([] >> etl.LogOp())
    listed.append(["a"] >> etl.FillMissing())
    assert etl.Workflow(listed).fit_transform(row).collect().columns == ["d", "a"]


def test_a_selection_beside_a_changed_column_of_the_same_name_is_served() -> None:
    pytest.importorskip("tensorflow")
    from served_frames import assert_served_as_transformed

    frame = pl.DataFrame({"a": [1.0, 2.0], "b": [3.0, 5.0]})
    both = ["a", "b"] >> etl.FillMissing()
    for node in ((both["a"] >> etl.Normalize()) + both["b"], both["b"] + (both["a"] >> etl.Normalize())):
        assert_served_as_transformed(etl.Workflow(node).fit(frame), frame)


def test_rename() -> None:
    node = ["a", "b"] >> etl.Rename({"a": "x"}, prefix="p_", postfix="_q")
    assert node.outputs == ["x", "p_b_q"]
    assert trace(node, "p_b_q")[0] == ["b"]
    with pytest.raises(ValueError, match=r"Rename: no column 'c'; available: a"):
        ["a"] >> etl.Rename({"c": "d"})
    with pytest.raises(ValueError, match="the output columns have 'b' more than once"):
        ["a", "b"] >> etl.Rename({"a": "b"})


def test_tags() -> None:
    workflow = etl.Workflow((["a"] >> etl.AddTags(["user"])) + (["b"] >> etl.AddTags("item")))
    workflow.fit(pl.DataFrame({"a": [1], "b": [2]}))
    assert workflow.output_schema.select("user").names == ["a"]
    assert workflow.output_schema.select("item").names == ["b"]


def test_tags_of_merlin_and_of_ones_own_stay_in_the_schema(tmp_path: Path) -> None:
    users = ["u"] >> etl.Categorify() >> etl.AddTags([Tag.USER_ID, "tenant"])
    other = ["t"] >> etl.AddTags(["time", "timestamp", "context"]) >> etl.LambdaOp(lambda t: t + 1)
    lists = ["l"] >> etl.AddTags(["list", "sequence", "continuous"])
    workflow = etl.Workflow(users + other + lists).fit(pl.DataFrame({"u": ["a"], "t": [1], "l": [[1.5]]}))
    workflow.transform(pl.DataFrame({"u": ["a"], "t": [1], "l": [[1.5]]})).to_parquet(tmp_path / "out")
    schema = Schema.load(tmp_path / "out")
    assert schema == workflow.output_schema
    assert schema["u"].tags == ("categorical", "tenant", "user", "user_id")
    assert schema["t"].tags == ("context", "continuous", "timestamp")  # t + 1 is not said to be a time
    assert schema["l"].tags == ("continuous", "list", "sequence")
    assert schema.select("tenant", Tag.USER).names == ["u"]
    assert schema.without("tenant").names == ["t", "l"]
    with pytest.raises(ValueError, match="no tag 'tenants' in the schema; known: categorical, .*, tenant, "):
        schema.select("tenants")


def test_tags_that_are_not_true_are_refused() -> None:
    frame = pl.DataFrame({"a": [1], "s": ["x"], "l": [[1]]})
    for tags, message in [
        ("wieght", "AddTags: unknown tag 'wieght'; did you mean 'weight'.*Known: categorical, continuous, target"),
        (["user", ""], "AddTags: a tag must be a non-empty string; got ''"),
    ]:
        with pytest.raises(ValueError, match=message):
            etl.AddTags(tags)
    for name, tag, message in [
        ("a", "binary_classification", r"AddTags\('binary'\) of column 'a': use Target\(\), which also checks"),
        ("a", "target", r"use Target\(\)"),
        ("s", "categorical", "an operator that outputs ids adds this tag: use Categorify"),
        ("s", "continuous", "it is string, not numbers"),
        ("a", "list", "it has one int64 per row; SplitString makes lists"),
        ("s", "weight", "it is string; a weight is one number per row"),
        ("l", "weight", "it is int64 lists; a weight is one number per row"),
    ]:
        with pytest.raises(SchemaError, match=message):
            etl.Workflow([name] >> etl.AddTags(tag)).fit(frame)
    with pytest.raises(SchemaError, match="it is a column of ids; a weight is one number per row"):
        etl.Workflow(["s"] >> etl.Categorify() >> etl.AddTags("weight")).fit(frame)


def test_a_weight_is_float32_and_no_input_of_a_served_model() -> None:
    frame = pl.DataFrame({"a": [1, 2], "w": [3, 4], "y": [0, 1]})
    weight = ["w"] >> etl.AddTags("weight")
    workflow = etl.Workflow(["a"] + weight + (["y"] >> etl.Target())).fit(frame)
    assert workflow.output_schema["w"] == Column("w", "float32", (Tag.WEIGHT,))
    assert workflow.output_schema.features.names == workflow.input_schema.features.names == ["a"]
    assert workflow.transform(frame).collect()["w"].to_list() == [3.0, 4.0]
    assert workflow.transform(frame.select("a"), targets=False).collect().columns == ["a"]


def test_mistakes() -> None:
    with pytest.raises(TypeError, match=r"write Normalize\(\)"):
        (["a"] >> etl.FillMissing()) >> etl.Normalize  # type: ignore[operator]
    with pytest.raises(TypeError, match=">> takes an operator; got"):
        (["a"] >> etl.FillMissing()) >> ["b"]  # type: ignore[operator]
    with pytest.raises(TypeError, match="expected column names or nodes; got None"):
        etl.Workflow(None)  # type: ignore[arg-type]
    for nothing in ([], [] >> etl.Categorify(), [[] >> etl.LogOp()]):
        with pytest.raises(ValueError, match="the workflow has no columns; pass nodes or names"):
            etl.Workflow(nothing)
    with pytest.raises(TypeError, match="unsupported operand"):
        1 + (["a"] >> etl.LogOp())
    with pytest.raises(ValueError, match="have 'a' more than once"):
        etl.Workflow(["a", "a"])
    with pytest.raises(ValueError, match="two vocabularies are named 'a'"):
        etl.Workflow((["a"] >> etl.Categorify()) + (["a"] >> etl.Categorify() >> etl.Rename(postfix="2")))


def test_repr() -> None:
    workflow = etl.Workflow((["a"] >> etl.Clip(min=0) >> etl.LogOp()) + (["b"] >> etl.Categorify(min_count=2)))
    assert repr(workflow).splitlines() == [
        "Workflow of 2 columns, not fitted",
        "output <- operators               <- raw columns",
        "a      <- Clip(min=0) >> LogOp()  <- a",
        "b      <- Categorify(min_count=2) <- b",
    ]
    assert "fitted" in repr(workflow.fit(pl.DataFrame({"a": [1], "b": ["x"]}))).splitlines()[0]
    assert repr(["a", "b"] >> etl.FillMissing(2)) == "['a', 'b'] >> FillMissing(value=2)"
