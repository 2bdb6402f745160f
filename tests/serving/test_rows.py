"""`kr.serving.rows`: a frame or dicts give the inputs that a signature asks for."""

import keyword
import math
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasrec import Column, Schema
from kerasrec.schema import SchemaError
from kerasrec.serving import rows
from kerasrec.serving.rows import EXTRA
from kerasrec.serving.wire import wire_name, wire_names

SCHEMA = Schema(
    [
        Column("user", "string", nullable=True),
        Column("age", "int32", nullable=True),
        Column("price", "float64", nullable=True),
        Column("new", "bool"),
        Column("tags", "string", ("list",), nullable=True),
        Column("scores", "int64", ("list",)),
        Column("clicked", "int64", ("target", "binary")),
    ]
)
ROW = {"user": "ann", "age": 3, "price": 1.5, "new": True, "tags": ["x"], "scores": [1, 2], "clicked": 1}
POLARS = {
    "user": pl.String,
    "age": pl.Int32,
    "price": pl.Float64,
    "new": pl.Boolean,
    "tags": pl.List(pl.String),
    "scores": pl.List(pl.Int64),
}
records = st.lists(
    st.fixed_dictionaries(
        {
            "user": st.none() | st.text(max_size=4),
            "age": st.none() | st.integers(-(2**31), 2**31 - 1),
            "price": st.none() | st.floats(allow_nan=True),
            "new": st.booleans(),
            "tags": st.none() | st.lists(st.none() | st.text(max_size=3), max_size=3),
            "scores": st.none() | st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3),
        }
    ),
    max_size=5,
)


def back(wire: dict[str, np.ndarray], column: Column) -> list:
    """The rows that the wire tells of, read element by element."""

    def element(name: str, k: int):
        valid = wire.get(f"{column.name}__valid")
        value = wire[name][k]
        if (valid is not None and not valid[k]) or (isinstance(value, float) and math.isnan(value)):
            return None
        return value.decode() if isinstance(value, bytes) else value

    if not column.is_list:
        return [element(column.name, k) for k in range(len(wire[column.name]))]
    offsets = wire[f"{column.name}__offsets"]
    return [
        [element(f"{column.name}__values", k) for k in range(start, stop)] for start, stop in pairwise(offsets)
    ]


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert list(one) == list(other)
    for name in one:
        assert one[name].dtype == other[name].dtype, name
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@settings(deadline=None, max_examples=60)
@given(records)
def test_rows_are_told_in_full_and_alike_from_dicts_and_frames(given_rows):
    wire = rows(given_rows, SCHEMA)
    for column in SCHEMA.features:
        wanted = [row[column.name] for row in given_rows]
        if column.is_list:
            wanted = [value or [] for value in wanted]
        elif column.dtype == "float64":
            wanted = [None if value is None or math.isnan(value) else value for value in wanted]
        assert back(wire, column) == wanted
    frame = pl.DataFrame(given_rows, schema=POLARS)
    assert_same(rows(frame, SCHEMA), wire)
    assert_same(rows(frame.lazy(), SCHEMA), wire)
    assert_same(rows(frame.to_arrow(), SCHEMA), wire)


def test_a_pandas_frame_with_its_nans_for_nulls():
    frame = pd.DataFrame(
        {
            "user": ["ann", None, ""],
            "age": [3, np.nan, 5],  # pandas makes this float64
            "price": [1.5, np.nan, 2],
            "new": [True, False, True],
            "tags": [["x", None], [], None],
            "scores": [[1], None, []],
        }
    )
    expected = rows(frame.to_dict("records"), SCHEMA)
    assert_same(rows(frame, SCHEMA), expected)
    assert back(expected, SCHEMA["user"]) == ["ann", None, ""]
    assert back(expected, SCHEMA["age"]) == [3, None, 5]
    assert back(expected, SCHEMA["tags"]) == [["x", None], [], []]
    assert expected["age"].dtype == np.int32


