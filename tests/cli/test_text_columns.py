"""What columns of text are taken for: times, lists, numbers in disguise, or names."""

import polars as pl
import pytest

from kerasrec import etl
from kerasrec.cli.column_stats import column_stats
from kerasrec.cli.guess_roles import guess_roles
from kerasrec.cli.roles import Wishes
from kerasrec.cli.steps import chain

ROWS = 60
DAYS = [f"{1 + i % 28:02d}" for i in range(ROWS)]
TIMES = {
    "%Y-%m-%d %H:%M:%S": [f"2024-03-{d} 12:00:{d}" for d in DAYS],
    "%Y-%m-%dT%H:%M:%SZ": [f"2024-03-{d}T12:00:{d}Z" for d in DAYS],
    "%Y-%m-%d %H:%M:%S.%f": [f"2024-03-{d} 12:00:00.1{d}" for d in DAYS],
    "%Y-%m-%d": [f"2024-03-{d}" for d in DAYS],
    "%d.%m.%Y %H:%M": [f"{d}.03.2024 08:30" for d in DAYS],
    "%m/%d/%Y": [f"03/{d}/2024" for d in DAYS],
    "%d/%m/%Y": [f"{d}/03/2024" for d in DAYS],
    "%d-%b-%Y": [f"{d}-Mar-2024" for d in DAYS],
}


def guess_of(values, separator=None):
    frame = pl.DataFrame(
        {"x": values, "y": [i % 2 for i in range(len(values))], "other": ["a", "b"] * (len(values) // 2)}
    )
    return guess_roles(column_stats(frame, separator=separator), Wishes(["y"]))[0]


@pytest.mark.parametrize("written", TIMES)
def test_times_are_read_in_the_format_that_they_are_written_in(written):
    guess = guess_of(TIMES[written])
    assert guess.role == "time"
    assert f"times written as {written}" in guess.reason
    assert guess.steps[0].settings == (("format", written),)
    clock = "%H" in written
    assert (
        chain(guess.steps[1:])
        == f'TimeFeatures(features={"[" + chr(34) + "hour" + chr(34) + ", " if clock else "["}"weekday"])'
    )
    node = ["x"]
    for step in guess.steps:
        node = node >> step.build()
    days = etl.Workflow(node).fit_transform(pl.DataFrame({"x": TIMES[written]})).collect()["x_weekday"]
    assert days.to_list() == [3 + (int(day) + 3) % 7 for day in DAYS]  # March 1, 2024 was a Friday


def test_an_order_of_day_and_month_that_is_not_clear_is_said():
    guess = guess_of([f"{1 + i % 12:02d}/{1 + i % 11:02d}/2024" for i in range(ROWS)])
    assert "(or %d/%m/%Y: day and month are ambiguous)" in guess.reason


LISTS = {
    "|": ["a|b", "c", "b|c|a", "d|a", "b"] * 12,
    ";": ["a;b", "c", "b;c;a", "d;a", "b", "a;b;c;d", "a;c", "d;b", "c;d"] * 6,
    ",": ["a,b", "c", "b,c,a", "d,a", "b", "a,b,c,d", "a,c", "d,b", "c,d"] * 6,
}


@pytest.mark.parametrize("separator", LISTS)
def test_lists_in_text_are_split(separator):
    guess = guess_of(LISTS[separator])
    assert guess.reason == f"lists of strings, separated by {separator!r}"
    assert guess.operators == ("SplitString", "Categorify")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (["Lion King, The", "Toy Story", "Piano, The", "Usual Suspects, The", "Heat"] * 12, "strings that repeat"),
        (["1,5", "2,25", "3,0", "1.000,5"] * 15, "numbers with decimal commas"),
        (["1,500", "2,250", "3,000.5", "1,000,500"] * 15, "numbers with commas between thousands"),
        (["1.5", "2", "3", "-1e3"] * 15, "numbers stored as text"),
        ([f"{i / 4} kg" for i in range(30)] * 2, "numbers with a unit"),
        ([str(i) for i in range(30)] * 2 + ["unknown 1"] * 2, "numbers, but for values such as 'unknown 1'"),
        (["01234", "10001", "94107"] * 20, "strings that repeat"),
        (["c7", "c8", "d9"] * 20, "strings that repeat"),
        (["yes", "no"] * 30, "strings that repeat"),
    ],
)  # fmt: skip
def test_other_text_is_categories_and_numbers_in_disguise_are_named(values, reason):
    guess = guess_of(values)
    assert guess.role == "categorical"
    assert guess.reason.startswith(reason)


def test_a_separator_that_is_given_is_used_where_it_occurs():
    assert guess_of(["Smith/Jones", "Smith", "Lee"] * 20, "/").operators == ("SplitString", "Categorify")
    assert guess_of(["Smith", "Jones", "Lee"] * 20, "/").operators == ("Categorify",)
