"""A small model over repeated ids, trained once with sparse and once with dense gradients of its table."""

import keras
import numpy as np

ROWS, DIM = 50, 4


class DenseLookup(keras.layers.Embedding):
    """One-hot times table. Keras's own optimizers square a repeated id's sparse gradients before they add them
    up, so what they compute from dense gradients is the truth to compare with."""

    def call(self, inputs):
        return keras.ops.matmul(keras.ops.one_hot(inputs, self.input_dim), self.embeddings)


def train(optimizer, layer=keras.layers.Embedding, steps=100, distinct=20):
    """The weights after `steps` updates."""
    keras.utils.set_random_seed(0)
    layer = layer(ROWS, DIM)
    ids = keras.Input((3,), dtype="int32")
    model = keras.Model(ids, keras.layers.Dense(1)(keras.layers.Flatten()(layer(ids))))
    model.compile(optimizer, loss="mse", jit_compile=False)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        model.train_on_batch(rng.integers(0, distinct, (16, 3)), rng.normal(size=(16, 1)))
    return [keras.ops.convert_to_numpy(weight) for weight in model.weights]


def assert_same(ours, theirs, atol=1e-6):
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, atol=atol, rtol=0)
