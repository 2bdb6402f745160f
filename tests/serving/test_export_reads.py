"""A SavedModel asks for what its model reads and holds no more; what comes out keeps its type."""

import keras
import numpy as np
import polars as pl
import pytest
import tensorflow as tf

import kerasrec as kr
from kerasrec import etl

RAW = pl.DataFrame(
    {
        "user": ["a", "b", "c", None],
        "item": ["x", "y", "x", "z"],
        "seller": [1, 2, 2, 1],
        "weight": [1.0, 2.0, 1.0, 1.0],
        "session": [2**24 + 1, 2**24, 3, 4],
        "clicked": [0, 1, 1, 0],
    }
)


def fitted():
    cats = ["user", "item"] >> etl.Categorify()
    seller = ["seller"] >> etl.Categorify(vocabs={"seller": [1, 2]})
    return etl.Workflow(cats + seller + ["weight", "session"] + (["clicked"] >> etl.Target())).fit(RAW)


def signature_of(path):
    served = tf.saved_model.load(str(path))
    _, inputs = served.signatures["serving_default"].structured_input_signature
    return served, set(inputs)


def functional(names, dtype="int32"):
    inputs = {name: keras.Input((), dtype=dtype, name=name) for name in names}
    numbers = [keras.ops.cast(keras.ops.reshape(x, (-1, 1)), "float32") for x in inputs.values()]
    return keras.Model(
        inputs, keras.layers.Dense(1, name="score")(keras.layers.Concatenate()([*numbers, *numbers]))
    )


def test_what_the_model_does_not_read_is_not_asked_for(tmp_path):
    workflow = fitted()
    workflow.transform(RAW).to_parquet(tmp_path / "train")
    loader = kr.Loader(tmp_path / "train", batch_size=4, sample_weight="weight")
    whole = kr.models.DCN(loader.schema, embedding_dim=4, deep_units=[4])
    whole.compile(kr.optimizers.Adagrad(0.1), "binary_crossentropy")
    whole.fit(loader, verbose=0)
    kr.serving.export(whole, tmp_path / "whole", workflow=workflow)
    served, asked = signature_of(tmp_path / "whole")
    assert asked == {"user", "user__valid", "item", "seller", "session"}
    (answer,) = served.signatures["serving_default"](**kr.serving.rows(RAW, tmp_path / "whole")).values()
    np.testing.assert_allclose(answer, whole.predict(loader, verbose=0), atol=1e-6)

    kr.serving.export(functional(["user"]), tmp_path / "query", workflow=workflow)
    query, asked = signature_of(tmp_path / "query")
    assert asked == {"user", "user__valid"}
    assert len(query.features.resources) == 1 < len(served.features.resources)
    wire = kr.serving.rows([{"user": "b"}], tmp_path / "query")
    assert wire.keys() == asked
    assert query.signatures["serving_default"](**wire)["clicked"].shape == (1, 1)


def test_outputs_keep_their_type(tmp_path):
    inputs = {"item": keras.Input((), dtype="int64", name="item")}
    best = keras.ops.stack([inputs["item"], inputs["item"] + 1], axis=1)
    double = keras.ops.cast(best, "float64") / 4
    model = keras.Model(inputs, {"ids": best, "scores": double})
    schema = kr.Schema([kr.Column("item", "int64")])
    kr.serving.export(model, tmp_path / "served")
    served, _ = signature_of(tmp_path / "served")
    answer = served.signatures["serving_default"](**kr.serving.rows([{"item": 100_000_004}], schema))
    assert answer["ids"].numpy().tolist() == [[100_000_004, 100_000_005]]
    assert answer["scores"].dtype == tf.float64
    np.testing.assert_array_equal(answer["scores"], np.array([[100_000_004, 100_000_005]]) / 4)


def test_an_integer_that_is_a_measure(tmp_path):
    """A model reads it as float32, an unknown key's as NaN."""
    homes = pl.DataFrame({"user": ["a", "b", "c"], "age": [10, 20, 30]})
    columns = (["item"] >> etl.Categorify()) + (["user"] >> etl.JoinExternal(homes, "user"))["age"]
    workflow = etl.Workflow(columns + (["clicked"] >> etl.Target()))
    workflow.fit(RAW.drop_nulls())
    assert workflow.output_schema["age"].dtype == "int64"
    model = kr.models.DCN(workflow.output_schema, embedding_dim=4, deep_units=[4], task="regression")
    frame = workflow.transform(RAW.drop_nulls()).collect()
    expected = model({"item": frame["item"].to_numpy(), "age": frame["age"].to_numpy()})
    kr.serving.export(model, tmp_path / "served", workflow=workflow)
    served, _ = signature_of(tmp_path / "served")
    raw = [*RAW.drop_nulls().to_dicts(), {"user": "nobody", "item": "x"}]
    (answer,) = served.signatures["serving_default"](**kr.serving.rows(raw, tmp_path / "served")).values()
    np.testing.assert_allclose(answer[:-1], expected, atol=1e-6)
    assert np.isnan(answer[-1])
    features = {"item": tf.constant(frame["item"]), "age": tf.constant(frame["age"])}
    (answer,) = served.signatures["transformed"](**features).values()
    np.testing.assert_allclose(answer, expected, atol=1e-6)

    float_model = functional(["age"], "float32")
    kr.serving.export(float_model, tmp_path / "float", workflow=workflow)
    served, _ = signature_of(tmp_path / "float")
    (answer,) = served.signatures["serving_default"](
        **kr.serving.rows([{"user": "b"}], tmp_path / "float")
    ).values()
    np.testing.assert_allclose(answer, float_model({"age": np.float32([20])}), rtol=1e-6)


def test_two_outputs_of_one_name_are_refused(tmp_path):
    x = keras.Input((), dtype="float32", name="x")
    dense = keras.layers.Dense(1, name="score")
    wide = keras.ops.reshape(x, (-1, 1))
    model = keras.Model({"x": x}, [dense(wide), dense(2 * wide)])
    if len(set(model.output_names)) == 2:
        pytest.skip("this Keras names them apart")
    with pytest.raises(ValueError, match="several outputs named 'score'"):
        kr.serving.export(model, tmp_path / "served")
    assert not (tmp_path / "served").exists()
