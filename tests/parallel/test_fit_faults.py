"""A rank goes wrong in the middle of `fit`: the whole job ends, says why, and leaves nothing behind."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import fit_cases
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from launch import launch

pytestmark = [
    pytest.mark.alone,
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("horovod") is None, reason="Horovod is missing"),
]
CASES = Path(__file__).parent / "fit_fault_cases.py"


@pytest.mark.parametrize(
    ("how", "said"),
    [
        pytest.param("raise", "rank 1 of 2: ValueError: column 'age' has a bad value", marks=pytest.mark.nightly),
        pytest.param("kill", "Process 1 exit with status code 137", marks=pytest.mark.nightly),
        ("stray id", "id 1000 is out of range [0, 103) of table"),
        ("bad file", "last.parquet"),
        ("stuck", "rank 1 of 2: no step has begun for 20 seconds"),
    ],
)
def test_job_ends_on_all_ranks(how, said, tmp_path):
    fit_cases.write_data(tmp_path)
    write_bad_file(tmp_path)
    done = launch(2, CASES, str(tmp_path), how, limit=60)
    assert done.code not in (0, -9), done.output[-6000:]
    assert said in done.output, done.output[-6000:]
    assert "step 2" in done.output, "it went wrong before the middle"
    assert "went on" not in done.output
    assert not done.left_behind
    if how in ("raise", "stray id", "bad file"):
        errors = [line for line in done.output.splitlines() if ">:rank " in line]
        assert errors[0].startswith("[1]<stderr>:rank 1 of 2: ")
        assert said in errors[0]
    if how == "stuck":
        assert "time.sleep(600)" in done.output


def write_bad_file(folder):
    """The last of rank 1's row groups cannot be decoded; what the footer says is in order."""
    (folder / "bad").mkdir()
    shutil.copy(folder / "train" / "schema.json", folder / "bad")
    frame = pl.concat([fit_cases.rows_of(np.random.default_rng(0), 60) for _ in range(4)])
    path = folder / "bad" / "last.parquet"
    frame.write_parquet(path, row_group_size=20, compression="zstd")
    column = pq.ParquetFile(path).metadata.row_group(11).column(1)
    with path.open("r+b") as file:
        file.seek(column.dictionary_page_offset or column.data_page_offset)
        file.write(b"\xff" * column.total_compressed_size)
