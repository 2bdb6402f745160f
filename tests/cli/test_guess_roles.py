"""Roles are guessed right for columns whose meaning is known."""

import numpy as np
import polars as pl
import pytest

from kerasrec.cli.column_stats import ColumnStats, column_stats, read_sample
from kerasrec.cli.errors import CommandError
from kerasrec.cli.guess_roles import guess_roles
from kerasrec.cli.roles import Wishes
from kerasrec.etl.sources.scan import scan

ROWS = 5000
rng = np.random.default_rng(0)


def table(**columns) -> pl.LazyFrame:
    return pl.DataFrame({"clicked": np.arange(ROWS) % 2, **columns}).lazy()


def stats_of(data: pl.LazyFrame) -> list[ColumnStats]:
    return column_stats(read_sample(data)[1])


def role_of(name: str = "x", **columns) -> tuple[str, tuple[str, ...], str]:
    stats, wishes = stats_of(table(**columns)), Wishes(["clicked"], chosen={"categorical": ["other"]})
    guesses = {guess.name: guess for guess in guess_roles(stats, wishes)}
    return guesses[name].role, guesses[name].operators, guesses[name].reason


OTHER = np.arange(ROWS) % 3
CASES = {
    "strings": (rng.choice(["a", "b", "c"], ROWS), "categorical", "strings that repeat"),
    "names": ([f"row {i}" for i in range(ROWS)], "dropped", "hardly repeats"),
    "constant": (np.full(ROWS, 7), "dropped", "same value"),
    "nulls": (pl.Series([None] * ROWS, dtype=pl.Int64), "dropped", "nothing but nulls"),
    "booleans": (rng.random(ROWS) < 0.5, "categorical", "true or false"),
    "floats": (rng.normal(size=ROWS), "continuous", "decimals"),
    "constant_but_null": (pl.Series([None, 1.5] * (ROWS // 2)), "continuous", "decimals"),
    "prices": (rng.lognormal(0, 2, ROWS), "continuous", "heavy tail"),
    "row_number": (np.arange(ROWS), "dropped", "numbers the rows"),
    "codes": (rng.integers(0, 5, ROWS), "categorical", "few distinct"),
    "ages": (rng.integers(18, 90, ROWS), "continuous", "many integers"),
    "item_id": (rng.integers(0, 50, ROWS) * 1000, "categorical", "named as an id"),
    "movieId": (rng.integers(0, 50, ROWS) * 1000, "categorical", "named as an id"),
    "items": (rng.integers(0, 2000, ROWS), "categorical", "fill their range"),
    "advertiser": (rng.integers(0, 500, ROWS), "categorical", "fill their range"),
    "seconds": (np.floor(rng.lognormal(3, 1.5, ROWS)).astype(int), "continuous", "heavy tail"),
    "hashes": (rng.integers(0, 2**62, 100)[rng.integers(0, 100, ROWS)], "categorical", "hashes that repeat"),
    "when": (rng.integers(1_600_000_000, 1_700_000_000, ROWS), "time", "Unix time"),
    "timestamp": (rng.integers(874_000_000, 893_000_000, ROWS), "time", "Unix time"),
    "amount": (rng.integers(874_000_000, 893_000_000, ROWS), "continuous", "many integers"),
    "dates": (pl.Series([0, 1] * (ROWS // 2)).cast(pl.Datetime), "time", "times"),
    "lists": (pl.Series([["a"], []] * (ROWS // 2)), "categorical", "lists of strings"),
    "categories": (
        pl.Series(rng.choice(["a", "b"], ROWS), dtype=pl.Categorical),
        "categorical",
        "strings that repeat",
    ),
    "decimal_codes": (
        pl.Series((rng.integers(0, 9, ROWS) * 1000).tolist()).cast(pl.Decimal(38, 0)),
        "categorical",
        "few distinct",
    ),
    "decimals": (pl.Series(rng.normal(size=ROWS).tolist()).cast(pl.Decimal(38, 4)), "continuous", "decimals"),
    "no_elements": (
        pl.Series([[], []] * (ROWS // 2), dtype=pl.List(pl.Int64)),
        "dropped",
        "nothing but empty lists",
    ),
    "int_lists": (pl.Series([[1, 2], None] * (ROWS // 2)), "categorical", "lists of integers"),
    "float_lists": (pl.Series([[0.5], []] * (ROWS // 2)), "dropped", "lists of decimals"),
    "structs": (pl.Series([{"a": 1}] * ROWS), "dropped", "no operator reads"),
}


@pytest.mark.parametrize("name", CASES)
def test_roles(name):
    values, role, reason = CASES[name]
    guessed, ops, why = role_of(name, **{name: values, "other": OTHER})
    assert guessed == role
    assert reason in why
    tail = ("Clip", "LogOp") if "heavy tail" in why else ()
    expected = {
        "categorical": ("Categorify",),
        "continuous": ("FillMissing", *tail, "Normalize"),
        "time": ("TimeFeatures",),
        "dropped": (),
    }
    assert ops == expected[role]


def test_a_user_corrects():
    stats = stats_of(table(user=OTHER, age=rng.normal(size=ROWS)))
    guesses = guess_roles(stats, Wishes(["clicked"], chosen={"continuous": ["user"], "dropped": ["age"]}))
    assert [(guess.name, guess.role) for guess in guesses] == [
        ("clicked", "target"),
        ("user", "continuous"),
        ("age", "dropped"),
    ]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"categorical": ["usr"]}, "--categorical: no column 'usr'; did you mean 'user'?"),
        ({"dropped": ["zzz"]}, "--drop: no column 'zzz'; available: clicked, user, age"),
        ({"categorical": ["age"]}, "--categorical: 'age' is Float64"),
        ({"continuous": ["name"]}, "--continuous: 'name' is String"),
        ({"continuous": ["user"], "dropped": ["user"]}, "'user' cannot be both continuous and dropped"),
        ({"dropped": ["clicked"]}, "--drop: 'clicked' is the target"),
        ({"dropped": ["user", "age", "name"]}, "no column is left to predict 'clicked' from"),
    ],
)
def test_what_cannot_be_chosen(chosen, message):
    stats = stats_of(table(user=OTHER, age=rng.normal(size=ROWS), name=np.full(ROWS, "a")))
    with pytest.raises(CommandError) as refusal:
        guess_roles(stats, Wishes(["clicked"], chosen=chosen))
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("values", "task", "outcome"),
    [
        ([0, 1], None, "0 or 1"),
        ([0.0, 1.0], None, "0 or 1"),
        ([True, False], None, "true or false"),
        ([0, 1], "regression", "numbers"),
        ([1, 2, 5], None, "numbers"),
        ([1, 2], None, "target 'y' is not 0/1: it is 1 or 2; pass --positive 2 (the other value counts as 0)"),
        ([-1, 1], None, "target 'y' is not 0/1"),
        ([-1, 1], "regression", "numbers"),
        ([0, 1, 2], "binary", "target 'y' is not 0/1: it is 0, 1 or 2; pass --task regression"),
        ([0, 0.5], "binary", "target 'y' is not 0/1"),
        (
            ["yes", "no"],
            None,
            "target 'y' is text: it has the values 'no' and 'yes'; pass --positive with the value that counts as "
            "1, such as --positive yes",
        ),
        (["a", "b", "c"], None, "target 'y' is text: it has the values 'a', 'b' and 'c'; pass --positive"),
        ([0.5, float("inf")], "regression", "target 'y' has infinite values"),
        ([0.0, float("nan")], None, "target 'y' has nulls"),
        ([None, None], None, "target 'y' is Null"),
        ([0, 1, None], None, "target 'y' has nulls"),
        ([1, 1], None, "the same in every row"),
        ([[1], [0]], None, "target 'y' is List(Int64)"),
    ],
)
def test_targets(values, task, outcome):
    stats = stats_of(
        pl.DataFrame({"y": values, "x": [0.5] * len(values), "z": range(len(values))}, strict=False).lazy()
    )
    try:
        outcome_seen = guess_roles(stats, Wishes(["y"], task))[0].reason
    except CommandError as refusal:
        outcome_seen = str(refusal)
    assert outcome in outcome_seen


def test_an_unknown_target_and_no_rows():
    stats = stats_of(table(user=OTHER))
    with pytest.raises(CommandError, match="--target: no column 'click'; did you mean 'clicked'"):
        guess_roles(stats, Wishes(["click"]))
    with pytest.raises(CommandError, match="no rows"):
        read_sample(pl.LazyFrame({"a": []}))


def test_columns_whose_names_cannot_be_read_are_left_out():
    sample = pl.DataFrame({"*": [1, 2], "^a.*$": ["x", "y"], "__row__": [1, 2], "ab": ["x", "x"], "y": [0, 1]})
    wishes = Wishes(["y"], chosen={"categorical": ["ab"]})
    roles = {guess.name: guess.role for guess in guess_roles(column_stats(sample), wishes)}
    assert roles == {"*": "dropped", "^a.*$": "dropped", "__row__": "dropped", "ab": "categorical", "y": "target"}


def test_columns_that_cannot_be_read_are_left_out_with_the_reason(tmp_path):
    """Of files that do not agree, of types that no operator reads; unless they are asked for."""
    same = {"y": [0, 1] * 20, "user": [1, 2, 3, 1] * 10}
    for name, odd in (("a", [1] * 40), ("b", ["x"] * 40)):
        frame = pl.DataFrame({"odd": odd, **same}).with_columns(nested=pl.struct("y"))
        frame.write_parquet(tmp_path / f"{name}.parquet")
    source = scan(tmp_path)
    stats = column_stats(read_sample(source.frame)[1], source)
    guesses = {guess.name: guess for guess in guess_roles(stats, Wishes(["y"]))}
    assert list(guesses) == ["odd", "y", "user", "nested"]
    assert [guess.role for guess in guesses.values()] == ["dropped", "target", "categorical", "dropped"]
    assert "column 'odd' is String, but Int64 in" in guesses["odd"].reason
    assert "column 'nested' is of type struct" in guesses["nested"].reason
    for wishes in (Wishes(["odd"]), Wishes(["y"], chosen={"categorical": ["odd"]})):
        with pytest.raises(CommandError, match="column 'odd' is String, but Int64 in"):
            guess_roles(stats, wishes)
    assert guess_roles(stats, Wishes(["y"], chosen={"dropped": ["odd"]}))[0].role == "dropped"
