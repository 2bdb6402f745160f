"""What holds for every retrieval model, and how columns become those of queries and of candidates."""

import subprocess
import sys

import keras
import numpy as np
import polars as pl
import pytest
import tensorflow as tf
from retrieval_cases import CANDIDATE, COLUMNS, ITEMS, QUERY, RETRIEVAL, SCHEMA, pairs

import kerasrec as kr
from kerasrec.schema import Column, Schema, SchemaError

ROWS = 300
X = pairs(ROWS)


def frame(x=X, **more):
    """The rows as the ETL writes them."""
    lists = {name: [[i for i in row if i] for row in ids.tolist()] for name, ids in x.items() if ids.ndim == 2}
    types = {name: pl.List(pl.Int32) for name in lists}
    return pl.DataFrame({**x, **lists, **more}, schema_overrides=types)


LEARNING = ["TwoTower", "YoutubeDNN"]


@pytest.fixture(params=list(RETRIEVAL))
def make(request):
    return RETRIEVAL[request.param]


@pytest.mark.parametrize("name", LEARNING)
def test_learns_from_a_loader_and_is_loaded(name, tmp_path):
    keras.utils.set_random_seed(0)
    train = kr.Loader(frame(), 50, shuffle=True, schema=SCHEMA)
    model = RETRIEVAL[name]()
    model.compile(kr.optimizers.Adagrad(0.2))
    history = model.fit(train, epochs=12, verbose=0).history
    assert history["loss"][-1] < 0.8 * history["loss"][0]
    after = model.evaluate(train, verbose=0)
    assert after < 0.8 * history["loss"][0]

    model.save(tmp_path / "model.keras")
    copy = kr.load_model(tmp_path / "model.keras")
    assert copy.loss.get_config() == model.loss.get_config()
    np.testing.assert_array_equal(copy.predict_on_batch(X)["query"], model.predict_on_batch(X)["query"])
    assert copy.test_on_batch(X) == pytest.approx(model.test_on_batch(X), rel=1e-5)  # by the same counts


def test_encoders_need_their_own_columns_in_any_form(make):
    model = make()
    expected = {side: np.asarray(vectors) for side, vectors in model(X).items()}
    encoders = {
        "query": (model.encode_queries, model.query_schema.names),
        "candidate": (model.encode_candidates, model.candidate_schema.names),
    }
    for side, (encode, names) in encoders.items():
        x = {name: X[name] for name in names}
        assert expected[side].shape == (ROWS, model.vector_dim)
        np.testing.assert_allclose(encode(x), expected[side], atol=1e-6)
        ragged = {
            n: tf.RaggedTensor.from_tensor(v, padding=0) if v.ndim == 2 else v[:, None] for n, v in x.items()
        }
        np.testing.assert_allclose(encode(ragged), expected[side], atol=1e-6)
        for rows in (slice(0, 1), slice(0, 0)):
            part = encode({name: column[rows] for name, column in x.items()})
            np.testing.assert_allclose(part, expected[side][rows], atol=1e-6)
        with pytest.raises(
            ValueError, match=f"no column {names[-1]!r} in the batch".replace("^", r"\^").replace("$", r"\$")
        ):
            encode({name: x[name] for name in names[:-1]})


def test_loss_is_the_softmax_of_the_similarities(make):
    """In float64, from the vectors that the model returns."""
    model = make(seed=1)
    model.compile(loss=kr.losses.InBatchSoftmax(0.2, logq_correction=False))
    x = {name: column[:40] for name, column in X.items()}
    q, c = (np.asarray(vectors, "float64") for vectors in model(x).values())
    if model.similarity == "cosine":
        np.testing.assert_allclose(np.linalg.norm(np.concatenate([q, c]), axis=1), 1, atol=1e-6)
    scores = -((q[:, None] - c[None]) ** 2).sum(2) if model.similarity == "l2" else q @ c.T
    same = x["item id"][:, None] == x["item id"]
    exponents = np.where(same & ~np.eye(40, dtype=bool), 0, np.exp(scores / 0.2))
    expected = -np.log(np.diag(exponents) / exponents.sum(1)).mean()
    assert model.evaluate(x, batch_size=40, verbose=0) == pytest.approx(expected, rel=1e-5)


def test_every_weight_has_a_gradient_and_tables_a_sparse_one(make):
    model = make()
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.3, w.shape) for w in model.get_weights()])
    model.compile()
    with tf.GradientTape() as tape:
        loss = model.compute_loss(X, None, model(X, training=True))
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0, variable.path
        assert isinstance(gradient, tf.IndexedSlices) == ("tables_" in variable.path), variable.path


