"""Each rank's share of the global batch, however a step is written: unequal ranks against one process."""

import batch_share_cases
import numpy as np
import pytest

from kerasrec.parallel import comm


@pytest.mark.parametrize("horovod_ranks", [2], indirect=True)
def test_steps_of_several_ranks_are_those_of_one(horovod_ranks):
    on_ranks = horovod_ranks.run(batch_share_cases.run).returned[0]
    assert comm.size() == 1
    for name, case in batch_share_cases.CASES.items():
        for what, values in case().items():
            np.testing.assert_allclose(
                on_ranks[name][what], values, rtol=1e-4, atol=1e-6, err_msg=f"{name}: {what}"
            )
