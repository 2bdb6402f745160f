"""DistributedEmbedding against a row-by-row float64 NumPy lookup."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import kerasrec as kr
from kerasrec import kernels
from kerasrec.layers.embedding import full_tables
from kerasrec.tables.initializers import BLOCK_ROWS, initial_values

ITEM = kr.TableConfig("item", 10, 4)


def reference(table, lists, combiner):
    """The combined vectors of lists of ids, one list after another, in float64."""
    divide = {"sum": lambda n: 1.0, "mean": float, "sqrtn": np.sqrt}[combiner]
    zero = np.zeros(table.shape[1])
    return np.array([table[ids].astype("float64").sum(0) / divide(len(ids)) if ids else zero for ids in lists])


def padded(lists, width):
    return np.array([ids + [0] * (width - len(ids)) for ids in lists], "int32").reshape(len(lists), width)


@settings(max_examples=60, deadline=None)
@given(
    lists=st.lists(st.lists(st.integers(1, 9), max_size=5), min_size=1, max_size=8),
    combiner=st.sampled_from(["sum", "mean", "sqrtn"]),
    dtype=st.sampled_from(["int32", "int64"]),
)
def test_lists_equal_numpy_ragged_and_padded(lists, combiner, dtype):
    table = kr.TableConfig("item", 10, 4, combiner=combiner)
    layer = kr.layers.DistributedEmbedding({"history": kr.FeatureConfig("history", table)})
    layer.build()
    expected = reference(layer.table("item"), lists, combiner)
    ragged = tf.ragged.constant(lists, dtype=dtype, ragged_rank=1)
    np.testing.assert_allclose(layer({"history": ragged})["history"], expected, atol=1e-6)
    ids = padded(lists, 6).astype(dtype)
    np.testing.assert_allclose(layer({"history": ids})["history"], expected, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    lists=st.lists(st.lists(st.integers(1, 9), max_size=5), min_size=1, max_size=6),
    combiner=st.sampled_from(["sum", "mean", "sqrtn"]),
    training=st.booleans(),
    ragged=st.booleans(),
    seed=st.integers(0, 5),
)
def test_weighted_lists_equal_tensorflows(lists, combiner, training, ragged, seed):
    """Vectors and the gradients by table and by weights; `tf.nn.embedding_lookup_sparse` is the judge."""
    rng = np.random.default_rng(seed)
    lists = [*lists, [3, 4]]
    table = kr.TableConfig("item", 10, 4, combiner=combiner)
    layer = kr.layers.DistributedEmbedding(
        {"history": kr.FeatureConfig("history", table), "item": kr.FeatureConfig("item", table)}
    )
    layer.build()
    weights = [rng.uniform(0.5, 2, len(each)).astype("float32").tolist() for each in lists]
    by_row = tf.ragged.constant(weights, dtype=tf.float32, ragged_rank=1)
    given_weights = tf.Variable(by_row.values)
    sparse = tf.ragged.constant(lists, dtype=tf.int64, ragged_rank=1).to_sparse()
    upstream = rng.normal(size=(len(lists), 4)).astype("float32")
    values = tf.Variable(layer.table("item"))
    with tf.GradientTape() as tape:
        theirs = tf.nn.embedding_lookup_sparse(
            values, sparse, tf.sparse.SparseTensor(sparse.indices, given_weights, sparse.dense_shape), combiner
        )
        theirs = tf.pad(theirs, [[0, len(lists) - tf.shape(theirs)[0]], [0, 0]])
        loss = tf.reduce_sum(theirs * upstream)
    expected = [tf.convert_to_tensor(each) for each in tape.gradient(loss, [values, given_weights])]
    with tf.GradientTape() as tape:
        rows = by_row.with_values(given_weights)
        ids = tf.ragged.constant(lists, dtype=tf.int64, ragged_rank=1)
        history = (ids, rows) if ragged else (ids.to_tensor(shape=(None, 6)), rows.to_tensor(9.0, shape=(None, 6)))
        ours = layer({"history": history, "item": np.zeros(len(lists), "int64")}, training=training)["history"]
        loss = tf.reduce_sum(ours * upstream)
    gradients = tape.gradient(loss, [layer.trainable_variables[0].value, given_weights])
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    for mine, other in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(tf.convert_to_tensor(mine), other, atol=1e-5)


def test_weights_that_add_up_to_nothing_give_zeros():
    for combiner in ("mean", "sqrtn"):
        table = kr.TableConfig("item", 10, 4, combiner=combiner)
        layer = kr.layers.DistributedEmbedding({"item": kr.FeatureConfig("item", table)})
        for training in (False, True):
            weights = tf.Variable([[0.0, 0.0], [1.0, 2.0]])
            with tf.GradientTape() as tape:
                out = layer({"item": (np.array([[1, 2], [0, 0]]), weights)}, training=training)["item"]
            np.testing.assert_array_equal(out, np.zeros((2, 4)))
            assert np.isfinite(tape.gradient(out, weights)).all()


def test_lists_of_a_length_unknown_to_the_graph():
    layer = kr.layers.DistributedEmbedding({"item": kr.FeatureConfig("item", ITEM)})
    ids = np.array([[1, 2, 0], [4, 0, 0]])
    for training in (False, True):
        call = tf.function(
            lambda ids, training=training: layer({"item": ids}, training=training)["item"],
            input_signature=[tf.TensorSpec((None, None), tf.int64)],
        )
        np.testing.assert_allclose(call(ids), reference(layer.table("item"), [[1, 2], [4]], "mean"), atol=1e-6)


def test_weights_in_a_functional_model_train():
    inputs = {
        "item": keras.Input((3,), dtype="int32", name="item"),
        "weight": keras.Input((3,), name="weight"),
    }
    layer = kr.layers.DistributedEmbedding({"item": kr.FeatureConfig("item", ITEM)})
    vectors = layer({"item": (inputs["item"], inputs["weight"])})["item"]
    assert vectors.shape == (None, 4)
    model = keras.Model(inputs, keras.layers.Dense(1)(vectors))
    model.compile(kr.optimizers.Adagrad(0.1), loss="mse")
    rng = np.random.default_rng(0)
    data = {"item": rng.integers(1, 10, (64, 3)), "weight": rng.random((64, 3)).astype("float32")}
    losses = model.fit(data, data["weight"][:, :1], epochs=20, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    again = keras.Model.from_config(model.get_config())
    assert again(data).shape == (64, 1)


def test_wrong_weights():
    layer = kr.layers.DistributedEmbedding({"item": kr.FeatureConfig("item", ITEM)})
    with pytest.raises(ValueError, match="'item': weights must have the ids' shape .*; got"):
        layer({"item": (np.array([[1, 2]]), np.ones((1, 3), "float32"))})
    apart = kr.TableConfig("item", 10, 4, combiner=None)
    layer = kr.layers.DistributedEmbedding({"item": kr.FeatureConfig("item", apart)})
    with pytest.raises(ValueError, match="'item': weights need a table with a combiner"):
        layer({"item": (np.array([[1, 2]]), np.ones((1, 2), "float32"))})


def test_tables_of_one_width_share_a_variable_and_features_a_table():
    big = kr.TableConfig("big", 100_000, 4)
    wide = kr.TableConfig("wide", 3, 8)
    layer = kr.layers.DistributedEmbedding(
        {
            "a": kr.FeatureConfig("a", ITEM),
            "b": kr.FeatureConfig("b", big),
            "c": kr.FeatureConfig("c", ITEM),
            "d": kr.FeatureConfig("d", wide),
        }
    )
    ids = {
        "a": np.array([0, 9]),
        "b": np.array([[99_999], [0]]),
        "c": np.array([9, 9], "int32"),
        "d": np.array([2, 0]),
    }
    out = layer(ids)
    assert [tuple(variable.shape) for variable in layer.trainable_variables] == [(100_010, 4), (3, 8)]
    for name, table in {"a": "item", "b": "big", "c": "item", "d": "wide"}.items():
        np.testing.assert_array_equal(out[name], layer.table(table)[ids[name].ravel()])


def test_no_combiner_keeps_vectors_apart():
    table = kr.TableConfig("item", 10, 4, combiner=None)
    layer = kr.layers.DistributedEmbedding({"history": kr.FeatureConfig("history", table)})
    rows = layer({"history": np.array([[1, 2, 0], [3, 0, 0]])})["history"]
    values = layer.table("item")
    np.testing.assert_array_equal(rows[0], [values[1], values[2], np.zeros(4)])
    ragged = layer({"history": tf.ragged.constant([[1, 0], []], dtype=tf.int64)})["history"]
    assert ragged.row_lengths().numpy().tolist() == [2, 0]
    np.testing.assert_array_equal(ragged.values, values[[1, 0]])
    assert layer({"history": np.array([[3]])})["history"].shape == (1, 1, 4)


def test_empty_batch():
    layer = kr.layers.DistributedEmbedding({"item": kr.FeatureConfig("item", ITEM)})
    assert layer({"item": np.zeros((0,), "int64")})["item"].shape == (0, 4)
    assert layer({"item": np.zeros((0, 3), "int64")})["item"].shape == (0, 4)


@pytest.mark.parametrize("bad", [-1, 10, 2**40])
@pytest.mark.parametrize("form", ["one", "padded", "ragged"])
def test_id_outside_its_table_is_named(bad, form):
    """Row 10 of "item" would be row 0 of "other" in the stack: it must not be read."""
    layer = kr.layers.DistributedEmbedding(
        {
            "item": kr.FeatureConfig("item", ITEM),
            "other": kr.FeatureConfig("other", kr.TableConfig("other", 50, 4)),
        }
    )
    ids = {
        "one": np.array([1, bad]),
        "padded": np.array([[1, 0], [2, bad]]),
        "ragged": tf.ragged.constant([[1], [2, bad]], dtype=tf.int64),
    }[form]
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=rf"feature 'item': id {bad} is out of range \[0, 10\)"
    ):
        layer({"item": ids, "other": np.array([1, 2])})


@pytest.mark.parametrize("stray", ["one", "list", "other"])
def test_the_feature_of_a_stray_id_is_named_among_lists_and_single_ids(stray):
    features = {
        name: kr.FeatureConfig(name, kr.TableConfig(f"{name}s", 10, 4)) for name in ("one", "list", "other")
    }
    layer = kr.layers.DistributedEmbedding(features)
    ids = {
        "one": np.array([1, 2]),
        "list": tf.ragged.constant([[3], []], dtype=tf.int64),
        "other": np.array([4, 5]),
    }
    vectors = layer(ids)
    for name in ("one", "other"):
        np.testing.assert_array_equal(vectors[name], layer.table(f"{name}s")[ids[name]])
    np.testing.assert_array_equal(vectors["list"], [layer.table("lists")[3], np.zeros(4)])
    ids[stray] = ids[stray] + 8
    value = {"one": 10, "list": 11, "other": 12}[stray]
    message = rf"feature .*'{stray}.*': id {value} is out of range \[0, 10\) of table .*'{stray}s.*'"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        tf.function(layer)(ids)


def test_small_id_dtype_on_a_large_table():
    layer = kr.layers.DistributedEmbedding({"x": kr.FeatureConfig("x", kr.TableConfig("x", 1000, 2))})
    np.testing.assert_array_equal(layer({"x": np.array([0, 127], "int8")})["x"], layer.table("x")[[0, 127]])


def test_wrong_inputs():
    layer = kr.layers.DistributedEmbedding({"item": kr.FeatureConfig("item", ITEM)})
    with pytest.raises(ValueError, match="no ids for feature 'item'; got inputs \\['other'\\]"):
        layer({"other": np.array([1])})
    with pytest.raises(ValueError, match="'item': ids must be integers; got float32"):
        layer({"item": np.array([1.0], "float32")})
    with pytest.raises(ValueError, match="'item': ids must have shape"):
        layer({"item": np.zeros((2, 3, 4), "int32")})
    with pytest.raises(ValueError, match="at least one feature"):
        kr.layers.DistributedEmbedding({})
    with pytest.raises(ValueError, match="must be a kr.FeatureConfig"):
        kr.layers.DistributedEmbedding({"item": ITEM})


def test_gradient_is_sparse_and_right():
    """d/dE of sum_i <c_i, mean of row i's vectors>: c_i / hotness at each looked-up row, repeats added up."""
    layer = kr.layers.DistributedEmbedding({"h": kr.FeatureConfig("h", ITEM), "i": kr.FeatureConfig("i", ITEM)})
    h, i = np.array([[1, 1, 0], [2, 3, 1]]), np.array([3, 9])
    c = np.random.default_rng(0).normal(size=(2, 4)).astype("float32")
    with tf.GradientTape() as tape:
        out = layer({"h": h, "i": i})
        loss = tf.reduce_sum(c * (out["h"] + out["i"]))
    gradient = tape.gradient(loss, layer.trainable_variables[0].value)
    assert isinstance(gradient, tf.IndexedSlices)
    expected = np.zeros((10, 4))
    for row in range(2):
        real = [k for k in h[row] if k]
        for k in real:
            expected[k] += c[row].astype("float64") / len(real)
        expected[i[row]] += c[row]
    np.testing.assert_allclose(tf.convert_to_tensor(gradient), expected, atol=1e-6)


