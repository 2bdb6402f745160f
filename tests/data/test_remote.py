"""Files at addresses: the same rows as from the same files here, only what is needed fetched, each error named."""

import socket
import sys
import traceback
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import fsspec
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from loader_data import make_table, rows_of, threads, write
from range_server import serve

from kerasrec import etl
from kerasrec.data import Loader
from kerasrec.schema import Column, Schema, SchemaError


def all_rows(loader):
    return [row for features, target in loader for row in rows_of(features, target)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """1,000 rows in 3 files of row groups of 100."""
    return write(tmp_path_factory.mktemp("remote") / "data", make_table(1000), files=3)


@pytest.fixture
def server(folder):
    with serve(folder.parent) as state:
        yield state


def to_memory(folder: Path) -> str:
    """The files of a folder, in fsspec's memory."""
    address = f"memory://{uuid4().hex}/data"
    system = fsspec.filesystem("memory")
    for path in folder.rglob("*"):
        if path.is_file():
            system.pipe_file(f"{address}/{path.relative_to(folder).as_posix()}", path.read_bytes())
    return address


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 60),
    files=st.integers(1, 4),
    row_group_rows=st.integers(1, 25),
    batch_size=st.integers(1, 70),
    ranks=st.integers(1, 3),
    shuffle=st.booleans(),
    dictionary=st.booleans(),
    compression=st.sampled_from(["none", "snappy", "zstd"]),
)
def test_memory_yields_what_local_files_do(
    rows, files, row_group_rows, batch_size, ranks, shuffle, dictionary, compression
):
    assume(rows >= ranks and batch_size > 1)
    with TemporaryDirectory() as name:
        folder = write(
            Path(name),
            make_table(rows),
            files=files,
            row_group_rows=row_group_rows,
            use_dictionary=dictionary,
            compression=compression,
        )
        address = to_memory(folder)
        found = []
        for rank in range(ranks):
            how = {"batch_size": batch_size, "shuffle": shuffle, "seed": 3, "rank": rank, "ranks": ranks}
            mine = all_rows(Loader(address, **how))
            assert mine == all_rows(Loader(folder, **how))
            found += mine
    assert sorted(row[0] for row in found) == list(range(rows))  # ranks are disjoint, and miss no row


def test_web_files_folders_globs_and_lists(folder, server):
    expected = all_rows(Loader(folder, 64))
    address = f"{server.url}/data"
    files = [f"{address}/part-{index:05d}.parquet" for index in range(3)]
    for source in (address, address + "/", f"{address}/*.parquet", files, [files[0], *files[1:]]):
        assert all_rows(Loader(source, 64)) == expected
    assert all_rows(Loader([files[1], folder / "part-00000.parquet"], 64)) == all_rows(
        Loader([folder / "part-00001.parquet", folder / "part-00000.parquet"], 64)
    )
    assert Loader(files[0] + "?signature=a/b", schema=Loader(folder).schema).num_rows == 333
    assert all_rows(Loader(address, 64, shuffle=True)) == all_rows(Loader(folder, 64, shuffle=True))


def test_memory_globs_and_file_addresses(folder):
    address, expected = to_memory(folder), all_rows(Loader(folder, 64))
    assert all_rows(Loader(f"{address}/*.parquet", 64)) == expected
    assert all_rows(Loader(f"{address}/part-0000[0-2].parquet", 64)) == expected
    assert all_rows(Loader(folder.as_uri(), 64)) == expected
    assert f"Loader of {address}" in repr(Loader(address)).replace(":///", "://")


def test_fit_from_the_web(server):
    import keras

    loader = Loader(f"{server.url}/data", 100, columns=["age"])
    inputs = {"age": keras.Input((), name="age")}
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs["age"][:, None]))
    model.compile("sgd", "mse")
    assert np.isfinite(model.fit(loader, epochs=2, verbose=0).history["loss"]).all()


def test_only_columns_asked_for_are_fetched_and_footers_once(tmp_path):
    rows, names = 60_000, [f"c{index}" for index in range(10)]
    rng = np.random.default_rng(0)
    table = pa.table({name: rng.normal(size=rows).astype("float32") for name in names})
    schema = Schema(Column(name, "float32", ("continuous",)) for name in names)
    write(tmp_path, table, schema, row_group_rows=30_000, compression="none", use_dictionary=False)
    size = (tmp_path / "part-00000.parquet").stat().st_size
    column = 4 * rows
    with serve(tmp_path) as server:
        loader = Loader(f"{server.url}/part-00000.parquet", 10_000, columns=["c2", "c7"])
        scanned = [count for path, count in server.sent if path.endswith("parquet")]
        assert len(scanned) == 1
        assert scanned[0] <= 65_536
        server.sent.clear()
        batches = list(loader)
        fetched = [count for _, count in server.sent]
        assert len(fetched) == 4  # two columns of two row groups, and no footer
        assert 2 * column <= sum(fetched) < 2.05 * column < size / 4
        server.sent.clear()
        list(Loader(f"{server.url}/part-00000.parquet", 10_000))
        assert sum(count for path, count in server.sent if path.endswith("parquet")) < 1.05 * size
    np.testing.assert_array_equal(np.concatenate([batch["c7"] for batch in batches]), table["c7"].to_numpy())


