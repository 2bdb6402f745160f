"""What a rank's batch counts, however a step is written: real ranks with unequal batches against one process."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import share_cases
from launch import launch

from kerasrec.parallel import comm


@pytest.mark.skipif(find_spec("horovod") is None, reason="Horovod is not installed")
def test_steps_of_two_ranks_are_those_of_one(tmp_path):
    done = launch(2, Path(share_cases.__file__), str(tmp_path), limit=300)
    assert done.code == 0, done.output[-6000:]
    assert comm.size() == 1
    for name, case in share_cases.CASES.items():
        many = np.load(tmp_path / f"{name}.npz")
        for what, values in case().items():
            np.testing.assert_allclose(many[what], values, rtol=1e-4, atol=1e-6, err_msg=f"{name}: {what}")
