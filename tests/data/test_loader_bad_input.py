"""Bad input gives one clear error that names the place, at construction where a footer tells."""

import gc

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from loader_data import make_schema, make_table, threads, write

from kerasrec.data import Loader
from kerasrec.schema import Column, Hotness, Schema, SchemaError

ROWS = 300


def change(name, values, kind):
    table = make_table(ROWS)
    return table.set_column(table.column_names.index(name), name, pa.array(values, kind))


def broken(values, at, value):
    values = list(values)
    values[at] = value
    return values


USERS = [5] * ROWS
TAGS = [[5, 6]] * ROWS


@pytest.mark.parametrize(
    "arguments", [{"batch_size": 0}, {"batch_size": -3}, {"batch_size": 2.5}, {"batch_size": "8"}]
)
def test_batch_size(tmp_path, arguments):
    write(tmp_path, make_table(ROWS))
    with pytest.raises(ValueError, match="batch_size must be an integer >= 1; got"):
        Loader(tmp_path, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "seed must be an integer >= 0; got -1"),
        ({"pool_rows": 0}, "pool_rows must be an integer >= 1; got 0"),
        ({"lists": "dense"}, 'lists must be "ragged", "padded" or "offsets"; got .dense.'),
        (
            {"columns": ["user", "shoe"]},
            "columns: no column 'shoe' in the schema; available: row, user",
        ),
        ({"columns": [], "targets": []}, r"columns=\[\] and targets=\[\] leave no column of the schema to read"),
        ({"targets": "age"}, "targets: no target 'age' in the schema; available: clicked"),
        ({"batch_size": 301, "drop_last": True}, "has 300 rows, fewer than one batch of 301"),
    ],
)
def test_arguments(tmp_path, arguments, message):
    write(tmp_path, make_table(ROWS))
    with pytest.raises(ValueError, match=message):
        Loader(tmp_path, **arguments)


def test_no_data(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        Loader(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"contains no \*.parquet file"):
        Loader(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"\*.parquet does not exist"):
        Loader(str(tmp_path / "*.parquet"))
    with pytest.raises(FileNotFoundError, match="the list of files is empty"):
        Loader([])


def test_schemas(tmp_path):
    folder = write(tmp_path / "a", make_table(ROWS))
    other = write(tmp_path / "b", make_table(ROWS), make_schema().without("list"))
    with pytest.raises(SchemaError, match=f"the schemas in {folder} and {other} differ"):
        Loader([folder, other])
    assert Loader([folder, other], schema=make_schema()).num_rows == 2 * ROWS
    (other / "schema.json").unlink()
    with pytest.raises(FileNotFoundError, match=f"no schema at {other}/schema.json"):
        Loader(other)
    (other / "schema.json").write_text("{")
    with pytest.raises(SchemaError, match=f"{other}/schema.json"):
        Loader(other)


@pytest.mark.parametrize("keep", [0, 3, 1000, -1])
def test_unreadable_files(tmp_path, keep):
    write(tmp_path, make_table(ROWS), files=2)
    path = tmp_path / "part-00001.parquet"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"part-00001.parquet: not readable as Parquet"):
        Loader(tmp_path)


def test_no_rows(tmp_path):
    write(tmp_path, make_table(0), files=2)
    with pytest.raises(ValueError, match="has 0 rows: there is nothing to yield"):
        Loader(tmp_path)
    full = write(tmp_path, make_table(ROWS)) / "part-00000.parquet"  # one file of two is empty: fine
    assert Loader(tmp_path).num_rows == pq.read_metadata(full).num_rows == ROWS


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (make_table(ROWS).drop(["age"]), "part-00000.parquet: no column 'age'"),
        (change("user", [5.0] * ROWS, pa.float64()), "'user' is float64, but int32 in the schema"),
        (change("user", ["x"] * ROWS, pa.string()), "'user' is string, but int32 in the schema"),
        (
            change("user", TAGS, pa.list_(pa.int32())),
            "'user' is list of int32, but int32 in the schema",
        ),
        (change("tags", USERS, pa.int32()), "'tags' is int32, but list of int32 in the schema"),
        (change("tags", [["x"]] * ROWS, pa.list_(pa.string())), "'tags' is list of string, but"),
    ],
)
def test_files_that_do_not_fit_the_schema(tmp_path, table, message):
    write(tmp_path, table)
    with pytest.raises(SchemaError, match=message):
        Loader(tmp_path)


BAD_VALUES = [
    (change("user", broken(USERS, 250, -1), pa.int32()), r"'user': id -1 is out of range \[0, 50\)"),
    (change("user", broken(USERS, 0, 50), pa.int32()), r"'user': id 50 is out of range \[0, 50\)"),
    (change("tags", broken(TAGS, 250, [5, -7]), pa.list_(pa.int32())), "'tags': id -7 is out of range"),
    (change("tags", broken(TAGS, 250, [99]), pa.list_(pa.int32())), "'tags': id 99 is out of range"),
    (change("user", broken(USERS, 250, None), pa.int32()), "'user' has 1 null; fill them first"),
    (change("age", [None] * ROWS, pa.float32()), "'age' has [13]00 nulls; fill them first"),
    (change("clicked", broken([1.0] * ROWS, 7, None), pa.float32()), "'clicked' has 1 null"),
]


