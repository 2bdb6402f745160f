"""The output of LR, FM and other models of interacting fields, recomputed from their weights in float64 NumPy."""

import itertools

import numpy as np
import pytest
from formula_parts import X, check, continuous, dense, embedded, first_order, logit, spread
from model_cases import COLUMNS, RATING, schema_of

import kerasrec as kr
from kerasrec.schema import Column, Schema

LIKED = Column("liked", "float32", RATING.tags)


def fields_of(model):
    """The vectors of all columns, `(rows, dim)` each."""
    x, directions = continuous(), np.float64(model.continuous_vectors.vectors)
    return [*embedded(model.embeddings), *(x[:, [j]] * directions[j] for j in range(2))]


def two_targets():
    """A schema of two regression targets, whose outputs are the logits."""
    return Schema([*COLUMNS.values(), RATING, LIKED])


def check_targets(model, expected):
    answers = model(X)
    for i, name in enumerate(model.targets):
        assert expected[:, i].std() > 0.1
        np.testing.assert_allclose(answers[name][:, 0], expected[:, i], rtol=1e-5, atol=1e-5)


def test_lr():
    model = spread(kr.models.LR(schema_of()))
    check(model, first_order(model.first_order))


def test_fm():
    model = spread(kr.models.FM(schema_of(), 4))
    pairs = sum((a * b).sum(1, keepdims=True) for a, b in itertools.combinations(fields_of(model), 2))
    check(model, first_order(model.first_order) + pairs)


def test_fm_of_two_targets_weighs_the_dimensions_of_the_pairs_for_each():
    model = spread(kr.models.FM(two_targets(), 4))
    pairs = sum(a * b for a, b in itertools.combinations(fields_of(model), 2))
    check_targets(model, first_order(model.first_order) + pairs @ np.float64(model.logit.kernel))
    new = kr.models.FM(two_targets(), 4)
    assert (np.asarray(new.logit.kernel) == 1).all()  # both begin as plain factorization machines


def side_by_side(model):
    return np.column_stack([continuous(), *embedded(model.embeddings)])


def test_xdeepfm():
    model = spread(kr.models.xDeepFM(schema_of(), 4, [3, 2], [16, 8]), scale=0.4)
    v = x = np.stack(fields_of(model), axis=1)
    pooled = []
    for kernel, bias in zip(model.cin.kernels, model.cin.biases, strict=True):
        w = np.float64(kernel).reshape(v.shape[1], x.shape[1], -1)
        x = np.einsum("bid,bhd,ihk->bkd", v, x, w) + np.float64(bias)[:, None]
        pooled.append(x.sum(2))
    deep = dense(model.deep.get_weights(), side_by_side(model))
    check(model, first_order(model.first_order) + logit(model, np.column_stack([*pooled, deep])))


def test_pnn():
    model = spread(kr.models.PNN(schema_of(), 4, [16, 8]), scale=0.4)
    v = fields_of(model)
    products = [(v[i] * v[j]).sum(1) for i in range(len(v)) for j in range(i)]
    deep = dense(model.deep.get_weights(), np.column_stack([side_by_side(model), *products]))
    check(model, logit(model, deep))


def test_nfm():
    model = spread(kr.models.NFM(schema_of(), 4, [16, 8]), scale=0.6)
    pairs = sum(a * b for a, b in itertools.combinations(fields_of(model), 2))
    deep = dense(model.deep.get_weights(), pairs)
    check(model, first_order(model.first_order) + logit(model, deep))


def test_fwfm():
    model = spread(kr.models.FwFM(schema_of(), 4))
    v = fields_of(model)
    pairs = [(v[i] * v[j]).sum(1) for i in range(len(v)) for j in range(i)]
    linear = dense(model.logit.get_weights(), np.column_stack(v), relu=False)
    check(model, linear + np.stack(pairs, axis=1) @ np.float64(model.pairs.kernel))


def test_fwfm_of_two_targets_has_weights_of_the_pairs_for_each():
    model = spread(kr.models.FwFM(two_targets(), 4))
    v = fields_of(model)
    pairs = [(v[i] * v[j]).sum(1) for i in range(len(v)) for j in range(i)]
    check_targets(
        model, logit(model, np.column_stack(v)) + np.stack(pairs, axis=1) @ np.float64(model.pairs.kernel)
    )


@pytest.mark.parametrize("deep_units", [[16, 8], None])
def test_autoint(deep_units):
    model = spread(kr.models.AutoInt(schema_of(), 4, 2, 6, 2, deep_units), scale=0.7)
    v = np.stack(fields_of(model), axis=1)
    for layer in model.attention:
        out = []
        for h in (slice(0, 3), slice(3, 6)):
            q, k, u = (v @ np.float64(w)[:, h] for w in (layer.query, layer.key, layer.value))
            a = np.exp(q @ k.swapaxes(1, 2))
            out.append(a / a.sum(2, keepdims=True) @ u)
        residual = v if layer.residual is None else v @ np.float64(layer.residual)
        v = np.maximum(np.concatenate(out, axis=2) + residual, 0)
    parts = [v.reshape(len(v), -1)]
    if deep_units:
        parts.append(dense(model.deep.get_weights(), side_by_side(model)))
    check(model, logit(model, np.column_stack(parts)))


def test_models_without_towers_or_vectors_refuse_their_arguments():
    with pytest.raises(ValueError, match="activation is of dense towers, and this model has none; leave it out"):
        kr.models.FM(schema_of(), activation="tanh")
    with pytest.raises(TypeError, match="unexpected keyword argument 'embedding_dim'"):
        kr.models.LR(schema_of(), embedding_dim=8)
    with pytest.raises(ValueError, match="embedding_dim must be an integer, since fields interact; got None"):
        kr.models.FM(schema_of(), None)
    assert kr.models.LR(schema_of()).embeddings is None
    with pytest.raises(ValueError, match="dropout is of the deep tower, which deep_units=None leaves out"):
        kr.models.AutoInt(schema_of(), deep_units=None, dropout=0.1)
    with pytest.raises(ValueError, match="attention_layers must be an integer >= 1; got 0"):
        kr.models.AutoInt(schema_of(), attention_layers=0)
