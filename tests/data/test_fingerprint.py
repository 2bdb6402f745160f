"""What tells files of one name apart; that ranks compare it is in `tests/parallel/fit_cases.py`."""

import shutil

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasrec.data.files.discovery import find_files
from kerasrec.data.files.fingerprint import fingerprints


def write(path, ids, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame({"id": ids}, schema={"id": pl.Int64}).write_parquet(path, **options)


def of(source):
    return fingerprints(find_files(source))


def test_a_copy_in_another_folder_is_the_same(tmp_path):
    for day in (1, 2):
        write(tmp_path / "a" / f"day={day}" / "0.parquet", range(day))
    write(tmp_path / "a" / "1.parquet", range(3))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    found = of(tmp_path / "a")
    assert list(found) == ["1.parquet", "day=1/0.parquet", "day=2/0.parquet"]
    assert found["1.parquet"].startswith("3 rows in ")
    assert of(tmp_path / "b") == found


def test_files_of_one_name_are_counted(tmp_path):
    write(tmp_path / "a" / "0.parquet", [1])
    write(tmp_path / "b" / "0.parquet", [2])
    assert list(of([tmp_path / "a", tmp_path / "b"])) == ["0.parquet", "0.parquet (2)"]


@settings(max_examples=25, deadline=None)
@given(
    ids=st.lists(st.integers(0, 9), min_size=2, max_size=50),
    seed=st.integers(0, 99),
    compression=st.sampled_from(["uncompressed", "zstd"]),
)
def test_as_many_other_rows_are_other_data(ids, seed, compression, tmp_path_factory):
    """Even the same rows in another order, of which statistics and sizes say nothing."""
    other = np.random.default_rng(seed).permutation(ids).tolist()
    folder = tmp_path_factory.mktemp("data")
    for name, rows in (("a", ids), ("b", other)):
        write(folder / name / "0.parquet", rows, compression=compression)
    assert (of(folder / "a") == of(folder / "b")) == (ids == other)


def test_past_the_beginning_footers_tell(tmp_path):
    rng = np.random.default_rng(0)
    same, one, two = rng.random(20_000), rng.random(1000), rng.random(1000)
    for name, last in (("a", one), ("b", two)):
        (tmp_path / name).mkdir()
        frame = pl.DataFrame({"x": np.concatenate([same, last])})
        frame.write_parquet(tmp_path / name / "0.parquet", row_group_size=1000)
    assert of(tmp_path / "a") != of(tmp_path / "b")


def test_at_an_address(tmp_path):
    fsspec = pytest.importorskip("fsspec")
    write(tmp_path / "0.parquet", range(5))
    fsspec.filesystem("memory").pipe("/fingerprint/0.parquet", (tmp_path / "0.parquet").read_bytes())
    assert list(of("memory://fingerprint")) == ["0.parquet"]
