"""`kr.Pipeline`: what it returns is what the same steps by hand return; and what it says of what does not fit."""

import tempfile
from pathlib import Path

import keras
import numpy as np
import polars as pl
import pytest

import kerasrec as kr
from kerasrec import etl
from kerasrec.schema import SchemaError

ROWS = 500
EPOCHS = 2


def make_frame(rows=ROWS, seed=0):
    rng = np.random.default_rng(seed)
    user, age = rng.integers(0, 20, rows), rng.normal(size=rows)
    return pl.DataFrame(
        {
            "user id": user,
            "item": [f"i{i}" for i in rng.integers(0, 30, rows)],
            "tags": [rng.integers(0, 5, length).tolist() for length in rng.integers(0, 4, rows)],
            "age": pl.Series(age).set(pl.Series(rng.random(rows) < 0.1), None),
            "clicked": ((user % 3 == 0) ^ (age > 0)).astype(int),
            "rating": age * 2 + 1,
            "note": ["x"] * rows,
        },
        schema_overrides={"tags": pl.List(pl.Int64)},
    )


def make_workflow(*targets):
    cats = ["user id", "item", "tags"] >> etl.Categorify()
    conts = ["age"] >> etl.FillMissing() >> etl.Normalize()
    return etl.Workflow(cats + conts + (list(targets or ["clicked"]) >> etl.Target()))


def make_model(schema):
    keras.utils.set_random_seed(1)
    return kr.models.DLRM(schema, embedding_dim=4, bottom_units=[4], top_units=[8])


