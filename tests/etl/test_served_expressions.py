"""Expressions of LambdaOp are the same in Polars and in TensorFlow, traced; what has no translation is named."""

from __future__ import annotations

import math
from datetime import datetime
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest
from fitted_tables import wire
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kerasrec.etl.lookup.expression_strings import UnsupportedError
from kerasrec.etl.lookup.expression_tensors import translate
from kerasrec.etl.lookup.tensor_column import TensorColumn
from kerasrec.etl.sources.types import to_name
from kerasrec.schema import Column, Tag

i, j, u, f, g, b, c, s, w, t, n = map(pl.col, "ijufgbcswtn")
TYPES: dict[str, Any] = {
    "i": pl.Int64,
    "j": pl.Int32,
    "u": pl.UInt8,
    "f": pl.Float64,
    "g": pl.Float32,
    "b": pl.Boolean,
    "c": pl.Boolean,
    "s": pl.String,
    "w": pl.String,
    "t": pl.Datetime("us"),
    "n": pl.List(pl.Int64),
}
EXPRESSIONS: list[pl.Expr] = [
    *(i + 1, 1 - i, i * j, -j, i.abs(), i + f, g * 0.1, g + j, u + u, u * 3, u - 1, f - 2.5, 2 / f, i / 2),
    *(i / j, i // 3, i // j, i % j, i % -3, u // 2, f * f, f**2, g**3, f.sqrt(), f.floor(), f.ceil(), f.round()),
    *(i > 1, i >= j, f > 1, g < 0.1, g == 0.1, f != f, f <= 0, u == 3, i < 1.5, s == "ab", s != w, b == c),
    *((i > 0) & b, b | c, b ^ c, ~b, (f > 0) & (j < 2) | c.is_null(), b & c),
    *(i.is_null(), s.is_not_null(), f.is_nan(), f.is_finite(), g.is_infinite(), f.fill_nan(0), f.fill_null(7)),
    *(
        s.fill_null("?"),
        pl.coalesce(i, j, 0),
        j.fill_null(i),
        i.is_between(-1, 2),
        i.is_between(0, 3, closed="left"),
    ),
    *(
        f.is_between(0, f),
        i.is_in([1, 2, 300]),
        u.is_in([1, 300]),
        s.is_in(["ab", ""]),
        b.is_in([True]),
        ~i.is_in([1]),
    ),
    *(i.clip(-1, 2), f.clip(0.5), g.clip(upper_bound=1), u.clip(1, 2), pl.when(i > 0).then(f).otherwise(0)),
    *(pl.when(b).then(pl.lit("x")).when(c).then(s), pl.when(s == "ab").then(1), pl.when(b).then(i).otherwise(j)),
    *(i.cast(pl.Float32), i.cast(pl.Int8, strict=False), f.cast(pl.Int32, strict=False), b.cast(pl.Int64)),
    *(
        f.cast(pl.UInt8, strict=False),
        j.cast(pl.Boolean),
        i.cast(pl.String),
        f.cast(pl.Float32),
        g.cast(pl.Float64),
    ),
    *(
        f.cast(pl.Int64, strict=False),
        i.cast(pl.UInt8, strict=False),
        (i > 0).cast(pl.Int8) + (j > 0).cast(pl.Int8),
    ),
    *(s.str.len_chars(), s.str.len_bytes(), s.str.starts_with("a"), s.str.ends_with("b"), s.str.starts_with("a.")),
    *(s.str.contains("a", literal=True), s.str.contains("^a.*b$"), s.str.contains("a|B"), s.str.contains("b+")),
    *(s.str.slice(1), s.str.slice(0, 2), s.str.slice(-2), s.str.slice(3, 0), s.str.head(1), s.str.strip_chars()),
    *(
        s.str.strip_chars("ab"),
        s.str.replace("a", "\\1$0", literal=True),
        s.str.replace_all("b", "é", literal=True),
    ),
    *(s.str.replace_all(".", "", literal=True), s + w, "<" + s + ">", s.str.to_lowercase(), w.str.to_uppercase()),
    *(t.dt.hour(), t.dt.minute(), t.dt.second(), t.dt.weekday(), t.dt.day(), t.dt.month(), t.dt.quarter()),
    *(t.dt.year(), t.dt.year() - 2000, t.dt.hour().is_between(9, 17), t >= datetime(2024, 1, 1), n.list.len()),
    *(n.list.len() > 1, (n.list.len() * 2 + i).cast(pl.Float32), t.is_null(), pl.lit(2.0) * i, i.alias("q") + 1),
]
# Polars divides by a constant, or multiplies by its inverse, as the number of rows may be.
PARTS = 3
INEXACT = [f / 3, i / 7, f.exp(), f.log1p(), g.log1p(), (i / (j + 1)).exp()]
SMALL, WORDS = st.integers(-4, 4), st.text("aAbBé.\\\t \n\u2003", max_size=5)
ODD = [0.0, -0.0, 0.5, 1.5, -2.5, 0.1, 1e300, math.inf, -math.inf, math.nan]
FLOATS = st.sampled_from(ODD) | st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-9)
# TensorFlow takes numbers that are too small to be normal, as their cubes or casts to float32 may be, for 0.
FLOATS32 = st.floats(width=32).filter(lambda x: x == 0 or not abs(x) < 1e-9)
ROWS = st.fixed_dictionaries(
    {
        "i": st.none() | SMALL | st.integers(-(2**63) + 1, 2**63 - 1),
        "j": st.none() | SMALL | st.integers(-(2**31) + 1, 2**31 - 1),
        "u": st.none() | st.integers(0, 255),
        "f": st.none() | FLOATS,
        "g": st.none() | FLOATS32 | st.sampled_from([0.1, math.nan]),
        "b": st.none() | st.booleans(),
        "c": st.none() | st.booleans(),
        "s": st.none() | WORDS,
        "w": st.none() | WORDS,
        "t": st.none() | st.datetimes(datetime(1700, 1, 1), datetime(2300, 1, 1)),
        "n": st.lists(st.integers(0, 3), max_size=3),
    }
)


