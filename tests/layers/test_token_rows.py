"""Tokens in packed and padded rows, and attention over them, against NumPy one row at a time."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasrec.layers.sequence.dropout import Dropout
from kerasrec.layers.sequence.packed_rows import PackedRows
from kerasrec.layers.sequence.token_attention import TokenAttention
from kerasrec.layers.sequence.token_positions import TokenPositions
from kerasrec.layers.sequence.token_rows import PaddedRows

LENGTHS = [
    [9, 7, 7, 6, 5, 5, 4, 3, 3, 2, 1, 0, 0],  # more rows than groups, some of them empty
    [5, 3, 2],  # fewer rows than groups
    [4],
    [0, 0],
    [],
]
DIM = 6


def tokens_of(lengths, width=DIM):
    return np.random.default_rng(0).normal(size=(sum(lengths), width)).astype("float32")


def rows_of(x, lengths):
    ends = np.cumsum(lengths, dtype=int)
    return [x[end - n : end] for end, n in zip(ends, lengths, strict=True)]


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_packed_rows_are_split_and_joined(lengths):
    x = tokens_of(lengths)
    rows = PackedRows(np.array(lengths, "int32"))
    groups, masks = rows.split(tf.constant(x)), rows.masks()
    found = [
        row[mask]
        for group, each in zip(groups, masks, strict=True)
        for row, mask in zip(group.numpy(), each, strict=True)
    ]
    for row, expected in zip(found, rows_of(x, lengths), strict=True):
        np.testing.assert_array_equal(row, expected)
    np.testing.assert_array_equal(rows.join(groups), x)
    np.testing.assert_array_equal(rows.from_end(), np.concatenate([[], *(np.arange(n)[::-1] for n in lengths)]))
    last = [row[-1] if len(row) else np.zeros(DIM) for row in rows_of(x, lengths)]
    np.testing.assert_array_equal(rows.last(tf.constant(x)), np.reshape(last, (-1, DIM)))
    each = np.arange(len(lengths), dtype="float32")[:, None]
    np.testing.assert_array_equal(rows.repeat(tf.constant(each)), np.repeat(each, lengths, axis=0))


def test_padding_has_no_gradient():
    lengths = LENGTHS[0]
    x, weight = tf.constant(tokens_of(lengths)), tokens_of(lengths)[::-1]
    rows = PackedRows(np.array(lengths, "int32"))
    with tf.GradientTape() as tape:
        tape.watch(x)
        groups = [group * group for group in rows.split(x)]
        value = tf.reduce_sum(rows.join(groups) * weight) + sum(map(tf.reduce_sum, rows.split(3 * x)))
    np.testing.assert_allclose(tape.gradient(value, x), 2 * x * weight + 3, rtol=1e-6)


def attention_in_numpy(layer, queries, context, lengths):
    (w_q, b_q), (w_kv, b_kv), (w_o, b_o) = (
        map(np.float64, each.get_weights()) for each in (layer.query, layer.key_value, layer.out)
    )
    out = []
    for q, x in zip(rows_of(queries, lengths), rows_of(context, lengths), strict=True):
        q, (k, v) = q @ w_q + b_q, np.split(x @ w_kv + b_kv, 2, axis=1)
        heads = []
        for at in np.split(np.arange(DIM), layer.heads):
            scores = q[:, at] @ k[:, at].T / np.sqrt(len(at))
            if layer.causal:
                scores = np.where(np.tri(len(q), dtype=bool), scores, -np.inf)
            e = np.exp(scores - scores.max(1, keepdims=True)) if len(q) else scores
            heads.append(e / e.sum(1, keepdims=True) @ v[:, at])
        out.append(np.concatenate(heads, axis=1) @ w_o + b_o)
    return np.concatenate(out)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("heads", [1, 3])
def test_attention_is_that_of_each_row_alone(causal, heads):
    lengths = LENGTHS[0]
    queries, context = tokens_of(lengths), tokens_of(lengths)[::-1].copy()
    layer = TokenAttention(heads, causal=causal)
    layer.build((None, DIM))
    layer.set_weights([np.random.default_rng(1).normal(size=w.shape) for w in layer.get_weights()])
    expected = attention_in_numpy(layer, np.float64(queries), np.float64(context), lengths)
    found = layer(queries, context, rows=PackedRows(np.array(lengths, "int32")))
    np.testing.assert_allclose(found, expected, atol=2e-5)

    rows = PaddedRows(np.array(lengths, "int32"), 11)
    padded = [np.full((len(lengths) * 11, DIM), 7, "float32") for _ in range(2)]
    mask = np.asarray(rows.mask())
    padded[0][mask], padded[1][mask] = queries, context
    found = np.asarray(layer(*padded, rows=rows))[mask]
    np.testing.assert_allclose(found, expected, atol=2e-5)
    np.testing.assert_array_equal(
        np.asarray(rows.from_end())[mask], PackedRows(np.array(lengths, "int32")).from_end()
    )
    last = np.asarray(rows.last(padded[0]))
    np.testing.assert_array_equal(last, PackedRows(np.array(lengths, "int32")).last(tf.constant(queries)))


def test_heads_divide_the_width():
    with pytest.raises(ValueError, match="heads must divide the width, 6; got 4"):
        TokenAttention(4).build((None, DIM))


def test_positions_count_from_the_end_and_have_a_dense_gradient():
    lengths = [3, 2, 0]
    layer = TokenPositions(4)
    layer.build((None, DIM))
    x = tf.constant(tokens_of(lengths))
    with tf.GradientTape() as tape:
        y = layer(x, rows=PackedRows(np.array(lengths, "int32")))
        value = tf.reduce_sum(y * x)
    vectors = keras.ops.convert_to_numpy(layer.vectors)
    np.testing.assert_allclose(y, x + vectors[[2, 1, 0, 1, 0]], rtol=1e-6)
    gradient = tape.gradient(value, layer.vectors.value)
    assert isinstance(gradient, tf.Tensor)
    np.testing.assert_allclose(gradient, [x[2] + x[4], x[1] + x[3], x[0], np.zeros(DIM)], rtol=1e-6)


@pytest.mark.parametrize("rate", [0.1, 0.5])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_dropout_leaves_out_a_share_of_values_and_keeps_their_mean(rate, dtype):
    layer = Dropout(rate, seed=3, dtype=dtype)
    x = tf.Variable(tf.ones((301, 333), dtype))
    with tf.GradientTape() as tape:
        found = layer(x, training=True)
    kept = np.float64(found) > 0
    n = kept.size
    assert abs(kept.mean() - (1 - rate)) < 4 * np.sqrt(rate * (1 - rate) / n)
    for axis in (0, 1):  # no row, column or neighbour is like another
        spread = np.sqrt(rate * (1 - rate) / kept.shape[axis])
        assert abs(kept.mean(axis).std() / spread - 1) < 0.2
    assert abs(np.corrcoef(kept.ravel()[:-1], kept.ravel()[1:])[0, 1]) < 4 / np.sqrt(n)
    np.testing.assert_allclose(
        np.float64(found)[kept], 1 / (1 - rate), rtol=2**-8 if dtype == "bfloat16" else 1e-4
    )
    np.testing.assert_array_equal(tape.gradient(found, x), found)
    np.testing.assert_array_equal(layer(x, training=False), x)


def test_dropout_is_drawn_anew_in_each_step_and_again_by_its_seed():
    x = np.ones((7, 3), "float32")  # an odd number of values
    layers = [Dropout(0.5, seed=3) for _ in range(2)]
    traced = tf.function(lambda: layers[1](x, training=True))
    draws = [(layers[0](x, training=True).numpy(), traced().numpy()) for _ in range(3)]
    for one, other in draws:
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(draws[0][0], draws[1][0])
    assert Dropout(0.5)(x[:0], training=True).shape == (0, 3)
    np.testing.assert_array_equal(Dropout(1.0)(x, training=True), 0 * x)
