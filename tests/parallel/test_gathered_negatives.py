"""In-batch negatives on several ranks are those of all ranks; an index and a recommender, those of one process."""

import gathered_cases
import numpy as np
import pytest


@pytest.mark.parametrize("horovod_ranks", [2], indirect=True)
@pytest.mark.parametrize("names", [("softmax",), pytest.param(("hinge", "biases"), marks=pytest.mark.nightly)])
def test_ranks_train_retrieval_models_and_search_as_one_process(horovod_ranks, names, tmp_path):
    first, second = horovod_ranks.run(gathered_cases.run, names, str(tmp_path / "ranks")).returned
    alone = gathered_cases.search(str(tmp_path / "alone"))
    for ranks in (first.pop("index"), second.pop("index")):
        assert ranks["report"] == pytest.approx(alone["report"])
        np.testing.assert_array_equal(ranks["ids"], alone["ids"])
        np.testing.assert_array_equal(ranks["served"], alone["served"])
        np.testing.assert_array_equal(ranks["recommended"]["ids"], alone["recommended"]["ids"])
        np.testing.assert_allclose(ranks["recommended"]["scores"], alone["recommended"]["scores"], rtol=1e-5)
    assert (alone["ids"] == alone["served"]).all()
    assert np.ptp(alone["recommended"]["scores"]) > 0.01
    for name, alone in gathered_cases.run(names).items():
        for weight, value in alone["after"].items():
            np.testing.assert_allclose(first[name]["before"][weight], alone["before"][weight], err_msg=weight)
            moved = np.abs(value - alone["before"][weight]).max()
            assert moved > 1e-3, f"{name}: {weight} hardly moved"
            for ranks in (first, second):
                apart = np.abs(ranks[name]["after"][weight] - value).max()
                assert apart <= 1e-4 * moved, f"{name}: {weight} differs by {apart:.1e}; it moved by {moved:.1e}"


@pytest.mark.nightly
@pytest.mark.parametrize("horovod_ranks", [2], indirect=True)
def test_ranks_fit_against_drawn_items(horovod_ranks):
    first, second = horovod_ranks.run(gathered_cases.fit_drawn).returned
    assert first == second
    assert first[-1] < first[0]
