"""Updates of rows: against Keras on dense gradients where they are exact, against float64 NumPy where lazy."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from lookups import DIM, ROWS, DenseLookup, assert_same, train

import kerasrec as kr
from kerasrec.tables.optimizer_state import optimizer_state

OPTIONS = [
    {},
    {"clipnorm": 0.05},
    {"clipvalue": 0.01},
    {"global_clipnorm": 0.1},
    {"loss_scale_factor": 16.0},
    {"loss_scale_factor": 16.0, "global_clipnorm": 0.1},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", ["SGD", "Adagrad"])
def test_exact_ones_equal_keras(name, options):
    ours, theirs = getattr(kr.optimizers, name), getattr(keras.optimizers, name)
    options = {**options, **({"initial_accumulator_value": 0.1} if name == "Adagrad" else {})}
    assert_same(train(ours(0.05, **options)), train(theirs(0.05, **options), DenseLookup))


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "Ftrl"])
def test_lazy_ones_equal_keras_when_every_row_is_looked_up(name):
    """Twelve ids, each in each batch: lazy and dense are then one thing."""

    def run(optimizer, layer):
        keras.utils.set_random_seed(0)
        ids = keras.Input((12,), dtype="int32")
        model = keras.Model(ids, keras.layers.Dense(1)(keras.layers.Flatten()(layer(12, DIM)(ids))))
        model.compile(optimizer, loss="mse", jit_compile=False)
        rng = np.random.default_rng(0)
        for _ in range(50):
            model.train_on_batch(np.array([rng.permutation(12) for _ in range(4)]), rng.normal(size=(4, 1)))
        return [keras.ops.convert_to_numpy(weight) for weight in model.weights]

    options = {"SGD": {"momentum": 0.9, "nesterov": True}, "Ftrl": {"initial_accumulator_value": 0.1}}.get(
        name, {}
    )
    ours, theirs = getattr(kr.optimizers, name), getattr(keras.optimizers, name)
    assert_same(
        run(ours(0.02, **options), keras.layers.Embedding), run(theirs(0.02, **options), DenseLookup), 2e-6
    )


# ---- row by row in float64 ---------------------------------------------------------------------------------
def sgd(w, g, s, lr, t):
    return w - lr * g


def momentum(w, g, s, lr, t):
    s["m"] = 0.9 * s.get("m", 0) - lr * g
    return w + s["m"]


def nesterov(w, g, s, lr, t):
    s["m"] = 0.9 * s.get("m", 0) - lr * g
    return w + 0.9 * s["m"] - lr * g


def adagrad(w, g, s, lr, t):
    s["a"] = s.get("a", 0) + g**2
    return w - lr * g / np.sqrt(s["a"] + 1e-7)


def rowwise_adagrad(w, g, s, lr, t):
    s["a"] = s.get("a", 0) + np.mean(g**2)
    return w - lr * g / np.sqrt(s["a"] + 1e-7)


def adam(w, g, s, lr, t, decay=0.0):
    w = w - w * decay * lr
    s["m"] = 0.9 * s.get("m", 0) + 0.1 * g
    s["v"] = 0.999 * s.get("v", 0) + 0.001 * g**2
    return w - lr * (s["m"] / (1 - 0.9**t)) / (np.sqrt(s["v"] / (1 - 0.999**t)) + 1e-7 / np.sqrt(1 - 0.999**t))


def adamw(w, g, s, lr, t):
    return adam(w, g, s, lr, t, decay=0.004)


def ftrl(w, g, s, lr, t, start=0.1):
    a, z = s.get("a", start), s.get("z", 0.0)
    s["a"] = a + g**2
    s["z"] = z + g - (np.sqrt(s["a"]) - np.sqrt(a)) / lr * w
    return (np.clip(s["z"], -0.01, 0.01) - s["z"]) / (np.sqrt(s["a"]) / lr + 2 * 0.1)


def ftrl_from_zero(w, g, s, lr, t):
    return ftrl(w, g, s, lr, t, start=0.0)


FTRL = {"l1_regularization_strength": 0.01, "l2_regularization_strength": 0.1}
kro = kr.optimizers
CASES = {
    "sgd": (lambda: kro.SGD(0.05), sgd),
    "momentum": (lambda: kro.SGD(0.05, momentum=0.9), momentum),
    "nesterov": (lambda: kro.SGD(0.05, momentum=0.9, nesterov=True), nesterov),
    "adagrad": (lambda: kro.Adagrad(0.05), adagrad),
    "rowwise_adagrad": (lambda: kro.RowwiseAdagrad(0.05), rowwise_adagrad),
    "adam": (lambda: kro.Adam(0.05), adam),
    "adamw": (lambda: kro.AdamW(0.05), adamw),
    "ftrl": (lambda: kro.Ftrl(0.05, initial_accumulator_value=0.1, **FTRL), ftrl),
    "ftrl_from_zero": (lambda: kro.Ftrl(0.05, **FTRL), ftrl_from_zero),
}
batches = st.lists(st.lists(st.integers(0, 7), max_size=12), min_size=1, max_size=6)


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=15, deadline=None)
@given(batches=batches, seed=st.integers(0, 9))
def test_rows_equal_float64(case, batches, seed):
    """Batches of any ids, repeated and none at all; rows that no batch holds do not move."""
    make, step = CASES[case]
    rng = np.random.default_rng(seed)
    start = rng.normal(size=(8, DIM)).astype("float32")
    variable = keras.Variable(start, name="embeddings")
    optimizer = make()
    rows, states = {row: start[row].astype("float64") for row in range(8)}, {row: {} for row in range(8)}
    for time, ids in enumerate(batches, 1):
        values = rng.normal(size=(len(ids), DIM)).astype("float32")
        gradient = tf.IndexedSlices(
            tf.constant(values, shape=(len(ids), DIM)), tf.constant(ids, tf.int64), (8, DIM)
        )
        optimizer.apply([gradient], [variable])
        for row in set(ids):
            summed = sum(values[k].astype("float64") for k in range(len(ids)) if ids[k] == row)
            rows[row] = step(rows[row], summed, states[row], 0.05, time)
    result = keras.ops.convert_to_numpy(variable)
    np.testing.assert_allclose(result, [rows[row] for row in range(8)], atol=5e-6, rtol=1e-5)
    idle = sorted(set(range(8)) - {row for ids in batches for row in ids})
    assert np.array_equal(result[idle], start[idle])


def test_ftrl_starts_from_the_initial_value_as_adagrad_does():
    """Without penalties its first steps are Adagrad's; a weight without a gradient keeps its value."""
    start = np.random.default_rng(0).normal(size=(4, DIM)).astype("float32")
    gradients = np.random.default_rng(1).normal(size=(3, 4, DIM)).astype("float32")
    found = []
    for optimizer in (kro.Ftrl(0.05), kro.Adagrad(0.05, 0.0, epsilon=0.0)):
        variable = keras.Variable(start)
        for gradient in gradients:
            optimizer.apply([gradient], [variable])
        found.append(keras.ops.convert_to_numpy(variable))
    np.testing.assert_allclose(*found, atol=1e-5)
    variable = keras.Variable(start)
    kro.Ftrl(0.05).apply([np.zeros_like(start)], [variable])
    np.testing.assert_array_equal(variable, start)


