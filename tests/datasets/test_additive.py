"""Additive models against the optimum's own conditions and a linear solve."""

import numpy as np
import polars as pl
import pytest

from kerasrec.datasets.additive import Additive, IdLists, number_ids, number_quantiles


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 20, 2000), rng.integers(0, 30, 2000)
    logit = rng.normal(size=20)[a] + rng.normal(size=30)[b] - 0.5
    return a, b, logit, rng


def one_hot(*columns):
    return np.hstack([np.eye(int(c.max()) + 1)[c] for c in columns])


def test_squared_is_the_ridge_solution(data):
    a, b, logit, rng = data
    y = logit + rng.normal(size=len(a))
    model = Additive("squared", ridge=[3.0, 7.0], sweeps=100).fit([a, b], y)
    x = np.hstack([np.ones((len(a), 1)), one_hot(a, b)])
    penalty = np.diag([0.0] + [3.0] * 20 + [7.0] * 30)
    solution = np.linalg.solve(x.T @ x + penalty, x.T @ y)
    np.testing.assert_allclose(np.concatenate([[model.intercept], *model.biases]), solution, atol=1e-9)
    np.testing.assert_allclose(model.predict([a, b]), x @ solution, atol=1e-9)


def test_logistic_is_at_the_optimum(data):
    a, b, logit, rng = data
    y = rng.random(len(a)) < 1 / (1 + np.exp(-logit))
    model = Additive("logistic", ridge=2.0, sweeps=100).fit([a, b], y)
    p = model.predict([a, b])
    x = one_hot(a, b)
    gradient = x.T @ (p - y) + 2.0 * np.concatenate(model.biases)
    np.testing.assert_allclose(gradient, 0, atol=1e-8)
    assert (p - y).sum() == pytest.approx(0, abs=1e-8)


def test_lists_contribute_their_mean_and_reach_the_optimum(data):
    a, _, logit, rng = data
    lengths = rng.integers(0, 4, len(a))
    values = rng.integers(0, 10, lengths.sum())
    shares = np.zeros((len(a), 10))
    np.add.at(shares, (np.repeat(np.arange(len(a)), lengths), values), 1 / np.repeat(lengths, lengths))
    y = rng.random(len(a)) < 1 / (1 + np.exp(-logit - 2 * shares[:, 3]))
    lists = IdLists(values, lengths)
    model = Additive("logistic", ridge=2.0, sweeps=200).fit([a, lists], y)
    p = model.predict([a, lists])
    x = np.hstack([one_hot(a), shares])
    np.testing.assert_allclose(x.T @ (p - y) + 2.0 * np.concatenate(model.biases), 0, atol=1e-6)
    np.testing.assert_allclose(p, 1 / (1 + np.exp(-(model.intercept + x @ np.concatenate(model.biases)))))


def test_a_row_of_weight_two_counts_as_two(data):
    a, b, _, rng = data
    y, weights = rng.random(len(a)) < 0.3, rng.integers(0, 3, len(a))
    weighted = Additive("logistic", sweeps=50).fit([a, b], y, weights)
    repeated = Additive("logistic", sweeps=50).fit([np.repeat(x, weights) for x in (a, b)], np.repeat(y, weights))
    np.testing.assert_allclose(weighted.predict([a, b]), repeated.predict([a, b]), atol=1e-9)


def test_ten_sweeps_are_enough(data):
    a, b, logit, rng = data
    y = rng.random(len(a)) < 1 / (1 + np.exp(-logit))
    few, many = (Additive("logistic", sweeps=n).fit([a, b], y).predict([a, b]) for n in (10, 200))
    np.testing.assert_allclose(few, many, atol=1e-4)


def test_unknown_ids_add_nothing(data):
    a, b, logit, _ = data
    model = Additive("squared").fit([a, b], logit)
    expected = model.intercept + model.biases[1][4]
    np.testing.assert_allclose(model.predict([np.array([-1, 20, 9999]), np.array([4, 4, 4])]), expected)


def test_bad_arguments():
    with pytest.raises(ValueError, match="hinge"):
        Additive("hinge")
    with pytest.raises(ValueError, match="ridge must be > 0"):
        Additive("squared", ridge=[1.0, 0.0])


def test_number_ids():
    train = pl.Series(["b", None, "a", "b"])
    ids, other = number_ids(train, pl.Series(["a", "c", None, "b"]))
    assert sorted(set(ids.tolist())) == [0, 1, 2]
    assert ids[0] == ids[3] == other[3]
    assert ids[1] == other[2]
    assert ids[2] == other[0]
    assert other[1] == -1


def test_number_ids_of_lists():
    ids, other = number_ids(
        pl.Series([["x", "y"], [], None, ["x"]]), pl.Series([["x", "y"], ["y", "x"], [], None])
    )
    assert len(set(ids.tolist())) == 4
    assert other.tolist() == [ids[0], -1, ids[1], ids[2]]


def test_number_quantiles():
    train = pl.Series([float(x) for x in range(100)] + [None])
    bins, other = number_quantiles(train, pl.Series([None, -5.0, 1e9, 50.0]), bins=4)
    assert np.bincount(bins).tolist() == [1, 25, 25, 25, 25]
    assert other.tolist() == [0, 1, 4, 3]