def test_config_makes_the_same_network(make):
    model = make(name="mine", embeddings_regularizer="l2", embeddings_initializer="normal", seed=9)
    copy = type(model).from_config(model.get_config())
    assert copy.get_config() == model.get_config()
    assert [w.shape for w in copy.weights] == [w.shape for w in model.weights]


def test_compiling_again_forgets_what_the_first_loss_kept():
    model = RETRIEVAL["TwoTower"]()
    model.compile()
    weights = len(model.weights)
    model.compile(loss=kr.losses.InBatchSoftmax(0.1, logq_correction=False, memory=8))
    model.compile()
    assert len(model.weights) == weights
    model.compile(loss=kr.losses.InBatchSoftmax(0.1, logq_correction=False))
    assert len(model.weights) == weights - 1  # nothing is counted


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(make, policy):
    exact, model = make(), make(dtype=policy)
    model.set_weights(exact.get_weights())
    for side, vectors in model(X).items():
        assert vectors.dtype == "float32"
        np.testing.assert_allclose(vectors, exact(X)[side], atol=0.03)


SCRIPT = """
import sys, keras, numpy as np
import kerasrec
model = keras.saving.load_model(sys.argv[1])
x = dict(np.load(sys.argv[2]))
print(type(model.loss).__name__, model.loss.memory, abs(np.asarray(model(x)["query"])).sum())
"""


def test_files_are_loaded_by_processes_that_know_no_class_yet(tmp_path):
    model = RETRIEVAL["TwoTower"]()
    model.compile(loss=kr.losses.InBatchSoftmax(0.1, memory=20), run_eagerly=True)
    model.fit(X, batch_size=100, verbose=0)
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "x.npz", **X)
    command = [sys.executable, "-c", SCRIPT, tmp_path / "model.keras", tmp_path / "x.npz"]
    printed = subprocess.run(command, check=True, timeout=600, capture_output=True, text=True).stdout
    name, memory, total = printed.split()
    assert (name, memory) == ("InBatchSoftmax", "20")
    assert float(total) == pytest.approx(np.abs(model(X)["query"]).sum(), rel=1e-5)


# ---- data ----------------------------------------------------------------------------------------------------
CLICKED = Column("clicked", "float32", ("target", "binary"))


def test_rows_that_are_no_pairs_are_refused():
    model = RETRIEVAL["TwoTower"]()
    model.compile()
    clicked = np.ones(ROWS, "float32")
    schema = Schema([*SCHEMA, CLICKED])
    model.fit(kr.Loader(frame(clicked=clicked), 100, schema=schema), verbose=0)
    clicked[-1] = 0
    with pytest.raises(ValueError, match=r"^each row must be a pair .* leave out the other rows with etl.Filter"):
        model.fit(kr.Loader(frame(clicked=clicked), 100, schema=schema), verbose=0)
    model.compile(run_eagerly=True)
    with pytest.raises(ValueError, match=r"^each row must be a pair"):
        model.evaluate(X, clicked, verbose=0)
    model.fit(kr.Loader(frame(clicked=clicked), 100, schema=schema, targets=[]), verbose=0)


def test_a_dataset_is_fitted_and_its_rows_are_checked():
    tags = [
        ["user"] >> kr.etl.Categorify() >> kr.etl.AddTags("user"),
        ["item"] >> kr.etl.Categorify() >> kr.etl.AddTags("item_id"),
    ]
    workflow = kr.etl.Workflow(tags[0] + tags[1] + (["clicked"] >> kr.etl.Target()))
    rows = pl.DataFrame({"user": ["a", "b", "a", "c"], "item": [1, 2, 3, 1], "clicked": [1, 1, 1, 0]})
    data = workflow.fit(rows).transform(rows)
    model = kr.models.TwoTower(data.schema, 4, [4], [4])
    model.compile(run_eagerly=True)
    with pytest.raises(ValueError, match="target 'clicked': each row must be a pair"):
        model.fit(data, verbose=0)
    model.fit(workflow.transform(rows[:3]), verbose=0)
    assert model.predict(workflow.transform(rows), verbose=0)["query"].shape == (4, 4)
    assert model.predict(workflow.transform(rows[:0]), verbose=0)["candidate"].shape == (0, 4)