@pytest.mark.parametrize("name", ["Adagrad", "RowwiseAdagrad"])
def test_accumulators_of_tables_begin_at_0_and_others_just_above(name):
    """With 0 the first step of every dense weight is the learning rate, and wide towers die of it."""
    cls = getattr(kro, name)
    for optimizer in (cls(), cls.from_config(cls().get_config())):
        optimizer.build([keras.Variable(np.ones((ROWS, DIM)), name="embeddings"), keras.Variable(np.ones((3, 2)))])
        begin = [float(np.ravel(slot)[0]) for slot in optimizer._accumulators]
        assert begin == pytest.approx([0.0, 1e-5])
    optimizer = cls(0.05, 0.25)
    optimizer.build([keras.Variable(np.ones((ROWS, DIM)), name="embeddings"), keras.Variable(np.ones((3, 2)))])
    assert [float(np.ravel(slot)[0]) for slot in optimizer._accumulators] == [0.25, 0.25]


def test_rowwise_state_is_one_number_a_row():
    optimizer = kro.RowwiseAdagrad(0.1)
    table, kernel = keras.Variable(np.ones((ROWS, DIM)), name="embeddings"), keras.Variable(np.ones((3, 2)))
    optimizer.build([table, kernel])
    assert [tuple(slot.shape) for slot in optimizer._accumulators] == [(ROWS, 1), (3, 2)]


