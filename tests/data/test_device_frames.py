"""A device's engine gives arrow's batches, bit by bit; here with NumPy as the device (see numpy_device)."""

import threading
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from loader_data import make_schema, make_table, write
from numpy_device import on_device

import kerasrec as kr
from kerasrec.data import Loader, to_tensorflow
from kerasrec.schema import Column, Schema

ROWS = 700


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("device") / "data", make_table(ROWS), files=3)


def assert_equal(found, expected):
    """Structures of equal arrays; of ragged ones the values and offsets."""
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        found, expected = tuple(found.values()), tuple(expected.values())
    if isinstance(expected, tuple):
        assert len(found) == len(expected)
        for each, other in zip(found, expected, strict=True):
            assert_equal(each, other)
    elif isinstance(expected, tf.RaggedTensor):
        assert_equal((found.values, found.row_splits), (expected.values, expected.row_splits))
    else:
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 60),
    files=st.integers(1, 3),
    row_group_rows=st.integers(1, 25),
    batch_size=st.integers(2, 70),
    pool_rows=st.integers(1, 80),
    longest=st.integers(0, 5),
    lists=st.sampled_from(["offsets", "padded"]),
    shuffle=st.booleans(),
    place=st.sampled_from([(0, 1), (0, 2), (1, 2), (2, 3)]),
    seed=st.integers(0, 2**40),
)
def test_batches_are_arrows(
    rows, files, row_group_rows, batch_size, pool_rows, longest, lists, shuffle, place, seed
):
    rank, ranks = place
    rows = max(rows, ranks)
    with TemporaryDirectory() as name:
        table, schema = make_table(rows, seed=seed % 1000, longest=longest), make_schema(max(longest, 1))
        folder = write(Path(name), table, schema, files=files, row_group_rows=row_group_rows)
        arguments = {"shuffle": shuffle, "seed": seed, "lists": lists, "pool_rows": pool_rows}
        loaders = [Loader(folder, batch_size, rank=rank, ranks=ranks, **arguments) for _ in range(2)]
        for _ in range(2):  # epochs
            assert_equal(tuple(on_device(loaders[0])), tuple(loaders[1]))


def test_other_kinds_of_columns(tmp_path):
    """Null, large and fixed-size lists; targets of other dtypes; booleans and 8 bits."""
    values = [[1, 2], None, [], [3]]
    table = make_table(4).append_column("stars", pa.array([1, 2, 3, 4], pa.int8()))
    table = table.append_column("new", pa.array([True, False, True, True]))
    more = [Column("stars", "int8", ("target", "regression")), Column("new", "bool", ("continuous",))]
    for array in (
        pa.array(values, pa.list_(pa.int32())),
        pa.array(values, pa.large_list(pa.int32())),
        pa.array([[1, 2], [3, 4], None, [5, 6]], pa.list_(pa.int32(), 2)),
    ):
        write(tmp_path, table.set_column(3, "tags", array), Schema([*make_schema(), *more]), row_group_rows=3)
        for shuffle in (False, True):
            loaders = [Loader(tmp_path, 3, shuffle=shuffle, lists="offsets") for _ in range(2)]
            assert_equal(tuple(on_device(loaders[0])), tuple(loaders[1]))


def broken(name, values, kind):
    table = make_table(4)
    return table.set_column(table.column_names.index(name), name, pa.array(values, kind))


BROKEN = {
    "null": broken("age", [1.0, None, 2.0, 3.0], pa.float32()),
    "NaN": broken("age", [1.0, np.nan, 2.0, 3.0], pa.float32()),
    "id": broken("user", [1, 2, 50, 3], pa.int32()),
    "negative id": broken("user", [1, -2, 5, 3], pa.int32()),
    "null in a list": broken("tags", [[1], [None], [], [2]], pa.list_(pa.int32())),
    "id in a list": broken("tags", [[1], [99], [], [2]], pa.list_(pa.int32())),
    "long list": broken("tags", [[1], [1, 2, 3, 4, 5], [], [2]], pa.list_(pa.int32())),
}


@pytest.mark.parametrize("case", BROKEN)
def test_errors_are_arrows(tmp_path, case):
    """Without statistics in the footers, so that decoded values are looked at."""
    write(tmp_path, BROKEN[case], write_statistics=False)
    told = []
    for loader in (Loader(tmp_path, 3, lists="padded"), on_device(Loader(tmp_path, 3, lists="padded"))):
        with pytest.raises(ValueError, match=": column |^list column ") as error:
            list(loader)
        told.append(str(error.value))
    assert told[0] == told[1]