def test_what_does_not_fit_is_refused_with_a_remedy():
    model = RETRIEVAL["TwoTower"]()
    with pytest.raises(ValueError, match="metrics is not supported; kr.retrieval.Index"):
        model.compile(metrics=["auc"])
    with pytest.raises(ValueError, match=r"as kr.losses.InBatchSoftmax\(\) does; got 'mse'"):
        model.compile(loss="mse")
    with pytest.raises(ValueError, match=r"call `compile\(\)` before"):
        model.fit(X)
    with pytest.raises(ValueError, match="class_weight needs a target; pairs have no classes"):
        model.fit(X, class_weight={0: 2.0})
    with pytest.warns(UserWarning, match="temperature=0.05"):
        model.compile(loss=kr.losses.InBatchSoftmax())
    with pytest.raises(ValueError, match="similarity must be one of 'dot', 'cosine', 'l2'; got 'euclid'"):
        kr.models.TwoTower(SCHEMA, similarity="euclid")
    with pytest.raises(ValueError, match=r"must end in one width.*query_units=\[8\] and candidate_units=\[16\]"):
        kr.models.TwoTower(SCHEMA, query_units=8, candidate_units=16)


# ---- columns -------------------------------------------------------------------------------------------------
def test_tags_and_tables_say_whose_columns_are_whose():
    model = RETRIEVAL["TwoTower"]()
    assert model.query_schema.names == QUERY  # `seen`, without a tag, shares the items' table
    assert model.candidate_schema.names == CANDIDATE
    assert model.item_id == "item id"
    past = COLUMNS["seen"].evolve(table="other", add_tags=("item_id", "sequence"))
    assert kr.models.TwoTower(Schema([COLUMNS["item id"], past])).query_schema.names == ["seen"]


def test_candidate_columns_need_no_tags():
    plain = Schema(c.evolve(tags=set(c.tags) & {"categorical", "continuous", "list"}) for c in SCHEMA)
    model = kr.models.TwoTower(plain, candidate_columns=["item id", "^x$"])
    assert model.candidate_schema.names == ["item id", "^x$"]
    assert model.item_id == "item id"
    assert type(model).from_config(model.get_config()).query_schema.names == [*QUERY, "a.b"]
    with pytest.raises(ValueError, match="no column 'film' to read in the schema; available: "):
        kr.models.TwoTower(plain, candidate_columns=["film"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"user": ()}, "column 'user' must be of a query .* but has tags of neither: categorical"),
        ({"user": ("user", "item")}, "column 'user' must be of a query .* but has tags of both"),
        ({"item id": ("item",), "a.b": ("item",), "^x$": ("user",)}, None),
        ({"item id": ("user",), "a.b": ("user",), "^x$": ("user",)}, "no column of a candidate"),
        ({"user": ("item_id",)}, "several columns with the tag item_id"),
    ],
)
def test_unclear_columns_are_named(changes, message):
    roles = {"categorical", "continuous", "list"}
    schema = Schema(
        c.evolve(tags={*(set(c.tags) & roles), *changes[c.name]}) if c.name in changes else c for c in SCHEMA
    )
    if message is None:
        assert kr.models.TwoTower(schema).item_id == "item id"  # the only scalar id among them
        return
    with pytest.raises(SchemaError, match=message):
        kr.models.TwoTower(schema)


def test_without_its_id_a_new_candidate_is_like_an_old_one():
    model = RETRIEVAL["TwoTower"](embed_item_id=False)
    one, other = (model.encode_candidates({**X, "item id": np.full(ROWS, i, "int32")}) for i in (2, ITEMS - 1))
    np.testing.assert_array_equal(one, other)
    model.compile(run_eagerly=True)
    model.fit(X, batch_size=100, verbose=0)  # ids still tell which candidates are the same
    with pytest.raises(SchemaError, match="embed_item_id=False leaves nothing"):
        kr.models.TwoTower(SCHEMA.subset(["user", "item id"]), embed_item_id=False)


def test_dropped_ids_are_unknown_ones():
    model = RETRIEVAL["TwoTower"](id_dropout=0.3, seed=5)
    known, unknown = (model.encode_candidates(x) for x in (X, {**X, "item id": np.full(ROWS, 2, "int32")}))
    given = np.asarray(model(X, training=True)["candidate"])
    np.testing.assert_array_equal(model(X)["candidate"], known)
    dropped = np.abs(given - unknown).max(1) < 1e-6
    np.testing.assert_allclose(given[~dropped], np.asarray(known)[~dropped], atol=1e-6)
    assert 0.2 < dropped.mean() < 0.4
    with pytest.raises(ValueError, match=r"id_dropout must be in \[0, 1\); got 1"):
        RETRIEVAL["TwoTower"](id_dropout=1)
    with pytest.raises(ValueError, match="id_dropout=0.5 needs a candidate with an embedded id and other columns"):
        RETRIEVAL["TwoTower"](id_dropout=0.5, embed_item_id=False)


