"""Metrics in `compile` and `fit`: what ends up in `history`, and what `evaluate` returns, is exact."""

import keras
import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

import kerasrec as kr

ROWS = 900


def rows():
    rng = np.random.default_rng(3)
    user, age = rng.integers(0, 30, ROWS).astype("int32"), rng.standard_normal(ROWS).astype("float32")
    labels = (rng.random(ROWS) < 1 / (1 + np.exp(-age - np.sin(user)))).astype("float32")
    return {"user": user, "age": age}, labels


def schema():
    return kr.Schema(
        [
            kr.Column("user", "int32", tags=("categorical",), cardinality=30),
            kr.Column("age", "float32", tags=("continuous",)),
            kr.Column("click", "int8", tags=("target", "binary")),
        ]
    )


@pytest.mark.parametrize("options", [{}, {"steps_per_execution": 4}, {"run_eagerly": True}], ids=str)
def test_history_and_evaluate_have_the_exact_values_of_a_schema_model(options):
    keras.utils.set_random_seed(0)  # some initial weights leave predictions that are equal but for their rounding
    x, y = rows()
    w = np.random.default_rng(1).integers(0, 3, ROWS).astype("float32")
    model = kr.models.DLRM(schema(), 4, bottom_units=[4], top_units=[4])
    gauc = kr.metrics.GroupAUC("user", capacity=4096)
    auc = kr.metrics.AUC(capacity=256)  # less than an epoch's rows
    model.compile("sgd", metrics=[auc, "logloss", gauc], weighted_metrics=[kr.metrics.AUC("weighted")], **options)
    seen = []
    watch = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append((logs["auc"], logs["gauc"]))
    )
    history = model.fit(
        x, y, sample_weight=w, batch_size=64, epochs=2, verbose=0, validation_data=(x, y, w), callbacks=[watch]
    ).history
    p = model.predict(x, verbose=0).ravel()
    logs = {
        f"val_{name}": value
        for name, value in model.evaluate(x, y, sample_weight=w, verbose=0, return_dict=True).items()
    }
    expected = {
        "val_auc": roc_auc_score(y, p),
        "val_weighted": roc_auc_score(y, p, sample_weight=w),
        "val_logloss": log_loss(y, p),
        "val_gauc": by_user(x["user"], y, p),
    }
    for name, value in expected.items():
        tolerance = 1e-3 if name == "val_auc" else 1e-6  # 900 rows in 256 ranges; the bound is checked elsewhere
        assert abs(history[name][-1] - value) < tolerance, name
        assert abs(logs[name] - value) < tolerance, name
    assert all(np.isnan(value) or 0 <= value <= 1 for values in seen for value in values)
    assert not np.isnan(seen[-1]).any()
    assert not np.isnan(seen[0][1])


def by_user(users, y, p):
    parts = [(users == user) for user in np.unique(users)]
    parts = [part for part in parts if 0 < y[part].mean() < 1]
    return np.average([roc_auc_score(y[part], p[part]) for part in parts], weights=[part.sum() for part in parts])


def test_any_keras_model_takes_them_and_its_file_has_them(tmp_path):
    x, y = rows()
    x = np.stack([x["user"] / 30, x["age"]], 1).astype("float32")
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, activation="sigmoid")])
    names = ["AUC", "LogLoss", "NormalizedEntropy", "Calibration"]
    model.compile("sgd", "binary_crossentropy", metrics=[getattr(kr.metrics, name)() for name in names])
    history = model.fit(x, y, batch_size=200, verbose=0, validation_data=(x, y)).history
    assert abs(history["val_auc"][0] - roc_auc_score(y, model.predict(x, verbose=0))) < 1e-6
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.evaluate(x, y, verbose=0, return_dict=True) == pytest.approx(
        model.evaluate(x, y, verbose=0, return_dict=True)
    )


def test_names_make_exact_metrics_and_a_number_is_no_target_of_theirs():
    model = kr.models.DLRM(schema(), 4, bottom_units=[4], top_units=[4], task="regression")
    for metric in ("auc", "logloss", "normalized_entropy", "calibration", kr.metrics.GroupAUC("user", capacity=8)):
        with pytest.raises(ValueError, match="needs a target of 0 and 1"):
            model.compile(metrics=[metric])


def test_a_group_column_that_the_batch_lacks_is_named():
    x, y = rows()
    model = kr.models.DLRM(schema(), 4, bottom_units=[4], top_units=[4])
    model.compile(metrics=[kr.metrics.GroupAUC("session", capacity=8)])
    with pytest.raises(ValueError, match="gauc: no column 'session' in the batch; available: user, age"):
        model.fit(x, y, verbose=0)
