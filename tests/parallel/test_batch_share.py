"""What a rank's batch counts, however a step is written: real ranks with unequal batches against one process."""

import batch_share_cases
import numpy as np
import pytest

from kerasrec.parallel import comm


@pytest.mark.parametrize("ranks", [2], indirect=True)
def test_steps_of_several_ranks_are_those_of_one(ranks):
    on_ranks = ranks.run(batch_share_cases.run).returned[0]
    assert comm.size() == 1
    for name, case in batch_share_cases.CASES.items():
        for what, values in case().items():
            np.testing.assert_allclose(
                on_ranks[name][what], values, rtol=1e-4, atol=1e-6, err_msg=f"{name}: {what}"
            )
