"""A recommender equals its stages, computed one after another with NumPy and Polars."""

import json
import subprocess
import sys
from dataclasses import asdict
from functools import partial
from types import SimpleNamespace

import keras
import numpy as np
import polars as pl
import pytest

import kerasrec as kr
from kerasrec import etl
from kerasrec.serving.description import Description
from kerasrec.serving.recommender import graph
from kerasrec.serving.triton.request_format import BadRequest, Format

sys.path.insert(0, __file__.rsplit("/", 2)[0] + "/retrieval")
from small_retriever import SmallRetriever, fitted, raw_pairs

QUERY = ["user", "history", "größe", "a.b"]
CONDITIONS = [pl.col("in stock?"), pl.col("price") <= pl.col("max price").fill_null(9.0)]
LIMIT = kr.Column("max price", "float64", nullable=True)


@pytest.fixture(scope="module")
def raw():
    rng, raw = np.random.default_rng(0), raw_pairs(rows=240, items=40)
    item = pl.col("item")
    return raw.with_columns(
        pl.Series("größe", rng.normal(size=240)),
        pl.Series("a.b", rng.choice(["x", "y", None], 240)),
        pl.Series("clicked", rng.integers(0, 2, 240)),
        pl.Series("bought", rng.integers(0, 2, 240)),
        pl.concat_list(item.str.slice(1, 1), item.str.slice(0, 1))
        .list.head(item.str.len_chars() - 1)
        .alias("genres"),
    )


@pytest.fixture(scope="module")
def items(raw):
    columns = raw.unique("item", maintain_order=True).select("item", "price", "genres")
    return columns.with_columns(pl.col("price").gt(0.3).alias("in stock?"), pl.lit("a title").alias("title"))


@pytest.fixture(scope="module")
def index(raw, items):
    workflow = fitted(raw)
    return kr.retrieval.Index(SmallRetriever(workflow.output_schema), items[::-1], workflow=workflow)


def ranking_workflow(raw, targets=("clicked",)):
    ids = ["user", "item", "genres", "a.b"] >> etl.Categorify()
    numbers = ["größe", "price"] >> etl.FillMissing() >> etl.Normalize()
    both = (["user", "item"] >> etl.HashedCross(20)) + (
        ["größe", "price"] >> etl.LambdaOp(lambda a, b: a - b, name="difference")
    )
    return etl.Workflow(ids + numbers + both + (list(targets) >> etl.Target())).fit(raw)


@pytest.fixture(scope="module")
def pipeline(raw):
    workflow = ranking_workflow(raw)
    schema = workflow.output_schema
    model = kr.models.DLRM(schema, 8, bottom_units=[8], top_units=[8], seed=2, embeddings_initializer="normal")
    return kr.Pipeline(workflow, model)


@pytest.fixture(scope="module")
def recommender(index, pipeline, items):
    return kr.serving.Recommender(
        index, pipeline, items, filters=CONDITIONS, inputs=[LIMIT], candidates=12, diversity=0.0
    )


@pytest.fixture(scope="module")
def queries(raw):
    limits = pl.Series("max price", [0.5, 1.4, None, 0.31] * 60)
    return raw.select(QUERY).with_columns(limits)[:12]


@pytest.fixture(scope="module")
def stages(index, pipeline, items, queries):
    """The items in the order of the index, whether each may be recommended, and its score, for each query."""
    pairs = queries.join(items, how="cross")
    allowed = pairs.select(pl.all_horizontal(*CONDITIONS).fill_null(False)).to_series().to_numpy()
    scores = pipeline.predict(pairs)[:, 0]
    positions = {item: position for position, item in enumerate(items["item"])}
    order = np.vectorize(positions.get)(index.recommend(queries, k=len(items)).ids)
    return order, allowed.reshape(order.shape), scores.reshape(order.shape)


def one_by_one(stages, items, k, candidates, exclude=None, vectors=None, diversity=0.0):
    """Return ids and scores: the first candidates that are allowed, by score."""
    names, ids, scores = items["item"].to_list(), [], []
    for row, (order, allowed, score) in enumerate(zip(*stages, strict=True)):
        seen = () if exclude is None else exclude[row]
        found = [i for i in order if allowed[i] and names[i] not in seen][: max(candidates, k)]
        best = [found[j] for j in np.argsort(-score[found], kind="stable")[:k]]
        if diversity and found:
            best = [found[j] for j in mmr(score[found], vectors[found], k, diversity)]
        ids.append([*(names[i] for i in best), *[None] * (k - len(best))])
        scores.append([*score[best], *[-np.inf] * (k - len(best))])
    return {"ids": np.array(ids, object), "scores": np.array(scores, np.float32)}


