"""NeuMF: its formula, pre-training, drawn negatives, files and what is served."""

import keras
import numpy as np
import polars as pl
import pytest
from retrieval_cases import SCHEMA, WITH_LISTS, pairs

import kerasrec as kr
from kerasrec.schema import Column, Schema, SchemaError

CLICKED = Column("clicked", "float32", ("target", "binary"))
IDS = Schema([*SCHEMA.subset(["user", "item id"]), CLICKED])
X = {name: values for name, values in pairs(400).items() if name in ("user", "item id")}


def random_weights(model, seed=0):
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(0, 0.5, w.shape) for w in model.get_weights()])
    return model


def test_logit_is_that_of_both_parts():
    model = random_weights(kr.models.NeuMF(Schema([*WITH_LISTS, CLICKED]), 4, [6, 3], 5, seed=1))
    x = pairs(30)
    vectors = [
        {name: np.asarray(v, "float64") for name, v in layer({c.name: x[c.name] for c in WITH_LISTS}).items()}
        for layer in (model.embeddings, model.tower_embeddings)
    ]
    product = (vectors[0]["user"] + vectors[0]["seen"]) * (vectors[0]["item id"] + vectors[0]["a.b"])
    deep = np.concatenate(list(vectors[1].values()), axis=1)
    weights = model.tower.get_weights()
    for kernel, bias in zip(weights[::2], weights[1::2], strict=True):
        deep = np.maximum(deep @ kernel + bias, 0)
    kernel, bias = model.logit.get_weights()
    logit = np.concatenate([product, deep], axis=1) @ kernel + bias
    np.testing.assert_allclose(model(x), 1 / (1 + np.exp(-logit)), atol=1e-5)


def test_it_starts_from_its_parts():
    """At alpha = 1 as the product alone, at 0 as the tower alone."""
    gmf = random_weights(kr.models.NeuMF(IDS, 4, units=()), 1)
    mlp = random_weights(kr.models.NeuMF(IDS, 0, [6, 3], 5), 2)
    model = kr.models.NeuMF(IDS, 4, [6, 3], 5)
    for alpha, part in ((1, gmf), (0, mlp)):
        model.start_from(gmf, mlp, alpha)
        np.testing.assert_allclose(model(X), part(X), atol=1e-6)
    with pytest.raises(ValueError, match="start_from takes a model of the product"):
        model.start_from(mlp, gmf)
    with pytest.raises(ValueError, match=r"embeddings has weights \[\(70, 4\)\], but \[\(70, 5\)\] in the other"):
        model.start_from(kr.models.NeuMF(IDS, 5, units=()), mlp)
    with pytest.raises(ValueError, match="leave nothing of the model"):
        kr.models.NeuMF(IDS, 0, units=())
    with pytest.raises(SchemaError, match="the continuous column 'größe' does not have"):
        kr.models.NeuMF(Schema([*SCHEMA, CLICKED]))


def test_learns_from_drawn_negatives_is_loaded_and_served(tmp_path):
    keras.utils.set_random_seed(0)
    rows = pl.DataFrame({**X, "clicked": np.ones(400, "float32")})
    train = kr.Loader(rows, 50, shuffle=True, schema=IDS)
    model = kr.models.NeuMF(train.schema, 8, [16, 8], 8, embeddings_initializer="normal")
    model.compile(kr.optimizers.Adam(0.02))
    drawing = train.map(kr.data.DrawNegatives(train.schema, "item id", 3))
    history = model.fit(drawing, epochs=12, verbose=0).history
    assert history["auc"][-1] > 0.75
    assert history["loss"][-1] < 0.9 * history["loss"][0]

    expected = model.predict_on_batch(X)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(kr.load_model(tmp_path / "model.keras").predict_on_batch(X), expected)
    assert type(model).from_config(model.get_config()).get_config() == model.get_config()
    served = kr.serving.load(kr.serving.export(model, tmp_path / "served"))
    answers = served(user=X["user"], item_id=X["item id"])["clicked"]
    np.testing.assert_allclose(answers, expected, atol=1e-6)


