"""The output of LR, FM and other models of interacting fields, recomputed from their weights in float64 NumPy."""

import itertools

import numpy as np
import pytest
from formula_parts import X, check, continuous, embedded, first_order, spread
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


def test_models_without_towers_or_vectors_refuse_their_arguments():
    with pytest.raises(ValueError, match="activation is of dense towers, and this model has none; leave it out"):
        kr.models.FM(schema_of(), activation="tanh")
    with pytest.raises(TypeError, match="unexpected keyword argument 'embedding_dim'"):
        kr.models.LR(schema_of(), embedding_dim=8)
    with pytest.raises(ValueError, match="embedding_dim must be an integer, since fields interact; got None"):
        kr.models.FM(schema_of(), None)
    assert kr.models.LR(schema_of()).embeddings is None