@pytest.mark.parametrize("lists", ["ragged", "padded", "offsets"])
def test_tensorflow_yields_the_loaders_batches(folder, lists):
    arguments = {"batch_size": 96, "shuffle": True, "lists": lists}
    found, on_gpu = Loader(folder, **arguments).tensorflow(), on_device(Loader(folder, **arguments), wide=True)
    assert len(found) == 8
    staged = Loader(folder, **arguments).get_tf_dataset(), on_gpu.get_tf_dataset()
    for batch, expected, also in zip(found, *staged, strict=True):
        assert_equal(batch, expected)
        assert_equal(also, expected)


def test_for_tensorflow_32_bits_become_64(folder):
    """It keeps int32 inputs of a compiled step in the host's memory."""
    for lists in ("padded", "offsets"):
        loaders = [Loader(folder, 96, lists=lists) for _ in range(2)]
        for (found, target), (expected, other) in zip(on_device(loaders[0], wide=True), loaders[1], strict=True):
            expected["user"] = expected["user"].astype("int64")
            tags = expected["tags"]
            expected["tags"] = tags.astype("int64") if lists == "padded" else (tags[0].astype("int64"), tags[1])
            assert_equal((found, target), (expected, other))


def test_tensorflow_takes_columns_where_they_are(folder):
    loader = Loader(folder, 112, shuffle=True)
    for batch in loader._lend():
        for column in loader._layout.columns_of(batch).values():
            if isinstance(column, np.ndarray) and len(column) == 112:
                tensor = to_tensorflow._tensor(column)
                assert np.asarray(memoryview(tensor)).ctypes.data == column.ctypes.data
                odd = column[1:]  # an operation on such memory, taken as it is, ends the process
                assert np.array_equal(to_tensorflow._tensor(odd) + 0, odd)


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("kerasrec")]


def test_leaving_early_ends_the_threads(folder):
    for loader in (Loader(folder, 10, pool_rows=50), on_device(Loader(folder, 10, pool_rows=50))):
        for _ in loader.tensorflow():
            assert threads()
            break
        assert not threads()


class TestModels:
    """`kr.models` take a device's batches past `tf.data`; results are those of arrow's loader."""

    def trained(self, folder, engine, **options):
        keras.utils.set_random_seed(1)
        columns = {"lists": "padded", "columns": ["user", "tags", "age"]}
        train = engine(Loader(folder, 64, shuffle=True, **columns))
        valid = engine(Loader(folder, 150, **columns))
        model = kr.models.DLRM(train.schema, embedding_dim=4, bottom_units=[4], top_units=[4])
        model.compile(kr.optimizers.Adagrad(0.1), "binary_crossentropy", **options)
        history = model.fit(train, validation_data=valid, epochs=2, verbose=0).history
        results = {**history, "evaluated": model.evaluate(valid, verbose=0)}
        return {**results, "predicted": model.predict(valid, verbose=0)}

    def test_fit_evaluate_predict(self, folder, monkeypatch):
        expected = self.trained(folder, lambda loader: loader)
        assert expected["predicted"].shape == (ROWS, 1)
        monkeypatch.delattr(Loader, "get_tf_dataset")
        for options in {}, {"steps_per_execution": 3}:
            found = self.trained(folder, partial(on_device, wide=True), **options)
            assert found.keys() == expected.keys()
            for name, value in expected.items():
                np.testing.assert_allclose(found[name], value, rtol=1e-6)

    def test_any_model_can_be_given_the_tensors(self, folder, monkeypatch):
        monkeypatch.delattr(Loader, "get_tf_dataset")
        model = keras.Sequential([keras.layers.Lambda(lambda x: x["age"][:, None]), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        loader = Loader(folder, 64, columns=["age"])
        history = model.fit(loader.tensorflow(), epochs=2, verbose=0).history
        assert history["loss"][1] < history["loss"][0]
        assert loader.epoch == 2
        assert model.predict(loader.tensorflow(), verbose=0).shape == (ROWS, 1)

    def test_a_distribution_strategy_gets_a_dataset(self, folder):
        with tf.distribute.OneDeviceStrategy("/cpu:0").scope():
            dataset = Loader(folder, 64).tensorflow().get_tf_dataset()
        assert isinstance(dataset, tf.data.Dataset)


def test_an_engine_that_cannot_run_here_says_so(folder):
    with pytest.raises(ValueError, match='"arrow" or "cudf", not \'gpu\''):
        Loader(folder, engine="gpu")
    try:
        import pylibcudf  # noqa: F401
    except ImportError:
        with pytest.raises(ImportError, match=r'needs cuDF and CuPy .* pip install "kerasrec\[gpu\]"'):
            Loader(folder, engine="cudf")
    else:
        pytest.skip("cuDF is installed: test_cudf.py tests it")
