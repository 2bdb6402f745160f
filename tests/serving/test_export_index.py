"""A served index: recommends what the index does, and changes its candidates with no new export."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tensorflow as tf

import kerasrec as kr
from kerasrec import etl
from kerasrec.serving import candidates as candidates_module

sys.path.insert(0, __file__.rsplit("/", 2)[0] + "/retrieval")
from small_retriever import SmallRetriever, fitted, raw_pairs


def items_of(frame):
    return frame.unique("item", maintain_order=True).select("item", "price")


def assert_same(served, expected):
    np.testing.assert_array_equal(served["ids"], expected.ids)
    np.testing.assert_allclose(served["scores"], expected.scores, rtol=1e-5, atol=1e-7)


@pytest.fixture(scope="module")
def raw():
    return raw_pairs()


@pytest.fixture(scope="module")
def workflow(raw):
    return fitted(raw)


@pytest.fixture(scope="module")
def model(workflow):
    return SmallRetriever(workflow.output_schema)


@pytest.fixture(scope="module")
def folder(raw, workflow, model, tmp_path_factory):
    rows = workflow.transform(raw).collect()
    index = kr.retrieval.Index(model, items_of(rows))
    return kr.serving.export(index, tmp_path_factory.mktemp("served") / "größe", workflow=workflow)


@pytest.fixture
def index(raw, workflow, model):
    return kr.retrieval.Index(model, items_of(raw), workflow=workflow)


def test_raw_rows_get_the_raw_ids_and_scores_of_the_index(folder, raw, index):
    served = kr.serving.load(folder)
    queries = raw.select("user", "history")
    assert_same(served.recommend(queries, k=5), index.recommend(queries, k=5))
    exclude = [["i1", "never seen", "i2", None], []] * 100
    assert_same(served.recommend(queries, k=40, exclude=exclude), index.recommend(queries, k=40, exclude=exclude))


def test_candidates_change_without_another_export(folder, raw, index, tmp_path):
    served, queries = kr.serving.load(folder), raw.select("user", "history")
    changes = pl.DataFrame({"item": ["new", "i3", "newer", "i5"], "price": [0.3, 9.0, 0.1, 0.5]})
    index.update(changes)
    assert served.update(changes) == {"added": 2, "replaced": 2}
    assert_same(served.recommend(queries, k=32), index.recommend(queries, k=32))
    index.remove(["i3", "new"])
    assert served.remove(["i3", "new"]) == {"removed": 2}
    assert_same(served.recommend(queries, k=32), index.recommend(queries, k=32))
    index.update(changes[:1])
    assert served.update(changes[:1]) == {"added": 1, "replaced": 0}
    saved = kr.load(served.save(tmp_path / "changed"))
    for one in (served, saved):
        assert_same(one.recommend(queries, k=32), index.recommend(queries, k=32))
    assert saved.remove(["new"]) == {"removed": 1}
    assert "new" in served.recommend(queries, k=32)["ids"]


def test_a_process_with_tensorflow_alone_searches_and_changes_it(folder):
    script = f"""
import sys, tensorflow as tf
served = tf.saved_model.load({str(folder)!r}).signatures
inputs = dict(user=tf.constant(["u1"]), history__values=tf.constant(["i1"]), k=tf.constant([30]))
inputs |= dict(history__offsets=tf.constant([0, 1], tf.int64), exclude__values=tf.constant(["i2"]))
inputs |= dict(exclude__offsets=tf.constant([0, 1], tf.int64))
search = lambda: served["serving_default"](**inputs)["ids"].numpy()[0]
before = search()
served["update"](item=tf.constant(["added"]), price=tf.constant([0.5], tf.float64))
served["remove"](item=tf.constant(["i4"]))
after = search()
assert b"i2" not in before and b"i4" in before and b"added" in after and b"i4" not in after
print("kerasrec" in sys.modules, "keras" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "False"


def test_a_session_finds_the_candidates_as_tensorflow_serving_does(folder):
    inputs = {"user": ["u1"], "history__values": ["i1"], "history__offsets": [0, 1], "k": [5]}
    inputs |= {"exclude__values": ["i2"], "exclude__offsets": [0, 1]}
    expected = kr.serving.load(folder).recommend([{"user": "u1", "history": ["i1"]}], k=5, exclude=[["i2"]])
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], str(folder))
        signature = loaded.signature_def["serving_default"]
        feed = {signature.inputs[name].name: values for name, values in inputs.items()}
        ids, scores = session.run([signature.outputs[name].name for name in ("ids", "scores")], feed)
    assert ids.astype(str).tolist() == expected["ids"].tolist()
    np.testing.assert_allclose(scores, expected["scores"], rtol=1e-6)


