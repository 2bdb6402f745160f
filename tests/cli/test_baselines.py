"""The baselines, on features as a workflow writes them, against scikit-learn's or plain arithmetic."""

import numpy as np
import polars as pl
import pytest

from kerasrec import etl
from kerasrec.cli.baselines import BASE_RATE, BIASES_ONLY, score_baselines
from kerasrec.schema import Column, Schema, Tag


def rows(count: int, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    user, tags, x = rng.integers(0, 30, count), rng.integers(0, 3, count), rng.normal(size=count)
    logit = np.linspace(-2, 2, 30)[user] + np.where(tags == 2, 1.0, 0.0) + np.sin(2 * x)
    return pl.DataFrame(
        {
            "user id": user,
            "a.b": [[["hot", "new"], ["new"], []][t] for t in 2 - tags],
            "<x>": np.where(rng.random(count) < 0.1, np.nan, x),
            "größe": rng.random(count),
            "clicked": (rng.random(count) < 1 / (1 + np.exp(-logit))).astype(np.int64),
            "spent": 3 * logit + rng.normal(size=count),
        }
    )


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    cats, numbers = (
        ["user id", "a.b"] >> etl.Categorify(),
        ["<x>", "größe"] >> etl.FillMissing() >> etl.Normalize(),
    )
    workflow = etl.Workflow(cats + numbers + (["clicked", "spent"] >> etl.Target()))
    workflow.fit(rows(6000, 0))
    for part, frame in (("train", rows(6000, 0)), ("valid", rows(1500, 1))):
        workflow.transform(frame).to_parquet(folder / part, row_group_rows=400)
    return folder


def test_every_target_has_both_baselines_and_they_predict_the_held_out_rows_in_order(features):
    baselines = score_baselines(features / "train", features / "valid")
    assert {name: list(kinds) for name, kinds in baselines.items()} == {
        "clicked": [BASE_RATE, BIASES_ONLY],
        "spent": [BASE_RATE, BIASES_ONLY],
    }
    train, valid = rows(6000, 0), rows(1500, 1)
    rate = baselines["clicked"][BASE_RATE]
    np.testing.assert_allclose(rate.predictions, train["clicked"].mean())
    assert rate.scores["auc"] == 0.5
    mean = baselines["spent"][BASE_RATE]
    expected = np.sqrt(((valid["spent"] - train["spent"].mean()) ** 2).mean())
    assert mean.scores["rmse"] == pytest.approx(expected)
    spent = baselines["spent"][BIASES_ONLY]
    assert np.corrcoef(spent.predictions, valid["spent"])[0, 1] > 0.9
    assert spent.scores["rmse"] == pytest.approx(np.sqrt(((valid["spent"] - spent.predictions) ** 2).mean()))


def test_biases_only_scores_like_scikit_learns_logistic_regression_on_the_same_columns(features):
    linear_model = pytest.importorskip("sklearn.linear_model")
    metrics = pytest.importorskip("sklearn.metrics")
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    parts = [pl.read_parquet(features / part / "*.parquet") for part in ("train", "valid")]
    numbers = ("<x>", "größe")
    edges = {name: np.unique(np.quantile(parts[0][name], np.linspace(0, 1, 65)[1:-1])) for name in numbers}

    def ids(frame):
        bins = [np.digitize(frame[name], edges[name]) for name in numbers]
        return np.stack([frame["user id"], *bins], axis=1)

    one_hot = preprocessing.OneHotEncoder(handle_unknown="ignore").fit(ids(parts[0]))

    def matrix(frame):
        lists = [[row.count(i) / max(1, len(row)) for i in range(6)] for row in frame["a.b"].to_list()]
        return np.hstack([one_hot.transform(ids(frame)).toarray(), lists])

    model = linear_model.LogisticRegression(C=0.1, max_iter=1000).fit(matrix(parts[0]), parts[0]["clicked"])
    expected = metrics.roc_auc_score(parts[1]["clicked"], model.predict_proba(matrix(parts[1]))[:, 1])
    biases = score_baselines(features / "train", features / "valid")["clicked"][BIASES_ONLY]
    assert biases.scores["auc"] == pytest.approx(expected, abs=1e-3)
    assert biases.scores["auc"] > 0.7


def write(folder, frame, *columns):
    """Features without a workflow: one file, and its schema."""
    folder.mkdir()
    frame.write_parquet(folder / "part.parquet")
    Schema(columns).save(folder)
    return folder


def test_rows_of_no_weight_do_not_count(tmp_path):
    columns = [
        Column("user id", "int32", (Tag.CATEGORICAL,), cardinality=30),
        Column("w", "float32", (Tag.WEIGHT,)),
    ]
    target = Column("clicked", "int64", (Tag.TARGET, Tag.BINARY))
    frame = rows(3000, 2).select("user id", "clicked", w=pl.Series(np.arange(3000) % 2, dtype=pl.Float32))
    every = write(tmp_path / "every", frame, *columns, target)
    kept = write(tmp_path / "kept", frame.filter(pl.col("w") > 0), columns[0], target)
    weighted, expected = (score_baselines(folder, folder)["clicked"] for folder in (every, kept))
    for name in (BASE_RATE, BIASES_ONLY):
        assert weighted[name].scores == pytest.approx(expected[name].scores)
    assert weighted[BIASES_ONLY].scores["auc"] > 0.6


def test_without_columns_for_biases_there_is_the_base_rate_alone(tmp_path):
    frame = pl.DataFrame({"v": [[1.0, 2.0], [3.0, 4.0]], "y": [0, 1]})
    columns = Column("v", "float32", (Tag.CONTINUOUS, Tag.LIST)), Column("y", "int64", (Tag.TARGET, Tag.BINARY))
    folder = write(tmp_path / "features", frame, *columns)
    assert list(score_baselines(folder, folder)["y"]) == [BASE_RATE]
