"""Features that give the target away are named, and no others."""

import numpy as np
import polars as pl
import pytest

from kerasrec.cli.column_stats import column_stats
from kerasrec.cli.guess_roles import guess_roles
from kerasrec.cli.leaks import leaks
from kerasrec.cli.roles import Wishes

ROWS = 2000
rng = np.random.default_rng(0)
CLICKED = rng.integers(0, 2, ROWS)
RATING = rng.normal(size=ROWS)
RARE = (np.arange(ROWS) < 6).astype(int)


def named(target, certain=True, **columns) -> dict[str, str]:
    frame = pl.DataFrame({"y": target, **columns})
    asked = {"continuous": [n for n in columns if n.startswith("number")]}
    guesses = guess_roles(column_stats(frame), Wishes(["y"], chosen=asked))
    return {leak.column: leak.reason for leak in leaks(frame, guesses) if leak.certain is certain}


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
    "related": (RATING, RATING + 0.3 * rng.normal(size=ROWS)),
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


NEARLY = {
    "some_late": (CLICKED, np.where(rng.random(ROWS) < 0.02, 1 - CLICKED, CLICKED) + 3),
    "score": (CLICKED, CLICKED + 0.3 * rng.normal(size=ROWS)),
    "null_unless": (CLICKED, pl.Series(np.where(CLICKED & (rng.random(ROWS) < 0.97), "paid", None))),
    "close": (RATING, RATING + 0.1 * rng.normal(size=ROWS)),
}


@pytest.mark.parametrize("name", NEARLY)
def test_columns_that_nearly_tell_the_target_may_be_leaks(name):
    target, column = NEARLY[name]
    others = {"noise": rng.normal(size=ROWS), "good": target + rng.normal(size=ROWS)}
    assert named(target, **{name: column}, **others) == {}
    found = named(target, certain=False, **{name: column}, **others)
    assert list(found) == [name]
    assert "it alone predicts the target with" in found[name]


def test_strong_honest_columns_may_not_be_leaks():
    """Columns that are good, and as good as each other; many ids, each with few rows; a rare target."""
    columns = {f"good_{i}": CLICKED + 0.5 * rng.normal(size=ROWS) for i in range(3)}
    columns |= {"user": rng.integers(0, 900, ROWS) * 7, "site": rng.integers(0, 9, ROWS)}
    assert named(CLICKED, certain=False, **columns) == {}
    assert named(RARE, certain=False, x=RARE + 0.1 * rng.normal(size=ROWS)) == {}
    assert named(RATING, certain=False, x=RATING + 0.5 * rng.normal(size=ROWS)) == {}


def test_a_leak_of_a_target_of_text_and_of_one_of_several_targets_is_named():
    words = np.where(CLICKED, "yes", "no")
    frame = pl.DataFrame({"y": words, "z": rng.normal(size=ROWS), "copy": CLICKED, "x": rng.normal(size=ROWS)})
    guesses = guess_roles(column_stats(frame), Wishes(["y", "z"], positive=["yes"]))
    found = list(leaks(frame, guesses))
    assert [(leak.column, leak.certain) for leak in found] == [("copy", True)]
    assert found[0].reason.endswith("('y')")