def test_errors_name_the_address(folder, server):
    with pytest.raises(FileNotFoundError, match=rf"{server.url}/data/none.parquet: there is no such file"):
        Loader(f"{server.url}/data/none.parquet")
    with pytest.raises(FileNotFoundError, match="memory://nowhere: there is no such file"):
        Loader("memory://nowhere")
    with pytest.raises(FileNotFoundError, match=r"memory://no/\*.parquet does not exist"):
        Loader("memory://no/*.parquet")
    with pytest.raises(ValueError, match="abc://x: Protocol not known"):
        Loader("abc://x")
    server.status = 503
    with pytest.raises(OSError, match=rf"{server.url}/data/part-00000.parquet: cannot be read: 503"):
        Loader(f"{server.url}/data/part-00000.parquet", schema=Loader(folder).schema)


def test_no_schema_and_a_broken_one():
    address = f"memory://{uuid4().hex}"
    system = fsspec.filesystem("memory")
    with system.open(f"{address}/a.parquet", "wb") as file:
        pq.write_table(make_table(10), file)
    with pytest.raises(FileNotFoundError, match=r"no schema at memory://.*/schema.json"):
        Loader(address)
    system.pipe_file(f"{address}/schema.json", b"{")
    with pytest.raises(SchemaError, match=r"memory://.*/schema.json: not readable as JSON"):
        Loader(address)


@pytest.mark.parametrize("keep", [0, 3, 1000, -1])
def test_truncated_files(tmp_path, keep):
    write(tmp_path, make_table(300))
    path = tmp_path / "part-00000.parquet"
    path.write_bytes(path.read_bytes()[:keep])
    with serve(tmp_path) as server, pytest.raises(ValueError, match=rf"{server.url}/part-.*: not readable as Par"):
        Loader(f"{server.url}/part-00000.parquet")


@pytest.mark.parametrize("wrong", ["cut", "gone", "down", "no ranges", "status"])
def test_a_server_that_fails_in_mid_epoch(folder, tmp_path, wrong):
    local = write(tmp_path / "data", make_table(1000), files=3)
    with serve(tmp_path) as server:
        loader = Loader(f"{server.url}/data", 50, pool_rows=50)
        batches = iter(loader)
        next(batches)
        if wrong == "cut":
            server.cut = 10
        elif wrong == "gone":
            for path in local.glob("*.parquet"):
                path.unlink()
        elif wrong == "no ranges":
            server.ranges = False
        elif wrong == "status":
            server.status = 500
        if wrong != "down":
            with pytest.raises(OSError, match=rf"{server.url}/data/part-0000.\.parquet: "):
                list(batches)
    if wrong == "down":
        with socket.socket() as port:  # bound, lest another process's server answers there
            port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            port.bind(("127.0.0.1", int(server.url.rpartition(":")[2])))
            with pytest.raises(OSError, match=rf"{server.url}/data/part-0000.\.parquet: cannot be read: "):
                list(batches)
    assert not threads()


def test_a_server_that_does_not_answer(folder, server):
    aiohttp = pytest.importorskip("aiohttp")
    patience = {"client_kwargs": {"timeout": aiohttp.ClientTimeout(total=0.5)}}
    loader = Loader(f"{server.url}/data", storage_options=patience)
    server.late = 2
    with pytest.raises(OSError, match=rf"{server.url}/data/part-00000.parquet: cannot be read: .*Timeout"):
        list(loader)
    assert not threads()


def test_addresses_in_addresses(folder, tmp_path):
    expected, address = all_rows(Loader(folder, 64)), to_memory(folder)
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, f"data/{path.name}")
    assert all_rows(Loader(f"zip://data::{tmp_path}/data.zip", 64)) == expected
    cached = Loader(f"simplecache::{address}/*.parquet", 64, schema=Schema.load(folder))
    assert all_rows(cached) == expected
    with pytest.raises(OSError, match="zip://data::.*/none.zip: cannot be read"):
        Loader(f"zip://data::{tmp_path}/none.zip")


