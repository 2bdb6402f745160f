"""Data that is overwritten while it is read: an error, never rows of two datasets."""

import os
import shutil
from pathlib import Path

import fsspec
import numpy as np
import polars as pl
import pytest

import kerasrec as kr
from kerasrec import etl
from kerasrec.files.renames import exchange
from kerasrec.schema import Column, Schema, SchemaError, Tag

SCHEMA = Schema([Column("x", "int64", (Tag.CATEGORICAL,), cardinality=10), Column("y", "float32", (Tag.TARGET,))])
ROWS = 400


def write(folder: Path, value: int) -> None:
    folder.mkdir(exist_ok=True)
    for part in range(4):
        frame = pl.DataFrame({"x": np.full(ROWS, value), "y": np.zeros(ROWS, "float32")})
        frame.write_parquet(folder / f"part-{part:05d}.parquet", row_group_size=50)
    SCHEMA.save(folder)


def replaced(folder: Path, value: int) -> None:
    """As `to_parquet(overwrite=True)`: another folder takes the name, in one step."""
    write(folder.with_name("other"), value)
    assert exchange(folder.with_name("other"), folder)
    shutil.rmtree(folder.with_name("other"))


def written_over(folder: Path, value: int) -> None:
    """The same files with other bytes, as many and of the same time."""
    times = {path: path.stat() for path in folder.iterdir()}
    write(folder.with_name("other"), value)
    for path, status in times.items():
        (folder.with_name("other") / path.name).replace(path)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)


@pytest.mark.parametrize("overwrite", [replaced, written_over, write])
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_pass_over_replaced_files_ends_with_an_error(overwrite, shuffle: bool, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write(folder, 3)
    loader = kr.Loader(folder, 20, shuffle=shuffle, pool_rows=50)
    seen = []
    with pytest.raises(OSError, match=r"part-0000\d.parquet: the file has changed since the loader was made: "):
        for number, (features, _) in enumerate(loader):
            if number == 5:
                overwrite(folder, 4)
            seen += features["x"].tolist()
    assert set(seen) == {3}
    assert len(seen) < 4 * ROWS
    fresh = [x for features, _ in kr.Loader(folder, 20) for x in features["x"].tolist()]
    assert fresh == [4] * 4 * ROWS


@pytest.mark.parametrize("made", ["memory", "local"])
def test_addresses_too(made: str, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write(folder, 3)
    system = fsspec.filesystem("memory")
    address = f"file://{folder}" if made == "local" else f"memory://{tmp_path.name}-overwritten"

    def copy() -> None:
        if made == "memory":
            for path in folder.iterdir():
                system.pipe_file(f"{address}/{path.name}", path.read_bytes())

    copy()
    loader = kr.Loader(address, 20, pool_rows=50)
    seen = []
    with pytest.raises(
        OSError, match=r"part-0000\d.parquet: the file has changed since the loader was made: .* is "
    ):
        for number, (features, _) in enumerate(loader):
            if number == 5:
                write(folder, 4)
                copy()
            seen += features["x"].tolist()
    assert set(seen) == {3}


@pytest.mark.parametrize("kind", ["parquet", "csv"])
@pytest.mark.parametrize("read", ["collect", "to_parquet", "fit"])
def test_a_workflow_refuses_files_that_changed(kind: str, read: str, tmp_path: Path, monkeypatch) -> None:
    def make(value: int) -> list[Path]:
        files = [tmp_path / f"{part}.{kind}" for part in range(3)]
        for file in files:
            frame = pl.DataFrame({"x": [value] * 1000, "y": [0, 1] * 500})
            frame.write_parquet(file) if kind == "parquet" else frame.write_csv(file)
        return files

    files = make(3)
    workflow = etl.Workflow((["x"] >> etl.Normalize()) + (["y"] >> etl.Target())).fit(files)
    data = workflow.transform(files)
    message = rf"\d.{kind}: the file changed while it was being read: .*; read it again"
    if read == "fit":
        # Between the first pass and the second one.
        finalize = etl.Normalize.finalize
        monkeypatch.setattr(etl.Normalize, "finalize", lambda *a: (make(4), finalize(*a))[1])
        columns = (["x"] >> etl.Normalize() >> etl.Normalize()) + (["y"] >> etl.Target())
        with pytest.raises(SchemaError, match=message):
            etl.Workflow(columns).fit(files)
    else:
        make(4)
        with pytest.raises(SchemaError, match=message):
            data.collect() if read == "collect" else data.to_parquet(tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_a_file_that_is_only_read_may_be_linked_and_touched_by_nobody(tmp_path: Path) -> None:
    write(tmp_path / "data", 3)
    loader = kr.Loader(tmp_path / "data", 20)
    for path in (tmp_path / "data").iterdir():
        os.chmod(path, 0o444)
        os.link(path, tmp_path / path.name)
        path.read_bytes()
    assert sum(1 for _ in loader) == 4 * ROWS // 20
