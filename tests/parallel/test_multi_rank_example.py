"""The example for several ranks, as a reader runs it: in one process, and under horovodrun."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from launch import ROOT, launch

pytestmark = [pytest.mark.alone, pytest.mark.slow]
EXAMPLE = ROOT / "examples" / "multi_rank.py"


@pytest.fixture
def data():
    path = Path(os.environ.get("KERASREC_DATA", ROOT / ".." / "shared" / "data")) / "ml-100k"
    if not path.exists():
        pytest.skip("ml-100k is not here; set KERASREC_DATA to the folder that holds it")
    return str(path)


def figures(output, ranks):
    assert f"{ranks} rank(s), 20,000 test ratings" in output
    (found,) = re.findall(r"AUC (\d\.\d+), log loss (\d\.\d+); from the file (\d\.\d+)", output)
    return [float(each) for each in found]


@pytest.mark.skipif(find_spec("horovod") is None, reason="Horovod is not installed")
def test_plain_and_on_two_ranks(data, tmp_path):
    arguments = [data, "--epochs", "4", "--out"]
    done = subprocess.run(
        [sys.executable, EXAMPLE, *arguments, tmp_path / "one.keras"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one = figures(done.stdout, 1)
    two = launch(2, EXAMPLE, *arguments, str(tmp_path / "two.keras"), limit=400)
    assert two.code == 0, two.output[-4000:]
    assert not two.left_behind
    many = figures(two.output, 2)
    for auc, loss, from_file in (one, many):
        assert 0.75 < auc < 0.82
        assert loss < 0.6
        assert from_file == pytest.approx(auc, abs=1e-4)
    # the rows of a step are as many, but shuffled otherwise
    assert many[0] == pytest.approx(one[0], abs=0.01)
    assert "[1]<stdout>:Epoch" not in two.output
