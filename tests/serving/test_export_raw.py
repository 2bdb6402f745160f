"""Raw rows into a SavedModel, transformed rows into the Keras model: the same answers."""

import keras
import numpy as np
import polars as pl
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from served import answers_of

import kerasrec as kr
from kerasrec import etl
from kerasrec.schema import SchemaError

RAW = {
    "user": pl.String,
    "item id": pl.Int64,
    "device": pl.String,
    "tags": pl.List(pl.String),
    "history": pl.List(pl.Int32),
    "age": pl.Float64,
    "visits": pl.Int32,
    "clicked": pl.Int64,
}
USERS = ["ann", "bob", "", "zoë", "two\nlines", "a\tb", '"quoted"']


def log(rows=600, seed=0):
    rng = np.random.default_rng(seed)

    def some(values, share=0.1):
        return [None if rng.random() < share else value for value in values]

    lengths = rng.integers(0, 4, (rows, 2))
    return pl.DataFrame(
        {
            "user": some(rng.choice(USERS, rows).tolist()),
            "item id": some(rng.integers(-5, 30, rows).tolist()),
            "device": rng.choice(["phone", "tablet"], rows).tolist(),
            "tags": some([some(rng.choice(["x", "y", "z"], n).tolist()) for n in lengths[:, 0]]),
            "history": [rng.integers(0, 50, n).tolist() for n in lengths[:, 1]],
            "age": some(
                [float("nan") if rng.random() < 0.05 else age for age in rng.normal(40, 9, rows).tolist()]
            ),
            "visits": rng.integers(0, 1000, rows).tolist(),
            "clicked": rng.integers(0, 2, rows).tolist(),
        },
        schema=RAW,
    )


def make_workflow():
    cats = ["user", "item id", "device", "tags", "history"] >> etl.Categorify(min_count=2)
    conts = ["age"] >> etl.FillMissing(40.0) >> etl.Normalize()
    counts = ["visits"] >> etl.Clip(min=0) >> etl.LogOp() >> etl.FillMissing() >> etl.Normalize()
    return etl.Workflow(cats + conts + counts + (["clicked"] >> etl.Target()))


def untrained(schema):
    keras.utils.set_random_seed(3)
    model = kr.models.DLRM(schema, embedding_dim=8, bottom_units=[16, 8], top_units=[16])
    for weight in model.weights:  # an untrained table is near zero: make every id matter
        weight.assign(np.random.default_rng(weight.shape[0]).normal(0, 0.5, weight.shape))
    return model


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A workflow, a model and where both are served."""
    workflow = make_workflow().fit(log())
    model = untrained(workflow.output_schema)
    path = kr.serving.export(model, tmp_path_factory.mktemp("model") / "served", workflow=workflow)
    return workflow, model, path


def predicted(workflow, model, raw):
    """The model's own answer, through features in memory."""
    frame = workflow.transform(raw, targets=False).collect()
    features = {}
    for column in workflow.output_schema.features:
        values = frame[column.name]
        if column.is_list:
            flat = tf.constant(values.filter(values.list.len() > 0).explode().to_numpy(), column.dtype)
            features[column.name] = tf.RaggedTensor.from_row_lengths(
                flat, values.list.len().to_numpy().astype(np.int64)
            )
        else:
            features[column.name] = tf.constant(values.to_numpy())
    return np.asarray(model(features))


UNSEEN = pl.DataFrame(
    [
        ["nobody", 10**12, "fridge", ["x", "never", None, ""], [49, -7], 1e6, 0, 0],
        ["", None, "", [], [], None, 2**31 - 1, 0],
        [None, 3, "phone", None, None, float("nan"), -(2**31), 0],
        ["two\nlines", -5, "tablet", [None], [2**31 - 1], -1.0, 5, 0],
    ],
    schema=RAW,
    orient="row",
)


def test_a_process_without_keras_answers_as_the_model_does(served, tmp_path):
    workflow, model, path = served
    raws = [log(300, seed=1), UNSEEN, UNSEEN[:1], UNSEEN[:0]]
    answers = answers_of(path, [kr.serving.rows(raw, workflow) for raw in raws], tmp_path)
    for raw, answer in zip(raws, answers, strict=True):
        assert list(answer) == ["clicked"]
        assert answer["clicked"].shape == (len(raw), 1)
        if len(raw):
            np.testing.assert_allclose(answer["clicked"], predicted(workflow, model, raw), atol=1e-6)
    assert np.ptp(answers[0]["clicked"]) > 0.1


