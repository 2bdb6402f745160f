"""The example for several ranks, as a reader runs it under horovodrun."""

import os
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from launch import ROOT, launch

pytestmark = [pytest.mark.alone, pytest.mark.slow]
EXAMPLE = ROOT / "examples" / "multi_rank.py"
needs_horovod = pytest.mark.skipif(find_spec("horovod") is None, reason="Horovod is not installed")


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


def on_ranks(ranks, data, epochs, path):
    """What the example prints on so many ranks."""
    done = launch(ranks, EXAMPLE, data, "--epochs", str(epochs), "--out", str(path), limit=400)
    assert done.code == 0, done.output[-4000:]
    assert not done.left_behind
    assert "[1]<stdout>:Epoch" not in done.output
    auc, loss, from_file = figures(done.output, ranks)
    assert 0.74 < auc < 0.82
    assert loss < 0.62
    assert from_file == pytest.approx(auc, abs=1e-4)
    return auc


@needs_horovod
def test_on_two_ranks(data, tmp_path):
    """On one, test_examples.py runs it; test_fit.py compares the two, with the same batches."""
    on_ranks(2, data, 2, tmp_path / "two.keras")


@needs_horovod
@pytest.mark.nightly
def test_on_two_ranks_as_on_one(data, tmp_path):
    one, two = (on_ranks(ranks, data, 4, tmp_path / f"{ranks}.keras") for ranks in (1, 2))
    assert two == pytest.approx(one, abs=0.01)  # the rows of a step are as many, but shuffled otherwise
