"""Each sequence model's output, recomputed from its weights in float64 NumPy, one behaviour at a time."""

import numpy as np
import pytest
from formula_parts import X, check, continuous, dense, embedded, logit, spread
from model_cases import COLUMNS, batch_of, schema_of

import kerasrec as kr


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(scores):
    e = np.exp(scores - scores.max())
    return e / e.sum()


def weights_of(layer):
    return [np.float64(w) for w in layer.get_weights()]


def histories(model):
    """For each row the vectors of its behaviours and of the candidate."""
    table = model.embeddings.table("genre").astype("float64")
    return [(table[ids[ids > 0]], table[target]) for ids, target in zip(X["genres"], X["favourite"], strict=True)]


def check_tower(model, vectors):
    user, _, favourite = embedded(model.embeddings)
    tower = np.column_stack([continuous(), user, favourite, vectors])
    check(model, logit(model, dense(model.deep.get_weights(), tower)))


def dice(layer, x):
    alpha, mean, variance, weight = weights_of(layer)
    p = sigmoid((x - mean / weight) / np.sqrt(variance / weight + 1e-9))
    return p * x + alpha * (1 - p) * x


def with_statistics(model):
    """`spread`, with averages of Dice as a few batches leave them."""
    spread(model)
    for layer in model.attentions[0].activations:
        if isinstance(layer, kr.layers.Dice):
            layer.moving_variance.assign(np.abs(layer.moving_variance) + 0.1)
            layer.moving_weight.assign(0.3)
    return model


@pytest.mark.parametrize("activation", ["dice", "relu"])
@pytest.mark.parametrize("normalised", [False, True])
def test_din(activation, normalised):
    model = with_statistics(kr.models.DIN(schema_of(), 4, [6, 5], activation, normalised, [16, 8]))
    attention = model.attentions[0]

    def weight(t, h):
        x = np.concatenate([t, h, t - h, t * h])[None]
        layers = [(attention.kernel, attention.bias), *(each.get_weights() for each in attention.hidden)]
        for pair, act in zip(layers, attention.activations, strict=True):
            x = dense([np.asarray(w) for w in pair], x, relu=activation == "relu")
            x = dice(act, x) if activation == "dice" else x
        return dense(attention.score.get_weights(), x, relu=False)[0, 0]

    interests = []
    for behaviours, target in histories(model):
        weights = np.array([weight(target, h) for h in behaviours])
        weights = softmax(weights) if normalised and len(weights) else weights
        interests.append(weights @ behaviours if len(weights) else np.zeros(4))
    check_tower(model, np.array(interests))


def gru(weights, sequence, attention=None):
    """Keras's GRU, or with attention the update that the paper of DIEN changes; the states."""
    kernel, recurrent, bias = weights
    h, states, units = np.zeros(len(recurrent)), [], len(recurrent)
    for step, x in enumerate(sequence):
        xz, xr, xn = np.split(x @ kernel + bias[0], 3)
        hz, hr, hn = np.split(h @ recurrent + bias[1], 3)
        keep, n = sigmoid(xz + hz), np.tanh(xn + sigmoid(xr + hr) * hn)
        if attention is not None:
            keep = 1 - attention[step] * keep
        h = keep * h + (1 - keep) * n
        states.append(h)
    return np.array(states).reshape(-1, units)


@pytest.mark.parametrize("normalised", [True, False])
def test_dien(normalised):
    model = spread(kr.models.DIEN(schema_of(), 4, 0.5, [8], normalised, [16, 8]))
    evolution, finals = model.evolutions[0], []
    kernel, bias = np.float64(evolution.augru.kernel), np.float64(evolution.augru.bias)
    recurrent, candidate = weights_of(evolution.augru.steps)
    second = kernel, recurrent, [bias, np.concatenate([np.zeros(8), candidate])]
    for behaviours, target in histories(model):
        interests = gru(weights_of(model.extractions[0]), behaviours)
        attention = interests @ np.float64(evolution.kernel) @ target
        attention = softmax(attention) if normalised and len(attention) else attention
        states = gru(second, interests, attention)
        finals.append(states[-1] if len(states) else np.zeros(4))
    check_tower(model, np.array(finals))


def norm(weights, x):
    scale, shift = np.float64(weights)
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * scale + shift


def transformed(block, x):
    wq, bq, wk, bk, wv, bv, wo, bo = weights_of(block.attention)
    q, k, v = (np.einsum("ld,dhk->hlk", x, w) + b[:, None] for w, b in ((wq, bq), (wk, bk), (wv, bv)))
    scores = np.einsum("hlk,hmk->hlm", q, k) / np.sqrt(q.shape[-1])
    weights = np.array([[softmax(row) for row in head] for head in scores])
    x = norm(block.norms[0].get_weights(), x + np.einsum("hlm,hmk,hkd->ld", weights, v, wo) + bo)
    inner = dense(block.expand.get_weights(), x, relu=False)
    inner = np.where(inner > 0, inner, 0.01 * inner)
    return norm(block.norms[1].get_weights(), x + dense(block.contract.get_weights(), inner, relu=False))


@pytest.mark.parametrize("pooling", ["mean", "target", "concat"])
def test_bst(pooling):
    model = spread(kr.models.BST(schema_of(), 4, 2, 2, pooling=pooling, deep_units=[16, 8]))
    assert model.max_length == COLUMNS["genres"].hotness.max == 3
    positions, pooled = np.float64(model.positions[0].vectors), []
    for behaviours, target in histories(model):
        s = np.column_stack([[*behaviours, target], positions[4 - len(behaviours) - 1 :]])
        for block in model.transformers[0]:
            s = transformed(block, s)
        if pooling == "concat":
            pooled.append(np.concatenate([np.zeros((4 - len(s)) * 8), s.ravel()]))
        else:
            pooled.append(s.mean(0) if pooling == "mean" else s[-1])
    check_tower(model, np.array(pooled))


@pytest.mark.parametrize("make", [kr.models.DIN, kr.models.DIEN, kr.models.BST])
def test_the_last_behaviours_count_whichever_side_is_padded(make):
    """`max_length` keeps the last two of a list, and what stands before them changes nothing."""
    model = make(schema_of(), 4, deep_units=[8], max_length=2)
    x, _ = batch_of(60)
    lists = [[int(i) for i in row if i] for row in x["genres"]]
    assert {len(row) for row in lists} == {0, 1, 2, 3}
    recent = [row[-2:] for row in lists]
    other = [[1] * (len(row) > 2) + row[-2:] for row in lists]

    def padded(rows, before, width=4):
        return np.array(
            [[0] * (width - len(r)) + r if before else r + [0] * (width - len(r)) for r in rows], "int32"
        )

    expected = model({**x, "genres": padded(recent, False)})
    for rows in (lists, recent, other):
        for before in (False, True):
            np.testing.assert_allclose(model({**x, "genres": padded(rows, before)}), expected, atol=1e-6)
    assert np.abs(model({**x, "genres": padded([r[-1:] for r in lists], True)}) - expected).max() > 1e-5
