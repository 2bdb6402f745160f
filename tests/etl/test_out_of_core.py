"""Files larger than the memory that the process may take are fitted, transformed and written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

pytestmark = pytest.mark.alone

ROOT = Path(__file__).parents[2]
FILES, ROWS, WORDS, NUMBERS = 18, 500_000, 8, 14  # a GiB of Parquet; columns of strings and of floats
LIMIT = 300 << 20  # bytes
WORK = """
import sys
import polars as pl
from kerasrec import etl

raw, out, how = sys.argv[1:]
names = pl.scan_parquet(raw + "/*.parquet").collect_schema().names()
words, numbers = ([name for name in names if name[0] == letter] for letter in "wx")
columns = (words >> etl.Categorify()) + (numbers >> etl.FillMissing() >> etl.Normalize())
rows = etl.Workflow(columns).fit(raw, progress=False).transform(raw)
rows.collect() if how == "collect" else rows.to_parquet(out, progress=False)
"""


def write(folder: Path) -> int:
    """Returns how many bytes were written."""
    rng = np.random.default_rng(0)
    columns = {f"w{i}": pl.Series(rng.integers(0, 20_000, ROWS)).cast(pl.String) for i in range(WORDS)}
    columns |= {f"x{i}": pl.Series(rng.random(ROWS)) for i in range(NUMBERS)}
    frame = pl.DataFrame({name: column.set(column.hash() % 7 == 0, None) for name, column in columns.items()})
    folder.mkdir()
    frame.write_parquet(folder / "0.parquet", compression="snappy", row_group_size=131_072)
    for i in range(1, FILES):
        os.link(folder / "0.parquet", folder / f"{i}.parquet")  # is read again all the same
    return sum(path.stat().st_size for path in folder.iterdir())


def run(raw: Path, out: Path, how: str) -> tuple[int, int]:
    """Returns the exit status of the work, and the most bytes of its own that it was seen with; it is killed as
    soon as those pass the limit. (What the kernel caches of files is not its own.)"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    process = subprocess.Popen([sys.executable, "-c", WORK, raw, out, how], env=environment)
    most = 0
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        if "RssAnon:" in status:  # not once it has ended
            most = max(most, int(status.partition("RssAnon:")[2].split()[0]) << 10)
        if most > LIMIT:
            process.kill()
        time.sleep(0.01)
    return process.returncode, most


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_memory_does_not_grow_with_the_data(tmp_path: Path) -> None:
    assert write(tmp_path / "raw") > 3 * LIMIT
    status, most = run(tmp_path / "raw", tmp_path / "out", "to_parquet")
    assert status == 0, f"took {most:,} bytes, more than {LIMIT:,}"
    assert pl.scan_parquet(tmp_path / "out" / "*.parquet").select(pl.len()).collect().item() == FILES * ROWS
    assert run(tmp_path / "raw", tmp_path / "out", "collect")[0] == -signal.SIGKILL  # all rows at once do not pass