def test_no_rows_at_all():
    wire = rows([], SCHEMA)
    assert {name: (array.shape, array.dtype.name) for name, array in wire.items()} == {
        "user": ((0,), "object"),
        "user__valid": ((0,), "bool"),
        "age": ((0,), "int32"),
        "age__valid": ((0,), "bool"),
        "price": ((0,), "float64"),
        "price__valid": ((0,), "bool"),
        "new": ((0,), "bool"),
        "tags__values": ((0,), "object"),
        "tags__offsets": ((1,), "int64"),
        "tags__valid": ((0,), "bool"),
        "scores__values": ((0,), "int64"),
        "scores__offsets": ((1,), "int64"),
    }
    assert_same(rows(pl.DataFrame(schema=POLARS), SCHEMA), wire)


FORMS = Schema(
    [
        Column("s", "string", nullable=True),
        Column("i", "int64", nullable=True),
        Column("f", "float64", nullable=True),
        Column("t", "datetime", nullable=True),
        Column("b", "bool", nullable=True),
        Column("l", "string", ("list",), nullable=True),
    ]
)
VALUES = {
    "s": ["a", None],
    "i": [1, None],
    "f": [1.5, None],
    "t": [datetime(2024, 1, 1), None],
    "b": [True, None],
    "l": [["x", None], None],
}
MIDNIGHT = pd.Timestamp(2024, 1, 1)
PANDAS = {  # other types that the same values may have in pandas
    "an object of strings and NaN": {"s": pd.Series(["a", np.nan], dtype=object)},
    "categories": {"s": pd.Series(["a", None], dtype="category")},
    "pandas strings": {"s": pd.Series(["a", None], dtype="string")},
    "nullable numbers": {"i": pd.Series([1, None], dtype="Int64"), "f": pd.Series([1.5, None], dtype="Float64")},
    "objects": {"i": pd.Series([1, None], dtype=object), "b": pd.Series([True, None], dtype=object)},
    "nullable booleans": {"b": pd.Series([True, None], dtype="boolean")},
    "nanoseconds": {"t": pd.Series([MIDNIGHT, pd.NaT], dtype="datetime64[ns]")},
    "a time zone": {"t": pd.Series([MIDNIGHT, pd.NaT]).dt.tz_localize("UTC")},
    "dates": {"t": pd.Series([date(2024, 1, 1), None], dtype=object)},
    "arrays and NaN": {"l": pd.Series([np.array(["x", None], object), np.nan], dtype=object)},
    "tuples": {"l": pd.Series([("x", None), None], dtype=object)},
}


@pytest.mark.parametrize("form", PANDAS)
def test_pandas_columns_of_any_type_that_has_the_values(form):
    expected = rows(pl.DataFrame(VALUES), FORMS)
    frame = pd.DataFrame(VALUES).assign(**PANDAS[form]).set_index(pd.Index([7, 7]))
    assert_same(rows(frame, FORMS), expected)
    assert_same(rows(frame.head(1), FORMS), rows(pl.DataFrame(VALUES).head(1), FORMS))
    assert_same(rows(frame.head(0), FORMS), rows([], FORMS))
    assert_same(rows(frame.convert_dtypes(dtype_backend="pyarrow"), FORMS), expected)


def test_rows_of_numpys_and_pandas_own_values():
    one = {"s": np.str_("a"), "i": np.int32(1), "f": np.float32(1.5), "b": np.bool_(True)}
    one |= {"t": np.datetime64("2024-01-01T00:00"), "l": np.array(["x", None], object)}
    none = {"s": pd.NA, "i": pd.NA, "f": math.nan, "t": np.datetime64("NaT"), "b": None, "l": pd.NA}
    expected = rows(pl.DataFrame(VALUES), FORMS)
    for data in ([one, none], (one, none), iter([one, none]), [one, {**none, "t": pd.NaT}], VALUES):
        assert_same(rows(data, FORMS), expected)
    arrow = pl.DataFrame(VALUES).to_arrow()
    for data in (arrow, arrow.to_batches()[0], pl.DataFrame(VALUES).lazy()):
        assert_same(rows(data, FORMS), expected)


def test_keys_that_seem_misspelt_are_refused():
    with pytest.raises(SchemaError, match="no row has 'price', but 'prize': rename that key, or pass None"):
        rows([{"prize": 3, "new": True, "scores": []}], SCHEMA)
    assert len(rows([ROW | {"prize": 3}], SCHEMA)["price"]) == 1
    with pytest.raises(SchemaError, match="the rows have none of the columns user, age, .*have: name, weight"):
        rows([{"name": "x", "weight": 3}], SCHEMA)


