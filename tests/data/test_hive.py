"""Folders named `column=value`: as if the columns were in the files."""

from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from range_server import serve

from kerasrec.data import Loader
from kerasrec.schema import Column, Hotness, Schema, SchemaError

SCHEMA = Schema(
    [
        Column("row", "int64", ("continuous",)),
        Column("shop", "int32", ("categorical",), cardinality=9, table="shop"),
        Column("day", "int16", ("continuous",)),
        Column("weight", "float32", ("continuous",)),
        Column("clicked", "float32", ("target",)),
    ]
)


def make_table(rows: int) -> pa.Table:
    rng = np.random.default_rng(rows)
    return pa.table(
        {
            "row": np.arange(rows),
            "shop": rng.integers(0, 3, rows).astype("int32"),
            "day": rng.integers(-2, 2, rows).astype("int16"),
            "weight": rng.choice([0.5, -1.25, 1e-7], rows).astype("float32"),
            "clicked": rng.integers(0, 2, rows).astype("float32"),
        }
    )


def write(folder: Path, table: pa.Table, by: list[str], schema: Schema = SCHEMA) -> Path:
    """Partitioned by pyarrow, not by hand; the schema beside."""
    pyarrow.dataset.write_dataset(
        table, folder, format="parquet", partitioning=by, partitioning_flavor="hive", max_rows_per_group=7
    )
    schema.save(folder)
    return folder


def rows_of(loader) -> list[tuple]:
    names = [name for name in SCHEMA.names if name != "clicked"]
    return [
        row
        for features, target in loader
        for row in zip(*(features[name].tolist() for name in names), target[:, 0].tolist(), strict=True)
    ]


def rows_in(table: pa.Table) -> list[tuple]:
    return list(zip(*(table[name].to_pylist() for name in SCHEMA.names), strict=True))


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 60),
    by=st.permutations(["shop", "day", "weight", "clicked"]),
    depth=st.integers(1, 4),
    batch_size=st.integers(2, 70),
    ranks=st.integers(1, 3),
    shuffle=st.booleans(),
)
def test_partitioned_files_hold_the_same_rows(rows, by, depth, batch_size, ranks, shuffle):
    assume(rows >= ranks)
    table = make_table(rows)
    with TemporaryDirectory() as name:
        folder = write(Path(name), table, by[:depth])
        found = []
        for rank in range(ranks):
            loader = Loader(folder, batch_size, shuffle=shuffle, seed=1, pool_rows=20, rank=rank, ranks=ranks)
            found += rows_of(loader)
    assert sorted(found) == rows_in(table)


def test_dtypes_are_the_schemas_and_order_that_of_names(tmp_path):
    folder = write(tmp_path, make_table(50), ["day", "shop"])
    features, target = next(iter(Loader(folder, 50)))
    assert {name: values.dtype.name for name, values in features.items()} == {
        column.name: column.dtype for column in SCHEMA.features
    }
    assert target.dtype == "float32"
    names = [str(path.relative_to(folder)) for path in Loader(folder).files]
    assert names == sorted(names)
    assert len({Path(name).parent for name in names}) > 3
    assert features["day"].tolist() == [
        day for day in (-1, -2, 0, 1) for _ in range((features["day"] == day).sum())
    ]


def test_parts_of_it_globs_and_single_files(tmp_path):
    table = make_table(80)
    folder = write(tmp_path / "train", table, ["day", "shop"])
    everything = rows_of(Loader(folder, 16))
    assert rows_of(Loader(str(folder / "**" / "*.parquet"), 16)) == everything
    assert rows_of(Loader(str(folder / "day=*"), 16)) == everything
    assert rows_of(Loader(str(folder / "day=*" / "shop=*" / "*.parquet"), 16)) == everything
    assert rows_of(Loader(Loader(folder).files, 16)) == everything
    one = rows_of(Loader(folder / "day=-1", 16))
    assert one == [row for row in everything if row[2] == -1]
    assert rows_of(Loader(str(folder / "day=-1" / "shop=[01]"), 16)) == [row for row in one if row[1] < 2]


def test_partitioned_folders_at_addresses(tmp_path):
    folder = write(tmp_path / "train", make_table(80), ["day", "shop"])
    expected = rows_of(Loader(folder, 16))
    address, system = f"memory://{uuid4().hex}", fsspec.filesystem("memory")
    for path in folder.rglob("*.*"):
        system.pipe_file(f"{address}/{path.relative_to(folder).as_posix()}", path.read_bytes())
    assert rows_of(Loader(address, 16)) == expected
    assert rows_of(Loader(f"{address}/**/*.parquet", 16)) == expected
    assert rows_of(Loader(f"{address}/day=*", 16)) == expected
    days = [next(iter(Loader(each, 80, columns=["day"], targets=[])))["day"] for each in (address, folder)]
    np.testing.assert_array_equal(*days)  # which no file holds
    with serve(tmp_path) as server:
        assert rows_of(Loader(f"{server.url}/train", 16)) == expected
        some = rows_of(Loader(f"{server.url}/train/day=-1", 16))
        assert some == [row for row in expected if row[2] == -1]


