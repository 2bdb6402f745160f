"""Ids of combinations of columns' ids, against integers of Python."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrec as kr


def python_hash(ids, buckets):
    """The hash of the layer's description, in integers without bounds."""
    hashes = []
    for prime, factor in ((32749, 16807), (32719, 25173)):
        limbs = [part for i in ids for part in (i % 2**15, i // 2**15)]
        hashes.append(sum(limb * factor ** (k + 1) for k, limb in enumerate(limbs)) % prime)
    return 1 + (hashes[0] * 32719 + hashes[1]) % buckets


def test_small_crosses_have_an_id_per_combination():
    layer = kr.layers.CrossedIds([3, 4, 5], 60)
    a, b, c = np.array(list(itertools.product(range(3), range(4), range(5)))).T
    assert layer.exact
    np.testing.assert_array_equal(layer([a, b[:, None], c]), np.arange(1, 61))
    assert layer.cardinality == 61


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_large_crosses_are_hashed_without_overflow(dtype):
    cardinalities, buckets = [2**31 - 1, 40_000, 7], 2**30
    rng = np.random.default_rng(0)
    columns = [rng.integers(0, n, 500).astype(dtype) for n in cardinalities]
    for column, n in zip(columns, cardinalities, strict=True):
        column[:2] = 0, n - 1
    layer = kr.layers.CrossedIds(cardinalities, buckets)
    assert not layer.exact
    expected = [python_hash([int(i) for i in row], buckets) for row in zip(*columns, strict=True)]
    np.testing.assert_array_equal(layer(columns), expected)


@pytest.mark.parametrize("buckets", [1024, 1000, 7919])
def test_buckets_fill_as_by_chance_or_more_evenly(buckets):
    a, b = (ids.ravel() for ids in np.meshgrid(np.arange(300), np.arange(300)))
    counts = np.bincount(np.asarray(kr.layers.CrossedIds([300, 300], buckets)([a, b])) - 1, minlength=buckets)
    mean = len(a) / buckets
    assert ((counts - mean) ** 2 / mean).mean() < 1.1


@pytest.mark.parametrize("buckets", [10_000, 50])
def test_lists_give_every_combination(buckets):
    rng = np.random.default_rng(0)
    scalar, tags, genres = rng.integers(0, 9, 6), rng.integers(1, 8, (6, 2)), rng.integers(1, 12, (6, 3))
    for ids, lengths in ((tags, [0, 1, 2, 1, 2, 2]), (genres, [3, 0, 3, 2, 1, 0])):
        ids[np.arange(ids.shape[1]) >= np.array(lengths)[:, None]] = 0
    layer, plain = kr.layers.CrossedIds([9, 8, 12], buckets), kr.layers.CrossedIds([9, 8, 12], buckets)
    expected = []
    for row in range(6):
        pairs = itertools.product(tags[row][tags[row] > 0], genres[row][genres[row] > 0])
        combinations = [(scalar[row], tag, genre) for tag, genre in pairs]
        expected.append([int(plain([np.array([i]) for i in each])[0]) for each in combinations])
    ragged = [tf.RaggedTensor.from_tensor(ids, padding=0) for ids in (tags, genres)]
    for lists in ([tags, genres], ragged, [ragged[0], genres]):
        crossed = np.asarray(layer([scalar, *lists]))
        assert [[i for i in row if i] for row in crossed.tolist()] == expected


def test_rows_without_ids_and_no_rows():
    layer = kr.layers.CrossedIds([9, 8], 100)
    empty = tf.RaggedTensor.from_row_lengths(tf.zeros((0,), tf.int64), [0, 0])
    assert not np.asarray(layer([np.array([3, 4]), empty])).any()
    assert layer([np.array([3, 4]), empty]).shape[1] != 1  # which would be an id, not a list
    assert layer([np.zeros(0, int), np.zeros(0, int)]).shape == (0,)
    assert layer([np.zeros(0, int), np.zeros((0, 3), int)]).shape == (0, 3)


def test_traced_as_eager_and_in_a_functional_model():
    scalar, genres = np.array([0, 8, 3]), np.array([[1, 0], [7, 2], [0, 0]])
    layer = kr.layers.CrossedIds([9, 8], 20)
    traced = tf.function(lambda a, b: layer([a, b]))
    expected = np.asarray(layer([scalar, genres]))
    ragged = tf.RaggedTensor.from_tensor(genres, padding=0)
    inputs = [keras.Input((), dtype="int32"), keras.Input((None,), dtype="int32")]
    model = keras.Model(inputs, layer(inputs))
    assert layer(inputs).dtype == "int32"
    for crossed in (traced(tf.constant(scalar), ragged), model([scalar, genres])):
        np.testing.assert_array_equal(crossed[:, :2], expected)
        assert not np.asarray(crossed[:, 2:]).any()  # more padding where a graph does not know the width
    copy = kr.layers.CrossedIds.from_config(layer.get_config())
    assert (copy.cardinalities, copy.buckets, copy.cardinality) == ((9, 8), 20, 21)


def test_bad_arguments_are_named():
    for arguments, message in [
        (([5],), "cardinalities must be two or more integers below 2"),
        (([5, 2**31],), "cardinalities must be two or more integers below 2"),
        (([5, 0],), "cardinalities must be an integer >= 1; got 0"),
        (([5, 5], 0), "buckets must be an integer >= 1; got 0"),
        (([5, 5], 2**30 + 1), "buckets must be at most 2"),
    ]:
        with pytest.raises(ValueError, match=message):
            kr.layers.CrossedIds(*arguments)
    with pytest.raises(ValueError, match="inputs must be a list of 2 columns; got 3"):
        kr.layers.CrossedIds([5, 5])([np.zeros(2, int)] * 3)
