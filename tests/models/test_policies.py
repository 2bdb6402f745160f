"""Every dtype policy of Keras trains, saves, loads, predicts and exports."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from model_cases import MODELS, batch_of, schema_of

import kerasrec as kr
from kerasrec.tables.variables import table_variables

# The largest difference from float32's probabilities: a few units in the last digit of the compute dtype.
POLICIES = {
    "float32": 0,
    "float64": 1e-6,
    "mixed_bfloat16": 0.03,
    "bfloat16": 0.03,
    "mixed_float16": 0.004,
    "float16": 0.004,
}
X, Y = batch_of(64)


@pytest.mark.parametrize("policy", POLICIES)
def test_fit_save_load_predict(policy, make, tmp_path):
    exact, model = make(schema_of()), make(schema_of(), dtype=policy)
    model.set_weights(exact.get_weights())
    np.testing.assert_allclose(model(X), exact(X), atol=POLICIES[policy])
    model.compile(kr.optimizers.Adagrad(0.05), loss="binary_crossentropy", run_eagerly=True)
    losses = model.fit(X, Y, epochs=4, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    model.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras")
    assert copy.dtype_policy.name == policy
    np.testing.assert_array_equal(copy(X), model(X))
    for now, saved in zip(copy.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(now, saved)


@pytest.mark.parametrize("policy", ["float16", "mixed_float16"])
def test_traced_fit_and_export(policy, tmp_path):
    model = MODELS["DLRM"](schema_of(), dtype=policy)
    model.compile(kr.optimizers.Adagrad(0.05), loss="binary_crossentropy")
    losses = model.fit(X, Y, epochs=4, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    kr.serving.export(model, tmp_path / "served")
    served = tf.saved_model.load(str(tmp_path / "served")).signatures["serving_default"]
    genres = tf.RaggedTensor.from_tensor(X["genres"], padding=0)
    wire = {"genres__values": genres.values, "genres__offsets": genres.row_splits}
    wire |= {name: tf.constant(X[name]) for name in X if name != "genres"}
    np.testing.assert_allclose(served(**wire)["clicked"], model(X), atol=max(POLICIES[policy], 1e-6))


def test_under_mixed_float16_the_loss_is_scaled_and_tables_stay_sparse():
    """An overflow halves the scale and changes no weight; rows that were not looked up get no gradient at all."""
    model = MODELS["DCN"](schema_of(), dtype="mixed_float16")
    inner = kr.optimizers.Adagrad(0.05, initial_accumulator_value=0.25)
    model.compile(inner, loss="binary_crossentropy")
    assert type(model.optimizer) is kr.optimizers.LossScaleOptimizer
    model.fit(X, Y, batch_size=64, verbose=0)
    (tables,) = table_variables(model)
    accumulated = np.asarray(inner._accumulators[inner._get_variable_index(tables)])
    start = tables.stack.offsets["user"]
    unseen = np.setdiff1d(np.arange(30), X["user"])
    assert len(unseen)
    assert (accumulated[start + unseen] == 0.25).all()
    assert (accumulated[start + X["user"]] != 0.25).any()
    before, scale = model.get_weights(), float(model.optimizer.dynamic_scale)
    model.fit(X, np.where(np.arange(64)[:, None] == 3, np.inf, Y), batch_size=64, verbose=0)
    assert float(model.optimizer.dynamic_scale) == scale / 2
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