# ---- what is refused ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("make", "option"),
    [
        (lambda: kro.Adagrad(0.1, use_ema=True), "use_ema"),
        (lambda: kro.Adam(0.1, gradient_accumulation_steps=2), "gradient_accumulation_steps"),
        (lambda: kro.SGD(0.1, weight_decay=0.1), "weight_decay"),
    ],
)
def test_options_that_update_every_row_are_refused(make, option):
    with pytest.raises(ValueError, match=rf"{option}=\.\.\.\) is not supported for embedding tables"):
        train(make(), steps=1)


def test_constraint_is_refused():
    def constrained(rows, dim):
        return keras.layers.Embedding(rows, dim, embeddings_constraint="non_neg")

    with pytest.raises(ValueError, match="constraint of 'embeddings' is not supported"):
        train(kro.Adagrad(0.1), constrained, steps=1)


def test_decay_that_leaves_tables_out_is_taken():
    optimizer = kro.SGD(0.1, weight_decay=0.1)
    optimizer.exclude_from_weight_decay(var_names=["embeddings"])
    theirs = keras.optimizers.SGD(0.1, weight_decay=0.1)
    theirs.exclude_from_weight_decay(var_names=["embeddings"])
    assert_same(train(optimizer), train(theirs, DenseLookup))


# ---- several optimizers ------------------------------------------------------------------------------------
def test_multi_is_its_two_parts():
    ours = train(kro.Multi({"tables": kro.Adagrad(0.1, 0.1), "dense": kro.Adam(0.01)}), steps=20)
    # The dense part's gradients depend on the table's values and the other way round: train both by hand.
    keras.utils.set_random_seed(0)
    layer = DenseLookup(ROWS, DIM)
    ids = keras.Input((3,), dtype="int32")
    model = keras.Model(ids, keras.layers.Dense(1)(keras.layers.Flatten()(layer(ids))))
    model.build((None, 3))
    tables, dense = keras.optimizers.Adagrad(0.1), keras.optimizers.Adam(0.01)
    rng = np.random.default_rng(0)
    for _ in range(20):
        x, y = rng.integers(0, 20, (16, 3)), rng.normal(size=(16, 1))
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(keras.losses.mean_squared_error(y, model(x)))
        gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
        tables.apply(gradients[:1], model.trainable_variables[:1])
        dense.apply(gradients[1:], model.trainable_variables[1:])
    assert_same(ours, [keras.ops.convert_to_numpy(v) for v in model.weights], 5e-6)


def test_multi_says_what_is_wrong():
    with pytest.raises(ValueError, match="got keys \\['dense'\\]"):
        kro.Multi({"dense": kro.SGD(0.1)})
    with pytest.raises(ValueError, match="no clipnorm; set it on the two optimizers"):
        kro.Multi({"tables": kro.SGD(0.1), "dense": kro.SGD(0.1)}, clipnorm=1.0)
    with pytest.raises(ValueError, match="is not supported for embedding tables"):
        train(kro.Multi({"tables": keras.optimizers.Adagrad(0.1), "dense": kro.SGD(0.1)}), steps=1)
    multi = kro.Multi({"tables": kro.SGD(0.1), "dense": kro.SGD(0.2)})
    assert float(multi.learning_rate) == pytest.approx(0.2)
    with pytest.raises(AttributeError, match="two learning rates"):
        multi.learning_rate = 0.3