def functional(layer, ragged):
    ids = {
        "item": keras.Input((), dtype="int32", name="item"),
        "history": keras.Input((None,), dtype="int32", name="history", ragged=ragged),
    }
    out = layer(ids)
    x = keras.layers.Concatenate()([out["item"], out["history"]])
    return keras.Model(ids, keras.layers.Dense(1, activation="sigmoid")(x))


def two_features(**options):
    table = kr.TableConfig("item", 10, 4, **options)
    return {"item": kr.FeatureConfig("item", table), "history": kr.FeatureConfig("history", table)}


@pytest.mark.parametrize("initializer", ["uniform", keras.initializers.HeNormal()])
def test_functional_model_trains_saves_and_loads(tmp_path, initializer):
    model = functional(kr.layers.DistributedEmbedding(two_features(initializer=initializer), seed=3), ragged=False)
    model.compile(kr.optimizers.Adagrad(0.5), loss="binary_crossentropy")
    ids = {"item": np.arange(1, 9), "history": np.tile([[1, 2, 0]], (8, 1))}
    clicks = (np.arange(1, 9) % 2).reshape(-1, 1).astype("float32")
    losses = model.fit(ids, clicks, epochs=30, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]
    assert not model.jit_compile
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict(ids, verbose=0), model.predict(ids, verbose=0))


