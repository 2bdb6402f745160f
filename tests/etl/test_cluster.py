"""Fitting and writing on real Dask clusters: as on one machine, and through the death of a worker."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from dying import DiesOnce
from polars.testing import assert_frame_equal

from kerasrec import etl
from kerasrec.etl.operator.graph import topological_order
from kerasrec.etl.run import dask_cluster
from kerasrec.schema import SchemaError

distributed = pytest.importorskip("distributed")
ROOT = Path(__file__).parent.parent.parent
CUTS_FILTERED = hasattr(pl.col("x").meta, "is_row_separable")  # Polars 1 does not tell of a Filter what it reads
ROWS, PART = 1_100, 60  # parts enough for two levels of merging, files that are cut and files that are not


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("raw")
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "word": [None if i % 9 == 0 else f"w{i}" for i in rng.zipf(1.5, ROWS) % 200],
            "tags": [[f"t{i}" for i in rng.integers(0, 30, rng.integers(0, 4))] for _ in range(ROWS)],
            "user": rng.integers(0, 50, ROWS),
            "price": [None if i % 7 == 0 else float(x) for i, x in enumerate(rng.lognormal(3, 1, ROWS))],
            "clicked": rng.integers(0, 2, ROWS),
            "at": [f"{1 + i % 28:02}/{1 + i % 12:02}/2024 {i % 24:02}:00:00" for i in range(ROWS)],
        }
    )
    cuts = [0, 500, 530, 1000, ROWS]
    paths = [folder / f"raw-{i}.parquet" for i in range(len(cuts) - 1)]
    for path, first, last in zip(paths, cuts, cuts[1:], strict=False):
        frame[first:last].write_parquet(path, row_group_size=64)
    return paths


@pytest.fixture(scope="module", autouse=True)
def _small_parts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dask_cluster, "PART_ROWS", PART)
        yield


@pytest.fixture(scope="module")
def local() -> Iterator[Any]:
    options = {"processes": True, "threads_per_worker": 1, "dashboard_address": None, "memory_limit": 0}
    with distributed.LocalCluster(n_workers=2, **options) as cluster, distributed.Client(cluster) as client:
        yield client


def graph() -> etl.Workflow:
    kept = ["word", "tags", "user", "price", "clicked"] >> etl.Filter(pl.col("user") < 45)
    cats = kept["word", "tags"] >> etl.Categorify(min_count=2, num_buckets=3)
    both = kept["word", "user"] >> etl.Categorify(combo=True)
    price = kept["price"] >> etl.FillMedian() >> etl.LogOp() >> etl.Normalize()
    level = kept["price"] >> etl.FillMissing(1.0) >> etl.NormalizeMinMax() >> etl.Rename(postfix="_level")
    means = kept["user"] >> etl.TargetEncoding(kept["clicked"], kfold=3)
    return etl.Workflow(cats + both + price + level + means + (kept["clicked"] >> etl.Target()))


def learned(workflow: etl.Workflow) -> list[tuple[dict[str, Any], dict[str, pl.DataFrame]]]:
    return [(node.op.state, node.op.frames) for node in topological_order(workflow._root) if node.op is not None]


def assert_same_state(one: etl.Workflow, other: etl.Workflow) -> None:
    """Equal but for the rounding of sums of floats."""
    assert one.input_schema == other.input_schema
    for (facts, frames), (others, theirs) in zip(learned(one), learned(other), strict=True):
        assert facts.keys() == others.keys()
        for name, values in facts.items():
            assert values == pytest.approx(others[name], rel=1e-12)
        assert frames.keys() == theirs.keys()
        for name, frame in frames.items():
            assert_frame_equal(frame, theirs[name], rel_tol=1e-12)


@pytest.fixture(scope="module")
def alone(files: list[Path]) -> etl.Workflow:
    return graph().fit(files)


def rows(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(sorted(folder.glob("*.parquet")))


def test_as_on_one_machine(local: Any, files: list[Path], alone: etl.Workflow, tmp_path: Path) -> None:
    names = [path.name for path in files]
    for processes in (2, 3):
        local.cluster.scale(processes)
        local.wait_for_workers(processes)
        with contextlib.chdir(files[0].parent):  # where the workers are not
            workflow = graph().fit(names, client=local)
        assert_same_state(workflow, alone)
    # The same workflow, so that the rows are equal to the last bit; fitted rows, whose encodings go by position.
    with contextlib.chdir(files[0].parent):
        data = alone.transform(names)
        many = data.to_parquet(tmp_path / "many", client=local, rows_per_file=200, row_group_rows=100)
        one = data.to_parquet(tmp_path / "one")
    assert_frame_equal(rows(many), rows(one))
    count = 3 + 1 + 3 + 1 if CUTS_FILTERED else 5  # else one worker writes all rows
    parts = [f"part-{i:05d}.parquet" for i in range(count)]
    assert sorted(path.name for path in many.iterdir()) == [*parts, "schema.json"]
    assert (many / "schema.json").read_text() == (one / "schema.json").read_text()


LEARNED: dict[str, Callable[[], Any]] = {
    "Categorify": lambda: ["word", "tags"] >> etl.Categorify(min_count=2, num_buckets=3),
    "Categorify of a shared table": lambda: ["user", "clicked"] >> etl.Categorify(table="number", max_size=20),
    "Categorify of combinations": lambda: ["word", "user"] >> etl.Categorify(combo=True),
    "FillMedian": lambda: ["price"] >> etl.FillMedian(add_binary_cols=True),
    "JoinGroupby": lambda: (
        ["user"] >> etl.JoinGroupby(["price"], stats=["count", "sum", "mean", "std", "min", "max"])
    ),
    "NegativeSampling": lambda: (
        ["user", "word"] >> etl.Categorify() >> etl.NegativeSampling("word", 2, by="user", popularity=0.5)
    ),
    "Normalize": lambda: ["price"] >> etl.FillMissing() >> etl.Normalize(),
    "NormalizeMinMax": lambda: ["price"] >> etl.FillMissing() >> etl.NormalizeMinMax(),
    "ParseTime": lambda: ["at"] >> etl.ParseTime() >> etl.TimeFeatures(),
    "Target": lambda: (["user"] >> etl.Normalize()) + (["clicked"] >> etl.Target()),
    "TargetEncoding": lambda: ["word", ["user", "word"]] >> etl.TargetEncoding("clicked", kfold=3),
    "ValueCount": lambda: ["tags"] >> etl.Categorify() >> etl.ValueCount(),
    # What one worker learns from all rows: the rows of its inputs look at one another.
    "behind a lag": lambda: (
        ["user", "price"] >> etl.DifferenceLag("user", shift=[1]) >> etl.FillMissing() >> etl.Normalize()
    ),
    "behind groups": lambda: ["user", "word"] >> etl.Groupby("user", aggs={"word": "list"}) >> etl.Categorify(),
}


def test_all_that_learn_are_here() -> None:
    made = (getattr(etl, name) for name in etl.__all__)
    learn = {op.__name__ for op in made if isinstance(op, type) and issubclass(op, etl.Operator) and op.stateful}
    assert learn <= LEARNED.keys()


@pytest.mark.parametrize("processes", [3, pytest.param(2, marks=pytest.mark.nightly)])
def test_what_each_operator_learns(local: Any, files: list[Path], processes: int, tmp_path: Path) -> None:
    local.cluster.scale(processes)
    local.wait_for_workers(processes)
    for name, nodes in LEARNED.items():
        alone, workflow = etl.Workflow(nodes()).fit(files), etl.Workflow(nodes()).fit(files, client=local)
        assert_same_state(workflow, alone)
        out = workflow.transform(files).to_parquet(tmp_path / name, client=local)
        assert_frame_equal(rows(out), alone.transform(files).collect(), rel_tol=1e-6)


def test_csv_and_rows_that_nobody_keeps(local: Any, tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.csv" for i in range(3)]
    for i, path in enumerate(paths):
        pl.DataFrame({"n": range(100 * i, 100 * i + 100)}).write_csv(path)
    workflow = etl.Workflow(["n"] >> etl.Filter(pl.col("n") >= 100) >> etl.Normalize())
    assert_same_state(workflow.fit(paths, client=local), etl.Workflow(workflow._root).fit(paths))
    out = workflow.transform(paths).to_parquet(tmp_path / "out", client=local)
    assert_frame_equal(rows(out), workflow.transform(paths).collect())
    assert len(list(out.glob("*.parquet"))) == (2 if CUTS_FILTERED else 1)  # the first file's rows are all dropped
    out = workflow.transform(paths[:1]).to_parquet(tmp_path / "none", client=local)
    assert rows(out).shape == (0, 1)


def test_errors_are_those_of_one_machine(
    local: Any, files: list[Path], alone: etl.Workflow, tmp_path: Path
) -> None:
    def failed(function: Any, **arguments: Any) -> str:
        with pytest.raises(SchemaError) as error:
            function(**arguments)
        return str(error.value)

    broken = [tmp_path / path.name for path in files]
    for path, copy in zip(files, broken, strict=True):
        copy.write_bytes(path.read_bytes())
    with broken[2].open("r+b") as file:  # pages, not the footer
        file.seek(4)
        file.write(b"\xff" * 2_000)
    message = failed(graph().fit, source=broken, client=local)
    assert message == failed(graph().fit, source=broken)
    assert str(broken[2]) in message
    wrong = tmp_path / "wrong.parquet"
    number = pl.int_range(pl.len())
    bad = pl.when(number == 17).then(2).otherwise("clicked")
    pl.read_parquet(files[1]).with_columns(clicked=bad, user=pl.lit(1, pl.Int64)).write_parquet(wrong)
    data = alone.transform([files[0], wrong], fitted=False)
    message = failed(data.to_parquet, folder=tmp_path / "a", client=local)
    assert message == failed(data.to_parquet, folder=tmp_path / "a")
    assert f"{wrong}, row 17: target 'clicked' is 2.0" in message
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_what_is_refused(local: Any, files: list[Path], alone: etl.Workflow, tmp_path: Path) -> None:
    frame = pl.read_parquet(files)
    with pytest.raises(TypeError, match="the frame is in this process only"):
        graph().fit(frame, client=local)
    with pytest.raises(TypeError, match="the frame is in this process only"):
        alone.transform(frame, fitted=False).to_parquet(tmp_path / "out", client=local)
    with pytest.raises(TypeError, match=r"distributed\.Client"):
        graph().fit(files, client="tcp://127.0.0.1:8786")
    assert not (tmp_path / "out").exists()


@contextlib.contextmanager
def started(folder: Path, count: int) -> Iterator[tuple[Any, list[subprocess.Popen[bytes]]]]:
    """A client, and a scheduler and `count` workers as one starts them on several machines."""
    paths = [str(ROOT), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "POLARS_MAX_THREADS": "1"}
    address = ["--scheduler-file", str(folder / "scheduler.json"), "--no-dashboard", "--host", "127.0.0.1"]
    worker = ["worker", *address, "--no-nanny", "--nthreads", "1", "--local-directory", str(folder)]
    running: list[subprocess.Popen[bytes]] = []
    try:
        for command in [["scheduler", *address, "--port", "0"], *[worker] * count]:
            log = (folder / f"{len(running)}.log").open("w")
            command = [sys.executable, "-m", "dask", *command]
            running.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder))
        with distributed.Client(scheduler_file=str(folder / "scheduler.json"), timeout=60) as client:
            client.wait_for_workers(count, timeout=60)
            yield client, running
    finally:
        for process in running:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_workers_started_by_hand(files: list[Path], alone: etl.Workflow, tmp_path: Path) -> None:
    with started(tmp_path, 2) as (client, _):
        workflow = graph().fit(files, client=client)
        out = alone.transform(files).to_parquet(tmp_path / "out", client=client, rows_per_file=200)
    assert_same_state(workflow, alone)
    assert_frame_equal(rows(out), alone.transform(files).collect())


def test_the_death_of_a_worker_costs_a_retry(files: list[Path], tmp_path: Path) -> None:
    """Two of three workers are killed at work."""
    price = ["price"] >> etl.FillMissing() >> DiesOnce(marks=str(tmp_path)) >> etl.Normalize()
    workflow = etl.Workflow((["word"] >> etl.Categorify()) + price)
    with started(tmp_path, 3) as (client, running):
        workflow.fit(files, client=client)
        assert (tmp_path / "learned").exists()
        out = workflow.transform(files).to_parquet(tmp_path / "out", client=client)
        assert (tmp_path / "applied").exists()
        assert sorted(process.poll() or 0 for process in running) == [-9, -9, 0, 0]
    assert_same_state(workflow, etl.Workflow(workflow._root).fit(files))
    assert_frame_equal(rows(out), workflow.transform(files).collect())