@pytest.mark.parametrize(("table", "message"), BAD_VALUES)
def test_bad_values_are_found_at_construction(tmp_path, table, message):
    write(tmp_path, table)
    with pytest.raises(ValueError, match=f"part-00000.parquet: column {message}"):
        Loader(tmp_path, 64)


NOT_IN_A_FOOTER = [
    (change("tags", broken(TAGS, 250, [5, None]), pa.list_(pa.int32())), "'tags' has 1 null; fill them first"),
    (change("age", broken([1.0] * ROWS, 250, float("nan")), pa.float32()), "'age' contains NaN; fill it first"),
]


@pytest.mark.parametrize(("table", "message"), BAD_VALUES + NOT_IN_A_FOOTER)
@pytest.mark.parametrize("shuffle", [False, True])
def test_bad_values_without_statistics_are_found_when_decoded(tmp_path, table, message, shuffle):
    write(tmp_path, table, write_statistics=False)
    loader = Loader(tmp_path, 64, shuffle=shuffle)
    with pytest.raises(ValueError, match=f"part-00000.parquet: column {message}"):
        list(loader)
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"part-00000.parquet: column {message}"):
        list(loader.get_tf_dataset())
    assert not threads()


def test_a_list_longer_than_the_schema_says_does_not_fit_when_padded(tmp_path):
    write(tmp_path, change("tags", broken(TAGS, 250, [1] * 9), pa.list_(pa.int32())))
    assert sum(len(target) for _, target in Loader(tmp_path, 64)) == ROWS
    with pytest.raises(ValueError, match="'tags' has a row of 9 elements, more than the schema's max hotness 4"):
        list(Loader(tmp_path, 64, lists="padded"))


def test_columns_that_are_no_input(tmp_path):
    table = make_table(ROWS).append_column("name", pa.array(["x"] * ROWS))
    write(tmp_path, table, Schema([*make_schema(), Column("name", "string")]))
    with pytest.raises(SchemaError, match="'name' contains strings, which cannot be inputs of a model"):
        Loader(tmp_path)
    assert "name" not in next(iter(Loader(tmp_path, columns=["user", "tags"])))[0]
    no_hotness = Schema(column.evolve(hotness=None) for column in make_schema())
    with pytest.raises(SchemaError, match="'tags' cannot be padded: it has no hotness in the schema"):
        Loader(tmp_path, schema=no_hotness, lists="padded")
    target = Column("tags", "int32", ("target", "list"), hotness=Hotness(0, 1, 4))
    with pytest.raises(SchemaError, match="target 'tags' is a list column"):
        Loader(tmp_path, schema=Schema([make_schema()["user"], target]))


@pytest.mark.parametrize("consume", [list, lambda loader: list(loader.get_tf_dataset())], ids=["direct", "tf"])
def test_a_file_that_goes_away_in_mid_epoch(tmp_path, consume):
    write(tmp_path, make_table(ROWS), files=3)
    loader = Loader(tmp_path, 10, pool_rows=10)
    (tmp_path / "part-00002.parquet").unlink()
    with pytest.raises((OSError, tf.errors.OpError), match=r"part-00002.parquet: cannot be read"):
        consume(loader)
    assert not threads()


CONSUMERS = {
    "direct": list,
    "tf": lambda loader: list(loader.get_tf_dataset()),
    "tensorflow": lambda loader: list(loader.tensorflow()),
    "map": lambda loader: list(loader.map(lambda *batch: batch)),
    "take": lambda loader: list(loader.take(40)),
    "fit": lambda loader: fit(loader),
}


def fit(loader):
    model = keras.Sequential([keras.layers.Lambda(lambda x: x["age"][:, None]), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(loader, verbose=0)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("consume", CONSUMERS)
def test_damaged_pages(tmp_path, consume, shuffle):
    """A footer that reads well over data that does not, in the second of three files: one is read by then."""
    write(tmp_path, make_table(ROWS), files=3, row_group_rows=20, compression="zstd")
    path = tmp_path / "part-00001.parquet"
    data = bytearray(path.read_bytes())
    data[4 : len(data) // 2] = np.random.default_rng(0).bytes(len(data) // 2 - 4)
    path.write_bytes(data)
    loader = Loader(tmp_path, 10, shuffle=shuffle, pool_rows=20)
    with pytest.raises((OSError, tf.errors.OpError), match=r"part-00001.parquet: cannot be read"):
        CONSUMERS[consume](loader)
    gc.collect()  # with fit's iterator, which refers to itself
    assert not threads()
