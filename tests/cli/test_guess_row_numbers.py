"""Columns that number the rows are left out, whatever they are called; so is a pandas frame's index."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasrec.cli.column_stats import column_stats, read_sample
from kerasrec.cli.guess_roles import guess_roles
from kerasrec.cli.roles import INDEX, ROW_NUMBER, Guess, Wishes
from kerasrec.etl.sources.scan import scan

rng = np.random.default_rng(1)
ROWS = 300
FEATURE = np.arange(ROWS) % 7 * 1000  # of which a model could learn something


def guesses_of(path) -> dict[str, Guess]:
    source = scan(path)
    _, sample = read_sample(source.frame)
    stats = column_stats(sample, source)
    return {guess.name: guess for guess in guess_roles(stats, Wishes(["clicked"]))}


def clicks() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"clicked": rng.integers(0, 2, ROWS), "site": FEATURE, "price": rng.normal(size=ROWS)})


# ---- a pandas frame's index ---------------------------------------------------------------------------------
def sorted_and_filtered(frame):
    frame = frame.sort_values("clicked")
    return frame[frame["price"] > -1]


INDEXES = {
    "filtered": (sorted_and_filtered, ["__index_level_0__"]),
    "named": (lambda f: sorted_and_filtered(f).rename_axis("zone"), ["zone"]),
    "repeated": (lambda f: f.sample(frac=2, replace=True, random_state=0), ["__index_level_0__"]),
    "joined": (lambda f: pd.concat([f, sorted_and_filtered(f)]), ["__index_level_0__"]),
    "strings": (lambda f: f.set_index(pd.Index([f"u{i % 50}" for i in range(ROWS)])), ["__index_level_0__"]),
    "several": (
        lambda f: f.set_index(pd.MultiIndex.from_arrays([FEATURE, np.arange(ROWS)], names=["shop", None])),
        ["shop", "__index_level_1__"],
    ),
    "a_range": (lambda f: f.reset_index(drop=True), []),
    "dates": (lambda f: f.set_index(pd.date_range("2024", periods=ROWS, name="day")), ["day"]),
}


@pytest.mark.parametrize("name", INDEXES)
def test_the_index_of_a_parquet_file(tmp_path, name):
    change, index = INDEXES[name]
    change(clicks()).to_parquet(tmp_path / "x.parquet")
    found = guesses_of(tmp_path / "x.parquet")
    assert set(found) == {*index, "clicked", "site", "price"}
    assert {name: (found[name].role, found[name].reason) for name in index} == dict.fromkeys(
        index, ("dropped", INDEX)
    )
    assert (found["site"].role, found["price"].role) == ("categorical", "continuous")


def test_any_of_several_files_tells_of_the_index(tmp_path):
    frame = sorted_and_filtered(clicks()).rename_axis("zone")
    frame.to_parquet(tmp_path / "a.parquet")
    table = pa.Table.from_pandas(frame)
    other = pa.table(
        {name: table[name] for name in table.column_names}
    )  # as Polars or Spark write it: no metadata
    pq.write_table(other.replace_schema_metadata({b"pandas": b"not JSON"}), tmp_path / "b.parquet")
    assert guesses_of(tmp_path)["zone"].reason == INDEX
    assert guesses_of(tmp_path / "b.parquet")["zone"].reason == ROW_NUMBER


def test_the_index_of_a_csv_file(tmp_path):
    frame = sorted_and_filtered(clicks())
    frame.to_csv(tmp_path / "once.csv")
    again = pd.read_csv(tmp_path / "once.csv")
    again.sample(frac=2, replace=True, random_state=0).to_csv(tmp_path / "twice.csv", index=False)
    assert guesses_of(tmp_path / "twice.csv")["Unnamed: 0"].reason == INDEX
    again.to_parquet(tmp_path / "kept.parquet")
    assert guesses_of(tmp_path / "kept.parquet")["Unnamed: 0"].reason == INDEX


def test_a_column_without_a_name_is_an_index_only_at_the_start():
    frame = pl.DataFrame({"": np.arange(ROWS) // 3, "clicked": clicks()["clicked"]})
    assert [stats.index for stats in column_stats(frame)] == [True, False]
    assert [stats.index for stats in column_stats(frame.select("clicked", ""))] == [False, False]


def test_the_index_comes_back_when_it_is_asked_for(tmp_path):
    clicks().set_index("site").to_parquet(tmp_path / "x.parquet")
    _, sample = read_sample(scan(tmp_path / "x.parquet").frame)
    stats = column_stats(sample, scan(tmp_path / "x.parquet"))
    roles = {
        guess.name: guess.role
        for guess in guess_roles(stats, Wishes(["clicked"], chosen={"categorical": ["site"]}))
    }
    assert roles["site"] == "categorical"
    assert guess_roles(stats, Wishes(["site"], "regression"))[-1].role == "target"  # and it can be the target


# ---- integers that number the rows --------------------------------------------------------------------------
@st.composite
def row_numbers(draw):
    """0..n-1, or from anywhere, in steps, with gaps, backwards, shuffled, some null, of any type that fits."""
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    first = draw(st.sampled_from([0, 1, -50, 10**6, 1_500_000_000]))
    numbers = first + (1 if first > 10**9 else draw(st.sampled_from([1, 10]))) * np.arange(ROWS)
    if first < 10**9 and draw(st.booleans()):
        numbers = np.sort(rng.choice(50 * ROWS, ROWS, replace=False))  # of a filtered frame
    numbers = draw(st.sampled_from([numbers, numbers[::-1], rng.permutation(numbers)]))
    dtype = draw(st.sampled_from([pl.Int64, pl.Int32, pl.Float64, pl.Decimal(38, 0)]))
    column = pl.Series(numbers.tolist()).cast(dtype)
    if draw(st.booleans()):
        column = pl.select(pl.when(pl.Series(rng.random(ROWS) > 0.1)).then(column)).to_series()
    return column


@settings(max_examples=60, deadline=None)
@given(row_numbers(), st.sampled_from(["x", "order_id", "index", "level_0", "Unnamed: 3", "rowId"]))
def test_integers_that_all_differ_are_left_out(column, name):
    frame = pl.DataFrame({"clicked": np.arange(ROWS) % 2, "site": FEATURE, name: column})
    found = {guess.name: guess for guess in guess_roles(column_stats(frame), Wishes(["clicked"]))}
    assert (found[name].role, found[name].reason) == ("dropped", ROW_NUMBER)
    assert found["site"].role == "categorical"
    chosen = guess_roles(column_stats(frame), Wishes(["clicked"], chosen={"continuous": [name]}))
    assert {guess.name: guess.role for guess in chosen}[name] == "continuous"


def test_an_id_is_not_taken_for_a_time():
    numbers = np.sort(rng.choice(10**8, ROWS, replace=False)) + 1_600_000_000
    frame = pl.DataFrame({"clicked": np.arange(ROWS) % 2, "site": FEATURE, "order_id": numbers})
    assert guess_roles(column_stats(frame), Wishes(["clicked"]))[-1].reason == ROW_NUMBER


@pytest.mark.parametrize("way", [1, -1])
def test_numbers_of_files_one_after_another(way):
    column = np.concatenate([np.arange(900), np.arange(0, 1500, 2), np.arange(1100)])[::way]
    frame = pl.DataFrame({"clicked": np.arange(len(column)) % 2, "site": np.arange(len(column)) % 5, "x": column})
    assert guess_roles(column_stats(frame), Wishes(["clicked"]))[-1].reason == ROW_NUMBER


NOT = {
    "few rows": (np.arange(15), 15),
    "times": (np.sort(rng.choice(10**8, ROWS, replace=False)) + 1_600_000_000, ROWS),
    "milliseconds": ((np.sort(rng.choice(10**8, ROWS, replace=False)) + 1_600_000_000) * 1000, ROWS),
    "users in order": (np.sort(rng.integers(0, 3000, 9000)), 9000),
    "places in sessions": (np.concatenate([np.arange(n) for n in rng.integers(1, 60, 300)])[:5000], 5000),
    "halves": (np.arange(ROWS) + 0.5, ROWS),
    "repeated": (rng.integers(0, 10 * ROWS, ROWS), ROWS),
}


@pytest.mark.parametrize("name", NOT)
def test_what_does_not_number_the_rows_stays(name):
    column, rows = NOT[name]
    frame = pl.DataFrame({"clicked": np.arange(rows) % 2, "x": column[:rows]})
    assert guess_roles(column_stats(frame), Wishes(["clicked"]))[-1].role in ("categorical", "continuous", "time")