def test_loss_falls_on_ragged_inputs():
    model = functional(kr.layers.DistributedEmbedding(two_features()), ragged=True)
    model.compile(kr.optimizers.Adagrad(0.5), loss="binary_crossentropy")
    history = tf.ragged.constant([[1], [2, 3], [], [4]], dtype=tf.int32)
    data = tf.data.Dataset.from_tensors(
        ({"item": tf.range(1, 5), "history": history}, [[1.0], [0.0], [1.0], [0.0]])
    )
    losses = model.fit(data.repeat(20), epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def test_files_hold_tables_not_stacks(tmp_path):
    """A file saved by a layer that stacks "item" first is read by one that stacks it last."""
    other = kr.TableConfig("other", 5, 4)
    first = kr.layers.DistributedEmbedding(
        {"item": kr.FeatureConfig("item", ITEM), "other": kr.FeatureConfig("other", other)}
    )
    second = kr.layers.DistributedEmbedding(
        {"other": kr.FeatureConfig("other", other), "item": kr.FeatureConfig("item", ITEM)}, seed=9
    )
    for layer in (first, second):
        layer.build()
    store = {}
    first.save_own_variables(store)
    assert set(store) == {"item", "other"}
    second.load_own_variables(store)
    for name in store:
        np.testing.assert_array_equal(second.table(name), first.table(name))
    with pytest.raises(ValueError, match="the file has no table 'item'"):
        second.load_own_variables({"other": store["other"]})
    with pytest.raises(ValueError, match=r"table 'item' is \(3, 4\) in the file, but \(10, 4\) here"):
        second.load_own_variables({**store, "item": store["item"][:3]})


def test_mixed_precision_keeps_tables_float32():
    layer = kr.layers.DistributedEmbedding({"item": kr.FeatureConfig("item", ITEM)}, dtype="mixed_bfloat16")
    assert layer({"item": np.array([1])})["item"].dtype == tf.bfloat16
    assert layer.trainable_variables[0].dtype == "float32"


@settings(max_examples=10, deadline=None)
@given(sizes=st.lists(st.sampled_from([1, 3, BLOCK_ROWS - 1, BLOCK_ROWS, BLOCK_ROWS + 1]), min_size=1, max_size=4))
def test_tables_begin_with_their_own_initial_values(sizes):
    tables = {f"t{i}": kr.TableConfig(f"t{i}", rows, 2) for i, rows in enumerate(sizes)}
    layer = kr.layers.DistributedEmbedding({k: kr.FeatureConfig(k, table) for k, table in tables.items()}, seed=5)
    layer.build()
    for name, table in tables.items():
        np.testing.assert_array_equal(layer.table(name), initial_values(table, 5))
    layer.trainable_variables[0].value.scatter_nd_update([[0]], [[7.0, 8.0]])  # what a step of training does
    first = layer.table("t0")
    assert first[0].tolist() == [7.0, 8.0]
    np.testing.assert_array_equal(first[1:], initial_values(tables["t0"], 5)[1:])
    with pytest.raises(KeyError, match="no table 'other'; available"):
        layer.table("other")


def test_built_by_fit():
    """`fit` builds an unbuilt model in a scope where variables wait for their values."""

    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.tables = kr.layers.DistributedEmbedding({"item": kr.FeatureConfig("item", ITEM)}, seed=5)
            self.top = keras.layers.Dense(1)

        def call(self, ids):
            return self.top(self.tables(ids)["item"])

    model = Model()
    model.compile(kr.optimizers.SGD(0.0), loss="mse")
    model.fit({"item": np.array([1, 2])}, np.ones((2, 1)), verbose=0)
    np.testing.assert_array_equal(model.tables.table("item"), initial_values(ITEM, 5))


def test_a_tables_own_optimizer_comes_back():
    table = kr.TableConfig("item", 10, 4, optimizer=kr.optimizers.RowwiseAdagrad(0.5))
    features = {
        "a": kr.FeatureConfig("a", table),
        "b": kr.FeatureConfig("b", table),
        "c": kr.FeatureConfig("c", ITEM),
    }
    with pytest.raises(ValueError, match="two different tables are named 'item'"):
        kr.layers.DistributedEmbedding(features)
    layer = kr.layers.DistributedEmbedding({name: features[name] for name in "ab"})
    again = kr.layers.DistributedEmbedding.from_config(layer.get_config())
    assert again.features == layer.features
    again.build()
    optimizer = again.trainable_variables[0].stack.optimizer
    assert isinstance(optimizer, kr.optimizers.RowwiseAdagrad)
    assert float(optimizer.learning_rate) == 0.5


def test_float64_tables_keep_their_digits(tmp_path):
    table = kr.TableConfig("item", 50, 3)
    layer = kr.layers.DistributedEmbedding({"item": kr.FeatureConfig("item", table)}, dtype="float64")
    ids = keras.Input((), dtype="int64", name="item")
    model = keras.Model({"item": ids}, layer({"item": ids})["item"])
    rows = np.random.default_rng(0).normal(size=(50, 3))
    layer.variables[0].assign(rows)
    np.testing.assert_array_equal(layer.table("item"), rows)
    np.testing.assert_array_equal(model.predict({"item": np.arange(50)}, verbose=0), rows)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict({"item": np.arange(50)}, verbose=0), rows)
    kr.parallel.save(model, tmp_path / "checkpoint")
    layer.variables[0].assign(0 * rows)
    kr.parallel.restore(model, tmp_path / "checkpoint")
    np.testing.assert_array_equal(layer.table("item"), rows)


