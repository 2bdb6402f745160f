"""EarlyStopping looks several times per epoch, keeps the best weights and leaves the training as it is."""

import keras
import numpy as np
import polars as pl
import pytest

import kerasrec as kr
from kerasrec import etl

ROWS = 640


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """Ids that say little, which the model soon overfits."""
    folder, rng = tmp_path_factory.mktemp("features"), np.random.default_rng(0)
    frame = pl.DataFrame(
        {"a": rng.integers(0, 200, ROWS), "b": rng.integers(0, 200, ROWS), "y": rng.integers(0, 2, ROWS)}
    )
    workflow = etl.Workflow((["a", "b"] >> etl.Categorify()) + (["y"] >> etl.Target()))
    workflow.fit_transform(frame.head(ROWS // 2)).to_parquet(folder / "train")
    workflow.transform(frame.tail(ROWS // 2)).to_parquet(folder / "valid")
    return folder


def fitted(features, callbacks, epochs=6):
    keras.utils.set_random_seed(0)
    train = kr.Loader(features / "train", batch_size=20, shuffle=True, seed=0)
    model = kr.models.DCN(train.schema, embedding_dim=4, deep_units=[16])
    model.compile(kr.optimizers.Adagrad(0.1))
    return model, model.fit(train, epochs=epochs, verbose=0, callbacks=callbacks)


def test_it_stops_when_nothing_improves_and_restores_the_best_weights(features):
    valid = kr.Loader(features / "valid", batch_size=64)
    stopping = kr.callbacks.EarlyStopping(valid, patience=3)
    model, history = fitted(features, [stopping], epochs=50)
    losses = [check.logs["loss"] for check in stopping.checks]
    assert stopping.stopped
    assert stopping.best == int(np.argmin(losses)) == len(losses) - 4
    assert len(history.history["loss"]) < 50
    assert [check.step for check in stopping.checks[:5]] == [4, 8, 12, 16, 20]  # four times per epoch of 16
    assert model.evaluate(valid, verbose=0, return_dict=True) == pytest.approx(stopping.checks[stopping.best].logs)


def test_checks_change_nothing_about_the_training(features):
    valid = kr.Loader(features / "valid", batch_size=64)
    plain, history = fitted(features, [])
    stopping = kr.callbacks.EarlyStopping(valid, every=5, patience=10**6, restore_best_weights=False)
    checked, other = fitted(features, [stopping])
    for one, two in zip(plain.get_weights(), checked.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert history.history == other.history
    epoch = [check for check in stopping.checks if check.step <= 16]
    assert [check.step for check in epoch] == [5, 10, 15, 16]
    sizes = np.diff([0, 5, 10, 15, 16])
    mean = sum(size * check.train_losses["loss"] for size, check in zip(sizes, epoch, strict=True)) / 16
    assert mean == pytest.approx(history.history["loss"][0], rel=1e-5)


def test_another_figure_may_be_watched(features):
    valid = kr.Loader(features / "valid", batch_size=64)
    stopping = kr.callbacks.EarlyStopping(valid, monitor="auc", mode="max", patience=2)
    fitted(features, [stopping], epochs=30)
    aucs = [check.logs["auc"] for check in stopping.checks]
    assert stopping.best == int(np.argmax(aucs))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"patience": 0}, "patience must be an integer >= 1; got 0"),
        ({"every": 2.5}, "every must be an integer >= 1; got 2.5"),
        ({"mode": "auto"}, "mode must be 'min' or 'max'; got 'auto'"),
    ],
)
def test_invalid_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        kr.callbacks.EarlyStopping(None, **arguments)


def test_a_figure_that_is_not_there_is_named(features):
    valid = kr.Loader(features / "valid", batch_size=64)
    with pytest.raises(ValueError, match="monitor: evaluate returns no 'rmse'; available: "):
        fitted(features, [kr.callbacks.EarlyStopping(valid, monitor="rmse")])
