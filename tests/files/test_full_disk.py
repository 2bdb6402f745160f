"""A full disk: the error, and what is left."""

import errno
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from kerasrec import etl
from kerasrec.files import naming_full_disk, write_aside


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    (tmp_path / "disk").mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(tmp_path / "disk")]
    mounted = subprocess.run(command, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk here: {mounted.stderr.decode().strip()}")
    yield tmp_path / "disk"
    subprocess.run(["umount", str(tmp_path / "disk")], check=True)


def test_everything_names_its_path_and_keeps_the_old(small_disk: Path) -> None:
    rng = np.random.default_rng(0)
    few, many = (
        pl.DataFrame({"user": rng.integers(0, 2**60, rows), "x": rng.random(rows), "y": rng.integers(0, 2, rows)})
        for rows in (10, 200_000)
    )
    columns = (["user"] >> etl.Categorify()) + (["x"] >> etl.Normalize()) + (["y"] >> etl.Target())
    small = etl.Workflow(columns).fit(few)
    large = etl.Workflow(columns).fit(many)
    small.transform(few).to_parquet(small_disk / "data")
    small.save(small_disk / "workflow")
    for write, path in (
        (lambda path: large.transform(many).to_parquet(path, overwrite=True), small_disk / "data"),
        (lambda path: large.save(path, overwrite=True), small_disk / "workflow"),
    ):
        before = {each: each.read_bytes() for each in path.iterdir()}
        with pytest.raises(
            OSError, match=f"cannot write {path}: No space left on device. .* bytes of it had been"
        ) as error:
            write(path)
        assert error.value.errno == errno.ENOSPC
        assert "bytes are free there; what was there before is unchanged" in str(error.value)
        assert ".partial-" not in str(error.value)
        assert {each: each.read_bytes() for each in path.iterdir()} == before
        assert sorted(each.name for each in small_disk.iterdir()) == ["data", "workflow"]
        with pytest.raises(OSError, match=f"cannot write {small_disk / 'new'}: No space.*nothing is left of it"):
            write(small_disk / "new")
        assert not (small_disk / "new").exists()


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("Unable to write: errno = 28, error message = 'No space left on device'"),
        pl.exceptions.ComputeError("No space left on device (os error 28)"),
    ],
)
def test_full_disks_of_other_libraries(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=f"cannot write {tmp_path / 'out'}: ") as told, write_aside(tmp_path / "out"):
        raise error
    assert told.value.errno in (errno.ENOSPC, errno.EDQUOT)
    assert told.value.__cause__ is error


def test_other_errors_pass(tmp_path: Path) -> None:
    error = ValueError("space")
    with pytest.raises(ValueError, match="space") as told, naming_full_disk(tmp_path, tmp_path):
        raise error
    assert told.value is error