def mmr(scores, vectors, k, diversity):
    """Return the order of maximal marginal relevance, as the paper writes it."""
    spread = scores.max() - scores.min()
    relevance = (scores - scores.min()) / spread if spread else np.ones(len(scores))
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    chosen, left = [], list(range(len(scores)))
    while left and len(chosen) < k:
        penalty = [max((vectors[i] @ vectors[j] for j in chosen), default=0.0) for i in left]
        value = (1 - diversity) * relevance[left] - diversity * np.array(penalty)
        chosen.append(left.pop(int(value.argmax())))
    return chosen


def assert_same(served, expected):
    np.testing.assert_array_equal(served["ids"], expected["ids"])
    np.testing.assert_allclose(served["scores"], expected["scores"], rtol=1e-5, atol=1e-6)


def test_the_stages_one_after_another_recommend_the_same(recommender, stages, items, queries, monkeypatch):
    assert_same(recommender.recommend(queries, k=5), one_by_one(stages, items, 5, 12))
    exclude = [[*seen, items["item"][row], "never seen", None] for row, seen in enumerate(queries["history"])]
    expected = one_by_one(stages, items, 20, 12, exclude)
    assert np.isinf(expected["scores"]).any()
    assert np.isfinite(expected["scores"][:, 12:]).any()
    assert_same(recommender.recommend(queries, k=20, exclude=exclude), expected)


