"""What the recomputation of models' outputs in float64 NumPy is made of: rows, embeddings, towers, the check."""

import numpy as np
from model_cases import batch_of

X, _ = batch_of(20)
CATS, CONTS = ("user", "genres", "favourite"), ("age", "price")
TABLES = {"user": "user", "genres": "genre", "favourite": "genre"}


def spread(model, scale=0.5):
    """Random weights of a size that lets every term of the formula count."""
    rng = np.random.default_rng(0)
    model.set_weights([scale * rng.normal(size=w.shape) for w in model.get_weights()])
    return model


def embedded(layer, suffix="", columns=CATS):
    """Each categorical column's vectors; a list's mean, zeros if it is empty."""
    out = []
    for name in columns:
        table = layer.table(TABLES[name] + suffix).astype("float64")
        ids = X[name]
        if ids.ndim == 1:
            out.append(table[ids])
        else:
            rows = [table[row[row > 0]] for row in ids]
            out.append(np.array([r.mean(0) if len(r) else np.zeros(table.shape[1]) for r in rows]))
    return out


def continuous():
    return np.stack([X[name] for name in CONTS], axis=1).astype("float64")


def dense(weights, x, relu=True):
    for kernel, bias in zip(weights[::2], weights[1::2], strict=True):
        x = x @ kernel.astype("float64") + bias
        x = np.maximum(x, 0) if relu else x
    return x


def logit(model, x):
    return dense(model.logit.get_weights(), x, relu=False)


def first_order(layer):
    columns = sum(embedded(layer.tables, "_linear"))
    return columns + continuous() @ np.float64(layer.kernel) + np.float64(layer.bias)


def check(model, expected):
    assert expected.std() > 0.1  # the rows' answers differ
    np.testing.assert_allclose(model(X), 1 / (1 + np.exp(-expected)), atol=2e-6)
    numbers = type(model).from_config({**model.get_config(), "task": "regression"})
    numbers.set_weights(model.get_weights())
    np.testing.assert_allclose(numbers(X), expected, rtol=1e-5, atol=1e-5)
