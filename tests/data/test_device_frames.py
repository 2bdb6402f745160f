"""A device's engine gives arrow's batches, bit by bit: cuDF, and where it does not run NumPy as the device."""

from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from device_engines import ENGINES, by_numpy, host_batches, no_cudf, widened
from hypothesis import given, settings
from hypothesis import strategies as st
from loader_data import make_schema, make_table, threads, write

import kerasrec as kr
from kerasrec.data import Loader
from kerasrec.data.frameworks import tf_tensors
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


def assert_batches_are_arrows(engine, *args, epochs=1, **options):
    found, expected = engine(*args, **options), Loader(*args, **options)
    for _ in range(epochs):
        assert_equal(tuple(host_batches(found)), tuple(map(widened, host_batches(expected))))


@pytest.mark.parametrize("engine", ENGINES)
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
    engine, rows, files, row_group_rows, batch_size, pool_rows, longest, lists, shuffle, place, seed
):
    rank, ranks = place
    rows = max(rows, ranks)
    with TemporaryDirectory() as name:
        table, schema = make_table(rows, seed=seed % 1000, longest=longest), make_schema(max(longest, 1))
        folder = write(Path(name), table, schema, files=files, row_group_rows=row_group_rows)
        arguments = {"shuffle": shuffle, "seed": seed, "lists": lists, "pool_rows": pool_rows}
        assert_batches_are_arrows(engine, folder, batch_size, rank=rank, ranks=ranks, epochs=2, **arguments)


@pytest.mark.parametrize("engine", ENGINES)
def test_columns_that_folders_names_say(tmp_path, engine):
    for user in (3, 40):
        write(tmp_path / f"user={user}" / "age=-0.5", make_table(ROWS, seed=user).drop(["user", "age"]))
    for columns in (None, ["user", "age", "tags"], ["user", "age"]):
        options = {"schema": make_schema(), "columns": columns, "lists": "padded", "targets": columns and []}
        assert_batches_are_arrows(engine, tmp_path, 64, shuffle=True, epochs=2, **options)
        assert_batches_are_arrows(engine, tmp_path, 64, rank=1, ranks=3, **options)


@pytest.mark.skipif(bool(no_cudf), reason=no_cudf)
def test_cudf_reads_no_addresses(folder):
    with pytest.raises(ValueError, match='part-00000.parquet: engine="cudf" reads local files'):
        Loader(folder.as_uri(), engine="cudf")


@pytest.mark.parametrize("engine", ENGINES)
def test_other_kinds_of_columns(tmp_path, engine):
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
            assert_batches_are_arrows(engine, tmp_path, 3, shuffle=shuffle, lists="offsets")


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


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", BROKEN)
def test_errors_are_arrows(tmp_path, case, engine):
    """Without statistics in the footers, so that decoded values are looked at."""
    write(tmp_path, BROKEN[case], write_statistics=False)
    told = []
    for loader in (Loader(tmp_path, 3, lists="padded"), engine(tmp_path, 3, lists="padded")):
        with pytest.raises(ValueError, match=": column |^list column ") as error:
            list(loader)
        told.append(str(error.value))
    assert told[0] == told[1]


@pytest.mark.parametrize("engine", [pytest.param(Loader, id="arrow"), *ENGINES])
@pytest.mark.parametrize("lists", ["ragged", "padded", "offsets"])
def test_tensorflow_yields_the_loaders_batches(folder, lists, engine):
    """32 bits as 64 from a device: TensorFlow keeps int32 inputs of a compiled step in the host's memory."""
    arguments = {"batch_size": 96, "shuffle": True, "lists": lists}
    found, staged = engine(folder, **arguments).tensorflow(), engine(folder, **arguments).get_tf_dataset()
    itself = engine(folder, **arguments)
    expected = Loader(folder, **arguments).get_tf_dataset()
    assert len(found) == 8
    for batch, iterated, other, right in zip(found, itself, staged, expected, strict=True):
        assert_equal(other, right)
        assert tf.is_tensor(iterated[1]) == (engine is not Loader)
        if engine is not Loader:
            right = tf.nest.map_structure(lambda t: tf.cast(t, "int64") if t.dtype == "int32" else t, right)
        assert_equal(batch, right)
        if engine not in (Loader, by_numpy):
            assert all("GPU" in tensor.device for tensor in tf.nest.flatten(batch, expand_composites=True))


def test_tensorflow_takes_columns_where_they_are(folder):
    loader = Loader(folder, 112, shuffle=True)
    for batch in loader._stream.batches():
        for column in loader._stream.layout.columns_of(batch).values():
            if isinstance(column, np.ndarray) and len(column) == 112:
                tensor = tf_tensors._tensor(column)
                assert np.asarray(memoryview(tensor)).ctypes.data == column.ctypes.data
                odd = column[1:]  # an operation on such memory, taken as it is, ends the process
                assert np.array_equal(tf_tensors._tensor(odd) + 0, odd)


def test_leaving_early_ends_the_threads(folder):
    others = set(threads())  # of iterators that an earlier test has not let go
    for loader in (Loader(folder, 10, pool_rows=50), by_numpy(folder, 10, pool_rows=50)):
        for _ in loader.tensorflow():
            assert set(threads()) - others
            break
        assert not set(threads()) - others


class TestModels:
    """`kr.models` take a device's batches past `tf.data`; results are those of arrow's loader."""

    def trained(self, folder, engine, **options):
        keras.utils.set_random_seed(1)
        columns = {"lists": "padded", "columns": ["user", "tags", "age"]}
        train = engine(folder, 64, shuffle=True, **columns)
        valid = engine(folder, 150, **columns)
        model = kr.models.DLRM(train.schema, embedding_dim=4, bottom_units=[4], top_units=[4])
        model.compile(kr.optimizers.Adagrad(0.1), "binary_crossentropy", **options)
        history = model.fit(train, validation_data=valid, epochs=2, verbose=0).history
        results = {**history, "evaluated": model.evaluate(valid, verbose=0)}
        return {**results, "predicted": model.predict(valid, verbose=0)}

    @pytest.mark.parametrize("engine", ENGINES)
    def test_fit_evaluate_predict(self, folder, monkeypatch, engine):
        expected = self.trained(folder, Loader)
        assert expected["predicted"].shape == (ROWS, 1)
        monkeypatch.delattr(Loader, "get_tf_dataset")
        for options in {}, {"steps_per_execution": 3}:
            found = self.trained(folder, engine, **options)
            assert found.keys() == expected.keys()
            for name, value in expected.items():
                np.testing.assert_allclose(found[name], value, rtol=1e-6 if engine is by_numpy else 1e-3)

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
    with pytest.raises(ValueError, match='"arrow" or "cudf"; got \'gpu\''):
        Loader(folder, engine="gpu")
    if no_cudf:
        with pytest.raises((ImportError, RuntimeError), match=r'engine="cudf" needs'):
            Loader(folder, engine="cudf")
