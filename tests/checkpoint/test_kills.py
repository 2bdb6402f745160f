"""`kerasrec run`: a training that is killed at random moments ends with the same bits as one that is not."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import train_job

import kerasrec as kr
from kerasrec.checkpoint import position as positions
from kerasrec.parallel.checkpoint.checkpoint import restore_training

sys.path.insert(0, str(Path(__file__).parent.parent / "data"))
from loader_data import make_table, write

pytestmark = pytest.mark.alone

ROOT = Path(__file__).parent.parent.parent
JOB = Path(train_job.__file__)
RANKS = [1, pytest.param(2, marks=pytest.mark.skipif(find_spec("horovod") is None, reason="Horovod is missing"))]


def run(*arguments, limit=300):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "kerasrec", "run", *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=limit)
    return done.returncode, done.stdout + done.stderr


def train(data, out, checkpoints, ranks=1, restarts=3, **options):
    options = json.dumps({"folder": str(out), **options})
    return run("-np", ranks, "--restarts", restarts, JOB, data, out / "end", checkpoints, options, limit=3000)


def ends(out, ranks):
    return [dict(np.load(out / f"end-{rank}.npz")) for rank in range(ranks)]


def check_killed(folder, ranks, kills, seed, **options):
    data = folder / "data"
    write(data / "train", make_table(1640), files=3)
    write(data / "valid", make_table(210, seed=1))
    ways = {"whole": "-", "killed": folder / "checkpoints"}
    for name, checkpoints in ways.items():
        (folder / name).mkdir()
        more = {"kills": kills, "seed": seed} if name == "killed" else {}
        code, said = train(data, folder / name, checkpoints, ranks, restarts=kills, **options, **more)
        assert code == 0, said[-6000:]
        assert said.count("finished") == ranks
    assert said.count("restart ") == len(list((folder / "killed").glob("kill-*"))) == kills
    assert "SIGKILL" in said
    for whole, killed in zip(ends(folder / "whole", ranks), ends(folder / "killed", ranks), strict=True):
        assert [name for name, value in whole.items() if not np.array_equal(value, killed[name])] == []
        assert len(whole) > 20


def check_other_ranks(folder):
    """What two ranks saved, read by this process alone."""
    checkpoints = folder / "checkpoints"
    middle, end = sorted(checkpoints.iterdir())
    loader = kr.Loader(folder / "data" / "train", train_job.BATCH, columns=["user", "age", "tags"])
    model = train_job.ours(loader, {})
    with pytest.raises(
        ValueError, match="saved by 2 ranks in the middle of an epoch, and this job has 1: start 2"
    ):
        kr.checkpoint.load(model, middle)
    with pytest.raises(ValueError, match="best weights of EarlyStopping of another number of ranks"):
        kr.checkpoint.load(model, checkpoints)
    training = positions.read(end)
    assert training.position.finished
    restore_training(end / "model", model)
    assert int(model.optimizer.iterations) == training.position.step


@pytest.mark.slow
@pytest.mark.skipif(find_spec("horovod") is None, reason="Horovod is missing")
def test_a_job_that_is_killed_goes_on(tmp_path):
    check_killed(tmp_path, ranks=2, kills=1, seed=2)
    check_other_ranks(tmp_path)


@pytest.mark.nightly
@pytest.mark.parametrize("ranks", RANKS)
def test_a_job_that_is_killed_ten_times_goes_on(ranks, tmp_path):
    options = {"epochs": 8 * ranks, "patience": 99, "plateau": ranks == 2}
    check_killed(tmp_path, ranks, kills=10, seed=11, **options)


@pytest.mark.nightly
def test_a_model_of_ones_own_that_is_killed_ten_times_goes_on(tmp_path):
    check_killed(tmp_path, 1, kills=10, seed=5, own=True, epochs=10, patience=99)
