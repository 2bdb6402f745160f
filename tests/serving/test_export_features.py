"""Exporting a model alone: its `transformed` signature, what it refuses, and what a failed write leaves."""

import subprocess
import sys
import textwrap
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from served import answers_of

import kerasrec as kr
from kerasrec import Column, Schema
from kerasrec.schema import Hotness, SchemaError

SCHEMA = Schema(
    [
        Column("user", "int32", ("categorical",), cardinality=50, embedding_dim=8, table="user"),
        Column("tags", "int32", ("categorical", "list"), cardinality=20, embedding_dim=8, table="tags",
               hotness=Hotness(0, 1.5, 4)),
        Column("age", "float32", ("continuous",)),
        Column("clicked", "float32", ("target", "binary")),
    ]
)  # fmt: skip


def dlrm(schema=SCHEMA, **kwargs):
    keras.utils.set_random_seed(1)
    return kr.models.DLRM(schema, embedding_dim=8, bottom_units=[16, 8], top_units=[16], **kwargs)


def functional(width=4, **user):
    """A plain Keras model of the same features, lists padded with 0."""
    keras.utils.set_random_seed(2)
    inputs = {
        "user": keras.Input((), name="user", **{"dtype": "int32", **user}),
        "tags": keras.Input((width,), dtype="int32", name="tags"),
        "age": keras.Input((1,), dtype="float32", name="age"),
    }
    tags = keras.layers.Embedding(20, 8, mask_zero=True)(inputs["tags"])
    x = keras.layers.concatenate(
        [
            keras.layers.Embedding(50, 8)(inputs["user"]),
            keras.layers.GlobalAveragePooling1D()(tags),
            inputs["age"],
        ]
    )
    return keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid", name="chance")(x))


def batch(rows, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 5, rows)
    return {
        "user": rng.integers(0, 50, rows).astype(np.int32),
        "tags__values": rng.integers(3, 20, lengths.sum()).astype(np.int32),
        "tags__offsets": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        "age": rng.normal(size=rows).astype(np.float32),
    }


def features_of(wire, padded):
    tags = tf.RaggedTensor.from_row_splits(wire["tags__values"], wire["tags__offsets"])
    return {
        "user": tf.constant(wire["user"]),
        "age": tf.constant(wire["age"]),
        "tags": tags.to_tensor(shape=[None, 4]) if padded else tags,
    }


@pytest.mark.parametrize(("make", "padded", "output"), [(dlrm, False, "clicked"), (functional, True, "chance")])
def test_without_keras_a_model_answers_the_same(make, padded, output, tmp_path):
    model, wires = make(), [batch(rows) for rows in (1, 200, 0)]
    assert kr.serving.export(model, tmp_path / "served") == tmp_path / "served"
    for signature in ("transformed", "serving_default"):
        answers = answers_of(tmp_path / "served", wires, tmp_path, signature)
        for wire, answer in zip(wires, answers, strict=True):
            assert list(answer) == [output]
            expected = np.asarray(model(features_of(wire, padded)))
            assert answer[output].shape == (len(wire["user"]), 1)
            np.testing.assert_allclose(answer[output], expected, atol=1e-6)


def test_signatures_say_what_goes_in_and_comes_out(tmp_path):
    kr.serving.export(dlrm(), tmp_path / "served")
    served = tf.saved_model.load(str(tmp_path / "served")).signatures["transformed"]
    _, inputs = served.structured_input_signature
    assert {name: (spec.shape.as_list(), spec.dtype.name) for name, spec in inputs.items()} == {
        "user": ([None], "int32"),
        "tags__values": ([None], "int32"),
        "tags__offsets": ([None], "int64"),
        "age": ([None], "float32"),
    }
    ((name, spec),) = served.structured_outputs.items()
    assert (name, spec.dtype, spec.shape.as_list()) == ("clicked", tf.float32, [None, 1])


def test_tables_are_variables_and_optimizer_state_stays_home(tmp_path):
    model = dlrm()
    model.compile(optimizer=kr.optimizers.Adagrad(0.1), loss="binary_crossentropy", metrics=["auc"])
    model.fit(features_of(batch(64), padded=False), np.ones((64, 1)), verbose=0)
    kr.serving.export(model, tmp_path / "served")
    served = tf.saved_model.load(str(tmp_path / "served"))
    shapes = sorted(tuple(variable.shape) for variable in served.variables_read)
    assert shapes == sorted(tuple(weight.shape) for weight in model.weights)
    assert (tmp_path / "served" / "saved_model.pb").stat().st_size < 200_000


