"""Importance of columns for a model that was trained on rows whose law is known."""

import numpy as np
import polars as pl
import pytest

import kerasrec as kr
from kerasrec import etl
from kerasrec.cli.importance import permutation_importance
from kerasrec.datasets import metrics


def rows(count: int, seed: int) -> pl.DataFrame:
    """Clicks follow the user, and a little the tags; spending follows x; noise is noise."""
    rng = np.random.default_rng(seed)
    user, tag, x = rng.integers(0, 10, count), rng.integers(0, 2, count), rng.normal(size=count)
    logit = np.where(user < 5, -2.0, 2.0) + np.where(tag == 1, 0.5, -0.5)
    return pl.DataFrame(
        {
            "user id": user,
            "a.b": [["hot", "new"] if t else ["new"] for t in tag],
            "noise": rng.integers(0, 5, count),
            "größe": x,
            "clicked": (rng.random(count) < 1 / (1 + np.exp(-logit))).astype(np.int64),
        }
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    import keras

    folder = tmp_path_factory.mktemp("importance")
    ids = ["user id", "a.b", "noise"] >> etl.Categorify()
    workflow = etl.Workflow(ids + (["größe"] >> etl.Normalize()) + (["clicked"] >> etl.Target()))
    workflow.fit(rows(8000, 0)).transform(rows(8000, 0)).to_parquet(folder / "train")
    workflow.transform(rows(2000, 1)).to_parquet(folder / "valid")
    train = kr.Loader(folder / "train", batch_size=256, shuffle=True)
    keras.utils.set_random_seed(0)
    model = kr.models.DCN(train.schema, embedding_dim=4, deep_units=[16])
    model.compile(optimizer=keras.optimizers.Adagrad(0.1), loss="binary_crossentropy")
    model.fit(train, epochs=3, verbose=0)
    return model, folder / "valid"


def test_the_column_that_decides_is_first_and_noise_is_nothing(trained):
    model, valid = trained
    importance = permutation_importance(model, valid)["clicked"]
    assert list(importance)[:2] == ["user id", "a.b"]
    assert sorted(importance) == sorted(["user id", "a.b", "noise", "größe"])
    assert importance["user id"].drop > 0.2
    assert 0 < importance["a.b"].drop < 0.15
    assert abs(importance["noise"].drop) < 0.02
    assert all(0 < value.standard_error < 0.02 for value in importance.values())


def test_a_drop_is_that_of_the_auc_of_shuffled_rows(trained, tmp_path):
    model, valid = trained
    frame = pl.read_parquet(valid / "*.parquet")
    labels = frame["clicked"].to_numpy()

    def auc(features):
        features.write_parquet(tmp_path / "part.parquet")
        loader = kr.Loader(tmp_path, batch_size=512, schema=kr.Schema.load(valid), targets=[])
        return metrics.auc(labels, model.predict(loader, verbose=0))

    orders = [np.random.default_rng(seed).permutation(len(frame)) for seed in range(8)]
    score = auc(frame)
    drops = [score - auc(frame.with_columns(frame["user id"].gather(order))) for order in orders]
    expected = permutation_importance(model, valid, repeats=10)["clicked"]["user id"]
    assert expected.drop == pytest.approx(np.mean(drops), abs=4 * expected.standard_error)
    assert expected.standard_error == pytest.approx(np.std(drops) / np.sqrt(10), rel=0.8)


def test_the_seed_decides_and_few_rows_are_enough(trained):
    model, valid = trained
    first, again, other = (
        permutation_importance(model, valid, seed=s, repeats=2, max_rows=300) for s in (1, 1, 2)
    )
    assert first == again
    assert first != other
