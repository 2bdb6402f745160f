"""Tables whose elements, bytes or rows cannot be counted in 32 bits.

A stack of more than 2^31 rows takes 8 GiB at width 1, and TensorFlow puts together no variable that long
(`kerasrec/tables/row_io.py`); that its row numbers come out right is seen without the rows themselves.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from kerasrec import kernels

STEP = """
import resource, sys
import keras, numpy as np, tensorflow as tf
import kerasrec as kr
from kerasrec.tables.row_io import read_rows

ROWS, WIDTH, RATE = 36_000_000, 32, 0.5
# Both ends of both tables, and both sides of the elements 2^29, 2^30 and 2^31 (2^31 to 2^33 bytes) of their stack.
ids = {
    "a": [0, 1, 2**24 - 1, 2**24, 2**25 - 1, 2**25, ROWS - 2, ROWS - 1, ROWS - 1],
    "b": [0, 1, 2**26 - ROWS - 1, 2**26 - ROWS, ROWS // 2, 12345678, ROWS - 2, ROWS - 1, 0],
}
assert 2 * ROWS * WIDTH > 2**31
features = {n: kr.FeatureConfig(n, kr.TableConfig(n, ROWS, WIDTH, initializer="zeros")) for n in ids}
layer = kr.layers.DistributedEmbedding(features)
inputs = {n: keras.Input((), dtype=sys.argv[1], name=n) for n in ids}
vectors = layer(inputs)
# The gradient by b's vectors is not that by a's, so that a row of the wrong table would show.
model = keras.Model(inputs, keras.layers.Concatenate()([vectors["a"], 2 * vectors["b"]]))
(table,) = layer.trainable_variables
assert table.shape == (2 * ROWS, WIDTH)
spans = {n: table.stack.span(n)[0] for n in ids}
assert sorted(spans.values()) == [0, ROWS]

rng = np.random.default_rng(0)
first = {n: {i: rng.normal(size=WIDTH).astype("float32") for i in sorted(set(ids[n]))} for n in ids}
for n, rows in first.items():
    for i, row in rows.items():
        at = tf.constant([spans[n] + i], tf.int64)
        tf.raw_ops.ResourceScatterUpdate(resource=table.value.handle, indices=at, updates=row[None])
neighbours = {n: {j for i in ids[n] for j in (i - 1, i + 1) if 0 <= j < ROWS} - set(ids[n]) for n in ids}

target = rng.normal(size=(len(ids["a"]), 2 * WIDTH)).astype("float32")
model.compile(kr.optimizers.SGD(RATE), loss="mse")
data = {n: np.array(column, sys.argv[1]) for n, column in ids.items()}
model.train_on_batch(data, target)

expected = {n: {i: row.astype("float64") for i, row in rows.items()} for n, rows in first.items()}
for place, (n, factor) in enumerate({"a": 1, "b": 2}.items()):
    for k, i in enumerate(ids[n]):
        wanted = target[k, place * WIDTH : (place + 1) * WIDTH]
        slope = 2 * factor * (factor * first[n][i].astype("float64") - wanted) / target.size
        expected[n][i] = expected[n][i] - RATE * slope
for n in ids:
    for i, row in expected[n].items():
        np.testing.assert_allclose(read_rows(table, spans[n] + i, spans[n] + i + 1)[0], row, rtol=1e-5, atol=1e-6)
    for i in neighbours[n]:
        assert not read_rows(table, spans[n] + i, spans[n] + i + 1).any(), (n, i)
found = model.predict_on_batch(data)
for place, (n, factor) in enumerate({"a": 1, "b": 2}.items()):
    wanted = [factor * expected[n][i] for i in ids[n]]
    np.testing.assert_allclose(found[:, place * WIDTH : (place + 1) * WIDTH], wanted, rtol=1e-5, atol=1e-6)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


def available_gib():
    try:
        with open("/proc/meminfo") as lines:
            return int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) / 2**20
    except OSError:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30


@pytest.mark.nightly
@pytest.mark.alone
@pytest.mark.parametrize(("compiled", "dtype"), [("1", "int32"), ("1", "int64"), ("0", "int32")])
def test_a_step_on_more_than_2_to_31_elements(dtype, compiled):
    if available_gib() < 14:
        pytest.skip(f"the tables take 9 GiB, and of memory there are {available_gib():.1f} GiB left")
    environment = os.environ | {"KERASREC_KERNELS": compiled, "KERAS_BACKEND": "tensorflow"}
    done = subprocess.run([sys.executable, "-c", STEP, dtype], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert float(done.stdout.split()[-1]) < 10.5  # GiB: nothing holds the tables twice


@pytest.mark.parametrize("index", ["int32", "int64"])
@pytest.mark.parametrize("form", ["single", "padded", "ragged"])
def test_row_numbers_past_2_to_31(index, form):
    sizes = {"a": 2**31 - 1, "b": 2**31 - 1, "c": 2**40 if index == "int64" else 1000}
    offsets = {"a": 0, "b": 2**31 - 1, "c": 2**33 + 5}
    ids = {name: np.array([size - 1, 1, 2, size - 2], index) for name, size in sizes.items()}
    hotness, splits = {"single": (1, []), "padded": (2, []), "ragged": (0, [0, 3, 3, 4])}[form]
    found = kernels.find_rows(
        [tf.constant(column) for column in ids.values()], [tf.constant(splits, tf.int64)] * 3, [hotness] * 3,
        [form == "padded"] * 3, [kernels.Span(name, offsets[name], sizes[name]) for name in ids], list(ids),
        tf.int64,
    )  # fmt: skip
    wanted = np.concatenate([ids[name].astype("int64") + offsets[name] for name in ids])
    assert found.rows.dtype == tf.int64
    np.testing.assert_array_equal(found.rows, wanted)
    distinct, position, _ = kernels.compiled().kerasrec_distinct_rows(
        rows=found.rows, bags=found.bags, first_bag=found.first_bag, tables=[0, 1, 2]
    )
    np.testing.assert_array_equal(np.sort(distinct), np.unique(wanted))
    np.testing.assert_array_equal(tf.gather(distinct, position), wanted)


def test_a_stray_id_past_2_to_31_is_refused():
    with pytest.raises(tf.errors.InvalidArgumentError, match="'item': id 4294967299 is out of range"):
        # Cut to 32 bits it would be 3.
        kernels.find_rows(
            [tf.constant([2**32 + 3])], [tf.zeros((0,), tf.int64)], [1], [False],
            [kernels.Span("item", 2**31, 2**32)], ["item"], tf.int64,
        )  # fmt: skip
