"""Files that release 0.1 wrote (by `make.py`, on one rank and on two) still load and mean the same."""

import json
from pathlib import Path

import keras
import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import kerasrec as kr
from kerasrec import etl

FILES = Path(__file__).parent / "files"
PREDICTIONS = np.load(FILES / "predictions.npy")


@pytest.fixture
def loader():
    return kr.Loader(FILES / "data", batch_size=64)


def untrained(loader):
    keras.utils.set_random_seed(1)
    model = kr.models.DLRM(loader.schema, embedding_dim=4, bottom_units=[4], top_units=[4], name="dlrm")
    model.compile(kr.optimizers.Adagrad(0.05), loss="binary_crossentropy")
    return model


def assert_predicts(model, loader, expected=PREDICTIONS):
    np.testing.assert_allclose(model.predict(loader, verbose=0), expected, atol=1e-6)


def test_workflow():
    raw = pl.read_parquet(FILES / "raw.parquet", glob=False)
    made = etl.Workflow.load(FILES / "workflow").transform(raw).collect()
    expected = pl.read_parquet(FILES / "expected.parquet", glob=False)
    assert_frame_equal(made, expected, check_dtypes=False)


def test_model_file(loader):
    import kerasrec.models
    import kerasrec.optimizers  # noqa: F401

    model = keras.saving.load_model(FILES / "model.keras")
    assert_predicts(model, loader)
    model.fit(loader, verbose=0)


def test_weights_file(loader):
    model = untrained(loader)
    model.load_weights(FILES / "model.weights.h5")
    assert_predicts(model, loader)


def test_tables(loader):
    model = untrained(loader)
    kr.restore_tables(model, FILES / "tables")
    whole = untrained(loader)
    whole.load_weights(FILES / "model.weights.h5")
    (mine,), (theirs,) = model.embeddings.trainable_variables, whole.embeddings.trainable_variables
    np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("ranks", ["", "_of_2_ranks"])
def test_checkpoint(ranks, loader):
    model = untrained(loader)
    kr.parallel.restore(model, FILES / f"checkpoint{ranks}")
    assert_predicts(model, loader, np.load(FILES / f"predictions{ranks}.npy"))
    model.fit(loader, verbose=0)


def test_loader_state():
    loader = kr.Loader(FILES / "data", batch_size=16, shuffle=True, seed=3)
    whole = [target for _, target in loader]
    loader.restore(json.loads((FILES / "loader.json").read_text()))
    for restored, target in zip(loader, whole[2:], strict=True):
        np.testing.assert_array_equal(restored[1], target)
