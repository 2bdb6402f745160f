"""The scores of models of the next item, recomputed from their weights in float64 NumPy, one row at a time."""

import math

import numpy as np
import polars as pl
import pytest
from next_item_cases import ALL, PLAIN, frame_of, loader_of

import kerasrec as kr


def spread(model):
    rng = np.random.default_rng(0)
    model.set_weights([0.5 * rng.normal(size=w.shape) for w in model.get_weights()])
    return model


def weights(layer):
    return [np.float64(w) for w in layer.get_weights()]


def dense(layer, x):
    kernel, *bias = weights(layer)
    return x @ kernel + (bias[0] if bias else 0)


def norm(layer, x):
    gamma, beta = weights(layer)
    centred = x - x.mean(-1, keepdims=True)
    return gamma * centred / np.sqrt((centred**2).mean(-1, keepdims=True) + layer.epsilon) + beta


def softmax(scores):
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attention(layer, queries, context, causal):
    q, (k, v) = dense(layer.query, queries), np.split(dense(layer.key_value, context), 2, axis=1)
    heads = []
    for at in np.split(np.arange(q.shape[1]), layer.heads):
        scores = q[:, at] @ k[:, at].T / np.sqrt(len(at))
        heads.append(softmax(np.where(np.tri(len(q)) > 0, scores, -np.inf) if causal else scores) @ v[:, at])
    return dense(layer.out, np.concatenate(heads, axis=1))


def rows_of(frame, model):
    """The vectors of each row's last events."""
    tables = {"item id": model.items.table("item"), "favourite": model.items.table("item")}
    if model.embeddings is not None:
        tables |= {name: model.embeddings.table(name) for name in model.embeddings.features}
    for row in frame.rows(named=True):
        n = min(len(row["item id"]), model.max_length)
        last = {name: value[-n:] if isinstance(value, list) else [value] * n for name, value in row.items()}

        def vectors(name, last=last, n=n):
            return np.float64(tables[name])[np.array(last[name][:n], int)]

        x = vectors("item id")
        if model.side is not None:
            numbers = [np.reshape(last[name][:n], (n, 1)) for name in ("price", "a.b")]
            x = x + dense(model.side, np.hstack([*map(vectors, ("favourite", "größe", "^x$")), *numbers]))
        yield x


def check(model, encode, frame, of_no_events=0.0):
    states = [
        encode(x)[-1] if len(x) else np.full(model.embedding_dim, of_no_events) for x in rows_of(frame, model)
    ]
    vectors = model.items if model.predicted is None else model.predicted
    expected = np.array(states) @ np.float64(vectors.table(vectors.features["item id"].table.name)).T
    (features,) = loader_of(frame, model.schema, len(frame))
    np.testing.assert_allclose(model(features)[:, 3:], expected[:, 3:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("schema", [PLAIN, ALL], ids=["items", "all columns"])
@pytest.mark.parametrize("tied", [True, False])
def test_sasrec(schema, tied):
    model = spread(kr.models.SASRec(schema, 8, 2, 2, 6, 0.3, tied=tied))

    def encode(x):
        (places,) = weights(model.positions)
        x = np.sqrt(8) * x + places[: len(x)][::-1]
        for block in model.block_layers:
            q = norm(block.norms[0], x)
            y = norm(block.norms[1], q + attention(block.attention, q, x, causal=True))
            x = y + dense(block.contract, np.maximum(dense(block.expand, y), 0))
        return norm(model.norm, x)

    check(model, encode, frame_of())


def test_gru4rec():
    model = spread(kr.models.GRU4Rec(ALL, 8, [6, 5], 6, 0.3))

    def encode(x):
        for gru in model.grus:
            kernel, recurrent, (bias, recurrent_bias) = weights(gru)
            state, states = np.zeros(gru.units), []
            for row in x:
                (z, r, n), (hz, hr, hn) = (
                    np.split(row @ kernel + bias, 3),
                    np.split(state @ recurrent + recurrent_bias, 3),
                )
                update, reset = 1 / (1 + np.exp(-z - hz)), 1 / (1 + np.exp(-r - hr))
                state = update * state + (1 - update) * np.tanh(n + reset * hn)
                states.append(state)
            x = np.array(states)
        return dense(model.out, x)

    check(model, encode, frame_of())


def gelu(x):
    return x / 2 * (1 + np.vectorize(math.erf)(x / np.sqrt(2)))


def test_bert4rec():
    model = spread(kr.models.BERT4Rec(PLAIN, 8, 2, 2, 7, 0.3))

    def encode(x):
        (places,), blank = weights(model.positions), np.float64(model.items.table("item")[:1])
        x = np.concatenate([x[-6:], blank])
        x = norm(model.norms[0], x + places[: len(x)][::-1])
        for block in model.block_layers:
            y = norm(block.norms[0], x + attention(block.attention, x, x, causal=False))
            x = norm(block.norms[1], y + dense(block.contract, gelu(dense(block.expand, y))))
        return norm(model.norms[1], gelu(dense(model.transform, x)))

    check(model, encode, frame_of(), of_no_events=encode(np.zeros((0, 8)))[-1])


def silu(x):
    return x / (1 + np.exp(-x))


TIME = kr.Column("time", "int64", ("continuous", "list", "sequence", "time"))


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("schema", [ALL, kr.Schema([*ALL, TIME])], ids=["without times", "with times"])
def test_hstu(schema, heads):
    model, frame = spread(kr.models.HSTU(schema, 8, 2, heads, 6, 0.3, time_buckets=40)), frame_of()
    rng = np.random.default_rng(0)
    steps = [rng.choice([0, 1, 2, 50, 86_400, 10**9], len(items)) for items in frame["item id"]]
    times = [1_700_000_000_000 + np.cumsum(each) for each in steps]
    frame = frame.with_columns(time=pl.Series(times, dtype=pl.List(pl.Int64)))
    of_rows = iter([each[-6:] for each in times if len(each)])

    def encode(x):
        t = next(of_rows)
        buckets = np.minimum(np.floor(np.log(np.maximum(np.abs(t[:, None] - t), 1)) / 0.301), 39).astype(int)
        (places,) = weights(model.positions)
        x = np.sqrt(8) * x + places[: len(x)][::-1]
        distance = np.arange(len(x))[:, None] - np.arange(len(x))
        for block in model.block_layers:
            u, v, q, k = np.split(silu(dense(block.project, norm(block.norms[0], x))), 4, axis=1)
            bias = np.float64(block.distances)[np.maximum(distance, 0), 0]
            if "time" in schema:
                bias = bias + np.float64(block.times)[buckets, 0]
            parts = []
            for at in np.split(np.arange(8), heads):
                a = np.where(distance >= 0, silu(q[:, at] @ k[:, at].T + bias), 0) / 6
                parts.append(a @ v[:, at])
            x = x + dense(block.out, norm(block.norms[1], np.concatenate(parts, axis=1)) * u)
        return norm(model.norm, x)

    check(model, encode, frame)