# ---- files -------------------------------------------------------------------------------------------------
EVERY = [
    lambda: kro.SGD(0.1, momentum=0.9),
    lambda: kro.Adagrad(0.1),
    lambda: kro.RowwiseAdagrad(0.1),
    lambda: kro.Adam(0.1, amsgrad=True),
    lambda: kro.AdamW(keras.optimizers.schedules.ExponentialDecay(0.1, 5, 0.5)),
    lambda: kro.Ftrl(0.1),
    lambda: kro.Multi({"tables": kro.RowwiseAdagrad(0.1), "dense": kro.Adam(0.01)}),
    lambda: keras.optimizers.LossScaleOptimizer(kro.Adagrad(0.1)),
]


@pytest.mark.parametrize("make", EVERY, ids=lambda make: make().name)
def test_a_loaded_model_trains_on_as_if_nothing_had_happened(tmp_path, make):
    table = kr.TableConfig("item/a", 30, DIM)
    other = kr.TableConfig("other", 20, DIM)
    feats = {"item": kr.FeatureConfig("item", table), "other": kr.FeatureConfig("other", other)}
    ids = {name: keras.Input((), dtype="int32", name=name) for name in feats}
    vectors = kr.layers.DistributedEmbedding(feats)(ids)
    model = keras.Model(ids, keras.layers.Dense(1)(keras.layers.Concatenate()(list(vectors.values()))))
    model.compile(make(), loss="mse")
    rng = np.random.default_rng(0)
    data = {"item": rng.integers(0, 30, 64), "other": rng.integers(0, 20, 64)}, rng.normal(size=(64, 1))
    model.fit(*data, batch_size=16, epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again.optimizer) is type(model.optimizer)
    for each in (model, again):
        each.fit(*data, batch_size=16, epochs=2, verbose=0, shuffle=False)
    assert_same(model.get_weights(), again.get_weights(), 0)


def test_state_is_saved_by_table(tmp_path):
    """What a file holds does not depend on the order in which tables were stacked."""
    tables = {name: kr.TableConfig(name, size, DIM) for name, size in {"a": 5, "b": 7}.items()}
    stores, optimizers = [], []
    for order in ("ab", "ba"):
        layer = kr.layers.DistributedEmbedding({n: kr.FeatureConfig(n, tables[n]) for n in order})
        layer.build()
        optimizer = kro.Adagrad(0.1)
        with tf.GradientTape() as tape:
            out = layer({"a": np.array([1, 1, 4]), "b": np.array([6, 0, 0])})
            loss = tf.reduce_sum(out["a"] * out["b"])
        optimizer.apply(
            tape.gradient(loss, [v.value for v in layer.trainable_variables]), layer.trainable_variables
        )
        stores.append({})
        optimizers.append(optimizer)
        optimizer.save_own_variables(stores[-1])
    assert set(stores[0]) == {"iteration", "learning_rate", "a:accumulator", "b:accumulator"}
    for key, values in stores[0].items():
        np.testing.assert_array_equal(values, stores[1][key])
    optimizers[0].load_own_variables(stores[1])
    again = {}
    optimizers[0].save_own_variables(again)
    for key, values in again.items():
        np.testing.assert_array_equal(values, stores[0][key])
    with pytest.warns(UserWarning, match="keeps its state"):
        optimizers[0].load_own_variables({"0": np.zeros(3)})


@pytest.mark.parametrize("name", ["rowwise_adagrad", "RowwiseAdagrad", "rowwiseadagrad"])
def test_a_name_of_an_optimizer_is_that_of_a_plan(name):
    assert type(kr.optimizers.get(name)) is kr.optimizers.RowwiseAdagrad
    assert optimizer_state(name).per_row == 1
