"""Losses against items that are drawn, and the same losses against a batch's candidates: formulas in float64."""

import keras
import numpy as np
import pytest
from in_batch_reference import in_batch_scores
from keras import ops

import kerasrec as kr

ROWS, DIM, COUNT, FIRST = 12, 5, 40, 3
RNG = np.random.default_rng(0)
QUERIES, TABLE = RNG.normal(size=(ROWS, DIM)), RNG.normal(size=(COUNT, DIM))
IDS = RNG.integers(FIRST, COUNT, ROWS)

FORMULAS = {
    "BPR": lambda own, others: np.log1p(np.exp(others - own)).mean(),
    "Hinge": lambda own, others: np.maximum(0.7 + others - own, 0).mean(),
    "CosineContrastive": lambda own, others: 1 - own + 3 * np.maximum(others - 0.2, 0).mean(),
}
LOSSES = {
    "BPR": lambda *negatives: kr.losses.BPR(*negatives),
    "Hinge": lambda *negatives: kr.losses.Hinge(*negatives, margin=0.7),
    "CosineContrastive": lambda *negatives: kr.losses.CosineContrastive(
        *negatives, margin=0.2, negative_weight=3.0
    ),
}


class Rows:
    """Items whose vectors are the rows of a matrix."""

    count, first_id = COUNT, FIRST

    def lookup(self, ids):
        return ops.take(ops.convert_to_tensor(TABLE), ids, axis=0)


@pytest.mark.parametrize("name", list(LOSSES))
def test_drawn_items_are_compared_by_the_formula(name):
    loss = LOSSES[name](6)
    drawn = np.asarray(loss.draw(IDS, FIRST, COUNT, keras.random.SeedGenerator(5)))
    assert drawn.shape == (ROWS, 6)
    expected = []
    for query, own, ids in zip(QUERIES, IDS, drawn, strict=True):
        expected.append(FORMULAS[name](TABLE[own] @ query, TABLE[ids[ids != own]] @ query))
    losses = loss.per_example(QUERIES, IDS, Rows(), keras.random.SeedGenerator(5))
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


@pytest.mark.parametrize("name", list(LOSSES))
def test_a_batch_is_compared_by_the_same_formula(name):
    loss = kr.losses.InBatch(LOSSES[name](), hard_negatives=4)
    rows = in_batch_scores(QUERIES, TABLE[IDS], IDS)
    expected = [FORMULAS[name](own, np.sort(others)[-4:]) for own, others, _ in rows]
    losses = loss.per_example(QUERIES, TABLE[IDS], IDS, loss.make_candidates(DIM, COUNT), training=True)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


def test_items_are_drawn_uniformly_and_the_special_ids_never():
    drawn = np.asarray(kr.losses.BPR(200).draw(np.zeros(500), FIRST, COUNT, keras.random.SeedGenerator(0)))
    counts = np.bincount(drawn.ravel(), minlength=COUNT)
    assert not counts[:FIRST].any()
    expected = drawn.size / (COUNT - FIRST)
    assert ((counts[FIRST:] - expected) ** 2 / expected).sum() < 75  # chi-squared, 36 degrees: p = 1e-4


def test_an_item_without_negatives_has_a_finite_loss():
    for name in LOSSES:
        losses = LOSSES[name]().compare(
            np.zeros(1, "float32"), np.zeros((1, 2), "float32"), np.zeros((1, 2), bool)
        )
        assert np.isfinite(losses).all()


def test_configs_and_wrong_arguments():
    for loss in [make(9) for make in LOSSES.values()] + [kr.losses.InBatch(kr.losses.Hinge(margin=0.3), memory=4)]:
        copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
        assert type(copy) is type(loss)
        assert copy.get_config() == loss.get_config()
    with pytest.raises(ValueError, match="negatives must be an integer >= 1; got 0"):
        kr.losses.BPR(0)
    with pytest.raises(ValueError, match="negatives=4: none are drawn in a batch"):
        kr.losses.InBatch(kr.losses.BPR(4))
    with pytest.raises(ValueError, match="loss must be a kr.losses.SampledLoss"):
        kr.losses.InBatch(kr.losses.InBatchSoftmax())