@pytest.fixture(scope="module")
def pipeline():
    """Fitted in memory; not to be changed."""
    return kr.Pipeline(make_workflow(), make_model).fit(make_frame(), epochs=EPOCHS, verbose=0)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same rows in two Parquet files."""
    folder = tmp_path_factory.mktemp("raw")
    make_frame()[:200].write_parquet(folder / "a.parquet")
    make_frame()[200:].write_parquet(folder / "b.parquet")
    return folder


@pytest.fixture(scope="module")
def by_hand(files, tmp_path_factory):
    """A workflow and a model, fitted step by step."""
    folder = tmp_path_factory.mktemp("features") / "train"
    workflow = make_workflow().fit(str(files / "*.parquet"))
    workflow.transform(str(files / "*.parquet")).to_parquet(folder)
    model = make_model(workflow.output_schema)
    model.compile()
    model.fit(kr.Loader(folder, shuffle=True), epochs=EPOCHS, verbose=0)
    return workflow, model


def test_it_equals_the_steps_by_hand(pipeline, by_hand):
    workflow, model = by_hand
    dataset = workflow.transform(make_frame(seed=1))
    expected = model.predict(kr.Loader(dataset, targets=[]), verbose=0)
    np.testing.assert_array_equal(pipeline.predict(make_frame(seed=1)), expected)
    scores = model.evaluate(kr.Loader(dataset), return_dict=True, verbose=0)
    assert pipeline.evaluate(make_frame(seed=1)) == scores
    assert list(pipeline.history) == ["auc", "loss"]


def test_files_are_as_a_frame_and_leave_nothing_behind(pipeline, files, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    out_of_core = kr.Pipeline(make_workflow(), make_model).fit(str(files / "*.parquet"), epochs=EPOCHS, verbose=0)
    assert out_of_core.history == pipeline.history
    expected = pipeline.predict(make_frame())
    np.testing.assert_array_equal(out_of_core.predict(files), expected)
    assert out_of_core.evaluate(files) == pipeline.evaluate(make_frame())
    assert list(tmp_path.iterdir()) == []
    lazy = kr.Pipeline(make_workflow(), make_model)
    lazy.fit(pl.scan_parquet(files), epochs=EPOCHS, verbose=0, features=tmp_path / "kept")
    np.testing.assert_array_equal(lazy.predict(pl.scan_parquet(files)), expected)
    assert len(kr.Loader(tmp_path / "kept" / "train").fingerprints) == 1
    with pytest.raises(FileExistsError, match="kept/train exists"):
        lazy.fit(files, features=tmp_path / "kept", verbose=0)


def test_raw_rows_in_every_form(pipeline):
    frame = make_frame(7, seed=3)
    expected = pipeline.predict(frame)
    assert (expected.shape, expected.dtype) == ((7, 1), np.float32)
    without_targets = frame.select("age", "note", "tags", "item", "user id")
    sparse = [{name: value for name, value in row.items() if value is not None} for row in frame.to_dicts()]
    forms = [without_targets, frame.to_pandas(), frame.to_arrow(), frame.to_dicts(), tuple(sparse)]
    for rows in [*forms, frame.to_dict(as_series=False), frame.lazy()]:
        np.testing.assert_array_equal(pipeline.predict(rows), expected)
    np.testing.assert_allclose(pipeline.predict(frame.to_dicts()[2:3]), expected[2:3], rtol=1e-5)
    np.testing.assert_allclose(pipeline.predict(frame, batch_size=2), expected, rtol=1e-5)
    for nothing in ([], frame.head(0), {name: [] for name in frame.columns}):
        assert pipeline.predict(nothing).shape == (0, 1)


def test_saved_loaded_and_exported_it_predicts_the_same(pipeline, tmp_path):
    frame = make_frame(50, seed=3)
    expected = pipeline.predict(frame)
    path = pipeline.save(tmp_path / "p")
    assert sorted(entry.name for entry in path.iterdir()) == ["model.keras", "workflow"]
    with pytest.raises(FileExistsError, match="p exists; choose another path"):
        pipeline.save(path)
    pipeline.save(path, overwrite=True)
    loaded = kr.load(path)
    assert type(loaded) is kr.Pipeline
    np.testing.assert_array_equal(loaded.predict(frame), expected)
    np.testing.assert_array_equal(kr.Pipeline.load(path).predict(frame), expected)
    assert loaded.evaluate(frame) == pipeline.evaluate(frame)
    loaded.fit(frame, verbose=0)  # it trains on, compiled as it was
    pipeline.export(tmp_path / "served")
    served = kr.load(tmp_path / "served")
    np.testing.assert_allclose(served.predict(frame)["clicked"], expected, rtol=1e-5)


def test_load_finds_out_what_there_is(pipeline, tmp_path):
    pipeline.save(tmp_path / "p")
    assert type(kr.load(tmp_path / "p" / "workflow")) is etl.Workflow
    assert type(kr.load(tmp_path / "p" / "model.keras")) is kr.models.DLRM
    pipeline.workflow.transform(make_frame(3)).to_parquet(tmp_path / "features")
    with pytest.raises(ValueError, match="a workflow; it contains transformed rows, which kr.Loader reads"):
        kr.load(tmp_path / "features")
    with pytest.raises(ValueError, match="is neither a pipeline .* it contains features, p"):
        kr.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is nothing at .*nowhere"):
        kr.load(tmp_path / "nowhere")
    (tmp_path / "p" / "model.keras").unlink()
    with pytest.raises(FileNotFoundError, match="p is not a pipeline: it has no model.keras"):
        kr.load(tmp_path / "p")


def test_held_out_rows_are_not_fitted_on():
    frame = make_frame().with_columns(item=pl.Series([f"i{i}" for i in range(ROWS)]))
    pipeline = kr.Pipeline(make_workflow(), make_model)
    pipeline.fit(frame, validation_fraction=0.2, epochs=3, verbose=0)
    train, held_out = etl.SplitRandom((0.8, 0.2))(frame)
    assert len(pipeline.workflow.vocabulary("item")) == 2 + len(pipeline.workflow.transform(train))
    scores = pipeline.evaluate(held_out)
    assert {name: pytest.approx(pipeline.history[f"val_{name}"][-1]) for name in scores} == scores
    assert list(map(len, pipeline.history.values())) == [3] * 4


def test_fit_again_trains_on():
    frame = make_frame()
    pipeline = kr.Pipeline(make_workflow(), "dcn").fit(frame, verbose=0)
    model, vocabulary = pipeline.model, pipeline.workflow.vocabulary("item")
    pipeline.fit(make_frame(100, seed=9), batch_size=50, verbose=0)
    assert pipeline.model is model
    assert int(model.optimizer.iterations) == 8 + 2  # 500 rows in batches of 64, and 100 of 50
    assert pipeline.workflow.vocabulary("item").equals(vocabulary)


def test_several_targets(tmp_path):
    frame = make_frame()
    pipeline = kr.Pipeline(make_workflow("clicked", "rating"), kr.models.DeepFM).fit(frame, verbose=0)
    found = pipeline.predict(frame.head(3).drop("clicked", "rating"))
    assert {name: output.shape for name, output in found.items()} == {"clicked": (3, 1), "rating": (3, 1)}
    assert {name: output.shape for name, output in pipeline.predict([]).items()} == {
        "clicked": (0, 1),
        "rating": (0, 1),
    }
    assert {"clicked_auc", "rating_rmse", "loss"} <= set(pipeline.evaluate(frame))
    assert "predicts clicked (binary), rating (regression)" in repr(pipeline)


def test_operators_that_drop_rows_drop_none_in_predict(files):
    young = ["age"] >> etl.Filter(pl.col("age") < 0) >> etl.FillMissing()
    workflow = etl.Workflow(young + (["user id"] >> etl.Categorify()) + (["clicked"] >> etl.Target()))
    pipeline = kr.Pipeline(workflow, make_model).fit(make_frame(), verbose=0)
    assert len(pipeline.workflow.transform(make_frame())) < ROWS
    for rows in (make_frame(), files):
        assert pipeline.predict(rows).shape == (ROWS, 1)


def test_a_functional_model_gets_exactly_its_inputs():
    workflow = make_workflow("rating").fit(make_frame())
    schema = workflow.output_schema
    inputs = {name: keras.Input((), name=name, dtype=schema[name].dtype) for name in ("user id", "age")}
    x = keras.layers.Embedding(schema["user id"].cardinality, 4)(inputs["user id"])
    x = keras.layers.Concatenate()([x, keras.layers.Reshape((1,))(inputs["age"])])
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    with pytest.raises(ValueError, match="compile '.*' with a loss first"):
        kr.Pipeline(workflow, model)
    model.compile("sgd", "mse")
    pipeline = kr.Pipeline(workflow, model).fit(make_frame(), verbose=0)
    assert pipeline.predict(make_frame(9)).shape == (9, 1)
    assert pipeline.predict([]).shape == (0, 1)


def test_what_does_not_fit_is_named(pipeline):
    frame = make_frame()
    with pytest.raises(RuntimeError, match=r"the pipeline is not fitted; call fit\(data\) first"):
        kr.Pipeline(make_workflow(), "dlrm").predict(frame)
    with pytest.raises(SchemaError, match="the frame: no column 'item'; available: user id, tags, age"):
        pipeline.predict(frame.drop("item"))
    with pytest.raises(SchemaError, match="no column 'clicked'"):
        pipeline.evaluate(frame.drop("clicked"))
    with pytest.raises(SchemaError, match="the rows, row 0: column 'age' is String, .* the value is 'old'"):
        pipeline.predict([{**frame.to_dicts()[0], "age": "old"}])
    with pytest.raises(ValueError, match="validation and validation_fraction exclude each other"):
        pipeline.fit(frame, frame, validation_fraction=0.1)
    with pytest.raises(ValueError, match=r"validation_fraction must be in \(0, 1\); got 1.5"):
        pipeline.fit(frame, validation_fraction=1.5)
    with pytest.raises(ValueError, match="validation_fraction=0.0001 holds out no row of the frame; raise it"):
        pipeline.fit(frame.head(4), validation_fraction=0.0001)
    with pytest.raises(ValueError, match="no model 'dlm'; available: lr, fm, .*dlrm"):
        kr.Pipeline(make_workflow(), "dlm")
    with pytest.raises(TypeError, match="workflow must be a kr.etl.Workflow; got str"):
        kr.Pipeline("workflow/")
    with pytest.raises(TypeError, match="the function of the schema must return a keras.Model; got NoneType"):
        kr.Pipeline(make_workflow(), lambda schema: None).fit(frame)
    with pytest.raises(ValueError, match="is built, so the workflow must be the fitted one"):
        kr.Pipeline(make_workflow(), pipeline.model)
    other = make_workflow().fit(frame.head(5))
    with pytest.raises(SchemaError, match="the model was made for .* ids, the workflow makes .* different fits"):
        kr.Pipeline(other, pipeline.model)


def test_names_in_any_case_and_with_either_dash():
    for name in ("DLRM", "Wide_And_Deep", "wide-and-deep", "deepfm"):
        assert repr(kr.Pipeline(make_workflow(), name)).startswith("Pipeline, not fitted: ")
    assert repr(kr.Pipeline(make_workflow(), "wideanddeep")).splitlines()[0] == "Pipeline, not fitted: WideAndDeep"


def test_its_repr(pipeline):
    first, *workflow, last = repr(pipeline).splitlines()
    assert first == f"Pipeline: DLRM, {pipeline.model.count_params():,} parameters, predicts clicked (binary)"
    assert workflow == repr(pipeline.workflow).splitlines()
    assert last.startswith("after 2 epochs: auc 0.")


def test_what_release_0_1_saved_is_a_pipeline():
    folder = Path(__file__).parents[1] / "release_0_1" / "files"
    expected = np.load(folder / "predictions.npy")
    np.testing.assert_allclose(kr.load(folder).predict(folder / "raw.parquet"), expected, atol=1e-6)


def of_pairs():
    rng = np.random.default_rng(0)
    users = ["user id"] >> etl.Categorify() >> etl.AddTags(["user", "user_id"])
    items = ["a.b"] >> etl.Categorify() >> etl.AddTags(["item", "item_id"])
    frame = pl.DataFrame({"user id": rng.integers(0, 9, 40), "a.b": rng.integers(0, 7, 40)})
    return users + items, frame, lambda schema: kr.models.MatrixFactorization(schema, 4)


def of_sequences():
    items = ["größe"] >> etl.Categorify() >> etl.AddTags(["item_id", "sequence"])
    frame = pl.DataFrame({"größe": np.random.default_rng(0).integers(0, 9, (40, 4)).tolist()})
    return items, frame, lambda schema: kr.models.SASRec(schema, 4, blocks=1, max_length=3)


@pytest.mark.parametrize("case", [of_pairs, of_sequences])
def test_retrieval_and_next_item_models_need_no_compile(case, tmp_path):
    nodes, frame, make = case()
    pipe = kr.Pipeline(etl.Workflow(nodes), make).fit(frame, verbose=0)
    loaded = kr.load(pipe.save(tmp_path / "pipe"))  # it evaluates, so it is compiled as the other was
    assert np.isfinite(list(loaded.evaluate(frame).values())).all()
    other = etl.Workflow(["x"] >> etl.Categorify())
    rows = other.fit(pl.DataFrame({"x": [1, 2]})).transform(pl.DataFrame({"x": [1, 2]}))
    with pytest.raises(SchemaError, match=r"none of the columns that the model reads, .*; available: 'x'"):
        pipe.model.fit(rows, verbose=0)