def test_dtypes_on_the_wire():
    features = {"item": kr.FeatureConfig("item", kr.TableConfig("item", 50, 3))}
    with pytest.raises(ValueError, match="wire_dtype must be one of .*; got 'int8'"):
        kr.layers.DistributedEmbedding(features, wire_dtype="int8")
    with pytest.raises(TypeError, match="no argument 'wire'.*wire_dtype"):
        kr.layers.DistributedEmbedding(features, wire="bfloat16")


def test_a_config_of_0_1_names_the_dtype_on_the_wire_as_it_did():
    layer = kr.layers.DistributedEmbedding({"item": kr.FeatureConfig("item", ITEM)}, wire_dtype="bfloat16")
    config = layer.get_config()
    config["wire"] = config.pop("wire_dtype")
    assert kr.layers.DistributedEmbedding.from_config(config).wire_dtype == "bfloat16"


def test_padding_touches_no_row_where_vectors_stay_apart(monkeypatch):
    """An optimizer with weight decay would move row 0; the vectors lie where the kernels put them."""
    features = {
        "item": kr.FeatureConfig("item", kr.TableConfig("item", 9, 3, combiner=None, initializer="normal"))
    }
    layer, ids = kr.layers.DistributedEmbedding(features), tf.constant([[3, 0, 5], [0, 0, 0], [1, 3, 0]])
    layer.build()
    by_kernels = layer({"item": ids}, training=True)["item"]
    monkeypatch.setattr(kernels, "fits", lambda table: False)
    with tf.GradientTape() as tape:
        vectors = layer({"item": ids}, training=True)["item"]
    np.testing.assert_array_equal(vectors, by_kernels)
    assert vectors.shape == (3, 3, 3)
    assert not vectors.numpy()[ids.numpy() == 0].any()
    (gradient,) = tape.gradient(vectors, layer.trainable_variables)
    assert set(gradient.indices.numpy().tolist()) == {1, 3, 5}