def test_the_inputs_are_those_of_the_contract(served):
    workflow, _, path = served
    _, inputs = tf.saved_model.load(str(path)).signatures["serving_default"].structured_input_signature
    assert {name: spec.dtype.name for name, spec in inputs.items()} == {
        "user": "string",
        "user__valid": "bool",
        "item_id": "int64",
        "item_id__valid": "bool",
        "device": "string",
        "tags__values": "string",
        "tags__offsets": "int64",
        "tags__valid": "bool",
        "history__values": "int32",
        "history__offsets": "int64",
        "age": "float64",
        "age__valid": "bool",
        "visits": "int32",
    }
    assert inputs.keys() == kr.serving.rows(log(3), workflow).keys()
    assert inputs.keys() == kr.serving.rows(log(3), path).keys()


words = st.none() | st.sampled_from(USERS) | st.text(max_size=3).filter(lambda text: "\0" not in text)
raw_rows = st.lists(
    st.fixed_dictionaries(
        {
            "user": words,
            "item id": st.none() | st.integers(-6, 31) | st.integers(-(2**63), 2**63 - 1),
            "device": st.sampled_from(["phone", "tablet", "", "fridge"]),
            "tags": st.none() | st.lists(words, max_size=3),
            "history": st.none() | st.lists(st.integers(-1, 51), max_size=4),
            "age": st.none() | st.floats(-1e3, 1e3) | st.just(float("nan")),
            "visits": st.integers(-(2**31), 2**31 - 1),
        }
    ),
    min_size=1,
    max_size=6,
)


@pytest.fixture(scope="module")
def signature(served):
    loaded = tf.saved_model.load(str(served[2]))
    return lambda wire: loaded.signatures["serving_default"](**wire)["clicked"].numpy()


@settings(deadline=None, max_examples=40)
@given(raw_rows)
def test_any_rows(served, signature, rows):
    workflow, model, _ = served
    raw = pl.DataFrame(rows, schema={name: dtype for name, dtype in RAW.items() if name != "clicked"})
    expected = predicted(workflow, model, raw)
    np.testing.assert_allclose(signature(kr.serving.rows(rows, workflow)), expected, atol=1e-6)


def test_a_functional_keras_model_is_served_padded(tmp_path):
    workflow = make_workflow().fit(log())
    schema = workflow.output_schema
    inputs, parts = {}, []
    keras.utils.set_random_seed(4)
    for column in schema.features.categorical:
        shape = (column.hotness.max,) if column.is_list else ()
        inputs[column.name] = keras.Input(shape, dtype=column.dtype, name=column.name)
        vectors = keras.layers.Embedding(column.cardinality, 4, mask_zero=column.is_list)(inputs[column.name])
        parts.append(keras.layers.GlobalAveragePooling1D()(vectors) if column.is_list else vectors)
    for column in schema.features.continuous:
        inputs[column.name] = keras.Input((1,), name=column.name)
        parts.append(inputs[column.name])
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.concatenate(parts)))
    kr.serving.export(model, tmp_path / "served", workflow=workflow)
    raw = log(100, seed=2)
    workflow.transform(raw).to_parquet(tmp_path / "features")
    expected = model.predict(kr.Loader(tmp_path / "features", lists="padded", targets=[]), verbose=0)
    wire = kr.serving.rows(raw, workflow)
    answer = tf.saved_model.load(str(tmp_path / "served")).signatures["serving_default"](**wire)
    np.testing.assert_allclose(answer["clicked"], expected, atol=1e-6)


def test_large_vocabularies_and_tables_stay_out_of_the_graph(tmp_path):
    rows = 300_000
    raw = pl.DataFrame(
        {
            "user": [f"user number {k}" for k in range(rows)],
            "x": np.arange(rows) % 7.0,
            "clicked": np.arange(rows) % 2,
        }
    )
    workflow = etl.Workflow(
        (["user"] >> etl.Categorify()) + (["x"] >> etl.Normalize()) + (["clicked"] >> etl.Target())
    ).fit(raw)
    model = untrained(workflow.output_schema)
    path = kr.serving.export(model, tmp_path / "served", workflow=workflow)
    assert (path / "saved_model.pb").stat().st_size < 500_000
    sample = raw[::30_000]
    answer = tf.saved_model.load(str(path)).signatures["serving_default"](**kr.serving.rows(sample, workflow))
    np.testing.assert_allclose(answer["clicked"], predicted(workflow, model, sample), atol=1e-6)


def test_a_workflow_of_another_fit_is_refused_before_anything_is_written(served, tmp_path):
    _, model, _ = served
    other = make_workflow().fit(log(40, seed=5))
    with pytest.raises(SchemaError, match="the model was made for .* ids, the workflow makes"):
        kr.serving.export(model, tmp_path / "served", workflow=other)
    less = etl.Workflow((["user"] >> etl.Categorify(min_count=2)) + (["clicked"] >> etl.Target())).fit(log())
    with pytest.raises(SchemaError, match="the model reads 'item id', which the workflow does not make"):
        kr.serving.export(model, tmp_path / "served", workflow=less)
    assert list(tmp_path.iterdir()) == []
