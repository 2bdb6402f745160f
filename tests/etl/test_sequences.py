"""Sequences against plain Python; files as others write them, nulls, ties, short users; out of core."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasrec import etl
from kerasrec.etl.sequences import sequences as module
from kerasrec.schema import SchemaError, Tag

EVENTS = pl.DataFrame(
    {
        "user": ["b", "a", "a", "b", "a", "a", "c", "d", "d"],
        "item": [1, 2, 3, 4, 5, 3, 7, 8, 8],
        "at": [3, 1, 1, 2, 9, 5, 1, 4, 4],
        "rating": [0.1, 0.2, None, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9],
        "age": [31, 20, 20, 30, 22, 21, 40, None, 50],
    }
)


def lists(part: Any, column: str = "item", user: str = "user") -> list[tuple[Any, list[Any]]]:
    frame = part.lazy().collect()
    return list(zip(frame[user].to_list(), frame[column].to_list(), strict=True))


def expected(events: list[tuple[str, int, int]], cuts: list[int] | None, most: int | None) -> list[Any]:
    """The rows of train, valid and test, in plain Python."""
    users: dict[str, list[tuple[int, int]]] = {}
    for user, item, time in events:
        users.setdefault(user, []).append((time, item))
    parts: list[list[Any]] = [[], [], []]
    for user, of_user in sorted(users.items()):
        history = sorted(of_user, key=lambda event: event[0])  # stable
        if len(history) < 2:
            continue
        if cuts is None:
            left = 2 if len(history) > 2 else 0
            ends = [[len(history) - left], *([[len(history) - 1], [len(history)]] if left else [[], []])]
        else:
            place = [sum(time >= cut for cut in cuts) for time, _ in history]
            ends = [[place.count(0)], *([i + 1 for i, p in enumerate(place) if p == n] for n in (1, 2))]
        for part, ends_of_part in zip(parts, ends, strict=True):
            items = [[item for _, item in history[:end]][-(most or 99) :] for end in ends_of_part if end >= 2]
            part += [(user, row) for row in items]
    return parts


@given(
    events=st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 5), st.integers(0, 3)), max_size=16),
    cuts=st.none() | st.just([1, 3]),
    most=st.none() | st.just(2),
)
@settings(max_examples=40, deadline=None)
@pytest.mark.filterwarnings("ignore:Sequences leaves out")
def test_rows_of_each_part(events: Any, cuts: Any, most: Any) -> None:
    data = pl.DataFrame(events, {"user": pl.String, "item": pl.Int64, "t": pl.Int64}, orient="row")
    parts = etl.Sequences("user", "item", "t", at=cuts, max_events=most)(data)
    assert [lists(part) for part in parts] == expected(events, cuts, most)
    report = parts.report
    in_rows = [(part.rows, part.events) for part in report.parts.values()]
    assert in_rows == [(len(r), sum(len(i) for _, i in r)) for r in expected(events, cuts, most)]
    assert report.events + report.short_events == len(events)


@pytest.mark.filterwarnings("ignore:Sequences leaves out")
@pytest.mark.parametrize("changes", [{}, {"at": [2, 5]}, {"fractions": (0.5, 0.25, 0.25)}, {"parts": 1}])
def test_out_of_core_makes_the_same_rows_as_in_memory(tmp_path, monkeypatch, changes):
    monkeypatch.setattr(module, "EVENTS", 2)
    sequences = etl.Sequences("user", "item", "at", "rating", "age", min_events=changes.get("parts", 2), **changes)
    (tmp_path / "log").mkdir()
    for i in range(3):
        EVENTS[3 * i : 3 * i + 3].write_parquet(tmp_path / "log" / f"{i}.parquet")
    written = sequences.to_parquet(tmp_path / "log", tmp_path / "out")
    monkeypatch.setattr(module, "EVENTS", 100)
    made = sequences(EVENTS)
    assert list(written.sources) == list(made.sources) == list(made.report.parts)
    for name in made.sources:
        frames = [parts[name].lazy().collect() for parts in (written, made)]
        assert frames[0].equals(frames[1])
        assert frames[0].equals(pl.read_parquet(tmp_path / "out" / name / "*.parquet").with_row_index("__row__"))
    assert written.report == made.report
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report == made.report.to_dict()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*made.sources, "report.json"}
    with pytest.raises(FileExistsError):
        sequences.to_parquet(EVENTS, tmp_path / "out")
    sequences.to_parquet(EVENTS, tmp_path / "out", overwrite=True)


def test_side_columns_are_aligned_and_what_is_left_out_is_said():
    sequences = etl.Sequences("user", "item", "at", event_columns=["rating", "at"], user_columns="age")
    with pytest.warns(UserWarning, match=r"leaves out 1 user with fewer than 2 events \(1 event\)$"):
        parts = sequences(EVENTS)
    train, _, test = parts
    assert lists(test) == [("a", [2, 3, 3, 5])]
    assert lists(test, "rating") == [("a", [0.2, None, 0.6, 0.5])]
    assert lists(test, "at") == [("a", [1, 1, 5, 9])]
    assert lists(train, "age") == [("a", 20), ("b", 31), ("d", 50)]  # of the row's last event
    assert lists(train)[2] == ("d", [8, 8])  # repeated events stay
    assert "left out: 1 user with fewer than 2 events (1 event)" in repr(parts)
    assert repr(parts).startswith("Sequences of 3 users, 8 events\n")
    assert parts["valid"] is list(parts)[1]
    with pytest.raises(KeyError, match="no part 'validation'; available: train, valid, test"):
        parts["validation"]


@pytest.mark.filterwarnings("ignore:Sequences leaves out")
def test_a_workflow_has_the_tags_of_the_contract(tmp_path):
    sequences = etl.Sequences("user", "item", "at", event_columns="rating", user_columns="age")
    train, valid, test = sequences(EVENTS)
    columns = sequences.items >> etl.Categorify()
    columns += sequences.event_features >> etl.FillMissing(0.0)
    columns += sequences.user_features >> etl.FillMissing(0)
    workflow = etl.Workflow(columns).fit(test)
    schema = workflow.output_schema
    assert set(schema["item"].tags) == {Tag.CATEGORICAL, Tag.LIST, Tag.ITEM, Tag.ITEM_ID, Tag.SEQUENCE}
    assert set(schema["rating"].tags) == {Tag.CONTINUOUS, Tag.LIST, Tag.SEQUENCE}
    assert set(schema["age"].tags) == {Tag.CONTINUOUS, Tag.USER}
    assert workflow.transform(valid).collect()["item"].to_list() == [[4, 3, 3]]
    assert workflow.transform(train).collect()["item"].to_list() == [[4, 3], [2, 2], [2, 2]]  # 2: unseen
    assert workflow.raw_signature() == {
        "item__values": ("int64", (None,)),
        "item__offsets": ("int64", (None,)),
        "rating__values": ("float64", (None,)),
        "rating__offsets": ("int64", (None,)),
        "rating__valid": ("bool", (None,)),
        "age": ("int64", (None,)),
    }


def test_files_as_pandas_spark_and_snowflake_write_them(tmp_path):
    want = [("a", [2, 3]), ("b", [4, 1])], [("a", [2, 3, 3])], [("a", [2, 3, 3, 5])]
    events = EVENTS.filter(pl.col("user").is_in(["a", "b"]))
    hours = [datetime(2024, 1, 1, at) for at in events["at"]]
    frame = pd.DataFrame({"user": events["user"].to_list(), "item": events["item"].to_list(), "at": hours})
    frame.set_index(pd.Index(range(10, 16))).to_parquet(tmp_path / "pandas.parquet")
    (tmp_path / "spark").mkdir()
    (tmp_path / "spark" / "_SUCCESS").touch()
    table = pa.Table.from_pandas(frame, preserve_index=False)
    pq.write_table(table, tmp_path / "spark" / "part-0.parquet", use_deprecated_int96_timestamps=True)
    items = pa.array([Decimal(item) for item in events["item"]], pa.decimal128(38, 0))
    pq.write_table(table.set_column(1, "item", items), tmp_path / "snowflake.parquet")
    pl.from_pandas(frame).cast({"user": pl.Categorical}).write_parquet(tmp_path / "polars.parquet")
    frame.assign(at=events["at"].to_list()).to_csv(tmp_path / "events.csv", index=False)
    paths = [
        tmp_path / f for f in ("pandas.parquet", "spark", "snowflake.parquet", "polars.parquet", "events.csv")
    ]
    for source in [*paths, frame, table, pl.scan_parquet(tmp_path / "pandas.parquet")]:
        parts = etl.Sequences("user", "item", "at")(source)
        assert tuple(map(lists, parts)) == want, source
    with pytest.warns(UserWarning, match="1 row of train with one event, so no history"):
        late = etl.Sequences("user", "item", "at", at=["2024-01-01T03:00", datetime(2024, 1, 1, 9)])(paths[1])
    assert list(map(lists, late)) == [[("a", [2, 3])], [("a", [2, 3, 3]), ("b", [4, 1])], [("a", [2, 3, 3, 5])]]


def test_floats_of_pandas_are_integers_and_others_are_refused():
    frame = pd.DataFrame({"user id": [1, 1, None, 1], "größe": [5.0, 6.0, 7.0, None], "a.b": [2.0, 1.0, 0.0, 3.0]})
    sequences = etl.Sequences("user id", "größe", "a.b", parts=2, nulls="drop")
    with pytest.warns(UserWarning, match="1 row with a null in column 'user id'; 1 row with a null in column 'gr"):
        _, test = sequences(frame)
    assert (len(lists(test, "größe", "user id")), lists(test, "größe", "user id")) == (1, [(1, [6, 5])])
    with pytest.raises(SchemaError, match=r"row 2: column 'user id' is null \(one of 1\).*nulls=\"drop\""):
        etl.Sequences("user id", "größe", "a.b")(frame)
    with pytest.raises(SchemaError, match=r"row 1: column 'i' is 0\.5; users and items are ids"):
        etl.Sequences("u", "i")(pl.DataFrame({"u": [1, 1], "i": [1.0, 0.5]}))


@pytest.mark.filterwarnings("ignore:Sequences leaves out")
def test_one_user_several_keys_and_no_rows():
    one = pl.DataFrame({"u": [1] * 4, "i": [4, 3, 2, 1]})
    assert [lists(part, "i", "u")[0][1] for part in etl.Sequences("u", "i")(one)] == [
        [4, 3],
        [4, 3, 2],
        [4, 3, 2, 1],
    ]
    for part in etl.Sequences("u", "i")(one.clear()):
        assert part.lazy().collect().schema == {"__row__": pl.UInt32, "u": pl.Int64, "i": pl.List(pl.Int64)}
    two = pl.DataFrame({"u": [1, 1, 1, 1], "s": ["x", "y", "x", "y"], "i": [1, 2, 3, 4]})
    (rows,) = etl.Sequences(["u", "s"], "i", parts=1)(two)
    assert rows.lazy().collect().drop("__row__").rows() == [(1, "x", [1, 3]), (1, "y", [2, 4])]


def test_mistakes():
    for arguments, message in [
        ({"item": "user"}, "each column once; got user, user"),
        ({"parts": 4}, "1 to 3 parts"),
        ({"at": [1]}, "need time"),
        ({"time": "t", "at": [1, 2, 3]}, "1 to 3 parts"),
        ({"time": "t", "at": [1], "fractions": (0.5, 0.5)}, "fractions or at, not both"),
        ({"min_events": 1}, r"min_events and max_events must be integers >= 2; got 1 and None"),
        ({"max_events": 1}, "got 2 and 1"),
        ({"nulls": "ignore"}, 'nulls must be "error" or "drop"; got \'ignore\''),
    ]:
        with pytest.raises(ValueError, match=message):
            etl.Sequences(**{"user": "user", "item": "item"} | arguments)
    with pytest.raises(SchemaError, match="no column 'itm'; available: user, item"):
        etl.Sequences("user", "itm")(EVENTS)
    with pytest.raises(SchemaError, match="column 'user' is String; times are numbers"):
        etl.Sequences("user", "item", "user")(EVENTS)
    with pytest.raises(SchemaError, match="column 'g' has lists; Sequences takes one value per event"):
        etl.Sequences("u", "i", event_columns="g")({"u": [1], "i": [1], "g": [[1]]})


def test_out_of_core_uses_little_memory_for_files_of_events(tmp_path: Path, monkeypatch) -> None:
    """No frame that is sorted has more than the events of the greatest user, or of EVENTS of them."""
    monkeypatch.setattr(module, "EVENTS", 500)
    users = pl.int_range(3_000, eager=True) * 7919 % 97
    pl.DataFrame({"u": users, "i": pl.int_range(3_000, eager=True)}).write_parquet(tmp_path / "e.parquet")
    heights: list[int] = []
    sort = module.Events._sort
    monkeypatch.setattr(module.Events, "_sort", lambda self, f: heights.append(len(f)) or sort(self, f))
    etl.Sequences("u", "i").to_parquet(tmp_path / "e.parquet", tmp_path / "out")
    assert sum(heights) == 3_000
    assert max(heights) <= 531  # 500 and a user's 31
