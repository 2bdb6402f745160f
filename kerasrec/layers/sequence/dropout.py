"""Dropout with 16 random bits per value, which takes half the time of one with 32 on a CPU."""

from __future__ import annotations

import keras

from kerasrec.typing import Tensor

LEVELS = 2**16


class Dropout(keras.layers.Dropout):
    """Sets a share `rate` of values to 0 in training, and multiplies the others by `1 / (1 - rate)`.

    It is `keras.layers.Dropout`, with the same arguments. On TensorFlow it draws 16 bits per value where Keras
    draws 32, and rounds the rate to a multiple of `1 / 65,536`: most of the time goes to drawing.
    """

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        dropped = round(self.rate * LEVELS)
        is_plain = keras.backend.backend() == "tensorflow" and self.noise_shape is None
        if not training or not is_plain or not 0 < dropped < LEVELS:
            return super().call(inputs, training=training)
        import tensorflow as tf

        size = tf.size(inputs)
        seed = tf.cast(self.seed_generator.next(), tf.int64)
        # Without bounds all values of int32 are drawn: two times 16 bits.
        drawn = tf.random.stateless_uniform(((size + 1) // 2,), seed, minval=None, maxval=None, dtype=tf.int32)
        bits = tf.reshape(tf.reshape(tf.bitcast(drawn, tf.uint16), (-1,))[:size], tf.shape(inputs))
        return inputs * tf.cast(bits >= dropped, inputs.dtype) * (LEVELS / (LEVELS - dropped))