def test_only_columns_that_the_schema_names(tmp_path):
    folder = write(tmp_path / "lr=0.1", make_table(20), ["day", "shop"])
    features, _ = next(iter(Loader(folder, 20, columns=["row", "day"])))
    assert list(features) == ["row", "day"]
    features = next(iter(Loader(folder, 20, columns=["day"], targets=[])))  # which no file holds
    assert sorted(features["day"].tolist()) == sorted(make_table(20)["day"].to_pylist())


def test_what_a_file_holds_is_read_from_it(tmp_path):
    table = make_table(20)
    (tmp_path / "day=7").mkdir()
    pq.write_table(table, tmp_path / "day=7" / "a.parquet")
    SCHEMA.save(tmp_path)
    assert rows_of(Loader(tmp_path, 20)) == rows_in(table)


def put(folder: Path, *names: str, drop: str = "day") -> Path:
    for name in names:
        (folder / name).mkdir(parents=True)
        pq.write_table(make_table(20).drop([drop]), folder / name / "a.parquet")
    SCHEMA.save(folder)
    return folder


@pytest.mark.parametrize(
    ("name", "drop", "message"),
    [
        ("day=x", "day", "column 'day' is 'x' in the name of a folder, but int16 in the schema"),
        ("day=1.5", "day", "column 'day' is '1.5' in the name of a folder, but int16"),
        ("day=", "day", "column 'day' is '' in the name of a folder, but int16"),
        ("day=32768", "day", "column 'day' is '32768' in the name of a folder, but int16"),
        ("day=__HIVE_DEFAULT_PARTITION__", "day", "column 'day' has 20 nulls; fill them first"),
        ("shop=9", "shop", r"column 'shop': id 9 is out of range \[0, 9\)"),
        ("shop=-1", "shop", r"column 'shop': id -1 is out of range \[0, 9\)"),
        ("weight=high", "weight", "column 'weight' is 'high' in the name of a folder, but float32"),
        ("weight=nan", "weight", "column 'weight' contains NaN; fill it first"),
        ("other=3", "day", "no column 'day'; expected one"),
    ],
)
def test_values_that_do_not_fit(tmp_path, name, drop, message):
    put(tmp_path, name, drop=drop)
    with pytest.raises(ValueError, match=f"{tmp_path}/{name}/a.parquet: .*{message}"):
        Loader(tmp_path)


def test_values_are_unquoted_and_lists_refused(tmp_path):
    put(tmp_path / "a", "day=%2D2")
    assert set(next(iter(Loader(tmp_path / "a", 20)))[0]["day"].tolist()) == {-2}
    listed = Schema([SCHEMA["row"], Column("tags", "int32", ("list", "categorical"), 9, hotness=Hotness(1, 1, 1))])
    put(tmp_path / "b", "tags=1")
    with pytest.raises(SchemaError, match="column 'tags' is '1' in the name of a folder, but list of int32"):
        Loader(tmp_path / "b", schema=listed)


def test_a_file_without_a_value_that_others_have(tmp_path):
    put(tmp_path, "day=1", "day=2")
    pq.write_table(make_table(20).drop(["day"]), tmp_path / "a.parquet")
    with pytest.raises(SchemaError, match=f"{tmp_path}/a.parquet: column 'day' is neither .* for .*/day=2/a"):
        Loader(tmp_path)
    pq.write_table(make_table(20), tmp_path / "a.parquet")  # which may as well hold the column
    assert Loader(tmp_path).num_rows == 60


def test_folders_with_other_names_are_not_guessed(tmp_path):
    put(tmp_path, "2024/day=1", "2025/day=2")
    with pytest.raises(FileNotFoundError, match=r"contains no \*.parquet file; .*\(2024, 2025\), pass .*/\*\*/\*"):
        Loader(tmp_path)
    assert Loader(f"{tmp_path}/**/*.parquet", schema=SCHEMA).num_rows == 40
    (tmp_path / "2024" / "day=1" / "_temporary").mkdir()
    pq.write_table(make_table(20), tmp_path / "2024" / "day=1" / "_temporary" / "a.parquet")
    assert Loader(tmp_path / "2024", schema=SCHEMA).num_rows == 20


def test_schemas_beside_partitions(tmp_path):
    for name in ("lr=0.1", "lr=0.2"):
        put(tmp_path / name, "day=1")
    assert Loader(tmp_path / "lr=0.1").num_rows == 20
    assert Loader(tmp_path).num_rows == 40  # both have the same
    SCHEMA.without("target").save(tmp_path / "lr=0.2")
    with pytest.raises(SchemaError, match="lr=0.1 and .*lr=0.2 differ"):
        Loader(tmp_path)
    SCHEMA.subset(["row", "day"]).save(tmp_path)  # the outermost one is the dataset's
    assert Loader(tmp_path).schema.names == ["row", "day"]
