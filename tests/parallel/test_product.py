"""Training on several ranks against one process with the global batch: real ranks under horovodrun."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import product_cases
import pytest
from launch import launch

from kerasrec.parallel import comm

pytestmark = pytest.mark.skipif(find_spec("horovod") is None, reason="Horovod is not installed")


@pytest.fixture(scope="module")
def alone():
    """The full product in one process: the same whatever the number of ranks."""
    assert comm.size() == 1
    return product_cases.train(product_cases.every_case())


@pytest.mark.slow
@pytest.mark.parametrize(("ranks", "per_node"), [(2, None), (3, None), (4, None), (4, 2)])
def test_every_placement_optimizer_and_input_trains_as_one(ranks, per_node, alone, tmp_path):
    done = launch(ranks, Path(product_cases.__file__), json.dumps(per_node), str(tmp_path), limit=900)
    assert done.code == 0, done.output[-4000:]
    np.testing.assert_allclose(np.load(tmp_path / "losses.npy"), alone["losses"], rtol=1e-4)
    before, after = np.load(tmp_path / "before.npz"), np.load(tmp_path / "after.npz")
    assert set(after) == set(alone["after"])
    wrong = []
    for name, one in alone["after"].items():
        np.testing.assert_array_equal(before[name], alone["before"][name], err_msg=name)
        moved = one - alone["before"][name]
        assert np.abs(moved).max() > 1e-2, f"{name} hardly moved"
        apart = np.linalg.norm(after[name] - one) / np.linalg.norm(moved)
        if not apart <= 1e-4:
            wrong.append(f"{name}: differs by {apart:.1e} of the way it went")
    assert not wrong, "\n".join(wrong)
