"""A loaded SavedModel answers as its signature does, and says in one line which input is wrong."""

import re
import shutil

import numpy as np
import pandas as pd
import polars as pl
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

import kerasrec as kr
from kerasrec import etl
from kerasrec.schema import SchemaError
from kerasrec.serving.grouped_call import GroupedCall
from kerasrec.serving.session_call import SessionCall


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of untrained weights: strings, lists, and numbers that may be null."""
    raw = pl.DataFrame(
        {
            "user": [f"u{i % 7}" for i in range(60)],
            "item id": [i % 9 for i in range(60)],
            "tags": [["a", "b", "c"][: i % 4] for i in range(60)],
            "price": [None if i % 9 == 0 else float(i) for i in range(60)],
            "clicked": [i % 2 for i in range(60)],
        }
    )
    cats = ["user", "item id", "tags"] >> etl.Categorify()
    conts = ["price"] >> etl.FillMissing() >> etl.Normalize()
    workflow = etl.Workflow(cats + conts + (["clicked"] >> etl.Target())).fit(raw)
    model = kr.models.WideAndDeep(workflow.output_schema, embedding_dim=4, deep_units=[8])
    return kr.serving.export(model, tmp_path_factory.mktemp("load") / "served", workflow=workflow)


@pytest.fixture(scope="module")
def served(folder):
    return kr.serving.load(folder)


GOOD = {
    "user": ["u1", "nobody"],
    "item_id": [3, 4],
    "tags__values": ["a", "b"],
    "tags__offsets": [0, 2, 2],
    "price": [1, 0.0],
    "price__valid": [True, False],
}


def test_the_answers_are_those_of_the_signature(folder, served):
    frame = {"user": ["u1", "nobody"], "item id": [3, 4], "tags": [["a", "b"], []], "price": [1.0, None]}
    signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
    expected = signature(**kr.serving.rows(pl.DataFrame(frame), folder))["clicked"].numpy()
    assert expected.shape == (2, 1)
    for answer in (
        served(**GOOD),
        served(**{name: np.array(values) for name, values in GOOD.items()}),
        served(**{name: tf.constant(values) for name, values in GOOD.items()}),
        served.predict(pl.DataFrame(frame)),
        served.predict(pd.DataFrame(frame)),
        served.predict(pl.DataFrame(frame).to_dicts()),
    ):
        np.testing.assert_array_equal(answer["clicked"], expected)
    nothing: dict[str, list] = {name: [] for name in GOOD} | {"tags__offsets": [0]}
    assert served(**nothing)["clicked"].shape == (0, 1)
    assert served.inputs["tags__offsets"] == "int64"
    assert "tags__values (string)" in repr(served)


def test_the_signature_of_features(folder):
    features = kr.serving.load(folder, "transformed")
    assert set(features.inputs) == {"user", "item_id", "tags__values", "tags__offsets", "price"}
    with pytest.raises(
        ValueError, match="takes raw rows, for signature 'serving_default'; this one is 'transformed'"
    ):
        features.predict([{}])


def without(name):
    return {key: value for key, value in GOOD.items() if key != name}


WRONG = {
    "missing": (without("user"), "missing 'user'; expected: item_id (int64), price (float64), "),
    "several": ({"user": ["a"]}, "missing 'item_id', 'price', 'price__valid', 'tags__offsets', 'tags__values'"),
    "misspelt": ({**GOOD, "usr": ["a"]}, "has no input 'usr'; did you mean 'user'?"),
    "raw name": ({**GOOD, "item id": [1, 2]}, "has no input 'item id'; did you mean 'item_id'?"),
    "unknown": ({**GOOD, "zzz": ["a"]}, "has no input 'zzz'; expected: item_id (int64), "),
    "numbers": ({**GOOD, "user": [1, 2]}, "input 'user' is int64; expected strings"),
    "null": ({**GOOD, "user": ["a", None]}, "input 'user', element 1: expected a string; got None"),
    "strings": ({**GOOD, "price": ["1", "2"]}, "input 'price' is <U1; expected float64"),
    "fraction": ({**GOOD, "item_id": [3, 4.5]}, "input 'item_id', element 1: 4.5 is not a value of int64"),
    "nan": ({**GOOD, "item_id": [float("nan"), 4]}, "input 'item_id', element 0: nan is not a value of int64"),
    "wide": ({**GOOD, "item_id": np.array([3, 2**63], "uint64")}, "element 1: 9223372036854775808 is not a value"),
    "truth": ({**GOOD, "price__valid": [1, 0]}, "input 'price__valid' is int64; expected bool"),
    "column": (
        {**GOOD, "price": [[1.0], [2.0]]},
        "input 'price' has shape (2, 1); expected one dimension, (rows,)",
    ),
    "scalar": ({**GOOD, "item_id": 3}, "input 'item_id' has shape (); expected one dimension"),
    "rows": ({**GOOD, "user": ["u1"]}, "same number of rows; lengths of the rows of user, the rows of item id, "),
    "one row": ({**GOOD, "item_id": [3]}, "same number of rows"),
    "offsets": ({**GOOD, "tags__offsets": [0, 1, 3]}, "the elements of tags__values, by tags__offsets"),
    "no offsets": ({**GOOD, "tags__offsets": []}, "same number of rows"),
    "valid": ({**GOOD, "price__valid": [True]}, "price__valid"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_inputs_are_one_line(served, name):
    inputs, said = WRONG[name]
    with pytest.raises(ValueError, match=re.escape(said)) as refusal:
        served(**inputs)
    assert "\n" not in str(refusal.value)


def test_rows_that_do_not_fit(served):
    with pytest.raises(SchemaError, match="user"):
        served.predict(pl.DataFrame({"item id": [3]}))


def test_no_model_adds_one_row_to_all_others(folder):
    """With TensorFlow alone too: numbers of shapes (1,) and (2,) could be added, and nobody would notice."""
    signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
    inputs = {name: tf.constant(values) for name, values in {**GOOD, "price": [1.0, 0.0]}.items()}
    inputs |= {name: tf.cast(inputs[name], dtype) for name, dtype in kr.serving.load(folder).inputs.items()}
    assert signature(**inputs)["clicked"].shape == (2, 1)
    with pytest.raises(tf.errors.InvalidArgumentError, match="inputs do not have the same number of rows"):
        signature(**{**inputs, "item_id": inputs["item_id"][:1]})


def test_what_is_not_there(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match="none is not a SavedModel: it has no saved_model.pb"):
        kr.serving.load(tmp_path / "none")
    with pytest.raises(ValueError, match="has no signature 'serve'; available: 'serving_default', 'transformed'"):
        kr.serving.load(folder, "serve")


@pytest.mark.parametrize("how", ["each tensor", "a tensor per dtype", "in a session"])
def test_calls_with_arrays_return_what_the_signature_returns(folder, served, how):
    module = tf.saved_model.load(str(folder))
    many = 0 if how == "each tensor" else 1000
    call = (
        SessionCall(folder) if how == "in a session" else GroupedCall(module.signatures["serving_default"], many)
    )
    assert call.inputs == served.inputs
    assert call.outputs == ("clicked",)
    arrays = {
        name: np.array(values, "object" if served.inputs[name] == "string" else served.inputs[name])
        for name, values in GOOD.items()
    }
    for part in (arrays, {name: values[: int(name == "tags__offsets")] for name, values in arrays.items()}):
        tensors = {name: tf.constant(values, served.inputs[name]) for name, values in part.items()}
        expected = module.signatures["serving_default"](**tensors)
        np.testing.assert_array_equal(call(part)["clicked"], expected["clicked"])


def test_a_session_refuses_tables_that_each_call_would_make_anew(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "old")
    file = tmp_path / "old" / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    tables = [node for node in saved.meta_graphs[0].graph_def.node if node.op == "MutableHashTableV2"]
    assert tables
    tables[0].op = "AnonymousMutableHashTable"
    file.write_bytes(saved.SerializeToString())
    with pytest.raises(NotImplementedError, match="old has tables without names"):
        SessionCall(tmp_path / "old")


def test_tensorflow_serving_finds_what_it_needs(folder, served):
    """It loads the tag "serve" into a session, runs the initializer, and feeds the tensors of the signature."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], str(folder))
        signature = loaded.signature_def["serving_default"]
        assert signature.method_name == "tensorflow/serving/predict"
        assert {name: tf.as_dtype(each.dtype).name for name, each in signature.inputs.items()} == served.inputs
        assert all([dim.size for dim in each.tensor_shape.dim] == [-1] for each in signature.inputs.values())
        feed = {signature.inputs[name].name: values for name, values in GOOD.items()}
        outputs = {name: each.name for name, each in signature.outputs.items()}
        answer = session.run(outputs, feed)
    assert list(answer) == ["clicked"]
    np.testing.assert_allclose(answer["clicked"], served(**GOOD)["clicked"], rtol=1e-6)
