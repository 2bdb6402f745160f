"""ParseTime against Python's `strptime`, by both implementations and through a SavedModel."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import keras
import numpy as np
import polars as pl
import pytest
from fitted_tables import Fitted, wire
from hypothesis import example, given, settings
from hypothesis import strategies as st

import kerasrec as kr
from kerasrec import etl
from kerasrec.etl.lookup.tensor_column import TensorColumn
from kerasrec.etl.lookup.time_format import parse, parse_tensor
from kerasrec.schema import SchemaError

EPOCH = datetime(1970, 1, 1)
FORMATS = [
    *("%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f", "%Y%m%d", "%Y%m%d%H%M%S", "%d/%m/%Y"),
    *("%m/%d/%y", "%d %b %Y", "%B %d, %Y", "%a %b %d %H:%M:%S %Y", "%m/%d/%Y %I:%M %p", "%Y-%m-%d %H:%M:%S%z"),
    *("%Y-%m", "%Y", "%d.%m.%Y (%A)", "%d/%b/%Y:%H:%M:%S %z", "%Y%%%m", "%F %T", "%y%m%d %R"),
]
WIDE = {"%F": "%Y-%m-%d", "%T": "%H:%M:%S", "%R": "%H:%M"}  # which Python's `strptime` does not know


def micro(moment: datetime) -> int:
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return (moment - EPOCH) // timedelta(microseconds=1)


def pythons(text: str, format: str) -> int | None:
    """Microseconds by `strptime`; None where it, or a time in UTC before the year 1, fails."""
    for short, long in WIDE.items():
        format = format.replace(short, long)
    try:
        return micro(datetime.strptime(text, format))
    except (ValueError, OverflowError):
        return None


def tensors(texts: list[str], format: str) -> list[int | None]:
    """What the traced TensorFlow function makes."""
    import tensorflow as tf

    function = tf.function(lambda x: parse_tensor(x, format), input_signature=[tf.TensorSpec([None], tf.string)])
    times, valid = (x.numpy() for x in function(tf.constant(texts, tf.string, shape=(len(texts),))))
    return [int(time) if is_valid else None for time, is_valid in zip(times, valid, strict=True)]


def test_every_date_from_1900_to_2100_in_both_implementations() -> None:
    pytest.importorskip("tensorflow")
    count = (datetime(2101, 1, 1) - datetime(1900, 1, 1)).days
    days = [datetime(1900, 1, 1) + timedelta(days=n) for n in range(count)]
    for format in ("%Y-%m-%d", "%d %b %Y", "%Y%m%d"):
        texts = [day.strftime(format) for day in days]
        expected = [micro(day) for day in days]
        assert parse(pl.Series(texts), format).to_list() == tensors(texts, format) == expected
    # Every day that there is none of.
    texts = [
        f"{year}-{month:02}-{day:02}"
        for year in (1900, 2000, 2023, 2024)
        for month in range(14)
        for day in range(33)
    ]
    expected = [pythons(text, "%Y-%m-%d") for text in texts]
    for format in ("%Y-%m-%d", "ISO8601"):
        assert parse(pl.Series(texts), format).to_list() == tensors(texts, format) == expected


def written(draw: Any, format: str) -> str:
    """A time in the format, more or less: fields of one or two digits, in their bounds or just out of them."""
    moment = draw(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)))
    text = ""
    for token in compiled_tokens(format):
        field = {"m": moment.month, "d": moment.day, "H": moment.hour, "M": moment.minute, "S": moment.second}
        if token[1:] in field:
            number = draw(st.sampled_from([field[token[1:]]] * 6 + [0, 13, 24, 31, 60]))
            text += f"{number:02}" if draw(st.booleans()) else str(number)
        elif token == "%z":
            text += draw(st.sampled_from(["Z", "+00:00", "-0330", "+14:00", "-23:59", "+2400", "+1060", "+5"]))
        elif token == "%Y":
            text += f"{moment.year:04}"
        elif token == "%f":
            text += str(draw(st.integers(0, 999_999)))
        else:
            text += moment.strftime(token) if token.startswith("%") else token
    return draw(st.sampled_from([text] * 4 + [text.upper(), text[:-1], text + "1", text.replace(" ", "  ")]))


def compiled_tokens(format: str) -> list[str]:
    import re

    return re.findall("%.|.", "".join(WIDE.get(token, token) for token in re.findall("%.|.", format)))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), format=st.sampled_from([*FORMATS, "ISO8601"]))
def test_text_is_parsed_as_by_python_in_both_implementations(data: Any, format: str) -> None:
    pytest.importorskip("tensorflow")
    iso = format == "ISO8601"
    shapes = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f%z", "%Y-%m-%d %H:%M%z"]
    texts = []
    for _ in range(data.draw(st.integers(1, 12))):
        texts.append(written(data.draw, data.draw(st.sampled_from(shapes)) if iso else format))
    texts += data.draw(st.lists(st.text("0123456789-/: TZ+.,é\x00\n", max_size=12), max_size=3))
    got = parse(pl.Series(texts), format).to_list()
    assert got == tensors(texts, format)
    for text, time in zip(texts, got, strict=True):
        if iso:
            expected = next((t for t in (pythons(text, shape) for shape in shapes) if t is not None), None)
        else:
            expected = pythons(text, format)
        # What is parsed here means the same there. Python takes more: one digit beside another field, and it
        # writes years before 1000 with fewer than four digits.
        assert time is None or expected is None or time == expected
        if time is not None and expected is None:
            assert any(mark in text for mark in "+-Zz ") or "%b" in format or "%B" in format


@pytest.mark.parametrize(
    ("text", "format", "expected"),
    [
        ("  2024-2-9\n", "%Y-%m-%d", datetime(2024, 2, 9)),
        ("2024-02-30", "%Y-%m-%d", None),
        ("2023-02-29", "%Y-%m-%d", None),
        ("2024-02-29T23:59:60", "ISO8601", None),
        ("2024-02-29T23:59:59,123456789z", "ISO8601", datetime(2024, 2, 29, 23, 59, 59, 123456)),
        ("2024-01-01 00:30+05:30", "ISO8601", datetime(2023, 12, 31, 19)),
        ("2024-01-01T24:00", "ISO8601", None),
        ("0000-01-01", "ISO8601", None),
        ("2024-1-1", "ISO8601", None),
        ("12:05 am 3 SEPTEMBER 2024", "%I:%M %p %d %b %Y", datetime(2024, 9, 3, 0, 5)),
        ("0:05 am 3 sep 2024", "%I:%M %p %d %b %Y", None),
        ("31/12/68", "%d/%m/%y", datetime(2068, 12, 31)),
        ("31/12/69", "%d/%m/%y", datetime(1969, 12, 31)),
        ("2024131", "%Y%m%d", None),
        ("202401-31", "%Y%m%d", None),
        ("5%2024", "%m%%%Y", datetime(2024, 5, 1)),
        ("2024.5", "%Y.%m", datetime(2024, 5, 1)),
        ("2024x5", "%Y.%m", None),
        ("\u0662\u0660\u0662\u0664", "%Y", None),
        ("\u212aarch 2024", "%B %Y", None),
    ],
)
def test_what_a_format_means(text: str, format: str, expected: datetime | None) -> None:
    pytest.importorskip("tensorflow")
    wanted = [None if expected is None else micro(expected)]
    assert parse(pl.Series([text]), format).to_list() == tensors([text], format) == wanted


UNITS = ("s", "ms", "us", "ns")


def times_of_both(op: etl.ParseTime, values: list[Any], dtype: str) -> list[datetime | None]:
    """The times of values of a column, after both implementations made the same."""
    import tensorflow as tf

    fitted = Fitted(op, [None, *values], dtype, False)
    times = fitted.polars(values).to_list()
    raw = wire(values, fitted.inputs[0])

    @tf.function(input_signature=[tf.TensorSpec([None], raw["x"].dtype), tf.TensorSpec([None], tf.bool)])
    def traced(values: Any, valid: Any) -> Any:
        made = op.tensor(fitted.inputs[0], [])(TensorColumn(values, valid))
        return made.values, made.valid

    # As on the wire, where NaN is null before any operator sees it.
    known = tf.constant([value is not None and value == value for value in values], tf.bool)
    numbers, valid = traced(raw["x"], known)
    got = [int(n) if v else None for n, v in zip(numbers.numpy(), valid.numpy(), strict=True)]
    assert got == [None if time is None else micro(time) for time in times]
    return times


@settings(max_examples=25, deadline=None)
@given(
    unit=st.sampled_from(UNITS),
    dtype=st.sampled_from(["int32", "int64", "uint64", "float64", "float32", "string"]),
    data=st.data(),
)
def test_unix_times_in_both_implementations(unit: Any, dtype: str, data: Any) -> None:
    pytest.importorskip("tensorflow")
    low, high = {"int32": (-(2**31), 2**31 - 1), "uint64": (0, 2**64 - 1)}.get(dtype, (-(2**62), 2**62))
    numbers: Any = st.integers(low, high) | st.integers(max(low, -(10**9)), 10**9)
    if dtype.startswith("float"):
        numbers = st.floats(-(2.0**50), 2.0**50, width=32) | st.floats(-1e9, 1e9, width=32)
        numbers |= st.sampled_from([float("nan"), float("inf"), -float("inf")])
    values: Any = data.draw(st.lists(st.none() | numbers, max_size=8))
    if dtype == "string":
        values = [None if value is None else f" {value}" for value in values] + ["1.5", "", "+3", "-7\n", "9" * 19]
    times = times_of_both(etl.ParseTime(unit=unit, errors="null"), values, dtype)
    for value, time in zip(values, times, strict=True):
        if value is None or value != value or value in ("+3", "1.5", "", "9" * 19):
            assert time is None
            continue
        infinite = isinstance(value, float) and math.isinf(value)
        exact = Fraction(10) ** 80 if infinite else Fraction(int(value) if isinstance(value, str) else value)
        exact = exact * 10**6 / {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
        if time is not None:
            assert abs(micro(time) - exact) <= max(1, abs(exact) * Fraction(2) ** -50)
        else:
            assert not micro(datetime(1, 1, 2)) < exact < micro(datetime(9999, 12, 31))


@example(values=[20240229, 20230229, 0, -20240101, 99991231, 20240229000])
@given(values=st.lists(st.integers(19000000, 21001399)))
@settings(max_examples=15, deadline=None)
def test_numbers_may_be_written_dates(values: list[int]) -> None:
    pytest.importorskip("tensorflow")
    expected = [pythons(str(value), "%Y%m%d") for value in values]
    op = etl.ParseTime("%Y%m%d", errors="null")
    for dtype in ("int64", "uint64", "float64"):
        at = [i for i, value in enumerate(values) if value >= 0 or dtype != "uint64"]
        times = times_of_both(op, [values[i] for i in at], dtype)
        assert [None if time is None else micro(time) for time in times] == [expected[i] for i in at]
    halves = times_of_both(etl.ParseTime("%Y", errors="null"), [2024.0, 2024.5, 1e300, float("nan")], "float64")
    assert halves == [datetime(2024, 1, 1), None, None, None]


def test_formats_are_guessed_from_all_values(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "iso": ["2024-01-31", "2024-02-29T12:00:00Z", None],
            "day": ["01/02/2024", "13/02/2024", "01/03/2024"],
            "month": ["01/02/2024", "02/13/2024", "01/03/2024"],
            "digits": [20240131, 20240229, None],
            "text_digits": ["20240131", "20240229", None],
            "s": [1_700_000_000, 1_600_000_000, None],
            "ms": [1.7e12, 1.6e12, None],
            "us": [1_700_000_000_000_000, 0, 1_600_000_000_000_001],
            "ns": ["1700000000000000000", None, None],
            "log": ["31/Jan/2024:23:59:59 +0100", None, None],
            "mail": ["Wed, 31 Jan 2024 10:00:00 +0000", None, None],
        }
    )
    for source in (frame, frame.lazy()):
        workflow = etl.Workflow(frame.columns >> etl.ParseTime() >> etl.TimeFeatures(["day"])).fit(source)
        for known in (
            "iso: format='ISO8601'",
            "day: format='%d/%m/%Y'",
            "month: format='%m/%d/%Y'",
            "s: unit='s'",
        ):
            assert known in repr(workflow)
    made = workflow.transform(frame).collect().to_dicts()
    assert {name: value for name, value in made[0].items() if name in ("day_day", "month_day", "digits_day")} == {
        "day_day": 3,
        "month_day": 4,
        "digits_day": 33,
    }
    workflow.save(tmp_path / "w")
    again = etl.Workflow.load(tmp_path / "w")
    assert repr(again) == repr(workflow)
    assert again.transform(frame).collect().to_dicts() == made
    assert {
        c.dtype
        for c in etl.Workflow(frame.columns >> etl.ParseTime() >> etl.TimeFeatures()).fit(frame).input_schema
    } == {
        "string",
        "int64",
        "float64",
    }


def test_what_cannot_be_guessed_is_refused() -> None:
    for values, message in [
        (
            ["01/02/2024", "03/04/2024"],
            "column 't' fits both format='%d/%m/%Y' and format='%m/%d/%Y'; pass",
        ),
        (["yesterday", "today"], "column 't' is in no format that ParseTime knows, with values such as 'today'"),
        ([1, 2, 3], "column 't' is in no format that ParseTime knows, with values such as '1'"),
        ([None, None], "column 't'"),
    ]:
        with pytest.raises(SchemaError, match=message):
            etl.Workflow(["t"] >> etl.ParseTime() >> etl.TimeFeatures()).fit(pl.DataFrame({"t": values}))


def test_an_error_names_the_row_and_the_value(tmp_path: Path) -> None:
    seen = pl.DataFrame({"t": ["2024-01-31", None], "l": [["31/01/2024"], []]})
    times = (["t"] >> etl.ParseTime("%Y-%m-%d")) + (["l"] >> etl.ParseTime("%d/%m/%Y"))
    workflow = etl.Workflow(times >> etl.TimeFeatures(["day"])).fit(seen)
    new = pl.DataFrame({"t": ["2024-01-31", None, "2024-02-30"], "l": [["01/01/2024"], [], ["01/01/2024", "x"]]})
    new.write_parquet(tmp_path / "new.parquet")
    for source in (new, new.lazy(), tmp_path / "new.parquet"):
        for features, message in [
            (
                "t",
                "column 't', row 2: '2024-02-30' is not a time with format='%Y-%m-%d'; pass another, or",
            ),
            ("l", "column 'l', row 2: 'x' is not a time"),
        ]:
            good = {"t": pl.lit(None, pl.String)} if features == "l" else {"l": pl.lit([], pl.List(pl.String))}
            given = pl.read_parquet(source) if isinstance(source, Path) else source
            with pytest.raises(SchemaError, match=message):
                workflow.transform(given.with_columns(**good)).collect()
        with pytest.raises(SchemaError, match="row 2: "):
            workflow.transform(source).to_parquet(tmp_path / "out")
    lenient = (["t"] >> etl.ParseTime("%Y-%m-%d", errors="null")) + (
        ["l"] >> etl.ParseTime("%d/%m/%Y", errors="null")
    )
    rows = etl.Workflow(lenient >> etl.TimeFeatures(["day"])).fit(seen).transform(new).collect()
    assert rows.to_dict(as_series=False) == {"t_day": [33, 1, 1], "l_day": [[3], [], [3, 1]]}


def test_arguments_that_are_refused() -> None:
    for arguments, message in [
        ({"format": "%Q"}, "ParseTime: format '%Q': unknown directive '%Q'; available: %Y, %y"),
        ({"format": "%H:%M"}, "format '%H:%M' has no year"),
        ({"format": "%Y %d"}, "format '%Y %d' has no month"),
        ({"format": "%Y %y"}, "format '%Y %y' has the year twice"),
        ({"format": "%Y-%m-%d %p"}, "format '%Y-%m-%d %p' has no %I"),
        ({"format": "%Y-%m-%d %I"}, "format '%Y-%m-%d %I' has no %p"),
        ({"unit": "h"}, "ParseTime: unit must be one of s, ms, us, ns; got 'h'"),
        ({"errors": "coerce"}, 'ParseTime: errors must be "raise" or "null"; got \'coerce\''),
        ({"format": "%Y", "unit": "s"}, "ParseTime takes a format or a unit, not both"),
    ]:
        with pytest.raises(ValueError, match=message):
            etl.ParseTime(**arguments)  # type: ignore[arg-type]
    with pytest.raises(SchemaError, match="column 'b' is bool: ParseTime takes strings and numbers"):
        etl.Workflow(["b"] >> etl.ParseTime() >> etl.TimeFeatures()).fit(pl.DataFrame({"b": [True]}))


def test_dates_and_times_pass_unchanged() -> None:
    frame = pl.DataFrame({"t": [datetime(2024, 1, 31, 5), None]})
    made = etl.Workflow(["t"] >> etl.ParseTime() >> etl.TimeFeatures(["hour"])).fit_transform(frame).collect()
    assert made["t_hour"].to_list() == [8, 1]


def test_folds_by_position_are_still_told_from_new_rows() -> None:
    """The expressions of ParseTime name row numbers; only those of folds change with the position."""
    frame = pl.DataFrame({"t": ["2024-01-31"] * 6, "u": list("aabbab"), "f": [0, 1, 2, 0, 1, 2], "y": [0, 1] * 3})
    encoded = ["u"] >> etl.TargetEncoding("y", fold="f")
    node = (["t"] >> etl.ParseTime("%Y-%m-%d") >> etl.TimeFeatures(["day"])) + encoded
    workflow = etl.Workflow(node).fit(frame)
    assert workflow.transform(frame.reverse(), fitted=True).collect().height == 6
    by_position = etl.Workflow(["u"] >> etl.TargetEncoding("y")).fit(frame)
    with pytest.raises(ValueError, match="position"):
        by_position.transform(frame.reverse(), fitted=True)


def test_a_saved_model_takes_the_text_and_an_invalid_one_is_null(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    frame = pl.DataFrame(
        {"t": ["2024-01-31 23:10:00", "2024-02-29 01:00:00"], "n": [20240131, 20240229], "y": [0, 1]}
    )
    times = ["t", "n"] >> etl.ParseTime() >> etl.TimeFeatures(["hour", "day"])
    workflow = etl.Workflow(times + (["y"] >> etl.Target())).fit(frame)
    workflow.save(tmp_path / "w")
    inputs = {name: keras.Input((), dtype="int32", name=name) for name in workflow.output_schema.features.names}
    outputs = keras.ops.stack([inputs[name] for name in inputs], axis=1)
    kr.serving.export(keras.Model(inputs, outputs), tmp_path / "m", workflow=etl.Workflow.load(tmp_path / "w"))
    served = kr.serving.load(tmp_path / "m")
    assert served.inputs == {"n": "int64", "t": "string"}
    (made,) = served.predict(frame).values()
    assert made.tolist() == [list(row) for row in workflow.transform(frame, targets=False).collect().rows()]
    (made,) = served.predict([{"t": "2024-02-30 10:00:00", "n": 20230229}, {"t": "?", "n": -1}]).values()
    assert made.tolist() == [[1, 1, 1, 1]] * 2
    assert np.issubdtype(made.dtype, np.integer)
