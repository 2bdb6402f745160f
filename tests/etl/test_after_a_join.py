"""Operators take what a join looks up, also in a SavedModel, where shapes of tensors are not known."""

from __future__ import annotations

import itertools

import polars as pl
import pytest

from kerasrec import etl

tf = pytest.importorskip("tensorflow")

ITEMS = pl.DataFrame(
    {
        "item": ["a", "b", "c"],
        "genres": ["x|y", "", None],
        "released": ["2024-02-29 10:00:00", "1999-12-31 23:59:59", None],
        "tags": [["p", "q"], [], ["p"]],
        "price": [1.5, 20.0, None],
        "stars": [3, 5, None],
    }
)
AFTER = {
    "genres": [etl.SplitString("|"), etl.Categorify(), etl.ListSlice(0, 2, pad=True)],
    "released": [etl.ParseTime("%Y-%m-%d %H:%M:%S"), etl.TimeFeatures()],
    "tags": [etl.ListSlice(-1), etl.Categorify()],
    "price": [etl.FillMedian(), etl.Clip(min=2), etl.LogOp(), etl.Normalize()],
    "stars": [etl.FillMissing(1), etl.Bucketize([2, 4])],
}


def test_operators_after_a_join_are_the_same_in_a_saved_model(tmp_path):
    joined = ["item"] >> etl.JoinExternal(ITEMS, on="item")
    features = joined["item"] >> etl.HashBucket(8)
    for name, ops in AFTER.items():
        node = joined[name]
        for op in ops:
            node = node >> op
        features += node
    raw = pl.DataFrame({"item": ["a", "c", "b", "a"]})
    workflow = etl.Workflow(features).fit(raw)
    module = workflow.tensorflow_module()
    takes = {"item": tf.TensorSpec([None], tf.string, name="item")}
    signature = tf.function(lambda item: module({"item": item}), input_signature=list(takes.values()))
    tf.saved_model.save(module, str(tmp_path / "served"), {"serving_default": signature})
    served = tf.saved_model.load(str(tmp_path / "served")).signatures["serving_default"]
    rows = pl.DataFrame({"item": ["b", "a", "c", "unseen"]})
    expected, answer = workflow.transform(rows).collect(), served(item=tf.constant(rows["item"].to_list()))
    for name in expected.columns:
        if expected[name].dtype == pl.List:
            offsets = answer[f"{name}__offsets"].numpy()
            values = answer[f"{name}__values"].numpy()
            lists = [values[a:b].tolist() for a, b in itertools.pairwise(offsets)]
            assert lists == expected[name].to_list()
        else:
            assert answer[name].numpy().tolist() == pytest.approx(expected[name].to_list(), rel=1e-6)
