"""Columns of any name, from files to a model to what serves it."""

import keras
import numpy as np
import polars as pl
import pytest
from served import answers_of

import kerasrec as kr
from kerasrec import etl

IDS = ["self", "a/b", "..", "class", "x" * 100, "table a%2Fb", "a%2Fb", "user", "User", "a__values", "new\nline"]
NUMBERS = ["a b", "a__offsets", 'q"', "inputs", "training", "größe", "数", "1st", "col_1st", " "]
TARGET = "is it/clicked?"


def log(rows=48):
    rng = np.random.default_rng(0)
    numbers = {name: rng.integers(0, 5, rows) for name in [*IDS, *NUMBERS]}
    lists = [rng.integers(0, 5, n).tolist() or None for n in rng.integers(0, 4, rows)]
    frame = pl.DataFrame({**numbers, "a": lists, TARGET: rng.integers(0, 2, rows)})
    return frame.with_columns(pl.when(pl.col(name) > 0).then(pl.col(name)) for name in IDS[:4])


def test_any_name_goes_all_the_way(tmp_path):
    raw = log()
    ids = ["a", *IDS] >> etl.Categorify()
    workflow = etl.Workflow(ids + NUMBERS + ([TARGET] >> etl.Target())).fit(raw)
    workflow.transform(raw).to_parquet(tmp_path / "train[1]", progress=False)
    workflow.save(tmp_path / "workflow[1]")
    workflow = etl.Workflow.load(tmp_path / "workflow[1]")
    loader = kr.Loader(tmp_path / "train[1]", batch_size=len(raw))
    model = kr.models.DCN(loader.schema, embedding_dim=4, deep_units=[4])
    model.compile(kr.optimizers.Adagrad(0.5), "binary_crossentropy")
    model.fit(loader, epochs=2, verbose=0)
    expected = model.predict(loader, verbose=0)
    model.save(tmp_path / "model[1].keras")
    kr.parallel.save(model, tmp_path / "checkpoint[1]")
    again = keras.saving.load_model(tmp_path / "model[1].keras")
    np.testing.assert_array_equal(again.predict(loader, verbose=0), expected)
    for weight in again.weights:
        weight.assign(weight * 0)
    kr.parallel.restore(again, tmp_path / "checkpoint[1]")
    np.testing.assert_array_equal(again.predict(loader, verbose=0), expected)
    kr.serving.export(again, tmp_path / "served", workflow=workflow)
    wire = kr.serving.rows(raw, tmp_path / "served")
    assert set(wire) >= {"user", "User_2", "a__values", "a__values_2", "a__offsets_2", "col_1st", "col_1st_2"}
    (answer,) = answers_of(tmp_path / "served", [wire], tmp_path)
    assert list(answer) == [TARGET]
    np.testing.assert_allclose(answer[TARGET], expected, atol=1e-6)


def test_a_path_that_tensorflow_would_not_find(tmp_path):
    """It looks for a model's variables by a pattern, and beside `run[1]` would read those of `run1`."""
    x = keras.Input((), name="x")
    model = keras.Model({"x": x}, keras.ops.reshape(x, (-1, 1)))
    for name in ("run[1]", "run*", "run?", "back\\slash"):
        with pytest.raises(ValueError, match="TensorFlow reads a SavedModel's path as a pattern"):
            kr.serving.export(model, tmp_path / name / "served")
    assert not list(tmp_path.iterdir())