def test_an_offset_that_does_not_end_at_the_last_value_is_refused(tmp_path):
    kr.serving.export(dlrm(), tmp_path / "served")
    served = tf.saved_model.load(str(tmp_path / "served")).signatures["transformed"]
    wire = batch(10)
    wire["tags__offsets"][-1] += 1
    with pytest.raises(tf.errors.InvalidArgumentError):
        served(**wire)


# ---- refusals -----------------------------------------------------------------------------------------------
def test_a_path_that_exists_is_left_alone(tmp_path):
    kept = tmp_path / "mine"
    kept.mkdir()
    (kept / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="mine exists; choose another path"):
        kr.serving.export(dlrm(), kept)
    with pytest.raises(FileExistsError, match="mine is not replaced: it contains 'thesis.txt'"):
        kr.serving.export(dlrm(), kept, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert (kept / "thesis.txt").read_text() == "years of work"


def test_an_older_export_is_replaced_when_asked(tmp_path):
    path, wire = tmp_path / "served", batch(5)
    kr.serving.export(functional(), path)
    kr.serving.export(dlrm(), path, overwrite=True)
    answer = tf.saved_model.load(str(path)).signatures["transformed"](**wire)
    np.testing.assert_allclose(answer["clicked"], dlrm()(features_of(wire, padded=False)), atol=1e-6)
    assert [entry.name for entry in tmp_path.iterdir()] == ["served"]


def test_models_that_cannot_be_exported(tmp_path):
    class Own(keras.Model):
        def call(self, features):
            return features["age"]

    with pytest.raises(ValueError, match="'own' is not built"):
        kr.serving.export(Own(name="own"), tmp_path / "served")
    one = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)], name="one")
    with pytest.raises(ValueError, match="the names of the features of 'one' are not known"):
        kr.serving.export(one, tmp_path / "served")
    image = {"picture": keras.Input((8, 8), name="picture")}
    with pytest.raises(ValueError, match="'picture' is .*features are"):
        kr.serving.export(keras.Model(image, keras.layers.Flatten()(image["picture"])), tmp_path / "served")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cardinality": 51}, "feature 'user': the model was made for 50 ids, the workflow makes 51"),
        ({"dtype": "int64"}, "feature 'user': the model reads int32, the workflow makes int64"),
        ({"tags": ("categorical", "list")}, "'user': the model reads one value per row, .* a list per row"),
        (
            {"name": "person"},
            "the model reads 'user', which the workflow does not make; it makes: person, tags, age",
        ),
    ],
)
def test_a_schema_that_does_not_match_the_model(change, message):
    from kerasrec.serving.reads import features_read

    made = Schema(column.evolve(**change) if column.name == "user" else column for column in SCHEMA)
    with pytest.raises(SchemaError, match=message):
        features_read(dlrm(), made)


def test_a_functional_model_must_fit_the_schema_too():
    from kerasrec.serving.reads import features_read

    with pytest.raises(SchemaError, match="feature 'user': the model reads float32, the workflow makes int32"):
        features_read(functional(dtype="float32"), SCHEMA)
    (_, tags, _) = features_read(functional(width=None), SCHEMA)
    assert (tags.column.is_list, tags.width, tags.ragged) == (True, 4, False)


# ---- a failed write -----------------------------------------------------------------------------------------
EXPORT = """
    import resource, sys
    from test_export_features import dlrm
    import kerasrec as kr
    model = dlrm()
    print("ready", flush=True)
    if limit := int(sys.argv[2]):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    kr.serving.export(model, sys.argv[1])
"""


def exporting(path, limit=0):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(EXPORT), str(path), str(limit)],
        cwd=__file__.rpartition("/")[0],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_kill_in_the_middle_leaves_nothing_under_the_name(tmp_path):
    path = tmp_path / "served"
    child = exporting(path)
    assert child.stdout.readline() == "ready\n", child.stderr.read()
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".served.partial-*/served")):
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)
    child.kill()
    assert child.wait() == -9
    assert not path.exists()
    kr.serving.export(dlrm(), path)  # what the dead one left is in nobody's way
    assert (path / "saved_model.pb").exists()


@pytest.mark.parametrize("limit", [2_000, 60_000])
def test_a_full_disk_is_one_error_and_leaves_nothing(tmp_path, limit):
    child = exporting(tmp_path / "served", limit)
    _, said = child.communicate(timeout=120)
    assert child.returncode == 1
    last = said.strip().splitlines()[-1]
    assert last.startswith(f"OSError: [Errno 27] cannot write {tmp_path}/served: File too large. ")
    assert list(tmp_path.iterdir()) == []