def test_a_process_with_tensorflow_alone_recommends_the_same_from_a_repository_of_triton(
    recommender, queries, tmp_path
):
    version = kr.serving.triton.export(recommender, tmp_path / "größe")
    assert version == tmp_path / "größe" / "recommender" / "1"
    path = version / "model.savedmodel"
    form = Format({**asdict(Description.read(path)), "rows": "rows", "version": "version", "max_rows": 9})
    rows = [{**queries.row(0, named=True), "exclude": ["i1", None]}, queries.row(1, named=True)]
    asked = SimpleNamespace(name=lambda: "rows", as_numpy=lambda: np.array([[json.dumps(rows).encode()]], object))
    how_many = SimpleNamespace(name=lambda: "k", as_numpy=lambda: np.array([[4]]))
    read_rows = partial(kr.serving.rows, schema=path)
    arrays = form.arrays([asked, how_many], read_rows)
    assert arrays["exclude__values"].tolist() == [b"i1"]
    assert arrays["exclude__offsets"].tolist() == [0, 1, 1]
    rows[1]["exclude"] = "i2"
    with pytest.raises(BadRequest, match="column 'exclude', row 1: expected a list; got 'i2'"):
        form.arrays([asked, how_many], read_rows)
    expected = recommender.recommend(queries, k=4)
    assert_same(kr.load(path).recommend(queries, k=4), expected)
    inputs = kr.serving.rows(queries[:1], path) | {"k": np.array([4], np.int32)}
    inputs |= {"exclude__values": np.array(["i1"], object), "exclude__offsets": np.array([0, 1])}
    np.savez(tmp_path / "inputs.npz", **inputs)
    script = f"""
import sys
sys.modules.update(keras=None, kerasrec=None)
import json, numpy as np, tensorflow as tf
served = tf.saved_model.load({str(path)!r}).signatures["serving_default"]
inputs = np.load({str(tmp_path / "inputs.npz")!r}, allow_pickle=True)
specs = served.structured_input_signature[1]
found = served(**{{name: tf.constant(inputs[name], specs[name].dtype) for name in inputs}})
print(json.dumps([id.decode() for id in found["ids"].numpy()[0]]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (
        json.loads(done.stdout.splitlines()[-1])
        == recommender.recommend(queries[:1], 4, exclude=[["i1"]])["ids"][0].tolist()
    )


def test_diversity_is_maximal_marginal_relevance_and_requests_go_in_blocks(
    index, pipeline, stages, items, queries, monkeypatch
):
    monkeypatch.setattr(graph, "ROWS", 80)  # three blocks of requests
    arguments = {"filters": CONDITIONS, "inputs": [LIMIT], "candidates": 15, "diversity": 0.4}
    found = kr.serving.Recommender(index, pipeline, items, **arguments).recommend(queries, k=6)
    vectors = index.vectors[index.item_ids.positions(items["item"])].astype(float)
    assert_same(found, one_by_one(stages, items, 6, 15, vectors=vectors, diversity=0.4))
    assert (found["ids"] != one_by_one(stages, items, 6, 15)["ids"]).any()


def test_several_outputs_need_a_score_which_may_read_items_and_requests(raw, index, items, queries):
    workflow = ranking_workflow(raw, ["clicked", "bought"])
    model = kr.models.MMoE(workflow.output_schema, 4, experts=2, expert_units=[4], tower_units=[4], seed=1)
    pipeline = kr.Pipeline(workflow, model)
    with pytest.raises(ValueError, match="the ranker predicts 'clicked', 'bought': pass score=, one of them or"):
        kr.serving.Recommender(index, pipeline, items)
    with pytest.raises(ValueError, match="no output 'sold'; available: 'clicked', 'bought'"):
        kr.serving.Recommender(index, pipeline, items, score="sold")
    with pytest.raises(ValueError, match="'bought' is an output of the ranker and a column of item_features"):
        both = items.with_columns(bought=1)
        kr.serving.Recommender(index, pipeline, both, score=pl.col("bought") + pl.col("clicked"))
    score = (0.3 * pl.col("clicked") + pl.col("bought")) * pl.col("margin") * pl.col("weight")
    with_margin = items.with_columns(margin=pl.when(pl.col("item") != "i7").then(pl.col("price").round(1) + 0.1))
    inputs = [kr.Column("weight", "float32")]
    recommender = kr.serving.Recommender(index, pipeline, with_margin, score=score, inputs=inputs)
    queries = queries.with_columns(weight=pl.Series(range(1, 13), dtype=pl.Float32))
    found = recommender.recommend(queries[:3], k=40)
    pairs = queries[:3].join(with_margin, how="cross")
    outputs = {name: values[:, 0] for name, values in pipeline.predict(pairs).items()}
    expected = pairs.with_columns(**outputs).select(score).to_series().to_numpy().reshape(3, 40)
    for row, values in enumerate(expected):
        order = [i for i in np.argsort(-values, kind="stable") if np.isfinite(values[i])]
        assert found["ids"][row].tolist() == [*items["item"].gather(order), None]
        np.testing.assert_allclose(found["scores"][row, :39], values[order], rtol=1e-5)


def test_a_next_item_model_retrieves_what_a_model_of_histories_ranks():
    rng = np.random.default_rng(0)
    lists = [[f"i{j}" for j in rng.integers(0, 30, rng.integers(0, 9))] for _ in range(40)]
    events = pl.DataFrame({"item": lists})
    sequences = etl.Workflow(["item"] >> etl.Categorify() >> etl.AddTags(["item_id", "sequence"])).fit(events)
    sasrec = kr.models.SASRec(sequences.output_schema, embedding_dim=8, max_length=6, seed=1)
    index = kr.retrieval.Index(sasrec, workflow=sequences)
    pairs = pl.DataFrame({"seen": lists, "item": [f"i{j}" for j in range(40)], "hour": range(40)})
    pairs = pairs.with_columns(clicked=pl.col("hour") % 2)
    ids = ["item", "seen"] >> etl.Categorify(table="item")
    ranking = etl.Workflow(ids + (["hour"] >> etl.Normalize()) + (["clicked"] >> etl.Target())).fit(pairs)
    din = kr.models.DIN(ranking.output_schema, 4, 5, deep_units=[4], seed=3)
    recommender = kr.serving.Recommender(index, kr.Pipeline(ranking, din), candidates=10)
    queries = pl.DataFrame({"item": lists[:6], "seen": lists[:6], "hour": range(6)})
    found, retrieved = recommender.recommend(queries, k=10), index.recommend(queries, k=10).ids
    rows = queries.drop("item").with_columns(item=pl.Series(retrieved.tolist())).explode("item")
    scores = kr.Pipeline(ranking, din).predict(rows).reshape(6, 10)
    for row in np.flatnonzero(queries["item"].list.len()):  # without events, items of equal vectors have no order
        assert found["ids"][row].tolist() == retrieved[row][np.argsort(-scores[row], kind="stable")].tolist()
        np.testing.assert_allclose(found["scores"][row], np.sort(scores[row])[::-1], rtol=1e-5)
    assert recommender.recommend([{"item": [], "seen": None, "hour": 3}], k=2)["ids"].shape == (1, 2)


def test_transformed_rows_need_no_workflow(raw):
    tags = {"user": ["user", "user_id"], "item": ["item", "item_id"], "price": ["item"]}
    ids = ["user", "item", "genres"] >> etl.Categorify()
    workflow = etl.Workflow(ids + (["price"] >> etl.Normalize()) + (["clicked"] >> etl.Target())).fit(raw)
    rows, schema = workflow.transform(raw).collect(), workflow.output_schema
    catalogue = rows.unique("item", maintain_order=True).select("item", "price", "genres")
    tagged = kr.Schema(schema[name].evolve(add_tags=more) for name, more in tags.items())
    index = kr.retrieval.Index(SmallRetriever(tagged, "l2"), catalogue)
    model = kr.models.DLRM(schema, 4, bottom_units=[4], top_units=[4], seed=2)
    model.compile()
    loader = kr.Loader(catalogue, schema=schema, columns=catalogue.columns, targets=[], batch_size=7)
    recommender = kr.serving.Recommender(index, model, loader, candidates=5)
    unknown = [[2**40, -(2**70)]] * 4  # nor would they fit into int32
    found = recommender.recommend(rows[:4], k=7, exclude=unknown)
    retrieved = index.recommend(rows[:4], k=7).ids
    pairs = rows[:4].select("user", item=pl.Series(retrieved.tolist())).explode("item")
    pairs = pairs.with_columns(pl.col("item").cast(pl.Int32)).join(
        catalogue, on="item", how="left", maintain_order="left"
    )
    scores = model.predict(kr.Loader(pairs, schema=schema, targets=[]), verbose=0).reshape(4, 7)
    best = np.argsort(-scores, axis=1, kind="stable")
    np.testing.assert_array_equal(found["ids"], np.take_along_axis(retrieved, best, axis=1))
    items = raw.unique("item").select("item", "price", "genres")
    raw_ids = kr.serving.Recommender(index, model, items, workflow=workflow, candidates=5)
    names = dict(workflow.vocabulary("item").select("id", "value").iter_rows())
    raw_found = raw_ids.recommend(raw[:4], k=3)
    again = recommender.recommend(rows[:4], k=3)
    np.testing.assert_array_equal(raw_found["ids"], np.vectorize(names.get)(again["ids"]))
    np.testing.assert_allclose(raw_found["scores"], again["scores"], rtol=1e-5)


def test_odd_requests_are_answered_or_refused(recommender, queries, items):
    assert recommender.recommend(queries[:0], k=3)["ids"].shape == (0, 3)
    nobody = {"user": "nobody", "history": None, "größe": 0.1}
    assert recommender.recommend([nobody], k=3, exclude=[[None, "?"]])["ids"].shape == (1, 3)
    found = recommender.recommend([nobody | {"max price": -1.0}], k=3)
    assert found["ids"].tolist() == [[None] * 3]
    assert np.isneginf(found["scores"]).all()
    assert recommender.recommend(queries[:1], k=99)["ids"].shape == (1, 99)
    for message, call in {
        "k must be at least 1": lambda: recommender.recommend(queries, k=0),
        "exclude has 1 lists for 12 rows": lambda: recommender.recommend(queries, exclude=[[]]),
        "no column 'größe'": lambda: recommender.recommend(queries.drop("größe")),
        "column 'user' is missing from row 0": lambda: recommender.recommend([{"history": [], "größe": 0.1}]),
    }.items():
        with pytest.raises(ValueError, match=message):
            call()
    text = repr(recommender)
    for part in (
        "ranks 12 candidates per request",
        "of small, 5 wide, by dot",
        "'clicked' of dlrm",
        "not read   title",
    ):
        assert part in text
    assert f"left out   {40 - len(recommender)} items of the index, by filters" in text


def test_what_does_not_fit_is_refused_when_a_recommender_is_made(index, pipeline, items, raw):
    def make(items=items, ranker=pipeline, retriever=index, **arguments):
        kr.serving.Recommender(retriever, ranker, items, **arguments)

    of_item, of_user = (["price"] >> etl.AddTags(["item"])), (["größe"] >> etl.AddTags(["user"]))
    workflow = etl.Workflow(of_item + of_user + (["clicked"] >> etl.Target())).fit(raw)
    tagged = kr.Pipeline(workflow, kr.models.LR(workflow.output_schema))
    limit, price = [pl.col("price") < pl.col("max price")], keras.Input((1,), name="price")
    outputs = {name: keras.layers.Dense(1)(price) for name in ("z score", "b")}
    functional = keras.Model({"price": price}, outputs)
    for message, call in {
        "2 of 40 items of the index have no row, such as 'i.*'; add their rows": lambda: make(items[2:]),
        "1 ids of column 'item' are in several rows, such as": lambda: make(pl.concat([items, items[:1]])),
        "row 3 has no id: column 'item' is null": lambda: make(
            items.with_columns(pl.when(pl.int_range(40) != 3).then("item").alias("item"))
        ),
        "no column 'item', which names the items .* or pass item_id=": lambda: make(
            items.rename({"item": "film"})
        ),
        "reads 'price', an item's by its tags, but item_features has no column 'price'": lambda: make(
            items.drop("price"), tagged
        ),
        "reads 'größe', a user's by its tags, but item_features has the column": lambda: make(
            items.with_columns(pl.lit(0.5).alias("größe")), tagged
        ),
        "column 'user' is in item_features and in requests": lambda: make(items.with_columns(user=pl.lit("u1"))),
        "column 'price' is String": lambda: make(items.with_columns(price=pl.lit("dear"))),
        "filters: no column 'max price'; .* inputs=": lambda: make(filters=limit),
        "neither filters nor score reads 'max price'": lambda: make(inputs=[LIMIT]),
        "inputs: 'größe' is known already: the retriever or the ranker": lambda: make(
            inputs=[kr.Column("größe", "int8")]
        ),
        "'x' is a list": lambda: make(inputs=[kr.Column("x", "int64", ("list",))]),
        "no item of 40 meets": lambda: make(filters=pl.col("price") > 100),
        "is Float64; a filter is true or false": lambda: make(filters=pl.col("price") * 2),
        "is Float64; a filter is": lambda: make(filters=pl.col("price") * pl.col("max price"), inputs=[LIMIT]),
        "no TensorFlow implementation .* column of item_features": lambda: make(
            filters=pl.col("price").sin() < pl.col("max price"), inputs=[LIMIT]
        ),
        "must not depend on other rows": lambda: make(
            filters=pl.col("price").mean() < pl.col("max price"), inputs=[LIMIT]
        ),
        "names no column": lambda: make(filters=pl.lit(True)),
        "is Boolean; expected numbers": lambda: make(score=pl.col("clicked") > 0.5),
        "the ranker predicts 'z score', 'b': pass score=": lambda: make(
            ranker=functional, workflow=pipeline.workflow
        ),
        "candidates must be an integer >= 1; got 0": lambda: make(candidates=0),
        r"diversity must be in \[0, 1\]; got 2": lambda: make(diversity=2),
        "workflow= is not used": lambda: make(workflow=pipeline.workflow),
    }.items():
        with pytest.raises(ValueError, match=message):
            call()
    for message, call in {
        "which retrieves": lambda: make(ranker=index),
        "retriever must be a kr.retrieval.Index": lambda: make(retriever=pipeline.model),
        "'item': ids of this index are String; got Int64": lambda: make(items.with_columns(item=pl.int_range(40))),
        "filters takes Polars expressions; got 'price'": lambda: make(filters=["price"]),
        "inputs takes kr.Column": lambda: make(inputs=["max price"]),
    }.items():
        with pytest.raises(TypeError, match=message):
            call()
    with pytest.raises(ValueError, match="a recommender has the workflows of its stages"):
        kr.serving.export(kr.serving.Recommender(index, pipeline, items), "served", workflow=pipeline.workflow)