def test_tables_in_float64_are_twice_as_large_for_one_process(monkeypatch):
    def refused(dtype):
        features = {"item": kr.FeatureConfig("item", kr.TableConfig("item", 1000, 16))}
        full_tables._refuse_too_large([kr.layers.DistributedEmbedding(features, dtype=dtype)])

    monkeypatch.setattr(full_tables, "free_memory", lambda: 100_000)
    refused("float32")
    with pytest.raises(MemoryError, match="kr.parallel.save, restore it in one process"):
        refused("float64")


def test_lists_kept_apart_beside_single_ids(monkeypatch):
    """Of one table and of one width, where batch and list lengths differ; with the kernels and without."""
    table = kr.TableConfig("item", 9, 3, combiner=None, initializer="normal")
    layer = kr.layers.DistributedEmbedding({name: kr.FeatureConfig(name, table) for name in ("one", "history")})
    ids = {"one": tf.constant([8, 0]), "history": tf.constant([[3, 0, 5], [1, 3, 0]])}
    layer.build()
    values = layer.table("item")
    for _ in range(2):
        with tf.GradientTape() as tape:
            found = layer(ids, training=True)
        np.testing.assert_array_equal(found["one"], values[[8, 0]])
        expected = values[ids["history"]] * (ids["history"].numpy() != 0)[..., None]
        np.testing.assert_array_equal(found["history"], expected)
        (gradient,) = tape.gradient(found, layer.trainable_variables)
        np.testing.assert_array_equal(tf.convert_to_tensor(gradient)[:, 0], [1, 1, 0, 2, 0, 1, 0, 0, 1])
        monkeypatch.setattr(kernels, "fits", lambda table: False)