def test_damaged_pages():
    folder = f"memory://{uuid4().hex}"
    with TemporaryDirectory() as name:
        write(Path(name), make_table(300), compression="zstd")
        data = bytearray((Path(name) / "part-00000.parquet").read_bytes())
        data[4 : len(data) // 3] = bytes(len(data) // 3 - 4)
        fsspec.filesystem("memory").pipe_file(f"{folder}/a.parquet", bytes(data))
        schema = Schema.load(name)
    with pytest.raises(OSError, match=r"memory://.*/a.parquet: cannot be read"):
        list(Loader(folder, schema=schema))
    assert not threads()


def test_storage_options_reach_the_file_system(folder, server):
    how = {"client_kwargs": {"headers": {"X-From": "kerasrec"}}}
    loader = Loader(f"{server.url}/data", storage_options=how)
    assert loader.files[0].system.client_kwargs == how["client_kwargs"]
    with pytest.raises((TypeError, OSError), match="none_such"):
        Loader(f"{server.url}/data", storage_options={"client_kwargs": {"none_such": 1}})


def test_what_is_not_installed(folder, monkeypatch):
    with monkeypatch.context() as patch:
        for module in ("fsspec", "fsspec.core"):
            patch.setitem(sys.modules, module, None)
        with pytest.raises(ImportError, match=r"memory://x: reading addresses needs fsspec .*kerasrec\[remote\]"):
            Loader("memory://x")
        assert Loader(folder).num_rows == 1000
    if "s3fs" not in sys.modules:
        monkeypatch.setitem(sys.modules, "s3fs", None)
        with pytest.raises(ImportError, match="s3://bucket/train: Install s3fs"):
            Loader("s3://bucket/train")


def test_unread_columns_are_not_decoded(tmp_path):
    """Neither here nor far away: bytes of columns that are not asked for may be anything."""
    write(tmp_path, make_table(300), compression="zstd")
    path = tmp_path / "part-00000.parquet"
    data = bytearray(path.read_bytes())
    footer = pq.read_metadata(path)
    for index in range(footer.num_row_groups):
        for at in range(footer.num_columns):
            leaf = footer.row_group(index).column(at)
            if leaf.path_in_schema not in ("user", "clicked"):
                start = leaf.dictionary_page_offset or leaf.data_page_offset
                data[start : start + leaf.total_compressed_size] = b"\xff" * leaf.total_compressed_size
    path.write_bytes(data)
    users = make_table(300)["user"].to_numpy()
    for source in (tmp_path, to_memory(tmp_path)):
        batches = list(Loader(source, 64, columns=["user"]))
        np.testing.assert_array_equal(np.concatenate([features["user"] for features, _ in batches]), users)
        with pytest.raises(OSError, match=r"part-00000.parquet: cannot be read"):
            list(Loader(source, 64))


def test_workflows_take_addresses_as_polars_frames(server, folder):
    def graph():
        return etl.Workflow(["user"] >> etl.Categorify())

    files = sorted(folder.glob("*.parquet"))
    there = [f"{server.url}/data/{path.name}" for path in files]
    found = graph().fit(pl.scan_parquet(there)).transform(pl.scan_parquet(there)).collect()
    assert found.equals(graph().fit(files).transform(files).collect())
    with pytest.raises(ValueError, match=rf"{there[0]}: a workflow reads URLs through Polars"):
        graph().fit(there)


def test_keys_in_addresses_are_not_shown(server, folder):
    """In no message, repr or traceback, whatever goes wrong."""
    keyed = server.url.replace("://", "://ME:SECRET/1@")
    signed = f"{server.url}/data/part-00000.parquet?X-Amz-Signature=SECRET2"
    loader = Loader(signed, schema=Loader(folder).schema, batch_size=100)
    shown = [repr(loader), str(loader.files[0]), repr(loader.files)]
    assert all_rows(loader)
    server.status = 503
    for source in (
        signed,
        f"{keyed}/data",
        f"{keyed}/data/none.parquet",
        f"{server.url}/data?token=SECRET3",
        "s3://ME:SECRET4@bucket/x.parquet",
        "nonsense://ME:SECRET5@x/y",
        "zip://a.parquet::nonsense://ME:SECRET6@x/y?sig=SECRET7",
    ):
        with pytest.raises((OSError, ValueError, ImportError)) as failed:
            list(Loader(source, schema=loader.schema))
        shown += traceback.format_exception(failed.value)
    with pytest.raises(OSError) as failed:  # noqa: PT011
        list(loader)
    shown += traceback.format_exception(failed.value)
    with pytest.raises(ValueError, match="s3://") as refused:
        etl.Workflow(["age"] >> etl.Normalize()).fit("s3://ME:SECRET8@bucket/x.parquet")
    shown += [str(refused.value)]
    code = [line for text in shown for line in text.splitlines() if "SECRET" in line and "ME:SECRET8" not in line]
    assert not code, code


def test_a_folder_goes_by_its_name_before_a_pattern(folder):
    first = min(path.name for path in folder.glob("*.parquet"))
    system = fsspec.filesystem("memory")
    root = f"memory://{uuid4().hex}"
    for name in ("run[1]", "run*", "run1"):
        for path in folder.iterdir():
            system.pipe_file(f"{root}/{name}/{path.name}", path.read_bytes())
    for source in ("run[1]", "run[1]/*.parquet", f"run[1]/{first}", "run*/*.parquet"):
        files = Loader(f"{root}/{source}", batch_size=10).files
        assert {file.parent.name for file in files} == {source.partition("/")[0]}
