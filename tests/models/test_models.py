"""What holds for every model: it learns, states its shapes, is saved and loaded, names inputs that do not fit."""

import io

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from model_cases import CLICKED, COLUMNS, RATING, batch_of, schema_of

import kerasrec as kr
from kerasrec.schema import Column, Schema, SchemaError, Tag


@pytest.fixture
def data(tmp_path):
    """A dataset on disk, as the ETL writes it."""
    x, y = batch_of(600)
    lists = [[int(i) for i in row if i] for row in x["genres"]]
    genres = pa.array(lists, pa.list_(pa.int32()))
    pq.write_table(pa.table({**x, "genres": genres, "clicked": y[:, 0]}), tmp_path / "part-00000.parquet")
    schema_of().save(tmp_path)
    return tmp_path


@pytest.mark.parametrize("make", ["DLRM", "DeepFM"], indirect=True)  # others: test_every_model
def test_learns_from_a_loader_without_xla(make, data):
    keras.utils.set_random_seed(0)
    loader = kr.Loader(data, batch_size=50, shuffle=True)
    model = make(loader.schema)
    model.compile(kr.optimizers.Adagrad(0.3), loss="binary_crossentropy", metrics=[keras.metrics.AUC(name="auc")])
    before = model.evaluate(loader, return_dict=True, verbose=0)
    history = model.fit(loader, validation_data=loader, epochs=12, verbose=0).history
    after = model.evaluate(loader, return_dict=True, verbose=0)
    assert model.jit_compile is False  # the sparse updates of the tables do not compile with XLA
    assert after["loss"] < 0.4 < 0.6 < before["loss"]
    assert after["auc"] > 0.9
    np.testing.assert_allclose(after["loss"], history["val_loss"][-1], rtol=1e-5)
    assert model.predict(loader, verbose=0).shape == (600, 1)


def test_tables_have_sparse_gradients(make):
    x, y = batch_of(20)
    model = make(schema_of())
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(x) - y))
    values = [v.value for v in model.trainable_variables]
    gradients = {v.path: g for v, g in zip(model.trainable_variables, tape.gradient(loss, values), strict=True)}
    tables = [path for path in gradients if "tables_" in path]
    assert tables
    assert all(isinstance(gradients[path], tf.IndexedSlices) for path in tables)
    assert all(g is not None for g in gradients.values())


def test_regression_answers_with_any_number(make):
    x, y = batch_of(200)
    y = 2 * y + 3
    model = make(schema_of(target=RATING))
    assert model.task == "regression"
    model.compile(keras.optimizers.Adam(0.05), loss="mse")
    model.fit(x, y, batch_size=50, epochs=12, verbose=0)
    answers = model(x).numpy()
    assert answers.max() > 3.5
    assert np.sqrt(np.mean((answers - y) ** 2)) < 0.8 * y.std()
    with pytest.raises(ValueError, match="loss 'binary_crossentropy' needs a target of 0 and 1, but 'rating'"):
        model.compile("sgd", loss="binary_crossentropy")
        model.fit(x, y, verbose=0)


def test_padded_lists_equal_ragged_ones(make):
    x, _ = batch_of(50)
    assert not x["genres"].any(axis=1).all()  # some lists are empty
    model = make(schema_of())
    ragged = {**x, "genres": tf.RaggedTensor.from_tensor(x["genres"], padding=0)}
    wider = {**x, "genres": np.pad(x["genres"], [(0, 0), (0, 2)])}
    columns = {name: ids[:, None] if ids.ndim == 1 else ids for name, ids in x.items()}
    for other in (ragged, wider, columns):
        np.testing.assert_allclose(model(other), model(x), atol=1e-6)


def test_keras_file_brings_back_predictions_schema_and_optimizer(make, tmp_path):
    x, y = batch_of(100)
    model = make(schema_of())
    model.compile(kr.optimizers.Adagrad(0.05), loss="binary_crossentropy")
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    assert copy.schema == model.schema
    np.testing.assert_array_equal(copy(x), model(x))
    for network in (model, copy):
        network.fit(x, y, shuffle=False, verbose=0)
    np.testing.assert_allclose(copy(x), model(x), atol=1e-6)


def test_config_is_plain_and_makes_the_same_network(make):
    model = make(schema_of(), dropout=0.25, task="regression", name="mine")
    copy = type(model).from_config(model.get_config())
    assert copy.get_config() == model.get_config()
    assert copy.name == "mine"
    assert [w.shape for w in copy.weights] == [w.shape for w in model.weights]


def test_summary_shows_every_part_before_the_first_batch(make):
    lines = io.StringIO()
    model = make(schema_of())
    model.summary(print_fn=lambda line: lines.write(line + "\n"))
    text = lines.getvalue()
    assert "?" not in text
    assert "unbuilt" not in text
    for layer in model.layers:
        assert layer.name in text
        assert f" {layer.count_params():,} │" in text
    for shape in ("(None, 2)", "(None, 16)", "(None, 1)", "{user: (None,"):
        assert shape in text
    shapes = [w.shape for w in model.weights]
    model(batch_of(3)[0])
    assert [w.shape for w in model.weights] == shapes


