"""Several ranks train and evaluate models of the next item as one process does with the global batch."""

import next_item_cases_on_ranks as cases
import numpy as np
import pytest


@pytest.mark.parametrize("horovod_ranks", [2], indirect=True)
@pytest.mark.parametrize("name", ["SASRec", "untied", "described items"])
def test_ranks_train_models_of_the_next_item_as_one_process(horovod_ranks, name):
    on_ranks = [each[name] for each in horovod_ranks.run(cases.run, [name]).returned]
    alone = cases.run([name])[name]
    for weight, value in alone["after"].items():
        moved = np.abs(value - alone["before"][weight]).max()
        assert moved > 1e-3 or "block" in weight, f"{weight} hardly moved"
        for rank in on_ranks:
            np.testing.assert_allclose(rank["before"][weight], alone["before"][weight], err_msg=weight)
            apart = np.abs(rank["after"][weight] - value).max()
            assert apart <= 1e-4 * max(moved, 1e-2), f"{weight} differs by {apart:.1e}; it moved by {moved:.1e}"
    assert on_ranks[0]["results"] == on_ranks[1]["results"]
    for metric, value in alone["results"].items():
        assert on_ranks[0]["results"][metric] == pytest.approx(value, rel=1e-4), metric
