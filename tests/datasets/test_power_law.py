"""Ids drawn from a power law, against its own probabilities."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasrec.datasets.power_law import Zipf, codes, scramble, unit


def masses(size, exponent):
    mass = np.arange(1, size + 1, dtype=np.float64) ** -exponent
    return mass / mass.sum()


@pytest.mark.parametrize("exponent", [0.0, 0.8, 1.0, 1.05, 1.5])
@pytest.mark.parametrize("size", [1, 7, 20_000, 100_000])
def test_quantiles_are_the_laws(size, exponent):
    """On an even grid of u, each rank's share of the grid is its mass; sizes on both sides of the summed head."""
    steps = 1 << 20
    ranks = Zipf(size, exponent)((np.arange(steps) + 0.5) / steps)
    assert ranks.min() >= 0
    assert ranks.max() < size
    shares = np.cumsum(np.bincount(ranks, minlength=size)) / steps
    np.testing.assert_allclose(shares, np.cumsum(masses(size, exponent)), atol=2 / steps)


def test_no_mass_piles_up_on_the_last_rank():
    drawn = Zipf(1_000_000, 1.05)(np.random.default_rng(0).random(2_000_000))
    assert np.mean(drawn == 999_999) < 1e-5
    assert np.mean(drawn == 0) == pytest.approx(masses(1_000_000, 1.05)[0], rel=0.02)


def test_slope_on_log_axes():
    drawn = Zipf(1 << 30, 1.2)(np.random.default_rng(1).random(1_000_000))
    octaves = 2 ** np.arange(4, 14)
    counts = [np.count_nonzero((drawn >= low) & (drawn < 2 * low)) / low for low in octaves]
    slope = np.polyfit(np.log(octaves), np.log(counts), 1)[0]
    assert slope == pytest.approx(-1.2, abs=0.03)


def test_sizes_out_of_range():
    for size in (0, (1 << 32) + 1):
        with pytest.raises(ValueError, match="ranks"):
            Zipf(size, 1.0)


@given(st.integers(0, 100), st.integers(0, (1 << 32) - 70_000))
def test_scramble_is_one_to_one(salt, start):
    ranks = np.arange(start, start + 65_536)
    assert len(np.unique(scramble(ranks, salt))) == len(ranks)
    assert ((unit(ranks, salt) > 0) & (unit(ranks, salt) < 1)).all()


def test_codes():
    ranks = np.array([5, 0, 5, 9])
    names = codes(ranks, 3, "u_").to_pylist()
    assert names == [f"u_{number:08x}" for number in scramble(ranks, 3)]
    assert len(codes(ranks, 3).dictionary) == 3
    assert codes(ranks[:0], 3, "u_").to_pylist() == []