def test_drawn_negatives_are_other_items_drawn_uniformly():
    lists = (np.arange(6), np.array([0, 2, 2, 5, 6]))  # a list column as `map` gives it
    features = {"item": np.array([3, 7, 2, 5], "int32"), "seen": lists, "x": np.arange(4.0)}
    schema = Schema([Column("item", "int32", ("categorical",), cardinality=8)])
    target = np.array([[1], [1], [1], [0]], "float32")
    draw = kr.data.DrawNegatives(schema, "item", 3000, seed=1)
    batch, labels, weights = draw(features, target, np.arange(4.0))
    assert labels.shape == (9004, 1)
    np.testing.assert_array_equal(labels[:4], target)
    assert not labels[4:].any()
    assert batch["item"].dtype == "int32"
    np.testing.assert_array_equal(batch["item"][:4], features["item"])
    np.testing.assert_array_equal(weights[4:], np.repeat([0.0, 1.0, 2.0], 3000))
    np.testing.assert_array_equal(batch["x"], weights)
    values, offsets = batch["seen"]
    np.testing.assert_array_equal(np.diff(offsets), np.concatenate([[2, 0, 3, 1], np.repeat([2, 0, 3], 3000)]))
    np.testing.assert_array_equal(values[6:8], [0, 1])
    for row, others in ((0, [4, 5, 6, 7]), (1, [3, 4, 5, 6]), (2, [3, 4, 5, 6, 7])):
        drawn = batch["item"][4 + 3000 * row : 4 + 3000 * (row + 1)]
        ids, counts = np.unique(drawn, return_counts=True)
        np.testing.assert_array_equal(ids, others)
        assert np.abs(counts / 3000 - 1 / len(others)).max() < 0.04
    with pytest.raises(ValueError, match="column 'item' must have one id per row, of 5 or more ids"):
        kr.data.DrawNegatives(Schema([Column("item", "int32", ("categorical",), cardinality=4)]), "item")


def test_negatives_are_drawn_uniformly_from_the_items_that_a_user_does_not_have():
    pairs = {"user": np.array([3, 5, 3, 3, 6, 3, 6], "int32"), "item": np.array([9, 4, 3, 4, 7, 4, 2], "int32")}
    column = lambda name, count: Column(name, "int32", ("categorical",), cardinality=count)  # noqa: E731
    schema = Schema([column("user", 7), column("item", 10)])
    known = [{name: values[rows] for name, values in pairs.items()} for rows in (slice(0, 3), slice(3, 7))]
    draw = kr.data.DrawNegatives(schema, "item", 4000, seed=1, user="user", known=known)
    batch, labels = draw(dict(pairs), np.ones((7, 1), "float32"))
    assert labels.sum() == 7
    others = {3: [5, 6, 7, 8], 5: [3, 5, 6, 7, 8, 9], 6: [3, 4, 5, 6, 8, 9]}
    for row, user in enumerate(pairs["user"]):
        ids, counts = np.unique(batch["item"][7 + 4000 * row : 7 + 4000 * (row + 1)], return_counts=True)
        np.testing.assert_array_equal(ids, others[user])
        assert np.abs(counts / 4000 - 1 / len(ids)).max() < 0.04
    assert len(draw({"user": pairs["user"][:0], "item": pairs["item"][:0]}, np.ones((0, 1)))[1]) == 0

    ones = np.ones((1, 1), "float32")
    with pytest.raises(ValueError, match="the pair of user 5 and item 8 is not in `known`"):
        draw({"user": np.array([5]), "item": np.array([8])}, ones)
    with pytest.raises(ValueError, match="the pair of user 4 and item 8 is not in `known`"):
        draw({"user": np.array([4]), "item": np.array([8])}, ones)
    all_items = [{"user": np.full(7, 3), "item": np.arange(3, 10)}]
    draw = kr.data.DrawNegatives(schema, "item", 4, user="user", known=all_items)
    with pytest.raises(ValueError, match="the user with id 3 has all items"):
        draw({"user": np.array([3]), "item": np.array([8])}, ones)
    with pytest.raises(ValueError, match="user and known must both be given"):
        kr.data.DrawNegatives(schema, "item", user="user")
