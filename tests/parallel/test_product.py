"""Every placement with every optimizer and kind of input, on several ranks as in one process."""

import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import product_cases
import pytest
from launch import launch

from kerasrec.parallel import comm

pytestmark = pytest.mark.skipif(find_spec("horovod") is None, reason="Horovod is not installed")


@cache
def alone(which):
    """In one process: the same whatever the number of ranks."""
    assert comm.size() == 1
    return product_cases.train(product_cases.CASES[which]())


def on_ranks(ranks, which, folder, per_node=None, wrong=(None,)):
    """What ranks of one launch find, for each way to go wrong (None: as it should be)."""
    arguments = json.dumps([which, per_node, wrong])
    done = launch(ranks, Path(product_cases.__file__), arguments, str(folder), limit=900)
    assert done.code == 0, done.output[-4000:]
    return [
        {
            "losses": np.load(folder / f"{place}.losses.npy"),
            **{when: dict(np.load(folder / f"{place}.{when}.npz")) for when in ("before", "after")},
        }
        for place in range(len(wrong))
    ]


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


def check(ranks, which, folder, per_node=None):
    (many,) = on_ranks(ranks, which, folder, per_node)
    wrong = differences(many, alone(which))
    assert not wrong, "\n".join(f"{name}: differs by {by:.1e} of the way it went" for name, by in wrong.items())
    np.testing.assert_allclose(many["losses"], alone(which)["losses"], rtol=1e-4)


def test_every_pair_of_placement_optimizer_and_input_trains_as_one(tmp_path):
    check(2, "pairwise", tmp_path)


@pytest.mark.nightly
@pytest.mark.parametrize(("ranks", "per_node"), [(2, None), (3, None), (4, None), (4, 2)])
def test_every_placement_optimizer_and_input_trains_as_one(ranks, per_node, tmp_path):
    check(ranks, "product", tmp_path, per_node)


def test_gradients_that_count_for_too_little_or_too_much_are_found(tmp_path):
    """In every table and in the dense weights, or tests of equality could not fail."""
    wrong = list(product_cases.WRONG)
    for how, many in zip(wrong, on_ranks(2, "sgd", tmp_path, wrong=wrong), strict=True):
        found, one = differences(many, alone("sgd")), alone("sgd")
        blind = [name for name in one["after"] if "sgd" in name and not found.get(name, 0) > 1e-2]
        assert not blind, f"{how}: nothing is seen in {blind}"
        with pytest.raises(AssertionError):
            np.testing.assert_allclose(many["losses"], one["losses"], rtol=1e-4)