def test_a_key_that_resembles_another_column_is_not_a_misspelling():
    schema = Schema([Column("c1", "int64", nullable=True), Column("c11", "int64", nullable=True)])
    assert rows([{"c11": 5}], schema)["c1__valid"].tolist() == [False]


def test_half_a_character_is_refused_from_dicts():
    with pytest.raises(ValueError, match="column 'user', row 0: .* is not a value of string"):
        rows([{**ROW, "user": "\ud800"}], SCHEMA)


@settings(deadline=None, max_examples=60)
@given(st.datetimes(timezones=st.none() | st.sampled_from([UTC, timezone(timedelta(hours=-7, minutes=30))])))
def test_times_are_microseconds_since_1970_in_utc(time):
    wire = rows([{"t": time}], Schema([Column("t", "datetime")]))
    utc = time.replace(tzinfo=UTC) if time.tzinfo is None else time
    assert rows([{"t": time.isoformat()}, {"t": int(wire["t"][0])}], Schema([Column("t", "datetime")]))[
        "t"
    ].tolist() == (wire["t"].tolist() * 2)
    assert wire["t"].tolist() == [(utc - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)]


def test_a_text_that_is_not_a_time_is_refused():
    with pytest.raises(ValueError, match="column 't', row 0: 'noon' is not a value of datetime"):
        rows([{"t": "noon"}], Schema([Column("t", "datetime")]))


def test_a_key_that_a_dict_lacks_is_a_null():
    wire = rows([{"new": False, "scores": []}], SCHEMA)
    assert [back(wire, SCHEMA[name]) for name in ("user", "age", "price", "tags")] == [[None]] * 3 + [[[]]]


def test_narrow_and_exact_numbers_are_taken():
    frame = pl.DataFrame([ROW]).with_columns(
        pl.col("age").cast(pl.UInt8), pl.col("price").cast(pl.Float32), pl.col("user").cast(pl.Categorical)
    )
    assert_same(rows(frame, SCHEMA), rows([ROW], SCHEMA))
    assert rows([{**ROW, "age": 4.0}], SCHEMA)["age"] == [4]


def test_names_that_a_signature_cannot_have():
    schema = Schema([Column("user id", "int64", nullable=True), Column("50%", "float32"), Column("größe", "int8")])
    wire = rows([{"user id": 1, "50%": 0.5, "größe": 2}], schema)
    assert list(wire) == ["user_id", "user_id__valid", "col_50_", "gr__e"]
    assert wire_names(["user id", "age", "User_ID", "user_id"]) == {
        "user id": "user_id_3",
        "age": "age",
        "User_ID": "User_ID",
        "user_id": "user_id_2",
    }


def test_tensors_that_would_have_a_columns_name():
    columns = [
        Column("a", "int64", ("list",)),
        Column("a__values", "int64", nullable=True),
        Column("a__valid", "bool"),
    ]
    wire = rows([{"a": [1, 2], "a__values": 3, "a__valid": True}], Schema(columns))
    assert {name: array.tolist() for name, array in wire.items()} == {
        "a__values_2": [1, 2],
        "a__offsets": [0, 2],
        "a__values": [3],
        "a__values__valid": [True],
        "a__valid": [True],
    }


