"""The TensorFlow implementation inside a SavedModel, loaded by a process that knows nothing of kerasrec."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from fitted_tables import wire

from kerasrec import etl

tf = pytest.importorskip("tensorflow")

FRAME = pl.DataFrame(
    {
        "word": ["ann", "b\nob", "ann", None, "", "\x00"],
        "number": [1, 2**62, 2, None, -3, 3],
        "list": [["x", "y"], [], None, ["x", None], ["z"], ["z"]],
        "age": [20.0, None, float("nan"), 40.0, 60.0, 1.0],
        "clicked": [0, 1, 0, 1, 1, 0],
    }
)
NEW = pl.DataFrame(
    {
        "word": ["new", None, "", "ann"],
        "number": [7, None, -3, 2**62],
        "list": [["new", None, "x"], None, [], ["y"]],
        "age": [None, float("nan"), 3.0, 1e9],
    }
)
LOADER = """
import sys, numpy as np, tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
twin = tf.saved_model.load(sys.argv[2])  # another model in the same process must not mix up its tables with ours
raw = {name: tf.constant([v.encode() for v in array] if array.dtype.kind == "U" else array)
       for name, array in np.load(sys.argv[3]).items()}
twin(raw)
np.savez(sys.argv[4], **{name: value.numpy() for name, value in loaded(raw).items()})
assert not [name for name in sys.modules if name.startswith(("kerasrec", "polars"))]
"""


def make(words: pl.DataFrame) -> etl.Workflow:
    cats = ["word", "number", "list"] >> etl.Categorify()
    ages = ["age"] >> etl.FillMissing(5) >> etl.LogOp() >> etl.Normalize()
    groups = ["age"] >> etl.Bucketize([30, 50]) >> etl.Rename(postfix="_group")
    return etl.Workflow(cats + ages + groups + (["clicked"] >> etl.Target())).fit(words)


def export(workflow: etl.Workflow, path: Path) -> None:
    root = tf.Module()
    root.workflow = workflow.tensorflow_module()
    signature = {
        name: tf.TensorSpec(shape, dtype, name) for name, (dtype, shape) in workflow.raw_signature().items()
    }
    root.__call__ = tf.function(workflow.tensorflow, input_signature=[signature])
    tf.saved_model.save(root, str(path))


def raw(workflow: etl.Workflow, frame: pl.DataFrame) -> dict[str, tf.Tensor]:
    made: dict[str, tf.Tensor] = {}
    for column in workflow.input_schema.features:
        made.update(wire(frame[column.name].to_list(), column))
    return made


def test_it_works_without_kerasrec(tmp_path: Path) -> None:
    workflow = make(FRAME)
    export(workflow, tmp_path / "model")
    export(make(FRAME.reverse().head(3).extend(FRAME)), tmp_path / "twin")
    inputs = {
        name: np.array([v.decode() + "|" for v in value.numpy()]) if value.dtype == tf.string else value.numpy()
        for name, value in raw(workflow, NEW).items()
    }
    # NumPy strips trailing zero characters from strings, so ours end in a bar that the loading side takes off.
    np.savez(tmp_path / "raw.npz", **inputs)
    code = LOADER.replace("v.encode()", "v[:-1].encode()")
    paths = [tmp_path / name for name in ("model", "twin", "raw.npz", "made.npz")]
    subprocess.run([sys.executable, "-c", code, *map(str, paths)], check=True, cwd=tmp_path)
    made = dict(np.load(tmp_path / "made.npz"))
    expected = workflow.transform(NEW, targets=False).collect()
    for name in ("word", "number", "age", "age_group"):
        np.testing.assert_array_equal(made[name], expected[name].to_numpy(), strict=True)
    np.testing.assert_array_equal(made["list__offsets"], [0, 3, 3, 3, 4])
    np.testing.assert_array_equal(made["list__values"], expected["list"].explode().drop_nulls().to_numpy())
    assert set(made) == {"word", "number", "age", "age_group", "list__values", "list__offsets"}


def test_it_takes_no_rows() -> None:
    workflow = make(FRAME)
    made = workflow.tensorflow(raw(workflow, NEW.head(0)))
    assert {name: tuple(value.shape) for name, value in made.items()} == {
        "word": (0,),
        "number": (0,),
        "list__values": (0,),
        "list__offsets": (1,),
        "age": (0,),
        "age_group": (0,),
    }


def test_targets_and_what_only_they_read_are_absent() -> None:
    both = (["a"] >> etl.FillMissing()) + (["y"] >> etl.FillMissing() >> etl.Target())
    mixed = ["b", "y2"] >> etl.Normalize()
    workflow = etl.Workflow(both + ["c"] + (mixed >> etl.Rename(postfix="_n")))
    frame = pl.DataFrame({"a": [1.0, None], "y": [0, None], "c": [1, 2], "b": [1.0, 3.0], "y2": [2.0, 4.0]})
    workflow.fit(frame)
    made = workflow.tensorflow(raw(workflow, frame))
    assert set(made) == {"a", "c", "b_n", "y2_n"}


def test_a_vocabulary_of_a_million(tmp_path: Path) -> None:
    words = pl.DataFrame({"x": [f"{i:08x}" for i in range(1_000_000)]})
    workflow = etl.Workflow(["x"] >> etl.Categorify()).fit(words)
    export(workflow, tmp_path / "model")
    assert (tmp_path / "model" / "saved_model.pb").stat().st_size < 1_000_000  # the keys are in the checkpoint
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    made = loaded({"x": tf.constant(["00000000", "000f423f", "zzz"])})["x"].numpy()
    assert made.tolist() == [3, 1_000_002, 2]


def test_the_other_operators(tmp_path: Path) -> None:
    """Hashes, buckets, combinations, slices and clocks, traced, saved and loaded."""
    rare = ["word", "number"] >> etl.Categorify(max_size=7, num_buckets=2)
    rest = (["word"] >> etl.HashBucket(9, table="hashed") >> etl.Rename("hashed")) + (
        ["word", "number"] >> etl.HashedCross(50)
    )
    both = ["word", "number"] >> etl.Categorify(combo=True, min_count=2, num_buckets=3)
    last = ["list"] >> etl.HashBucket(9) >> etl.ListSlice(-2, pad=True) >> etl.ReduceDtypeSize()
    hour = ["number"] >> etl.TimeFeatures(["hour", "month"], encode="cyclic", unit="us") >> etl.FillMissing(2)
    ages = ["age"] >> etl.FillMedian(add_binary_cols=True) >> etl.NormalizeMinMax()
    half = ["age"] >> etl.FillMissing() >> etl.LambdaOp(lambda x: x / 2, tf=lambda x: x / 2) >> etl.Rename("half")
    workflow = etl.Workflow(rare + rest + both + last + hour + ages + half).fit(FRAME)
    export(workflow, tmp_path / "model")
    made = tf.saved_model.load(str(tmp_path / "model"))(raw(workflow, NEW))
    expected = workflow.transform(NEW).collect()
    assert len(expected.columns) == 13
    for name in set(expected.columns) - {"list"}:
        np.testing.assert_allclose(made[name].numpy(), expected[name].to_numpy(), rtol=2e-7, err_msg=name)
    assert made["list__values"].numpy().tolist() == expected["list"].explode().to_list()
    assert made["list__values"].dtype == tf.int8
    assert made["list__offsets"].numpy().tolist() == [0, 2, 4, 6, 8]
