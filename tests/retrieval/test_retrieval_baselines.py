"""Popularity, item-kNN, EASE and implicit ALS against their formulas in float64, and on rows of sequences."""

import numpy as np
import polars as pl
import pytest

import kerasrec as kr
from kerasrec import etl
from kerasrec.retrieval import Lists
from kerasrec.schema import SchemaError

pytest.importorskip("scipy")
from kerasrec.retrieval.baselines import EASE, Histories, ImplicitALS, ItemKNN, Popularity

ITEMS = 30


@pytest.fixture(scope="module")
def histories():
    rng = np.random.default_rng(0)
    popularity = np.arange(1, ITEMS + 1) ** -0.7
    popularity[-1] = 0  # an item that nobody has
    rows = [rng.choice(ITEMS, rng.integers(0, 12), p=popularity / popularity.sum()) for _ in range(80)]
    return Histories(Lists.of(rows), ITEMS)


@pytest.fixture(scope="module")
def dense(histories):
    x = np.zeros((80, ITEMS))
    x[histories.lists.row_numbers, histories.lists.values] = 1
    return x


def scores(model, histories):
    return model.fit(histories).scores(histories.matrix())


def test_an_item_counts_once_per_user_and_what_is_no_item_not_at_all(histories, dense):
    np.testing.assert_array_equal(histories.matrix().toarray(), dense)
    odd = Histories(Lists.of([[-1, 2, 2], [], [-1]]), 4)
    np.testing.assert_array_equal(odd.matrix().toarray(), [[0, 0, 1, 0], [0] * 4, [0] * 4])


def test_popularity_counts_users(histories, dense):
    np.testing.assert_array_equal(scores(Popularity(), histories), np.tile(dense.sum(axis=0), (80, 1)))


@pytest.mark.parametrize(("neighbors", "shrink"), [(None, 0), (4, 0), (5, 3.0), (ITEMS, 0)])
def test_item_knn_is_the_sum_of_cosines_to_the_nearest(histories, dense, neighbors, shrink, monkeypatch):
    monkeypatch.setattr("kerasrec.retrieval.baselines.item_knn.BLOCK", 7)
    norm = np.sqrt((dense**2).sum(axis=0))
    scale = np.outer(norm, norm) + shrink
    similarity = np.divide(dense.T @ dense, scale, out=np.zeros_like(scale), where=scale > 0)
    np.fill_diagonal(similarity, 0)
    if neighbors is None or neighbors >= ITEMS:
        np.testing.assert_allclose(scores(ItemKNN(neighbors, shrink), histories), dense @ similarity, atol=1e-5)
        return
    kept = ItemKNN(neighbors, shrink).fit(histories).similarities.toarray()
    assert ((kept > 0).sum(axis=1) <= neighbors).all()
    nearest = -np.sort(-similarity, axis=1)[:, :neighbors]
    np.testing.assert_allclose(-np.sort(-kept, axis=1)[:, :neighbors], nearest, atol=1e-6)
    np.testing.assert_allclose(kept[kept > 0], similarity[kept > 0], atol=1e-6)


def test_ease_solves_its_problem_in_closed_form(histories, dense):
    model = EASE(l2=20.0)
    got = scores(model, histories)
    p = np.linalg.inv(dense.T @ dense + 20 * np.eye(ITEMS))
    weights = -p / np.diag(p)
    np.fill_diagonal(weights, 0)
    np.testing.assert_allclose(got, dense @ weights, atol=1e-5)
    # The gradient of |X - X B|^2 + l2 |B|^2 is zero off the diagonal.
    b = model.weights.astype(np.float64)
    gradient = dense.T @ (dense @ b - dense) + 20 * b
    np.testing.assert_allclose(gradient - np.diag(np.diag(gradient)), 0, atol=1e-4)


def test_implicit_als_lowers_its_loss_until_no_side_can(histories, dense):
    l2, weight = 0.05, 0.2
    n_u = dense.sum(axis=1) + weight * ITEMS
    n_i = dense.sum(axis=0) + weight * len(dense)

    def loss(w, h):
        p = w @ h.T
        fit = (dense * (p - 1) ** 2).sum() + weight * (p**2).sum()
        return fit + l2 * ((n_u * (w**2).sum(axis=1)).sum() + (n_i * (h**2).sum(axis=1)).sum())

    losses = []
    for epochs in (1, 2, 5, 100):
        model = ImplicitALS(4, epochs, l2, weight, init_stddev=0.5)
        got = scores(model, histories)
        h = model.vectors.astype(np.float64)
        w = got @ h @ np.linalg.inv(h.T @ h)
        losses.append(loss(w, h))
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > 1.05 * losses[-1]
    p = w @ h.T
    by_user = (dense * (p - 1) + weight * p) @ h + l2 * n_u[:, None] * w
    by_item = (dense * (p - 1) + weight * p).T @ w + l2 * n_i[:, None] * h
    np.testing.assert_allclose(by_user, 0, atol=1e-3)
    np.testing.assert_allclose(by_item, 0, atol=1e-3)