def tensors(frame: pl.DataFrame, columns: list[str]) -> dict[str, TensorColumn]:
    import tensorflow as tf

    made = {}
    for name in columns:
        dtype: Any = TYPES[name]
        is_list = isinstance(dtype, pl.List)
        known = to_name(dtype.inner if is_list else pl.Series(dtype=dtype).dtype)
        column = Column(name, known or "", (Tag.LIST,) if is_list else (), nullable=True)
        raw = wire(frame[name].to_list(), column)
        key = f"{name}__values" if is_list else name
        made[name] = TensorColumn(raw[key], tf.cast(raw[f"{name}__valid"], tf.bool), raw.get(f"{name}__offsets"))
    return made


def parts(column: TensorColumn) -> tuple[Any, ...]:
    return tuple(x for x in (column.values, column.valid, column.offsets) if x is not None)


@cache
def traced(part: int | None) -> tuple[list[pl.Expr], Any]:
    """A part of the expressions, and the traced function of all of them, which takes any number of rows."""
    import tensorflow as tf

    expressions = INEXACT if part is None else EXPRESSIONS[part::PARTS]
    computes = [translate(expr, pl.DataFrame(schema=TYPES).schema) for expr in expressions]

    def all_of_them(tensors: dict[str, Any]) -> list[tuple[Any, Any]]:
        columns = {name: TensorColumn(*values) for name, values in tensors.items()}
        return [(x.values, x.valid) for x in (compute(columns) for compute in computes)]

    one = tensors(pl.DataFrame(schema=TYPES), list(TYPES))
    specs = {name: tuple(tf.TensorSpec([None], x.dtype) for x in parts(column)) for name, column in one.items()}
    function = tf.function(all_of_them, autograph=False, input_signature=[specs])
    return expressions, function


def served(frame: pl.DataFrame, part: int | None) -> list[tuple[pl.Expr, list[Any]]]:
    """What the traced translations make, with None for nulls."""
    expressions, function = traced(part)
    made = function({name: parts(column) for name, column in tensors(frame, frame.columns).items()})
    return [(expr, _rows(frame, expr, *x)) for expr, x in zip(expressions, made, strict=True)]


