"""Expected numbers of distinct rows against drawn ones."""

import numpy as np
import pytest

from kerasrec.datasets.power_law import Zipf
from kerasrec.tables.access_frequency import Frequencies, head_of_counts, power_law_head


@pytest.mark.parametrize("rows", [1, 2, 3, 1000, 1024, 1025, 100_000])
@pytest.mark.parametrize("exponent", [0.0, 0.6, 1.0, 1.05, 1.2])
def test_the_power_law_is_summed(rows, exponent):
    weights = np.arange(1, rows + 1, dtype=np.float64) ** -exponent
    shares = np.cumsum(weights) / weights.sum()
    ends = [min(2**octave, rows) for octave in range((rows - 1).bit_length() + 1)]
    np.testing.assert_allclose(power_law_head(rows, exponent), shares[np.array(ends) - 1], rtol=1e-6)


@pytest.mark.parametrize("rows", [10, 1000, 1_000_000, 100_000_000])
@pytest.mark.parametrize("exponent", [0.6, 1.05, 1.2])
@pytest.mark.parametrize("draws", [100, 4096, 300_000])
def test_distinct_rows_of_a_power_law(rows, exponent, draws):
    law, rng = Zipf(rows, exponent), np.random.default_rng(0)
    batches = [np.unique(law(rng.random(draws))) for _ in range(max(3, 100_000 // draws))]
    frequencies = Frequencies(rows, power_law_head(rows, exponent))
    drawn = np.mean([len(batch) for batch in batches])
    assert frequencies.distinct(draws) == pytest.approx(drawn, rel=0.02)
    first = rows // 100 + 1
    drawn = np.mean([(batch < first).sum() for batch in batches])
    assert frequencies.distinct(draws, first) == pytest.approx(drawn, rel=0.03)


def test_distinct_rows_of_counted_ones():
    """Clicks in a log are what they are: no law, a frequent null, rows never seen."""
    rng = np.random.default_rng(1)
    counts = np.concatenate([[0, 40_000, 90], np.sort(rng.lognormal(2, 2, 50_000).astype(int))[::-1]])
    frequencies = Frequencies(len(counts), head_of_counts(counts))
    batch = rng.choice(len(counts), size=20_000, p=counts / counts.sum())
    assert frequencies.distinct(20_000) == pytest.approx(len(np.unique(batch)), rel=0.03)
    assert frequencies.share(1000) == pytest.approx((batch < 1000).mean(), abs=0.02)


def test_edges():
    assert head_of_counts(np.array([], int)) is None
    assert head_of_counts(np.array([0, 0])) is None
    assert head_of_counts(np.array([3, 1])) == (0.75, 1.0)
    uniform = Frequencies(8, ())
    assert uniform.share(2) == pytest.approx(0.25)
    assert uniform.distinct(1) == pytest.approx(1.0)
    assert uniform.distinct(0) == 0.0
    assert Frequencies(1, (1.0,)).distinct(5) == 1.0
    assert Frequencies(4, power_law_head(1 << 20)).distinct(1e9) <= 4.0  # a head longer than the table
