"""What `to_parquet` and `save` leave on disk, also when they are cut short."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from kerasrec import etl
from kerasrec.schema import Schema, SchemaError

FRAME = pl.DataFrame(
    {"x": range(25), "c": [f"c{i % 7}" for i in range(25)], "l": [[i] * (i % 3) for i in range(25)]}
)


@pytest.fixture(scope="module")
def workflow() -> etl.Workflow:
    return etl.Workflow(["x"] + (["c", "l"] >> etl.Categorify())).fit(FRAME)


@pytest.fixture(scope="module")
def dataset(workflow: etl.Workflow) -> etl.Dataset:
    return workflow.transform(FRAME)


def test_layout(dataset: etl.Dataset, tmp_path: Path) -> None:
    folder = dataset.to_parquet(tmp_path / "deep" / "train", row_group_rows=4, rows_per_file=8)
    names = ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet", "part-00003.parquet", "schema.json"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert [path.name for path in folder.parent.iterdir()] == ["train"]
    groups = [pq.read_metadata(folder / name) for name in names[:-1]]
    assert [[g.row_group(i).num_rows for i in range(g.num_row_groups)] for g in groups] == [
        [4, 4],
        [4, 4],
        [4, 4],
        [1],
    ]
    assert Schema.load(folder) == dataset.schema
    assert_frame_equal(pl.read_parquet(folder / "*.parquet"), dataset.collect())


def test_defaults(dataset: etl.Dataset, tmp_path: Path) -> None:
    folder = dataset.to_parquet(tmp_path / "a")
    assert pq.read_metadata(folder / "part-00000.parquet").num_row_groups == 1
    folder = dataset.to_parquet(tmp_path / "b", rows_per_file=10)
    assert [pq.read_metadata(file).num_rows for file in sorted(folder.glob("*.parquet"))] == [10, 10, 5]


def test_row_groups_that_do_not_fill_files(dataset: etl.Dataset, tmp_path: Path) -> None:
    folder = dataset.to_parquet(tmp_path / "a", row_group_rows=4, rows_per_file=10)
    files = [pq.read_metadata(file) for file in sorted(folder.glob("*.parquet"))]
    sizes = [[file.row_group(i).num_rows for i in range(file.num_row_groups)] for file in files]
    assert sizes == [[4, 4, 2], [4, 4, 2], [4, 1]]
    assert_frame_equal(pl.read_parquet(folder / "*.parquet"), dataset.collect())
    with pytest.raises(ValueError, match=r"row_group_rows and rows_per_file must be integers >= 1; got -1 and"):
        dataset.to_parquet(tmp_path / "b", row_group_rows=-1)


@pytest.mark.parametrize("part_rows", [1, 10, 24, 25, 100])
@pytest.mark.parametrize("kind", ["file", "frame", "lazy frame"])
def test_rows_are_the_same_in_parts_of_any_size(
    kind: str,
    part_rows: int,
    workflow: etl.Workflow,
    dataset: etl.Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Parts of few rows are computed by another of Polars' engines than a whole that may be large."""
    monkeypatch.setattr("kerasrec.etl.dataset.PART_ROWS", part_rows)
    FRAME.write_parquet(tmp_path / "raw.parquet", row_group_size=7)
    source = {"file": tmp_path / "raw.parquet", "frame": FRAME, "lazy frame": FRAME.lazy()}[kind]
    folder = workflow.transform(source).to_parquet(tmp_path / "out", row_group_rows=4)
    assert pq.read_metadata(folder / "part-00000.parquet").num_row_groups == 7
    assert_frame_equal(pl.read_parquet(folder / "*.parquet"), dataset.collect())


def test_files_say_that_there_are_no_nulls(dataset: etl.Dataset, tmp_path: Path) -> None:
    schema = pq.read_schema(dataset.to_parquet(tmp_path / "a") / "part-00000.parquet")
    assert not any(field.nullable for field in schema)
    assert not schema.field("l").type.value_field.nullable


