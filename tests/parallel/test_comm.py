"""Collectives and the bytes of a step on real ranks; a job in which a rank goes wrong."""

import os
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import comm_cases
import numpy as np
import pytest
import tensorflow as tf
from launch import launch

from kerasrec.parallel import comm
from kerasrec.parallel.comm import collectives, uncaught_error

HERE = Path(__file__).parent
nightly = partial(pytest.param, marks=pytest.mark.nightly)
needs_horovod = pytest.mark.skipif(find_spec("horovod") is None, reason="Horovod is not installed")


@pytest.mark.parametrize(
    "horovod_ranks", [2, *(pytest.param(size, marks=pytest.mark.nightly) for size in (3, 4))], indirect=True
)
def test_collectives_are_those_of_numpy(horovod_ranks):
    answers = horovod_ranks.run(comm_cases.run)
    assert answers.returned[0] == answers.returned[-1]
    assert len(answers.returned[0]) > 8
    assert "WARNING:tensorflow:AutoGraph" not in answers.output


@needs_horovod
@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize(
    ("how", "ranks", "said"),
    [
        ("raise", 3, "rank 1 of 3: ValueError: s3://igloo/age.parquet: Connection reset by peer"),
        # before it has met the others
        ("early", 2, "[1]<stderr>:ValueError: s3://igloo/age.parquet: Connection reset by peer"),
        # the others are in no collective
        ("outside", 2, "rank 0 of 2: ValueError: s3://igloo/age.parquet: Connection reset by peer"),
        ("paused", 2, "HOROVOD_GLOO_TIMEOUT_SECONDS to wait longer"),
        ("kill", 2, "Process 1 exit with status code 137"),
        ("leave", 2, "stopped, because another rank ended"),
        # Other errors and texts; the next test has them in one process.
        nightly("unknown", 3, "rank 1 of 3: UnknownError: gs://gloo/age.parquet: Broken pipe"),
        nightly("unprintable", 3, "rank 1 of 3: Unprintable: (its text is not available: ZeroDivisionError)"),
        nightly("interrupt", 3, "rank 1 of 3: KeyboardInterrupt:"),
        nightly("exit", 3, "Process 1 exit with status code 3"),
    ],
)
def test_job_ends_on_all_ranks(how, ranks, said):
    done = launch(ranks, HERE / "fault_cases.py", how, limit=150, env={uncaught_error.GLOO_LIMIT: "5"})
    assert done.code not in (0, -9), done.output
    assert said in done.output
    errors = [line for line in done.output.splitlines() if ">:rank " in line]
    if how in ("raise", "unknown", "unprintable", "interrupt", "outside"):
        assert said in errors[0]
        assert "in wrong\n" in done.output, "no traceback"
    assert "step 4" not in done.output
    if how == "early":
        assert "step 0" not in done.output
    if how != "paused":  # a stopped process takes a while to be killed
        assert not done.left_behind


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("Unprintable", "Unprintable: (its text is not available: ZeroDivisionError)"),
        ("KeyboardInterrupt", "KeyboardInterrupt:"),
    ],
)
def test_an_uncaught_error_ends_the_process_with_the_number_of_its_rank(error, said):
    script = (
        "from kerasrec.parallel.comm import uncaught_error\n"
        "class Unprintable(Exception):\n    def __str__(self): return str(1 / 0)\n"
        f"uncaught_error.end_job_on_uncaught_errors(1, 3)\nraise {error}"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].strip() == f"rank 1 of 3: {said}"
    assert "Traceback" in done.stderr


def test_a_lost_rank_is_known_by_its_error():
    shut_down = "Horovod has been shut down. This was caused by an exception on one of the ranks or an attempt"
    gloo = (
        "[/x/third_party/gloo/gloo/transport/tcp/pair.cc:589] Read error [127.0.0.1]:4: Connection reset by peer"
    )
    unknown = partial(tf.errors.UnknownError, None, None)
    lost = [unknown(f"{shut_down} [Op:HorovodAllgather] name: step"), unknown(f"{gloo} [Op:HorovodAlltoall]")]
    told = RuntimeError("the training failed")
    told.__cause__ = lost[0]
    its_own = [
        OSError(gloo),
        unknown(gloo),
        ValueError(shut_down),
        unknown("HorovodAllgather of s3://gloo/a:1 "),
        None,
    ]
    assert [uncaught_error.is_lost(each) for each in (*lost, told)] == [True] * 3
    assert [uncaught_error.is_lost(each) for each in its_own] == [False] * 5


def test_one_rank_needs_no_horovod():
    script = (
        "import sys; sys.modules['horovod'] = None; from kerasrec.parallel import comm\n"
        "assert (comm.rank(), comm.size()) == (0, 1); assert comm.gather_objects('x') == ['x']; comm.barrier()\n"
        "print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("wrapped", [lambda f: f, tf.function], ids=["eager", "graph"])
def test_one_rank(wrapped):
    x = np.arange(6, dtype="int64").reshape(3, 2)
    received, splits = wrapped(lambda: comm.alltoall(x, [3], "a"))()
    np.testing.assert_array_equal(received, x)
    np.testing.assert_array_equal(splits, [3])
    np.testing.assert_array_equal(wrapped(lambda: comm.allgather(x, "b"))(), x)
    np.testing.assert_array_equal(wrapped(lambda: comm.allreduce([x], "c"))()[0], x)
    np.testing.assert_array_equal(wrapped(lambda: comm.broadcast([x]))()[0], x)


def test_launched_without_horovod_says_what_to_do(monkeypatch):
    monkeypatch.setenv("HOROVOD_RANK", "0")
    monkeypatch.setenv("HOROVOD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "horovod", None)
    collectives._check_installed.cache_clear()  # what raised is not kept
    with pytest.raises(RuntimeError, match="python -m kerasrec.parallel.horovod_wheel"):
        comm.rank()


@needs_horovod
@pytest.mark.parametrize(("rank", "size"), collectives.RANK_AND_SIZE)
def test_asking_for_the_rank_initialises_nothing(rank, size):
    script = (
        "import sys; hook = sys.excepthook; from kerasrec.parallel import comm\n"
        "assert (comm.rank(), comm.size()) == (1, 3)\n"
        "assert sys.excepthook is hook and 'horovod' not in sys.modules"
    )
    others = {name: value for name, value in os.environ.items() if not name.startswith(("HOROVOD_", "SLURM_"))}
    subprocess.run([sys.executable, "-c", script], check=True, env={**others, rank: "1", size: "3"})
