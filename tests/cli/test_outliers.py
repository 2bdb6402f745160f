"""Outliers are outliers among numbers of known distributions; honest tails are not."""

import numpy as np
import polars as pl
import pytest

from kerasrec.cli.column_stats import column_stats
from kerasrec.cli.guess_roles import guess_roles
from kerasrec.cli.outliers import find_outliers
from kerasrec.cli.roles import Wishes
from kerasrec.cli.steps import chain

ROWS = 100_000
rng = np.random.default_rng(7)
HONEST = {
    "normal": rng.normal(size=ROWS),
    "uniform": rng.random(ROWS),
    "exponential": rng.exponential(size=ROWS),
    "laplace": rng.laplace(size=ROWS),
    "student": rng.standard_t(3, ROWS),
    "cauchy": rng.standard_cauchy(ROWS),
    "lognormal": rng.lognormal(0, 2, ROWS),
    "pareto": 1 + rng.pareto(1, ROWS),
    "zipf": rng.zipf(1.5, ROWS).astype(float),
    "mostly zero": rng.poisson(0.02, ROWS).astype(float),
    "one value": np.ones(ROWS),
    "two values": (rng.random(ROWS) < 0.001).astype(float),
    "years": rng.integers(1950, 2024, ROWS).astype(float),
    "minus one": np.where(rng.random(ROWS) < 0.1, -1.0, rng.integers(0, 50, ROWS)),
}
AGES = rng.integers(18, 90, 5000).astype(float)


@pytest.mark.parametrize("name", HONEST)
def test_honest_tails_have_no_outliers(name):
    assert find_outliers(pl.Series(HONEST[name])) is None


@pytest.mark.parametrize(
    ("value", "rows", "sentinel"),
    [(-999, 3, True), (999, 3, True), (9999999, 1, True), (-999, 2000, True), (850, 3, False), (-300, 1, False)],
)
def test_values_far_outside_are_named_and_the_others_are_the_bounds(value, rows, sentinel):
    ages = AGES.copy()
    ages[:rows] = value
    outliers = find_outliers(pl.Series(ages))
    assert (outliers.count, outliers.values) == (rows, (value,))
    assert outliers.sentinels == ((value,) if sentinel else ())
    assert (outliers.low, outliers.high) == ((18, None) if value < 0 else (None, 89))
    assert str(value) in str(outliers)
    assert ("a mark for unknown" in str(outliers)) == sentinel


def test_outliers_of_a_heavy_tail_and_on_both_sides():
    income = rng.lognormal(10, 1, 5000)
    income[:3] = 1e15
    assert find_outliers(pl.Series(income)).high == income[3:].max()
    both = rng.normal(size=5000)
    both[:4] = [-500, 500, np.inf, -np.inf]
    outliers = find_outliers(pl.Series(both))
    assert (outliers.count, outliers.low, outliers.high) == (4, both[4:].min(), both[4:].max())


def test_few_values_and_nulls_say_nothing():
    assert find_outliers(pl.Series([1.0, 2.0, 1e9])) is None
    assert find_outliers(pl.Series([None] * 50, dtype=pl.Float64)) is None
    assert find_outliers(pl.Series([float("nan")] * 50)) is None


def test_outliers_do_not_make_a_tail_heavy_and_a_heavy_tail_is_clipped_too():
    ages, prices = AGES.copy(), rng.lognormal(0, 2, 5000)
    ages[:2], prices[:3] = 9999999, -999
    frame = pl.DataFrame({"age": ages + rng.random(5000) * 0, "price": prices, "y": np.arange(5000) % 2})
    steps = {guess.name: chain(guess.steps) for guess in guess_roles(column_stats(frame), Wishes(["y"]))}
    assert steps["age"] == "FillMissing() >> Clip(max=89) >> Normalize()"
    assert steps["price"].startswith("FillMissing() >> Clip(min=")
    assert steps["price"].endswith(") >> LogOp() >> Normalize()")