@pytest.mark.parametrize("names", [("user", "favourite"), ("user", "age"), ("genres", "price", "age")])
def test_some_columns_only(make, names):
    x, _ = batch_of(5)
    model = make(schema_of(*names))
    assert model(x).shape == (5, 1)  # what the schema does not list is left alone
    with pytest.raises(ValueError, match=f"no column {names[0]!r} in the batch"):
        model({name: x[name] for name in names[1:]})


def test_continuous_columns_alone(make):
    x, y = batch_of(200)
    model = make(schema_of("age", "price"))
    model.compile(keras.optimizers.Adam(0.05), loss="binary_crossentropy")
    losses = model.fit(x, y, epochs=5, verbose=0).history["loss"]
    assert model.jit_compile is False
    assert losses[-1] < losses[0]


def test_empty_and_one_row_batches(make):
    x, _ = batch_of(4)
    model = make(schema_of())
    whole = model(x).numpy()
    assert model({name: ids[:0] for name, ids in x.items()}).shape == (0, 1)
    for row in range(4):
        one = model({name: ids[row : row + 1] for name, ids in x.items()})
        np.testing.assert_allclose(one, whole[row : row + 1], atol=1e-6)


def test_mixed_precision_answers_in_float32(make):
    x, y = batch_of(200)
    model = make(schema_of(), dtype="mixed_bfloat16")
    exact = make(schema_of())
    exact.set_weights(model.get_weights())
    assert {w.dtype for w in model.trainable_variables} == {"float32"}
    assert model(x).dtype == tf.float32
    np.testing.assert_allclose(model(x), exact(x), atol=0.02)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(x) - y))
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    assert all(np.isfinite(tf.convert_to_tensor(g)).all() for g in gradients)


# ---- what does not fit --------------------------------------------------------------------------------------
def test_targets_that_do_not_fit(make):
    with pytest.raises(SchemaError, match="'rating' has values other than 0 and 1"):
        make(schema_of(target=RATING), task="binary")
    with pytest.raises(SchemaError, match="a model is trained on one target or several; the schema has none"):
        make(schema_of().features)
    with pytest.raises(SchemaError, match="'clicked' is tagged neither binary nor regression"):
        make(schema_of(target=Column("clicked", "float32", (Tag.TARGET,))))
    with pytest.raises(ValueError, match="task must be 'binary' or 'regression'; got 'ranking'"):
        make(schema_of(), task="ranking")
    with pytest.raises(SchemaError, match="no categorical or continuous column"):
        make(Schema([Column("row", "int64"), CLICKED]))
    assert make(schema_of(target=CLICKED), task="regression").task == "regression"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cardinality": 31}, "column 'user': cardinality is 30 in the model's schema, but 31 in the data"),
        ({"table": "visitor"}, "column 'user': table is 'user' in the model's schema, but 'visitor' in the data"),
        ({"name": "visitor"}, "column 'user' of the model's schema is missing in the data"),
    ],
)
def test_data_of_another_schema(make, data, changes, message):
    user = COLUMNS["user"].evolve(**changes)
    x, y = batch_of(10)
    table = pa.table({user.name: x["user"], "age": x["age"], "clicked": y[:, 0]})
    (data / "other").mkdir()
    pq.write_table(table, data / "other" / "part-00000.parquet")
    Schema([user, COLUMNS["age"], CLICKED]).save(data / "other")
    loader = kr.Loader(data / "other", batch_size=5)
    model = make(schema_of("user", "age"))
    model.compile("sgd", loss="binary_crossentropy")
    for use in (model.predict, model.evaluate):
        with pytest.raises(SchemaError, match=message):
            use(loader, verbose=0)
    with pytest.raises(SchemaError, match=message.replace("the data", "the validation data")):
        model.fit(x, y, validation_data=loader, verbose=0)


def test_data_of_another_target(make, data):
    model = make(schema_of("user", "age", target=CLICKED.evolve(name="bought")))
    model.compile("sgd", loss="binary_crossentropy")
    loader = kr.Loader(data, batch_size=100)
    with pytest.raises(
        SchemaError, match=r"the model is trained on 'bought', but the targets of .* are \['clicked'\]"
    ):
        model.fit(loader, verbose=0)
    assert model.predict(loader, verbose=0).shape == (600, 1)


def test_weights_of_another_schema(make, tmp_path):
    origin = make(schema_of("user", "age"))
    origin.save_weights(tmp_path / "of.weights.h5")
    other = Schema([COLUMNS["user"].evolve(table="visitor"), COLUMNS["age"], CLICKED])
    model = make(other)
    with pytest.raises(ValueError, match="column 'user': table is 'visitor' in the model's schema, but 'user'"):
        model.load_weights(tmp_path / "of.weights.h5")
    same = make(schema_of("user", "age"))
    same.load_weights(tmp_path / "of.weights.h5")
    for now, saved in zip(same.get_weights(), origin.get_weights(), strict=True):
        np.testing.assert_array_equal(now, saved)


def test_ids_out_of_range_name_the_column(make):
    x, _ = batch_of(4)
    x["user"][2] = 30
    with pytest.raises(tf.errors.InvalidArgumentError, match="'user'.*30"):
        make(schema_of())(x)
