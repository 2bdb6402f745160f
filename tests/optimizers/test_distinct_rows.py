"""Rows are looked up once, which the type of their gradient says; added up gradients are not taken for such."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrec as kr
from kerasrec import kernels
from kerasrec.tables.distinct_rows import DistinctRows

ROWS, DIM = 9, 2
IDS = np.array([[3, 5, 3], [5, 5, 1]])
OTHER_IDS = np.array([[5, 8, 8], [3, 3, 8]])


@pytest.fixture(params=["kernels", "TensorFlow's operations"])
def lookups(request, monkeypatch):
    if request.param == "kernels":
        if kernels.compiled() is None:
            pytest.skip("the kernels cannot be compiled here")
    else:
        monkeypatch.setattr(kernels, "fits", lambda table: False)
    return request.param


def new_layer():
    table = kr.TableConfig("item", ROWS, DIM, combiner="sum")
    layer = kr.layers.DistributedEmbedding({"item": kr.FeatureConfig("item", table)}, seed=1)
    layer.build()
    return layer


def gradient_of(layer, *batches):
    """The table's gradient of a loss over one lookup, or over several; 0 is padding."""
    with tf.GradientTape() as tape:
        loss = 0.0
        for ids in batches:
            loss += tf.reduce_sum(layer({"item": ids}, training=True)["item"] ** 2)
    return tape.gradient(loss, layer.trainable_weights[0].value)


def dense_gradient(values, *batches):
    """The same in NumPy: that of a row is twice the sum of the lists' vectors it is in, once for each time."""
    gradient = np.zeros_like(values)
    for ids in batches:
        for row in ids:
            np.add.at(gradient, row, 2 * values[row].sum(axis=0))
    return gradient


@pytest.mark.parametrize("traced", [False, True])
def test_one_lookup_has_distinct_rows(lookups, traced):
    layer, kinds = new_layer(), []

    def step(ids):
        gradient = gradient_of(layer, ids)
        kinds.append(type(gradient))
        return tf.convert_to_tensor(gradient)

    found = (tf.function(step) if traced else step)(tf.constant(IDS))
    assert kinds == [DistinctRows]
    np.testing.assert_allclose(found, dense_gradient(layer.table("item"), IDS), rtol=1e-5)


@pytest.mark.parametrize("traced", [False, True])
def test_two_lookups_of_a_table_in_a_step_are_added_up(lookups, traced):
    """The optimizer squares each row's whole gradient, of both lookups together."""
    layer, kinds = new_layer(), []
    optimizer = kr.optimizers.Adagrad(0.1)
    optimizer.build(layer.trainable_weights)
    before = layer.table("item")

    def step(ids, other):
        gradient = gradient_of(layer, ids, other)
        kinds.append(type(gradient))
        optimizer.apply([gradient], layer.trainable_weights)

    (tf.function(step) if traced else step)(tf.constant(IDS), tf.constant(OTHER_IDS))
    assert kinds == [tf.IndexedSlices]
    gradient = dense_gradient(before, IDS, OTHER_IDS).astype("float64")
    expected = before - 0.1 * gradient / np.sqrt(gradient**2 + 1e-7)
    np.testing.assert_allclose(layer.table("item"), expected, rtol=1e-5)


def test_a_gradient_that_leaves_a_function_is_not_taken_for_distinct(lookups):
    layer = new_layer()
    squares = tf.function(lambda ids: tf.reduce_sum(layer({"item": ids}, training=True)["item"] ** 2))
    with tf.GradientTape() as tape:
        loss = squares(tf.constant(IDS))
    gradient = tape.gradient(loss, layer.trainable_weights[0].value)
    assert type(gradient) is tf.IndexedSlices
    np.testing.assert_allclose(tf.convert_to_tensor(gradient), dense_gradient(layer.table("item"), IDS), rtol=1e-5)


def test_fit_does_not_search_distinct_rows_for_repeated_ones(lookups):
    """TensorFlow's `Unique` is in a training step once for the lookup, and with the kernels nowhere."""
    layer = new_layer()
    ids = keras.Input((3,), dtype="int64", name="item")
    model = keras.Model({"item": ids}, keras.layers.Dense(1)(layer({"item": ids})["item"]))
    model.compile(kr.optimizers.Adagrad(), loss="mse")
    model.fit({"item": IDS}, np.zeros((2, 1)), verbose=0)
    operations = [op for graph in _step_graphs(model) for op in graph.get_operations()]
    unique = sum(op.type in ("Unique", "UniqueV2") for op in operations)
    assert len(operations) > 20
    assert unique == (0 if lookups == "kernels" else 1)


def _step_graphs(model):
    """The graph of a training step, and those of all functions called in it."""
    data = ({"item": tf.constant(IDS)}, tf.zeros((2, 1)))
    step = tf.function(model.train_step).get_concrete_function(data)
    return [step.graph, *(function.graph for function in step.graph._functions.values())]


@pytest.mark.parametrize("make", [kr.optimizers.LossScaleOptimizer, keras.optimizers.LossScaleOptimizer])
def test_scaled_losses_update_as_unscaled_ones(lookups, make):
    tables = []
    for scaled in (False, True):
        layer = new_layer()
        optimizer = kr.optimizers.Adagrad(0.1)
        if scaled:
            optimizer = make(optimizer, initial_scale=8.0)
        optimizer.build(layer.trainable_weights)

        @tf.function
        def step(ids, layer=layer, optimizer=optimizer):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(layer({"item": ids}, training=True)["item"] ** 2)
                loss = optimizer.scale_loss(loss)
            gradients = tape.gradient(loss, [layer.trainable_weights[0].value])
            optimizer.apply(gradients, layer.trainable_weights)

        step(tf.constant(IDS))
        tables.append(layer.table("item"))
    np.testing.assert_allclose(*tables, rtol=1e-5)
    assert np.abs(tables[0] - new_layer().table("item")).max() > 0.05


def test_a_saved_model_has_nothing_of_it(tmp_path):
    layer = new_layer()
    archive = keras.export.ExportArchive()
    archive.track(layer)
    archive.add_endpoint("serve", lambda ids: layer({"item": ids})["item"], [tf.TensorSpec((None, 3), tf.int64)])
    archive.write_out(str(tmp_path), verbose=False)
    assert b"KerasrecGatherDistinct" not in (tmp_path / "saved_model.pb").read_bytes()
    served = tf.saved_model.load(str(tmp_path))
    np.testing.assert_allclose(served.serve(tf.constant(IDS)), layer.table("item")[IDS].sum(axis=1), rtol=1e-6)
