"""SplitByTime and SplitLeaveOneOut against pandas; what their parts are good for."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from kerasrec import etl
from kerasrec.etl.run import gather
from kerasrec.etl.sources.fingerprint import fingerprint
from kerasrec.etl.sources.source import Source
from kerasrec.schema import SchemaError

FRACTIONS = [(0.8, 0.1, 0.1), (0.5, 0.5), (0.25, 0.25, 0.25, 0.25)]


def rows(part: Source) -> list[int]:
    """Which rows a part holds: its numbers of them, and the column "n"."""
    frame = part.lazy().collect(engine="streaming")
    assert frame["__row__"].to_list() == frame["n"].to_list()
    return frame["n"].to_list()


@given(times=st.lists(st.integers(-3, 3), max_size=12), fractions=st.sampled_from(FRACTIONS), floats=st.booleans())
@settings(max_examples=25, deadline=None)
def test_fractions_of_time(times: list[int], fractions: tuple[float, ...], floats: bool) -> None:
    data = pl.DataFrame(
        {"t": times, "n": range(len(times))}, {"t": pl.Float32 if floats else pl.Int16, "n": pl.Int64}
    )
    got = [rows(part) for part in etl.SplitByTime("t", fractions)(data)]
    table, expected, before = pd.DataFrame({"t": times}), [], -np.inf
    for share in np.cumsum(fractions):
        place = round(share * len(times))
        cut = sorted(times)[place] if place < len(times) else np.inf
        expected.append(table.index[(table["t"] >= before) & (table["t"] < cut)].tolist())
        before = max(cut, before)
    assert got == expected
    assert sorted(n for part in got for n in part) == list(range(len(times)))


@given(
    events=st.lists(
        st.tuples(st.none() | st.sampled_from("ab"), st.integers(0, 1), st.integers(0, 2)), max_size=14
    ),
    parts=st.sampled_from([2, 3]),
    users=st.sampled_from([["u"], ["v"], ["u", "v"]]),
    timed=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_one_left_out(events: list[Any], parts: int, users: list[str], timed: bool) -> None:
    schema = {"u": pl.String, "v": pl.Int64, "t": pl.Int64}
    data = pl.DataFrame(events, schema, orient="row").with_columns(n=pl.int_range(pl.len()))
    got = [rows(part) for part in etl.SplitLeaveOneOut(users, "t" if timed else None, parts)(data)]
    expected: list[list[int]] = [[] for _ in range(parts)]
    histories: dict[Any, list[tuple[int, int]]] = {}
    for n, event in enumerate(events):
        user = tuple(event["uv".index(name)] for name in users)
        if None in user:
            expected[0].append(n)
        else:
            histories.setdefault(user, []).append((event[2] if timed else 0, n))
    for history in histories.values():
        numbers = [n for _, n in sorted(history)]
        for i in range(parts - 1, 0, -1):
            if len(history) >= parts:
                expected[i].append(numbers.pop())
        expected[0] += numbers
    assert got == [sorted(part) for part in expected]


def events(count: int = 100) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    return pl.DataFrame(
        {"user": rng.integers(0, 9, count), "t": rng.integers(0, 50, count), "x": rng.normal(size=count)}
    )


def test_parts_are_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "BATCH_ROWS", 7)
    monkeypatch.setattr("kerasrec.etl.dataset.PART_ROWS", 11)
    data = events()
    (tmp_path / "raw").mkdir()
    data.head(43).write_parquet(tmp_path / "raw" / "a.parquet", row_group_size=5)
    data.slice(43).write_parquet(tmp_path / "raw" / "b.parquet")
    data.write_csv(tmp_path / "a.csv")
    cut = np.sort(data["t"].to_numpy())[80]
    ordered = data.with_row_index().sort("t", "index")
    last = ordered.group_by("user").agg(pl.col("index").last())["index"]
    for source in (data, data.to_pandas(), data.to_arrow(), data.lazy(), tmp_path / "raw", tmp_path / "a.csv"):
        for split, expected in (
            (etl.SplitByTime("t", (0.8, 0.2)), data["t"] < cut),
            (etl.SplitByTime("t", at=[int(cut)]), data["t"] < cut),
            (etl.SplitLeaveOneOut("user", "t", parts=2), ~data.with_row_index()["index"].is_in(last.to_list())),
        ):
            train, test = split(source)
            work = etl.Workflow((["x"] >> etl.Normalize()) + ["user"]).fit(train)
            x = data.filter(expected)["x"].to_numpy()
            got = work.transform(train).collect()
            np.testing.assert_allclose(got["x"], (x - x.mean()) / x.std(), rtol=1e-5, atol=1e-6)
            folder = work.transform(test).to_parquet(tmp_path / "test", overwrite=True, row_group_rows=3)
            assert (
                pl.read_parquet(folder / "*.parquet")["user"].to_list() == data.filter(~expected)["user"].to_list()
            )
    early, late = etl.SplitByTime("t", (0.5, 0.5))(tmp_path / "raw")
    inner = etl.SplitLeaveOneOut("user", "t", parts=2)(late)  # a part of a part
    counts = [part.lazy().select(pl.len()).collect().item() for part in (early, *inner)]
    assert sum(counts) == 100
    assert (
        counts[2] == late.lazy().select("user").collect()["user"].value_counts().filter(pl.col("count") > 1).height
    )


def test_the_fitted_part_is_known_again(tmp_path: Path) -> None:
    events().write_parquet(tmp_path / "a.parquet")
    for split in (etl.SplitByTime("t", (0.5, 0.5)), etl.SplitLeaveOneOut("user", parts=2)):
        first, again = split(tmp_path / "a.parquet"), split(tmp_path / "a.parquet")
        prints = [fingerprint(part, [part.column("x")]) for part in (*first, *again)]
        assert prints[:2] == prints[2:]
        assert not set(prints[0]) & set(prints[1])


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_dates_and_datetimes(unit: Any) -> None:
    days = [datetime.datetime(2024, 1, day) for day in range(1, 11)]
    data = pl.DataFrame({"t": days, "n": range(10)}).with_columns(pl.col("t").dt.cast_time_unit(unit))
    assert [len(rows(part)) for part in etl.SplitByTime("t", (0.6, 0.4))(data)] == [6, 4]
    for moment in ("2024-01-04", datetime.date(2024, 1, 4), datetime.datetime(2024, 1, 4), "2024-01-03T00:00:01"):
        assert [len(rows(part)) for part in etl.SplitByTime("t", at=[moment])(data)] == [3, 7]
        if moment != "2024-01-03T00:00:01":
            dates = data.with_columns(pl.col("t").dt.date())
            assert [len(rows(part)) for part in etl.SplitByTime("t", at=[moment])(dates)] == [3, 7]
    zoned = data.with_columns(pl.col("t").dt.replace_time_zone("Asia/Tokyo"))
    for zone_moment, early in (("2024-01-04", 3), ("2024-01-03T15:00:00+00:00", 3), ("2024-01-03T15:01:00Z", 4)):
        assert len(rows(etl.SplitByTime("t", at=[zone_moment])(zoned)[0])) == early


def test_mistakes(tmp_path: Path) -> None:
    for wrong, message in (
        (lambda: etl.SplitByTime("t", (0.5, 0.6)), r"> 0 of sum 1; got \(0.5, 0.6\)"),
        (lambda: etl.SplitByTime("t", (1.0,)), "two or more"),
        (lambda: etl.SplitByTime("t", (0.5, 0.5), [3]), "fractions or at, not both"),
        (lambda: etl.SplitByTime("t", at="2024"), "at must be a list of times; got '2024'"),
        (lambda: etl.SplitByTime("t", at=[3, 3])(events()), r"at must be ascending; got \[3, 3\]"),
        (
            lambda: etl.SplitByTime("t", at=["x"])(events()),
            "'x' is not a time of column 't', which is Int64: it is not a number",
        ),
        (lambda: etl.SplitLeaveOneOut("u", parts=4), "2 or 3 parts; got .* 4"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong()
    when = pl.DataFrame({"t": [datetime.datetime(2024, 1, 1)], "w": ["2024"], "l": [[1]]})
    for at, message in (
        ("soon", "Invalid isoformat"),
        (3, "it is not a date"),
        ("2024-01-01T00:00Z", "it has a time zone, but"),
    ):
        with pytest.raises(ValueError, match=f"is not a time of column 't', which is Datetime.*: {message}"):
            etl.SplitByTime("t", at=[at])(when)  # type: ignore[list-item]
    with pytest.raises(ValueError, match="has a time of day, but the column has dates"):
        etl.SplitByTime("t", at=["2024-01-01T10:00"])(when.with_columns(pl.col("t").dt.date()))
    events(5).with_columns(t=pl.Series([1.0, 2, 3, np.nan, None])).write_parquet(tmp_path / "a.parquet")
    events(5).cast({"t": pl.Float64}).write_parquet(tmp_path / "b.parquet")
    for split in (etl.SplitByTime("t"), etl.SplitByTime("t", at=[2]), etl.SplitLeaveOneOut("user", "t")):
        with pytest.raises(SchemaError, match=r"a\.parquet, row 3: column 't' is null; a row without a time"):
            split([tmp_path / "b.parquet", tmp_path / "a.parquet"])
    for split, message in (
        (etl.SplitByTime("x"), "the frame: no column 'x'; available: t, w, l"),
        (etl.SplitByTime("w"), "column 'w' is String; times are numbers, dates or datetimes"),
        (etl.SplitLeaveOneOut("x"), "no column 'x'"),
        (etl.SplitLeaveOneOut("l"), r"column 'l' is List\(Int64\); a user must be one value per row"),
        (etl.SplitLeaveOneOut("w", "l"), "column 'l' is List"),
    ):
        with pytest.raises(SchemaError, match=message):
            split(when)


def test_empty_parts() -> None:
    none = events().clear()
    for split in (etl.SplitByTime("t"), etl.SplitByTime("t", at=[1, 2]), etl.SplitLeaveOneOut("user")):
        assert [part.lazy().collect().height for part in split(none)] == [0, 0, 0]
        assert [part.lazy().collect().height for part in split(events().head(1))] in ([1, 0, 0], [0, 0, 1])
    work = etl.Workflow(["x"]).fit(events())
    empty = etl.SplitByTime("t", at=[1000])(events())[1]
    assert_frame_equal(work.transform(empty).collect(), pl.DataFrame(schema={"x": pl.Float32}))
    with pytest.raises(SchemaError, match="there are no rows to fit on"):
        work.fit(empty)


# ---- at random -------------------------------------------------------------------------------------------------
def test_parts_at_random_have_their_shares_are_spread_and_come_out_the_same_every_time() -> None:
    data = pl.DataFrame({"n": range(100_000)})
    parts = [rows(part) for part in etl.SplitRandom((0.7, 0.2, 0.1))(data)]
    assert [len(part) for part in parts] == pytest.approx([70_000, 20_000, 10_000], rel=0.01)
    assert sorted(n for part in parts for n in part) == list(range(100_000))
    assert abs(np.mean(parts[2]) - 50_000) < 1_000
    assert parts == [rows(part) for part in etl.SplitRandom((0.7, 0.2, 0.1))(data)]
    other = rows(etl.SplitRandom((0.7, 0.2, 0.1), seed=1)(data)[2])
    assert len(set(other) & set(parts[2])) < 5_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fractions": (1.0,)}, r"two or more numbers > 0 of sum 1; got \(1.0,\)"),
        ({"fractions": (0.5, 0.4)}, "of sum 1"),
        ({"seed": -1}, "seed must be an integer >= 0; got -1"),
    ],
)
def test_invalid_arguments_of_a_random_split(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        etl.SplitRandom(**arguments)


def test_times_written_as_text_are_ordered_by_their_format() -> None:
    texts = ["02.01.2024", "01.02.2024", "31.12.2023", "03.01.2024"]
    data = pl.DataFrame({"t": texts, "n": range(4)})
    early, late = etl.SplitByTime("t", (0.5, 0.5), format="%d.%m.%Y")(data)
    assert (rows(early), rows(late)) == ([0, 2], [1, 3])
    early, late = etl.SplitByTime("t", at=["2024-01-03"], format="%d.%m.%Y")(data)
    assert (rows(early), rows(late)) == ([0, 2], [1, 3])
    with pytest.raises(SchemaError, match="row 0: column 't' is null, or not in the format"):
        etl.SplitByTime("t", format="%Y-%m-%d")(data)
    with pytest.raises(SchemaError, match=r"or the format of its strings, SplitByTime\(\.\.\., format="):
        etl.SplitByTime("t")(data)