@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow_recommenders") is None, reason="TensorFlow Recommenders is not installed"
)
def test_layers_of_tensorflow_recommenders_search_in_the_saved_model(tmp_path):
    """With each similarity, k larger than the corpus, excluded and unknown ids, and changed candidates."""
    command = [sys.executable, str(Path(__file__).with_name("tfrs_layers.py")), str(tmp_path)]
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "equal", done.stderr[-3000:]


def test_odd_requests_are_answered_or_refused(folder, raw):
    served, queries = kr.serving.load(folder), raw.select("user", "history")
    assert served.recommend(queries[:0], k=3)["ids"].shape == (0, 3)
    assert served.recommend([{"user": "nobody", "history": None}], k=3)["ids"].shape == (1, 3)
    for message, call in {
        "no candidate.* i9999|no candidate.*i9999": lambda: served.remove(["i1", "i9999"]),
        "k must be at least 1": lambda: served.recommend(queries, k=0),
        "exclude has 1 lists for 200 rows": lambda: served.recommend(queries, exclude=[[]]),
        "in several rows": lambda: served.update([{"item": "a", "price": 1.0}] * 2),
        "null": lambda: served.update([{"item": None, "price": 1.0}]),
        "ids.* is int64; expected strings|is int64": lambda: served.remove([3]),
    }.items():
        with pytest.raises(ValueError, match=message):
            call()
    assert "i1" in served.recommend(queries, k=30)["ids"]


def test_ids_may_be_integers_a_column_may_be_named_k_and_queries_go_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(candidates_module, "BLOCK", 70)
    rng = np.random.default_rng(0)
    raw = pl.DataFrame({"k": rng.integers(0, 9, 50), "exclude": rng.integers(-20, 20, 50)})
    users = ["k"] >> etl.Categorify() >> etl.AddTags(["user", "user_id"]) >> etl.Rename(lambda name: "user")
    items = ["exclude"] >> etl.Categorify() >> etl.AddTags(["item", "item_id"]) >> etl.Rename(lambda name: "item")
    workflow = etl.Workflow(users + items).fit(raw)
    index = kr.retrieval.Index(SmallRetriever(workflow.output_schema, "l2"), workflow=workflow)
    served = kr.serving.load(kr.serving.export(index, tmp_path / "served"))
    assert set(served.inputs) == {"k", "k_2", "exclude__values", "exclude__offsets"}
    queries, exclude = raw.select("k"), [[int(x)] for x in raw["exclude"]]
    assert_same(served.recommend(queries, k=99, exclude=exclude), index.recommend(queries, k=99, exclude=exclude))


def test_an_index_without_a_workflow_takes_features_and_ids(tmp_path, raw, workflow):
    rows = workflow.transform(raw).collect()
    index = kr.retrieval.Index(SmallRetriever(workflow.output_schema, "cosine"), items_of(rows))
    served = kr.serving.load(kr.serving.export(index, tmp_path / "served"))
    queries = rows.select("user", "history")
    assert_same(served.recommend(queries, k=3), index.recommend(queries, k=3))
    assert served.update(items_of(rows)[:2].with_columns(price=pl.lit(0.25, pl.Float32))) == {
        "added": 0,
        "replaced": 2,
    }
    module = tf.saved_model.load(str(served.path))
    assert module.signatures["remove"].structured_input_signature[1]["item"].dtype == tf.int32


def test_what_cannot_be_served_is_refused(tmp_path, raw, workflow, model):
    other = fitted(raw[:20])
    index = kr.retrieval.Index(model, items_of(workflow.transform(raw).collect()))
    with pytest.raises(kr.SchemaError, match="was made for 23 ids, the workflow makes"):
        kr.serving.export(index, tmp_path / "served", workflow=other)
    index.remove(index.ids.tolist())
    with pytest.raises(ValueError, match="the index has no candidates"):
        kr.serving.export(index, tmp_path / "served", workflow=workflow)
    assert not (tmp_path / "served").exists()