def test_the_schema_may_come_from_an_exported_folder(tmp_path):
    (tmp_path / EXTRA).mkdir()
    SCHEMA.save(tmp_path / EXTRA)
    assert_same(rows([ROW], tmp_path), rows([ROW], SCHEMA))
    Schema([SCHEMA["age"]]).save(tmp_path / EXTRA)
    assert list(rows([ROW], tmp_path)) == ["age", "age__valid"]  # the new file is read


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"age": 2**31}, "column 'age', row 1: 2147483648 is not a value of int32"),
        ({"age": 1.5}, "column 'age', row 1: 1.5 is not a value of int32"),
        ({"age": "3"}, "column 'age', row 1: '3' is not a value of int32"),
        ({"age": True}, "column 'age', row 1: True is not a value of int32"),
        ({"price": "dear"}, "column 'price', row 1: 'dear' is not a value of float64"),
        ({"price": 10**400}, "column 'price', row 1: 1000.* is not a value of float64"),
        ({"user": 7}, "column 'user', row 1: 7 is not a value of string"),
        ({"new": 1}, "column 'new', row 1: 1 is not a value of bool"),
        ({"new": None}, "column 'new', row 1: null, but there was none"),
        ({"scores": [1, None]}, "column 'scores', row 1: null, but there was none"),
        ({"scores": [1, 2**63]}, "column 'scores', row 1: 9223372036854775808 is not a value of int64"),
        ({"tags": "x"}, "column 'tags', row 1: expected a list; got 'x'"),
    ],
)
def test_a_value_that_does_not_fit_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        rows([ROW, {**ROW, **change}], SCHEMA)


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ([pl.lit(2**31).alias("age")], ValueError, "column 'age', row 0: 2147483648 is not a value of int32"),
        ([pl.lit(1.5).alias("age")], ValueError, "column 'age', row 0: 1.5 is not a value of int32"),
        ([pl.lit("3").alias("age")], SchemaError, "column 'age' is String, but the workflow was fitted on int32"),
        ([pl.lit(7).alias("user")], SchemaError, "column 'user' is Int32, but the workflow was fitted on string"),
        ([pl.lit(1).alias("new")], SchemaError, "column 'new' is Int32, but the workflow was fitted on bool"),
        ([pl.lit("x").alias("tags")], SchemaError, "column 'tags' is String, .* fitted on a list of string"),
        ([pl.lit(None).alias("new")], ValueError, "column 'new', row 0: null"),
        (
            [pl.Series("scores", [[1], [None]], pl.List(pl.Int64))],
            ValueError,
            "column 'scores', row 1: null",
        ),
    ],
)
def test_a_frame_that_does_not_fit_is_refused(columns, error, message):
    frame = pl.DataFrame([ROW, ROW]).with_columns(columns)
    with pytest.raises(error, match=message):
        rows(frame, SCHEMA)


def test_missing_columns_are_named():
    with pytest.raises(SchemaError, match="no column 'user'; the frame has: age"):
        rows(pl.DataFrame({"age": [1]}), SCHEMA)
    with pytest.raises(SchemaError, match="column 'new' is missing from row 1"):
        rows([ROW, {"user": "ann", "scores": []}], SCHEMA)


def test_other_data_is_refused():
    with pytest.raises(TypeError, match="row 1: expected a dict; got int"):
        rows([ROW, 3], SCHEMA)
    for data in (3, "rows.parquet", np.zeros((2, 2)), pd.DataFrame({"user": ["ann"]}).iloc[0]):
        kind = type(data).__name__
        with pytest.raises(TypeError, match=f"expected a Polars, .*, or a list of dicts; got {kind}"):
            rows(data, SCHEMA)
    with pytest.raises(TypeError, match="expected a Schema, a fitted Workflow"):
        rows([ROW], 3)
    with pytest.raises(FileNotFoundError, match="no schema at"):
        rows([ROW], "nowhere/")


def test_an_arrow_table_of_large_and_fixed_lists():
    table = pa.table(
        {
            "a": pa.array([[1, 2], [3, 4]], pa.list_(pa.int64(), 2)),
            "b": pa.array([["x"], []], pa.large_list(pa.string())),
        }
    )
    wire = rows(table, Schema([Column("a", "int64", ("list",)), Column("b", "string", ("list",))]))
    np.testing.assert_array_equal(wire["a__values"], [1, 2, 3, 4])
    np.testing.assert_array_equal(wire["a__offsets"], [0, 2, 4])
    np.testing.assert_array_equal(wire["b__values"], np.array([b"x"], object))
    np.testing.assert_array_equal(wire["b__offsets"], [0, 1, 1])


@given(names=st.lists(st.text(max_size=3) | st.sampled_from(["a", "A", "a_2", "a__values"]), unique=True))
@settings(max_examples=60, deadline=None)
def test_wire_names_are_identifiers_of_their_own(names):
    wired = wire_names(names)
    assert list(wired) == names
    assert len({name.lower() for name in wired.values()}) == len(names)
    for name, wire in wired.items():
        assert wire.isidentifier()
        assert wire.isascii()
        assert not keyword.iskeyword(wire)
        assert wire == name or wire_name(name) != name or any(other.lower() == name.lower() for other in names)