@pytest.mark.filterwarnings("error")
def test_a_model_of_ones_own_builds_its_tables_in_its_first_call():
    """Keras traces the shapes of such a model, in which tables have no values yet; it need not be told them."""
    tables = {"item": ITEM, "list": kr.TableConfig("list", 9, 3), "apart": kr.TableConfig("apart", 8, 2, None)}
    features = {name: kr.FeatureConfig(name, table) for name, table in tables.items()}
    inputs = {
        "item": tf.constant([3, 5]),
        "list": tf.ragged.constant([[1, 2], [4]], dtype=tf.int32),
        "apart": tf.constant([[1, 2, 0], [3, 0, 0]]),
    }

    class Own(kr.parallel.Model):
        def __init__(self):
            super().__init__()
            self.tables, self.last = kr.layers.DistributedEmbedding(features), keras.layers.Dense(1)

        def call(self, inputs, training=None):
            vectors = self.tables(inputs, training=training)
            together = [vectors["item"], vectors["list"], keras.ops.sum(vectors["apart"], axis=1)]
            return self.last(keras.ops.concatenate(together, axis=1))

    called, trained, built = Own(), Own(), kr.layers.DistributedEmbedding(features)
    assert called(inputs).shape == (2, 1)
    assert len(called.trainable_variables) == 5  # a table of each width, a kernel and a bias
    trained.compile(kr.optimizers.SGD(0.0), loss="mse")
    trained.train_on_batch(inputs, tf.ones((2, 1)))
    built.build()
    for name in tables:
        np.testing.assert_array_equal(called.tables.table(name), built.table(name))
        np.testing.assert_array_equal(trained.tables.table(name), built.table(name))
