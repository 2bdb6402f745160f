"""Features that give the target away are named, and no others."""

import numpy as np
import polars as pl
import pytest

from kerasrec.cli.column_stats import column_stats
from kerasrec.cli.guess_roles import guess_roles
from kerasrec.cli.leaks import leaks

ROWS = 2000
rng = np.random.default_rng(0)
CLICKED = rng.integers(0, 2, ROWS)
RATING = rng.normal(size=ROWS)
RARE = (np.arange(ROWS) < 6).astype(int)


def named(target, **columns) -> dict[str, str]:
    frame = pl.DataFrame({"y": target, **columns})
    asked = {"continuous": [n for n in columns if n.startswith("number")]}
    return dict(leaks(frame, guess_roles(column_stats(frame), "y", asked)))


LEAKS = {
    "equal": (CLICKED, CLICKED, "equal to the target in every row"),
    "booleans": (CLICKED, CLICKED == 1, "equal to the target"),
    "turned": (CLICKED, 1 - CLICKED, "AUC 1.0000"),
    "score": (CLICKED, CLICKED + rng.random(ROWS), "AUC 1.0000"),
    "words": (CLICKED, np.where(CLICKED, "yes", "no"), "only one value of the target"),
    "reasons": (
        CLICKED,
        pl.Series(np.where(CLICKED, rng.choice(["a", "b"], ROWS), None)),
        "only one value of the target",
    ),
    "codes": (CLICKED, np.where(CLICKED, rng.choice([1, 5], ROWS), rng.choice([2, 9], ROWS)), "only one value"),
    "number": (
        np.sort(CLICKED),
        np.arange(ROWS),
        "AUC 1.0000",
    ),  # rows in order of the target, their number asked for
    "scaled": (RATING, 3 - 2 * RATING, "rank correlation -1.0000"),
    "curved": (RATING, np.exp(RATING), "rank correlation 1.0000"),
    "copied": (RATING, RATING, "equal to the target"),
}


@pytest.mark.parametrize("name", LEAKS)
def test_leaks_are_named(name):
    target, column, said = LEAKS[name]
    found = named(target, **{name: column, "noise": rng.normal(size=ROWS), "site": rng.integers(0, 9, ROWS)})
    assert list(found) == [name]
    assert said in found[name]


HONEST = {
    "good": (CLICKED, CLICKED + 0.5 * rng.normal(size=ROWS)),
    "users": (CLICKED, rng.integers(0, 900, ROWS)),
    "rare": (RARE, np.where(RARE, [f"r{i}" for i in range(ROWS)], "common")),
    "constant": (CLICKED, pl.Series([None, 1.0] * (ROWS // 2))),
    "related": (RATING, RATING + 0.1 * rng.normal(size=ROWS)),
    "lists": (CLICKED, [[str(c)] for c in CLICKED]),
}


@pytest.mark.parametrize("name", HONEST)
def test_honest_columns_are_not(name):
    target, column = HONEST[name]
    assert named(target, **{name: column}) == {}


def test_names_that_look_like_patterns():
    assert list(named(CLICKED, **{"[x]": CLICKED, "^x*": 1.0 - CLICKED, "x$": RATING})) == ["[x]", "^x*"]


def test_few_rows_tell_nothing():
    assert named(CLICKED[:30], score=CLICKED[:30] + rng.random(30)) == {}