MODELS = [Popularity(), ItemKNN(), EASE(10.0), ImplicitALS(8, 3)]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
@pytest.mark.filterwarnings("ignore:Sequences leaves out")
def test_rows_of_sequences_are_learned_from_and_ranked(model, tmp_path):
    sequences = etl.Sequences("user", "item", "timestamp")
    train, valid, test = sequences(kr.datasets.next_item.synthetic(users=150, items=40))
    workflow = etl.Workflow(sequences.items >> etl.Categorify()).fit(test)
    workflow.transform(train).to_parquet(tmp_path / "train", progress=False)
    model.fit(tmp_path / "train")
    report = model.rank(workflow.transform(test), at=(5, 40))
    for lists in ("offsets", "padded"):
        again = model.rank(kr.Loader(workflow.transform(test), 64, lists=lists), at=(5, 40))
        assert again.to_dict() == report.to_dict()
    assert report["coverage@40"] == 1.0
    assert (report.queries, report.candidates, report.exclude_seen) == (150, 40, True)
    assert report["hit_rate@5"] > 0.1
    assert model.rank(workflow.transform(test), at=5, exclude_seen=False)["hit_rate@5"] > 0.1
    top = model.recommend(workflow.transform(valid), 3)
    seen = workflow.transform(valid).collect()["item"].to_list()
    assert top.rows.shape == (150, 3)
    assert not any(set(rows) & set(items) for rows, items in zip(top.rows.tolist(), seen, strict=True))
    assert top.rows.min() >= 3  # ids of items begin at 3


def test_a_target_that_was_seen_is_ranked_and_one_that_is_no_item_is_missed():
    model = Popularity().fit(Histories(Lists.of([[0, 1], [0], [2]]), 3))
    rows = Histories(Lists.of([[1, 0], [0, 1, 0], [1, -1], [0]]), 3)
    report = model.rank(rows, at=1)
    assert report["hit_rate@1"] == 0.75
    assert (report.targets_out_of_reach, report.targets_seen) == (1, 1)
    empty = model.rank(Histories(Lists.of([[], [2, 1], [], [0]]), 3), at=1)
    assert (empty.queries, empty.queries_without_targets, empty["hit_rate@1"]) == (2, 2, 0.5)


def test_mistakes(tmp_path):
    assert repr(ItemKNN(shrink=2.0)) == "ItemKNN(neighbors=100, shrink=2.0)"
    data = Histories(Lists.of([[0, 1], []]), 2)
    for model in MODELS:
        assert np.isfinite(scores(model, data)).all()
        for rows, items in (([], 3), ([[]], 0)):
            with pytest.raises(ValueError, match="nothing to learn from"):
                model.fit(Histories(Lists.of(rows), items))
    with pytest.raises(RuntimeError, match="EASE is not fitted"):
        EASE().recommend(data)
    with pytest.raises(ValueError, match="the data has 2 items, but fit had 3"):
        Popularity().fit(Histories(Lists.of([[0]]), 3)).recommend(data)
    with pytest.raises(ValueError, match="out of range"):
        Histories(Lists.of([[5]]), 3)
    for wrong in (lambda: EASE(0), lambda: ItemKNN(0), lambda: ItemKNN(shrink=-1), lambda: ImplicitALS(dim=0)):
        with pytest.raises(ValueError, match="got"):
            wrong()
    frame = pl.DataFrame({"item": [["a"], ["b"]]})
    untagged = etl.Workflow(["item"] >> etl.Categorify()).fit(frame).transform(frame)
    with pytest.raises(SchemaError, match="tag 'item_id'; found none: make it with"):
        Popularity().fit(untagged)
    with pytest.raises(ValueError, match="drop_last=False"):
        Popularity().fit(kr.Loader(untagged, 1, lists="offsets", drop_last=True))
