"""Exports indexes that layers of TensorFlow Recommenders search, and compares what they recommend."""

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tensorflow as tf

import kerasrec as kr

sys.path.insert(0, str(Path(__file__).parents[1] / "retrieval"))
from small_retriever import SmallRetriever, fitted, raw_pairs

folder, raw = Path(sys.argv[1]), raw_pairs()
workflow = fitted(raw)
items = raw.unique("item", maintain_order=True).select("item", "price")
queries, exclude = raw[:40].select("user", "history"), [["i1", "never seen", "i2", "i1"], []] * 20
new = pl.DataFrame({"item": ["new", "i3"], "price": [9.0, -9.0]})


def check(served, exact):
    for k in (1, 5, 40):
        for left_out in (None, exclude):
            found, best = (
                served.recommend(queries, k=k, exclude=left_out),
                exact.recommend(queries, k, exclude=left_out),
            )
            np.testing.assert_array_equal(found["ids"], best.ids)
            np.testing.assert_allclose(found["scores"], best.scores, rtol=1e-5, atol=1e-6)
    assert served.recommend(queries[:0], k=3)["ids"].shape == (0, 3)


def operations(path):
    graph = tf.saved_model.load(str(path)).signatures["serving_default"].graph.as_graph_def()
    return {node.op for function in graph.library.function for node in function.node_def}


for similarity in ("dot", "cosine", "l2"):
    model = SmallRetriever(workflow.output_schema, similarity)
    for layer in ("brute_force", "streaming"):
        index = kr.retrieval.Index(model, items, workflow=workflow, index=kr.retrieval.TFRS(layer))
        exact = kr.retrieval.Index(model, items, workflow=workflow)
        served = kr.serving.load(kr.serving.export(index, folder / f"{similarity} {layer}"))
        check(served, exact)
        assert ("ReduceDataset" in operations(served.path)) == (layer == "streaming")
        if layer == "brute_force":
            with pytest.raises(ValueError, match='TFRS."streaming".'):
                served.update(new)
            with pytest.raises(ValueError, match='TFRS."streaming".'):
                served.remove(["i3"])
        else:
            assert served.update(new) == {"added": 1, "replaced": 1}
            assert served.remove(["i5"]) == {"removed": 1}
            exact.update(new)
            exact.remove(["i5"])
            check(served, exact)
print("equal")
