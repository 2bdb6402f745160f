"""HashBucket and HashedCross against TensorFlow's and Keras's own hashing and a plain SplitMix64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from fitted_tables import ELEMENTS, run_both
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasrec import etl
from kerasrec.etl.lookup.farmhash import fingerprint64
from kerasrec.schema import SchemaError, Tag

NULL = 0x6C6C756E


def splitmix64(number: int) -> int:
    """As Steele, Lea and Flood give it, on Python's integers."""
    x = (number + 0x9E3779B97F4A7C15) % 2**64
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
    return x ^ (x >> 31)


def test_fingerprints_are_tensorflows() -> None:
    tf = pytest.importorskip("tensorflow")
    random = np.random.default_rng(5)
    words = [random.bytes(length) for length in [*range(300), *range(150), 1000, 5000, 64, 65, 128, 129]]
    words = [words[i] for i in random.permutation(len(words))]
    lengths = np.array([len(word) for word in words])
    data = np.frombuffer(b"".join(words), np.uint8)
    made = fingerprint64(data, np.cumsum(lengths) - lengths, lengths)
    np.testing.assert_array_equal(made, tf.bitcast(tf.fingerprint(tf.constant(words)), tf.uint64).numpy())


def test_fingerprints_stay_what_they_are() -> None:
    """Known values, so that a saved workflow means the same in every version."""
    frame = pl.DataFrame({"w": ["", "a", "abcd", "item-0001", "x" * 20, "é" * 20, "z" * 100], "n": range(-3, 4)})
    ids = etl.Workflow(["w", "n"] >> etl.HashBucket(10**9)).fit(frame).transform(frame).collect()
    assert ids["w"].to_list() == KNOWN
    assert ids["n"].to_list() == [3 + splitmix64(number % 2**64) % 10**9 for number in range(-3, 4)]
    assert splitmix64(0) == 16294208416658607535  # the first number of the generator seeded with 0


def test_strings_fall_where_keras_puts_them() -> None:
    keras = pytest.importorskip("keras")
    words = [f"item-{i}" for i in range(200)]
    frame = pl.DataFrame({"x": [*words, None]})
    workflow = etl.Workflow(["x"] >> etl.HashBucket(17)).fit(frame)
    got = workflow.transform(frame).collect()["x"]
    assert got.dtype == pl.Int32
    assert got[:-1].to_list() == (3 + np.array(keras.layers.Hashing(17)(words))).tolist()
    assert got[-1] == 1
    column = workflow.output_schema["x"]
    assert (column.cardinality, column.table, column.tags) == (20, "x", (Tag.CATEGORICAL,))


def test_columns_of_their_own_and_a_shared_table() -> None:
    frame = pl.DataFrame({"a": ["x", "y"], "b": [["x"], ["y", "z"]]})
    own = etl.Workflow(["a", "b"] >> etl.HashBucket({"a": 5, "b": 7})).fit(frame)
    assert [column.cardinality for column in own.output_schema] == [8, 10]
    shared = etl.Workflow(["a", "b"] >> etl.HashBucket(5, table="t")).fit(frame)
    assert [column.table for column in shared.output_schema] == ["t", "t"]
    rows = shared.transform(frame).collect()
    assert [row[0] for row in rows["b"]] == rows["a"].to_list()


def test_all_integer_types_hash_alike() -> None:
    values = [0, 1, 100, 127]
    types = [pl.Int8, pl.UInt8, pl.Int32, pl.Int64, pl.UInt64]
    frame = pl.DataFrame({str(dtype): pl.Series(values, dtype=dtype) for dtype in types})
    rows = etl.Workflow(frame.columns >> etl.HashBucket(1000)).fit(frame).transform(frame).collect()
    assert len({tuple(rows[name]) for name in rows.columns}) == 1


@pytest.mark.parametrize("kinds", [("string", "int64"), ("bool", "uint64", "string")])
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_crosses_in_both_implementations(kinds: tuple[str, ...], data: Any) -> None:
    rows = data.draw(st.lists(st.tuples(*(st.none() | ELEMENTS[kind] for kind in kinds)), max_size=8))
    names = [f"c{i}" for i in range(len(kinds))]
    seen = [tuple(None for _ in kinds), tuple(data.draw(ELEMENTS[kind]) for kind in kinds), *rows]
    workflow, polars, tensors = run_both(names >> etl.HashedCross(11), names, kinds, seen, rows)
    assert polars.columns == ["_X_".join(names)]
    assert polars.to_series().to_list() == tensors["_X_".join(names)].tolist()
    assert workflow.output_schema["_X_".join(names)].cardinality == 14


@given(st.lists(st.tuples(st.none() | st.integers(-5, 5), st.none() | st.integers(-5, 5)), min_size=1))
@settings(max_examples=15, deadline=None)
def test_a_cross_by_its_definition(rows: list[tuple[int | None, int | None]]) -> None:
    def of(value: int | None) -> int:
        return NULL if value is None else splitmix64(value % 2**64)

    frame = pl.DataFrame(rows, schema={"a": pl.Int64, "b": pl.Int64}, orient="row")
    workflow = etl.Workflow(["a", "b"] >> etl.HashedCross(101, name="ab")).fit(frame)
    expected = [1 if a is b is None else 3 + (splitmix64(of(a)) ^ of(b)) % 101 for a, b in rows]
    assert workflow.transform(frame).collect()["ab"].to_list() == expected


def test_it_is_saved(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": ["x", None], "b": [1, 2]})
    cats = (["a", "b"] >> etl.HashBucket({"a": 5, "b": 7})) + (["a", "b"] >> etl.HashedCross(9))
    workflow = etl.Workflow(cats).fit(frame)
    workflow.save(tmp_path / "w")
    again = etl.Workflow.load(tmp_path / "w")
    assert again.transform(frame).collect().equals(workflow.transform(frame).collect())
    assert again.output_schema == workflow.output_schema
    assert workflow.transform(frame.head(0)).collect().is_empty()


def test_what_is_refused() -> None:
    for wrong in (0, -1, 1.5, True, {"x": 0}):
        with pytest.raises(ValueError, match="num_buckets must be an integer >= 1"):
            etl.HashBucket(wrong)
    with pytest.raises(ValueError, match="num_buckets has no entry for column 'y'"):
        ["x", "y"] >> etl.HashBucket({"x": 3})
    with pytest.raises(ValueError, match=r"num_buckets: no column 'z'; available: x"):
        ["x"] >> etl.HashBucket({"x": 3, "z": 3})
    with pytest.raises(ValueError, match="num_buckets must be one integer for columns that share table 't'"):
        etl.HashBucket({"x": 3}, table="t")
    with pytest.raises(ValueError, match="HashedCross combines two columns or more"):
        ["x"] >> etl.HashedCross(5)
    frame = pl.DataFrame({"x": [1.0], "y": [1], "l": [[1]]})
    with pytest.raises(SchemaError, match="'x' is float64: HashBucket takes strings, integers and booleans"):
        etl.Workflow(["x"] >> etl.HashBucket(3)).fit(frame)
    with pytest.raises(SchemaError, match="'x' is float64: HashedCross takes strings, integers and booleans"):
        etl.Workflow(["y", "x"] >> etl.HashedCross(3)).fit(frame)
    with pytest.raises(SchemaError, match="'l' has lists; HashedCross takes one value per row"):
        etl.Workflow(["y", "l"] >> etl.HashedCross(3)).fit(frame)


KNOWN = [34397266, 809363942, 756105988, 500158866, 747857351, 624068183, 163966076]
