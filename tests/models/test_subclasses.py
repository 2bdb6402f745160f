"""A user's subclass of one of the library's models keeps all its weights in Keras's files."""

import keras
import numpy as np
import pytest
from keras import ops
from model_cases import CLICKED, batch_of, schema_of

import kerasrec as kr

X, Y = batch_of(64)


@keras.saving.register_keras_serializable("tests")
class Nested(keras.layers.Layer):
    """Its own layer is built in its first call."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = keras.layers.Dense(3)

    def call(self, x):
        return ops.sum(self.inner(x), axis=-1, keepdims=True)


@keras.saving.register_keras_serializable("tests")
class Own(kr.models.DCN):
    """A weight, a layer and a layer in a layer that nobody builds by hand."""

    def __init__(self, schema, **kwargs):
        super().__init__(schema, 4, deep_units=[8], **kwargs)
        self.scale = self.add_weight(name="scale", shape=(1,), initializer="ones")
        self.steps = self.add_weight(name="steps", shape=(), initializer="zeros", trainable=False)
        self.extra, self.nested = keras.layers.Dense(1), Nested()
        self.norm = keras.layers.BatchNormalization()

    def call(self, features, training=None):
        x = ops.stack([features["age"], features["price"]], axis=1)
        more = self.extra(self.norm(x, training=training)) + self.nested(x)
        return ops.sigmoid(self.scale * super().call(features, training=training) + more)

    def get_config(self):
        config = super().get_config()
        return {name: config[name] for name in ("schema", "name", "seed")}


def changed(model):
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    return model


@pytest.fixture
def trained():
    model = Own(schema_of())
    model.compile(kr.optimizers.Adam(0.01), loss="binary_crossentropy")
    model.fit(X, Y, verbose=0)
    return changed(model)


def test_keras_file(trained, tmp_path, recwarn):
    trained.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras")
    assert not [w for w in recwarn if "optimizer" in str(w.message)]
    np.testing.assert_array_equal(copy(X), trained(X))
    for now, saved in zip(copy.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(now, saved)
    for now, saved in zip(copy.optimizer.variables, trained.optimizer.variables, strict=True):
        np.testing.assert_array_equal(now, saved)


def test_weights_file(trained, tmp_path):
    trained.save_weights(tmp_path / "of.weights.h5")
    copy = Own(schema_of())
    copy.load_weights(tmp_path / "of.weights.h5")
    np.testing.assert_array_equal(copy(X), trained(X))


def test_a_model_that_was_never_called_is_saved_whole(tmp_path):
    Own(schema_of()).save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras")
    assert len(copy.weights) == len(changed(Own(schema_of())).weights) + 8  # those of the first call
    assert copy.schema.targets.names == [CLICKED.name]