def test_an_existing_folder_stays(dataset: etl.Dataset, tmp_path: Path) -> None:
    folder = dataset.to_parquet(tmp_path / "a", rows_per_file=5)
    with pytest.raises(FileExistsError, match="pass overwrite=True"):
        dataset.to_parquet(folder)
    assert len(list(folder.iterdir())) == 6
    dataset.to_parquet(folder, overwrite=True)
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("bad", [None, 2])
def test_rows_that_do_not_fit_leave_nothing(bad: int | None, tmp_path: Path) -> None:
    workflow = etl.Workflow(["x"] + (["y"] >> etl.Target())).fit(pl.DataFrame({"x": [1], "y": [0]}))
    rows = [0.0] * 10
    for i, name in enumerate(["a.parquet", "b.parquet"]):
        frame = pl.DataFrame({"x": rows, "y": [0, 1] * 5})
        if i:
            column = "x" if bad is None else "y"
            frame = frame.with_columns(pl.when(pl.int_range(10) == 7).then(bad).otherwise(column).alias(column))
        frame.cast({"x": pl.Int64}).write_parquet(tmp_path / name)
    message = "column 'x' is null" if bad is None else "target 'y' is 2.0, but the workflow was fitted on 0"
    with pytest.raises(SchemaError, match=rf"b\.parquet, row 7: {message}"):
        workflow.transform(str(tmp_path / "*.parquet")).to_parquet(tmp_path / "out", row_group_rows=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "b.parquet"]


def test_null_elements_of_lists_are_found(tmp_path: Path) -> None:
    workflow = etl.Workflow(["x"]).fit(pl.DataFrame({"x": [[1.0]]}))
    dataset = workflow.transform(pl.DataFrame({"x": [[1.0], [], [2.0, float("nan")]]}))
    with pytest.raises(
        SchemaError, match="the frame, row 2: column 'x' is null after its operators .1 of 1|one of 1"
    ):
        dataset.to_parquet(tmp_path / "out")
    with pytest.raises(SchemaError, match="the frame, row 2"):
        dataset.collect()
    assert list(tmp_path.iterdir()) == []


PRELUDE = """
import resource, signal, sys
import polars as pl
from kerasrec import etl
big = pl.DataFrame({"x": range(400_000), "c": [f"value {i}" for i in range(400_000)]})
workflow = etl.Workflow(["x"] + (["c"] >> etl.Categorify())).fit(big)
"""
ENDLESS = """
endless = pl.concat([big.lazy()] * 10_000)
print("writing", flush=True)
workflow.transform(endless).to_parquet(sys.argv[1], row_group_rows=10_000, rows_per_file=50_000)
"""
FULL = """
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # no file may grow beyond: what a full disk does
try:
    {call}
except OSError as error:
    print("refused", type(error).__name__, error)
"""


def run(code: str, path: Path) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + code, str(path)], stdout=subprocess.PIPE, text=True, env=environment
    )


@pytest.mark.parametrize("call", ["workflow.transform(big).to_parquet(sys.argv[1])", "workflow.save(sys.argv[1])"])
def test_a_full_disk_leaves_nothing(call: str, tmp_path: Path) -> None:
    process = run(FULL.format(call=call), tmp_path / "out")
    told, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert told.startswith("refused OSError")
    assert str(tmp_path) in told
    assert list(tmp_path.iterdir()) == []


def test_a_kill_while_writing_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    process = run(ENDLESS, tmp_path / "out")
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.rglob("part-00002.parquet")) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert list(tmp_path.rglob("part-00002.parquet")), "it never came to write"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.stdout is not None
    process.stdout.close()
    assert not (tmp_path / "out").exists()
    assert [path.name.startswith(".out.partial-") for path in tmp_path.iterdir()] == [True]


def test_a_kill_while_saving_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    # Saving is quick: stop right before the last file of the folder is written.
    stop = """
from pathlib import Path
import os
Path.write_text = lambda self, *a, **k: os.kill(os.getpid(), signal.SIGKILL)
workflow.save(sys.argv[1])
"""
    process = run(stop, tmp_path / "out")
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    (partial,) = tmp_path.iterdir()
    assert partial.name.startswith(".out.partial-")
    assert list(partial.rglob("*.parquet"))