def served_strings(texts: list[str], expressions: list[pl.Expr]) -> list[list[Any]]:
    import tensorflow as tf

    column = TensorColumn(tf.constant(texts), tf.ones([len(texts)], tf.bool))
    frame = pl.DataFrame({"s": texts})
    made = [translate(expr, frame.schema)({"s": column}) for expr in expressions]
    return [_rows(frame, expr, x.values, x.valid) for expr, x in zip(expressions, made, strict=True)]


def _rows(frame: pl.DataFrame, expr: pl.Expr, made: Any, valid: Any) -> list[Any]:
    expected = to_name(frame.lazy().select(expr.alias("x")).collect_schema()["x"]) or ""
    assert made.dtype.name == expected.replace("datetime", "int64"), str(expr)
    values = [v.decode() if isinstance(v, bytes) else v for v in made.numpy().tolist()]
    return [v if known else None for v, known in zip(values, valid.numpy().tolist(), strict=True)]


@pytest.mark.parametrize("part", range(PARTS))
@settings(max_examples=12, deadline=None)
@given(rows=st.lists(ROWS, min_size=2, max_size=6))
def test_expressions_are_the_same_in_both(part: int, rows: list[dict[str, Any]]) -> None:
    pytest.importorskip("tensorflow")
    frame = pl.DataFrame(rows, schema=TYPES)
    for expr, got in served(frame, part):
        expected = frame.lazy().select(expr.alias("x")).collect().to_series().to_list()
        for a, d in zip(expected, got, strict=True):
            assert a == d or (a is not None and d is not None and a != a and d != d), f"{expr}: {a!r}, {d!r}"
            assert type(a) is type(d), str(expr)


@settings(max_examples=10, deadline=None)
@given(rows=st.lists(ROWS, min_size=2, max_size=6))
def test_divisions_and_exponentials_differ_in_the_last_bits_at_most(rows: list[dict[str, Any]]) -> None:
    pytest.importorskip("tensorflow")
    frame = pl.DataFrame(rows, schema=TYPES)
    for expr, made in served(frame, None):
        series = frame.lazy().select(expr.alias("x")).collect().to_series()
        limits = np.finfo("float32" if series.dtype == pl.Float32 else "float64")
        expected = series.fill_null(math.nan).to_numpy()
        got = np.array([math.nan if x is None else x for x in made], expected.dtype)
        np.testing.assert_allclose(got, expected, rtol=4 * float(limits.eps), atol=float(limits.tiny))


@example(text="İıſßΣΑΣ")
@settings(max_examples=30, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=8))
def test_strings_of_all_of_unicode(text: str) -> None:
    pytest.importorskip("tensorflow")
    frame = pl.DataFrame({"s": [text, "x"]})
    slices = [s.str.slice(1, 2), s.str.slice(-1)]
    expressions = [*slices, s.str.len_chars(), s.str.strip_chars(), s.str.starts_with("é")]
    for expr, made in zip(expressions, served_strings([text, "x"], expressions), strict=True):
        assert made == frame.select(expr).to_series().to_list(), str(expr)


@pytest.mark.parametrize(
    ("expr", "message"),
    [
        (s.str.json_decode(pl.Struct({"a": pl.Int64})), "json_decode|of type Struct"),
        (s.str.to_integer(), r"str\.to_integer"),
        (s.str.contains(r"\d"), r"str.contains\('\\\\d'\), a regular expression"),
        (s.str.slice(-3, 2), r"str\.slice\(-3, 2\)"),
        (s.str.slice(i), "an argument that is not a constant"),
        (n.list.sum(), r"list\.sum\(\)"),
        (n.list.eval(pl.element() + 1), "list.eval|makes lists"),
        (f.round(2), r"round"),
        (i + s.str.to_integer(), r"str\.to_integer"),
        (s < w, "a comparison of string by order"),
        (f.sin(), r"sin\(\)"),
        (pl.lit(1), "an expression without a column"),
        (i.map_elements(lambda x: x, return_dtype=pl.Int64), "a Python function"),
        (s.cast(pl.Int64), "strict_cast\\(Int64\\)"),
    ],
)
def test_the_part_without_a_translation_is_named(expr: pl.Expr, message: str) -> None:
    pytest.importorskip("tensorflow")
    with pytest.raises(UnsupportedError, match=message):
        translate(expr, pl.DataFrame(schema=TYPES).schema)
