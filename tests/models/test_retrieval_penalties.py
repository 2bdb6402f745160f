"""Penalties of embeddings in retrieval models: on the rows that a step looks up, a loss's negatives too."""

import keras
import numpy as np
import pytest
from retrieval_cases import IDS, ITEMS, pairs

import kerasrec as kr

ROWS, PENALTY, RATE = 20, 0.5, 0.1
X = {name: values for name, values in pairs(ROWS).items() if name in IDS.names}


def items_after_a_step(loss, **more):
    """The rows of items, all 1 before a step, in which users' vectors are 0: only the penalty moves them."""
    model = kr.models.MatrixFactorization(
        IDS, 4, embeddings_initializer="ones", embeddings_regularizer=keras.regularizers.L2(PENALTY), **more
    )
    (users,) = model.embeddings.variables
    users.assign(np.zeros(users.shape))
    model.compile(kr.optimizers.SGD(RATE), loss=loss)
    logged = model.fit(X, batch_size=ROWS, epochs=1, verbose=0).history["loss"][0]
    return model, logged, model.item_table.table("candidate item")


def test_each_negative_counts_once_and_so_does_the_own_item():
    negatives = 6
    _, logged, items = items_after_a_step(kr.losses.BPR(negatives))
    assert logged == pytest.approx(np.log(2) + PENALTY * 4, rel=1e-6)
    lookups = ROWS * (1 + negatives)
    times = (1 - items[:, 0].astype("float64")) / (RATE * 2 * PENALTY) * lookups
    np.testing.assert_allclose(times, np.round(times), atol=1e-2)
    assert times.sum() == pytest.approx(lookups, abs=0.01)
    assert (np.round(times) >= np.bincount(X["item id"], minlength=ITEMS)).all()
    assert not times[:3].any()


@pytest.mark.parametrize("loss", [kr.losses.FullSoftmax(), kr.losses.GBCE(5, t=0.0)])
def test_a_loss_that_scores_all_items_penalizes_all(loss):
    _, _, items = items_after_a_step(loss)
    np.testing.assert_allclose(items, 1 - RATE * 2 * PENALTY / ITEMS, rtol=1e-6)


def test_an_in_batch_loss_penalizes_the_batchs_items():
    _, _, items = items_after_a_step(kr.losses.InBatchSoftmax())
    times = np.bincount(X["item id"], minlength=ITEMS)
    np.testing.assert_allclose(items[:, 0], 1 - RATE * 2 * PENALTY * times / ROWS, rtol=1e-6)


def test_evaluation_has_no_penalty():
    model, _, _ = items_after_a_step(kr.losses.FullSoftmax())
    (users,) = model.embeddings.variables
    users.assign(np.zeros(users.shape))
    assert model.evaluate(X, verbose=0, batch_size=ROWS) == pytest.approx(np.log(ITEMS - 3), rel=1e-6)