# ---- losses against all candidates ---------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["MatrixFactorization l2", "YoutubeDNN"])
def test_drawn_negatives_are_vectors_of_the_model(name):
    """The loss is BPR's of the ids that are drawn, and reaches their rows."""
    model = RETRIEVAL[name](seed=3)
    model.compile(loss=kr.losses.BPR(2))
    rows = {column: values[:20] for column, values in X.items()}
    with tf.GradientTape() as tape:
        loss = model.compute_loss(rows, None, model(rows, training=True))
    drawn = np.asarray(model.loss.draw(rows["item id"], 3, ITEMS, keras.random.SeedGenerator(3)))
    q = np.asarray(model.encode_queries(rows), "float64")
    c = np.asarray(model.encode_candidates({"item id": np.arange(ITEMS, dtype="int32")}), "float64")
    scores = -((q[:, None] - c) ** 2).sum(2) if model.similarity == "l2" else q @ c.T
    expected = []
    for row, (own, others) in enumerate(zip(rows["item id"], drawn, strict=True)):
        differences = scores[row, others[others != own]] - scores[row, own]
        expected.append(np.log1p(np.exp(differences)).mean() if len(differences) else 0)
    assert float(loss) == pytest.approx(np.mean(expected), rel=1e-5)
    (table,) = model.item_table.trainable_variables
    gradient = tape.gradient(loss, table.value)
    assert {*drawn.ravel(), *rows["item id"]} == set(gradient.indices.numpy())


@pytest.mark.parametrize("name", ["MatrixFactorization biases ids", "YoutubeDNN"])
@pytest.mark.parametrize("loss", ["FullSoftmax", "SampledSoftmax", "GBCE"])
def test_all_items_are_those_of_the_model(name, loss):
    """The full softmax is the formula's; sampled ones run, and move the table."""
    model = RETRIEVAL[name](seed=3)
    given = {"FullSoftmax": [], "SampledSoftmax": [5], "GBCE": [5, 0.5]}[loss]
    model.compile(kr.optimizers.SGD(0.5), getattr(kr.losses, loss)(*given), run_eagerly=True)
    value = model.test_on_batch(X)
    if loss == "FullSoftmax":
        q = np.asarray(model.encode_queries(X), "float64")
        c = np.asarray(model.encode_candidates({"item id": np.arange(3, ITEMS, dtype="int32")}), "float64")
        scores = q @ c.T
        own = scores[np.arange(ROWS), X["item id"] - 3]
        assert value == pytest.approx((np.log(np.exp(scores).sum(1)) - own).mean(), rel=1e-5)
    before = model.item_table.table("candidate item")
    model.train_on_batch(X)
    assert np.abs(model.item_table.table("candidate item") - before).max() > 1e-5


def test_a_tower_over_columns_needs_negatives_of_the_batch():
    with pytest.raises(ValueError, match=r"made from the batch's columns item id, a.b, \^x\$; use a loss such as"):
        RETRIEVAL["TwoTower"]().compile(loss=kr.losses.BPR())


def test_biases_are_added_to_the_scores():
    model = RETRIEVAL["MatrixFactorization biases"]()
    rows = model.embeddings({**X})
    own = np.asarray(model.item_table({"item id": X["item id"]})["item id"])
    user, seen, genres = (np.asarray(rows[name]) for name in ("user", "seen", "a.b"))
    products = ((user + seen)[:, :4] * (own + genres)[:, :4]).sum(1)
    vectors = model(X)
    scores = (np.asarray(vectors["query"]) * np.asarray(vectors["candidate"])).sum(1)
    np.testing.assert_allclose(scores, products + sum(x[:, 4] for x in (user, seen, own, genres)), atol=1e-6)


def test_columns_that_a_model_cannot_read_are_refused():
    with pytest.raises(SchemaError, match="the continuous column 'größe' does not have; .*Bucketize"):
        kr.models.MatrixFactorization(SCHEMA)
    with pytest.raises(ValueError, match="biases are for similarity 'dot'; got 'l2'"):
        kr.models.MatrixFactorization(SCHEMA.subset(["user", "item id"]), 4, "l2", biases=True)
    with pytest.raises(SchemaError, match=r"by its id alone, but the candidate's columns are item id, a.b, \^x\$"):
        kr.models.YoutubeDNN(SCHEMA)
