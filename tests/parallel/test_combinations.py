"""Every placement with every optimizer and kind of input, on several ranks as in one process."""

from functools import cache

import combination_cases
import numpy as np
import pytest

from kerasrec.parallel import comm


@cache
def alone(which):
    """In one process: the same whatever the number of ranks."""
    assert comm.size() == 1
    return combination_cases.train(combination_cases.CASES[which]())


def differences(many, one):
    """By name, how far weights are apart where that is more than 1e-4 of the way they went."""
    assert set(many["after"]) == set(one["after"])
    apart = {}
    for name, weights in one["after"].items():
        np.testing.assert_array_equal(many["before"][name], one["before"][name], err_msg=name)
        moved = weights - one["before"][name]
        assert np.abs(moved).max() > 1e-2, f"{name} hardly moved"
        apart[name] = np.linalg.norm(many["after"][name] - weights) / np.linalg.norm(moved)
    return {name: float(by) for name, by in apart.items() if not by <= 1e-4}


def check(ranks, which, per_node=None):
    (many,) = ranks.run(combination_cases.run, which, per_node, [None], limit=900).returned[0]
    wrong = differences(many, alone(which))
    assert not wrong, "\n".join(f"{name}: differs by {by:.1e} of the way it went" for name, by in wrong.items())
    np.testing.assert_allclose(many["losses"], alone(which)["losses"], rtol=1e-4)


@pytest.mark.parametrize("horovod_ranks", [2], indirect=True)
def test_every_pair_of_placement_optimizer_and_input_trains_as_one(horovod_ranks):
    check(horovod_ranks, "pairwise")


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("horovod_ranks", "per_node"), [(2, None), (3, None), (4, None), (4, 2)], indirect=["horovod_ranks"]
)
def test_every_placement_optimizer_and_input_trains_as_one(horovod_ranks, per_node):
    check(horovod_ranks, "product", per_node)


@pytest.mark.nightly
@pytest.mark.parametrize("horovod_ranks", [2], indirect=True)
def test_gradients_that_count_for_too_little_or_too_much_are_found(horovod_ranks):
    """In every table and in the dense weights, or tests of equality could not fail."""
    ways, one = list(combination_cases.WRONG), alone("sgd")
    results = horovod_ranks.run(combination_cases.run, "sgd", None, ways).returned[0]
    for how, many in zip(ways, results, strict=True):
        apart = differences(many, one)
        blind = [name for name in one["after"] if "sgd" in name and not apart.get(name, 0) > 1e-2]
        assert not blind, f"{how}: nothing is seen in {blind}"
        with pytest.raises(AssertionError):
            np.testing.assert_allclose(many["losses"], one["losses"], rtol=1e-4)
