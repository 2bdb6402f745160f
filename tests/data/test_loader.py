"""The loader's batches, against the dataset as pyarrow reads it."""

import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from loader_data import make_schema, make_table, rows_of, rows_on_disk, threads, write

from kerasrec.data import Loader
from kerasrec.schema import Column, Schema


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """1,000 rows in 3 files of row groups of 100."""
    return write(tmp_path_factory.mktemp("loader") / "data", make_table(1000), files=3)


def all_rows(batches):
    return [row for features, target in batches for row in rows_of(features, target)]


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 60),
    files=st.integers(1, 4),
    row_group_rows=st.integers(1, 25),
    batch_size=st.integers(1, 70),
    pool_rows=st.integers(1, 80),
    longest=st.integers(0, 5),
    lists=st.sampled_from(["ragged", "padded"]),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
    seed=st.integers(0, 2**40),
)
def test_every_row_comes_once_whole(
    rows, files, row_group_rows, batch_size, pool_rows, longest, lists, shuffle, drop_last, seed
):
    with TemporaryDirectory() as name:
        table, schema = make_table(rows, seed=seed % 1000, longest=longest), make_schema(max(longest, 1))
        folder = write(Path(name), table, schema, files=files, row_group_rows=row_group_rows)
        arguments = {"shuffle": shuffle, "seed": seed, "lists": lists, "pool_rows": pool_rows}
        arguments["drop_last"] = drop_last
        if drop_last and rows < batch_size:
            with pytest.raises(ValueError, match="fewer than one batch"):
                Loader(folder, batch_size, **arguments)
            return
        loader = Loader(folder, batch_size, **arguments)
        batches = list(loader)
        expected = rows_on_disk(folder)
    sizes = [len(target) for _, target in batches]
    assert len(loader) == len(batches)
    assert set(sizes[:-1]) <= {batch_size}
    assert sum(sizes) == (rows // batch_size * batch_size if drop_last else rows)
    found = all_rows(batches)
    if not shuffle:
        assert found == expected[: len(found)]
    elif drop_last:
        assert len(set(found)) == len(found)
        assert set(found) <= set(expected)
    else:
        assert sorted(found) == sorted(expected)


def test_shapes_and_dtypes(folder):
    features, target = next(iter(Loader(folder, 64)))
    assert list(features) == ["row", "user", "age", "tags"]
    assert {name: features[name].dtype for name in ("row", "user", "age")} == {
        "row": np.int64,
        "user": np.int32,
        "age": np.float32,
    }
    assert features["user"].shape == (64,)
    assert isinstance(features["tags"], tf.RaggedTensor)
    assert features["tags"].dtype == tf.int32
    assert (target.shape, target.dtype) == ((64, 1), np.float32)
    padded = next(iter(Loader(folder, 64, lists="padded")))[0]["tags"]
    assert (padded.shape, padded.dtype) == ((64, 4), np.int32)
    assert padded.tolist() == features["tags"].to_tensor(shape=(None, 4)).numpy().tolist()


@pytest.mark.parametrize("lists", ["ragged", "padded"])
@pytest.mark.parametrize("drop_last", [False, True])
def test_tf_dataset_equals_iteration(folder, lists, drop_last):
    loader = Loader(folder, 96, shuffle=True, seed=3, lists=lists, drop_last=drop_last)
    dataset = loader.get_tf_dataset()
    assert dataset.cardinality().numpy() == len(loader)
    from_tf = list(dataset)
    loader.epoch = 0
    direct = list(loader)
    assert all_rows(from_tf) == all_rows(direct)
    for (features, target), (expected, expected_target) in zip(from_tf, direct, strict=True):
        assert list(features) == list(expected)
        assert all(features[name].dtype == expected[name].dtype for name in features)
        assert target.shape == expected_target.shape
    assert dataset.element_spec[1].shape.as_list() == [96 if drop_last else None, 1]


def test_order_follows_seed_and_epoch(folder):
    def orders(seed, epochs=3):
        loader = Loader(folder, 128, shuffle=True, seed=seed)
        return [[row[0] for row in all_rows(loader)] for _ in range(epochs)]

    first, again, other = orders(7), orders(7), orders(8)
    assert first == again
    everything = [tuple(order) for order in first + other]
    assert len(set(everything)) == 6
    loader = Loader(folder, 128, shuffle=True, seed=7)
    loader.epoch = 2
    assert [row[0] for row in all_rows(loader)] == first[2]


def test_shuffle_mixes_files_and_row_groups(tmp_path):
    """Pools of 1,000 of 4,000 rows: a batch's rows come from many row groups and all over the dataset, and rows
    are placed uniformly: over many epochs a row's mean position is the middle."""
    rows, epochs = 4000, 60
    folder = write(tmp_path, make_table(rows).select(["row", "user", "age", "tags", "clicked"]), files=4)
    loader = Loader(folder, 250, shuffle=True, columns=["row"], pool_rows=1000)
    for features, _ in loader:
        assert len(set(features["row"] // 100)) >= 10  # row groups of the 10 in a pool, whatever the batch
    positions = np.zeros(rows)
    for _ in range(epochs):
        positions[np.concatenate([features["row"] for features, _ in loader])] += np.arange(rows)
    spread = rows / np.sqrt(12 * epochs)  # the standard deviation of a mean of uniform positions
    assert np.abs(positions / epochs - rows / 2).max() < 5 * spread


def test_within_one_pool_the_shuffle_is_uniform(tmp_path):
    """Every row at every position equally often: chi-squared over 8 rows x 8 positions x 4,000 epochs."""
    folder = write(tmp_path, make_table(8), files=2, row_group_rows=3)
    loader = Loader(folder, 8, shuffle=True, columns=["row"])
    count, epochs = np.zeros((8, 8)), 1000
    for _ in range(epochs):
        features, _ = next(iter(loader))
        count[features["row"], np.arange(8)] += 1
    chi_squared = ((count - epochs / 8) ** 2 / (epochs / 8)).sum()
    assert chi_squared < 94.5  # the 99.99% point at 49 degrees of freedom is 94.4


def test_columns_and_targets(tmp_path):
    table = make_table(50).append_column("stars", pa.array(np.arange(50), pa.int32()))
    schema = Schema([*make_schema(), Column("stars", "int32", ("target", "regression"))])
    write(tmp_path, table, schema)
    features, target = next(iter(Loader(tmp_path, 20, columns=["age", "user"], targets="clicked")))
    assert list(features) == ["user", "age"]
    assert target[:, 0].tolist() == table["clicked"][:20].to_pylist()
    loader = Loader(tmp_path, 20)
    for features, target in (next(iter(loader)), next(iter(loader.get_tf_dataset()))):
        assert list(features) == ["row", "user", "age", "tags"]
        assert list(target) == ["clicked", "stars"]
        assert np.asarray(target["stars"]).dtype == np.float32
        assert np.asarray(target["stars"])[:, 0].tolist() == list(range(20))
    for loader in (Loader(tmp_path, 20, targets=[]), Loader(tmp_path, 20, schema=schema.features)):
        assert isinstance(next(iter(loader)), dict)
        assert loader.schema.targets.names == []
        assert isinstance(loader.get_tf_dataset().element_spec, dict)


def test_a_null_list_and_other_kinds_of_lists(tmp_path):
    """A null list is an empty list; large and fixed-size lists and sliced files are lists like others."""
    values = [[1, 2], None, [], [3]]
    table = make_table(4)
    for kind in (pa.list_(pa.int32()), pa.large_list(pa.int32())):
        changed = table.set_column(3, "tags", pa.array(values, kind))
        write(tmp_path, changed, row_group_rows=3)
        for shuffle in (False, True):
            rows = all_rows(Loader(tmp_path, 3, shuffle=shuffle))
            assert {row[0]: row[3] for row in rows} == {0: (1, 2), 1: (), 2: (), 3: (3,)}
    fixed = table.set_column(3, "tags", pa.array([[1, 2], [3, 4], None, [5, 6]], pa.list_(pa.int32(), 2)))
    write(tmp_path, fixed, row_group_rows=3)
    assert [row[3] for row in all_rows(Loader(tmp_path, 3))] == [(1, 2), (3, 4), (), (5, 6)]


def test_files_written_by_polars(tmp_path):
    table = make_table(500)
    make_schema().save(tmp_path)
    pl.from_arrow(table).write_parquet(tmp_path / "any name.parquet", row_group_size=90)
    assert all_rows(Loader(tmp_path, 64)) == rows_on_disk(tmp_path)


def test_sources(folder, tmp_path):
    everything = rows_on_disk(folder)
    paths = sorted(folder.glob("*.parquet"))
    for source in (str(folder), str(folder / "*.parquet"), paths, iter(paths), [str(folder)]):
        assert all_rows(Loader(source, 300)) == everything
    assert all_rows(Loader([paths[2], paths[0]], 300))[0] == everything[sum(map(rows_in, paths[:2]))]
    assert Loader(paths[1], 300).num_rows == rows_in(paths[1])
    other = write(tmp_path / "other", make_table(10))
    assert Loader([folder, other], 300).num_rows == 1010
    (folder / ".part-00000.parquet").write_bytes(b"a writer's unfinished file")
    assert Loader(folder, 300).num_rows == 1000


def rows_in(path):
    return pq.read_metadata(path).num_rows


def test_leaving_early_ends_the_threads(folder):
    loader = Loader(folder, 10, shuffle=True, pool_rows=100)
    assert not threads()
    for _ in loader:
        assert threads()
        break
    assert not threads()
    batches = iter(loader)
    next(batches)
    del batches
    assert not threads()
    dataset = iter(loader.get_tf_dataset())
    next(dataset)
    del dataset
    assert not threads()
    for _ in loader:
        pass
    assert not threads()


def test_two_passes_at_once(folder):
    loader = Loader(folder, 100, pool_rows=100)
    pairs = list(zip(loader, loader, strict=True))
    assert len(pairs) == 10
    assert all(rows_of(*left) == rows_of(*right) for left, right in pairs)


def test_memory_stays_at_two_pools(tmp_path):
    """64 MB of rows through pools of 8 MB: what is held at any time stays near two pools."""
    rows, width = 400_000, 40
    rng = np.random.default_rng(0)
    names = [f"x{index}" for index in range(width)]
    table = pa.table({name: rng.normal(size=rows).astype("float32") for name in names})
    write(tmp_path, table, Schema(Column(name, "float32", ("continuous",)) for name in names), row_group_rows=2000)
    del table
    pool = 48_000 * width * 4
    loader = Loader(tmp_path, 1000, shuffle=True, pool_rows=48_000)
    arrow_before, arrow_most = pa.total_allocated_bytes(), 0
    tracemalloc.start()
    for _ in loader:
        arrow_most = max(arrow_most, pa.total_allocated_bytes() - arrow_before)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 3 * pool
    assert arrow_most < 3 * pool


def test_repr(folder):
    text = repr(Loader(folder, 64, shuffle=True, seed=5))
    for part in (
        "1,000 rows",
        "16 batches of 64",
        "last of 40",
        "seed 5",
        "2 continuous",
        "1 ragged list",
        "clicked",
    ):
        assert part in text
    assert "in file order" in repr(Loader(folder, 50, lists="padded"))
    assert "last of" not in repr(Loader(folder, 50))
