"""Collectives and the bytes of a step on real ranks, one launch a world size; a job in which a rank goes wrong."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from launch import launch

from kerasrec.parallel import comm

HERE = Path(__file__).parent
needs_horovod = pytest.mark.skipif(find_spec("horovod") is None, reason="Horovod is not installed")


@needs_horovod
@pytest.mark.parametrize("ranks", [2, *(pytest.param(ranks, marks=pytest.mark.nightly) for ranks in (3, 4))])
def test_collectives(ranks):
    done = launch(ranks, HERE / "comm_cases.py", str(ranks))
    assert done.code == 0, done.output
    assert done.output.count("all passed") == ranks
    assert "WARNING:tensorflow:AutoGraph" not in done.output
    assert not done.left_behind


@needs_horovod
@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("raise", "rank 1 of 3: ValueError: column 'age' has a bad value"),
        ("early", "[1]<stderr>:ValueError: column 'age' has a bad value"),  # before it has met the others
        ("outside", "rank 0 of 3: ValueError: column 'age' has a bad value"),  # the others are in no collective
        ("kill", "Process 1 exit with status code 137"),
        ("exit", "Process 1 exit with status code 3"),
        ("leave", "stopped, because another rank ended"),
    ],
)
def test_job_ends_on_all_ranks(how, said):
    done = launch(3, HERE / "fault_cases.py", how, limit=60)
    assert done.code not in (0, -9), done.output
    assert said in done.output
    errors = [line for line in done.output.splitlines() if ">:rank " in line]
    if how in ("raise", "outside"):
        assert said in errors[0]
    assert "step 4" not in done.output
    if how == "early":
        assert "step 0" not in done.output
    assert not done.left_behind


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
    monkeypatch.setitem(sys.modules, "horovod", None)
    comm._horovod.cache_clear()  # what raised is not kept
    with pytest.raises(RuntimeError, match="python -m kerasrec.parallel.horovod_wheel"):
        comm.rank()
