"""Tables of real size, in processes of their own: peak memory, and a save that is killed."""

import os
import re
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import memory_cases
import numpy as np
import pytest
from launch import launch

import kerasrec as kr
from kerasrec.tables.initializers import initial_values

pytestmark = [pytest.mark.alone, pytest.mark.slow]

MEMORY = """
import sys
import keras, numpy as np
import kerasrec as kr

def peak():
    lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(lines["VmHWM"].split()[0]) / 2**20

def run(rows, path, report):
    table = kr.TableConfig("item", rows, 32)
    ids = {"item": keras.Input((), dtype="int32", name="item")}
    vectors = kr.layers.DistributedEmbedding({"item": kr.FeatureConfig("item", table)})(ids)
    model = keras.Model(ids, keras.layers.Dense(1)(vectors["item"]))
    report("build")
    model.compile(kr.optimizers.RowwiseAdagrad(0.1), loss="mse")
    model.fit({"item": np.arange(1000)}, np.ones((1000, 1)), verbose=0)
    report("fit")
    kr.save_tables(model, path)
    report("save")
    kr.restore_tables(model, path)
    report("restore")

run(1000, sys.argv[1] + "/small", lambda step: None)
base = peak()
run(2**22, sys.argv[1] + "/large", lambda step: print(step, peak() - base))
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads Linux's account of peak memory")
def test_a_table_is_never_held_twice(tmp_path):
    """A table of 512 MiB with 16 MiB of optimizer state, over what a tiny one takes."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path)], capture_output=True, text=True, check=True
    )
    peaks = {step: float(gib) for step, gib in map(str.split, done.stdout.splitlines())}
    assert list(peaks) == ["build", "fit", "save", "restore"]
    assert 0.5 < peaks["build"] < 0.75
    assert peaks["restore"] < 0.8


@pytest.mark.skipif(find_spec("horovod") is None, reason="Horovod is not installed")
@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="reads Linux's account of peak memory")
def test_no_rank_holds_rows_that_are_not_its_own(tmp_path):
    """A table of 512 MiB on two ranks: each makes, saves and restores its half; rank 0 exports the whole."""
    done = launch(2, Path(memory_cases.__file__), str(tmp_path), str(2**22), limit=300)
    assert done.code == 0, done.output[-4000:]
    rises = {
        (step, int(rank)): float(mib) for step, rank, mib in re.findall(r"rise (\w+) (\d) (-?\d+)", done.output)
    }
    for rank in range(2):
        assert 256 < rises["build", rank] < 256 + 64
        for step in ("save", "restore"):
            assert rises[step, rank] < 96
    assert rises["export", 1] < 64
    assert 512 < rises["export", 0] < 512 + 128


SAVE_TWICE = """
import sys
import kerasrec as kr

def layer(seed):
    table = kr.TableConfig("item", 2**19, 32)
    layer = kr.layers.DistributedEmbedding({"item": kr.FeatureConfig("item", table)}, seed=seed)
    layer.build()
    return layer

kr.save_tables(layer(0), sys.argv[1])
kr.save_tables(layer(1), sys.argv[1], overwrite=True)
"""


def test_kill_in_the_middle_leaves_the_old_checkpoint(tmp_path):
    path = tmp_path / "tables"
    child = subprocess.Popen([sys.executable, "-c", SAVE_TWICE, str(path)], stderr=subprocess.DEVNULL)
    try:
        while not (path / "manifest.json").exists() or not any(
            0 < part.stat().st_size < 2**26 for part in path.glob("save-*/*")
        ):
            assert child.poll() is None
            time.sleep(0.001)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert len(list(path.glob("save-*/*.safetensors"))) == 2  # it was cut off while it wrote
    table = kr.TableConfig("item", 2**19, 32)
    layer = kr.layers.DistributedEmbedding({"item": kr.FeatureConfig("item", table)}, seed=2)
    layer.build()
    kr.restore_tables(layer, path)
    np.testing.assert_array_equal(layer.table("item"), initial_values(table, 0))
