"""Input that cannot be right: one error that names the place."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from kerasrec import etl
from kerasrec.schema import SchemaError

GOOD = pl.DataFrame({"x": [1, 2, 3], "c": ["a", "b", "a"], "l": [[1.0], [], [2.0, 3.0]]})


def make() -> etl.Workflow:
    return etl.Workflow(["x", "l"] + (["c"] >> etl.Categorify()))


def refused(source: Any, message: str) -> None:
    """Both fit and transform refuse `source`."""
    with pytest.raises((SchemaError, FileNotFoundError), match=message):
        make().fit(source)
    workflow = make().fit(GOOD)
    with pytest.raises((SchemaError, FileNotFoundError), match=message):
        workflow.transform(source).collect()


@pytest.fixture
def good(tmp_path: Path) -> Path:
    GOOD.write_parquet(tmp_path / "good.parquet")
    return tmp_path / "good.parquet"


# ---- files ---------------------------------------------------------------------------------------
def test_no_such_file(tmp_path: Path) -> None:
    refused(tmp_path / "nothing.parquet", "no file matches .*nothing.parquet")
    refused(str(tmp_path / "*.csv"), r"no file matches .*\*\.csv")
    refused(tmp_path, "no files in .* end in .parquet, .pq, .csv, .tsv")
    refused([], "source is an empty list of files; pass at least one path")


def test_other_formats(good: Path) -> None:
    (good.parent / "data.json").write_text("{}")
    refused(good.parent / "data.json", r"data\.json: the name must end in")
    (good.parent / "data.csv").write_text("x,c\n1,a\n")
    refused([good, good.parent / "data.csv"], "one source has files of several formats: .csv, .parquet")


def test_not_a_source() -> None:
    with pytest.raises(TypeError, match="source must be a path, a glob, .* got int"):
        make().fit(3)


@pytest.mark.parametrize("name", ["empty.parquet", "empty.csv"])
def test_an_empty_file(name: str, good: Path) -> None:
    (good.parent / name).touch()
    refused(good.parent / name, f"{name}: the file is empty")


@pytest.mark.parametrize("keep", [10, -1, -500])
def test_a_truncated_parquet_file_among_others(keep: int, good: Path) -> None:
    (good.parent / "cut.parquet").write_bytes(good.read_bytes()[:keep])
    refused(str(good.parent / "*.parquet"), r"cut\.parquet: not a Parquet file, or a truncated one")


def test_damage_inside_a_parquet_file(good: Path) -> None:
    damaged = bytearray(good.read_bytes())
    damaged[4:200] = b"\xff" * 196
    (good.parent / "hurt.parquet").write_bytes(damaged)
    refused(str(good.parent / "*.parquet"), r"hurt\.parquet: ")


def test_files_that_differ(good: Path) -> None:
    other = good.parent / "other.parquet"
    GOOD.drop("l").write_parquet(other)
    refused([good, other], r"other\.parquet: no column 'l', which .*good\.parquet has; available: x, c")
    refused([other, good], r"other\.parquet: no column 'l', which .*good\.parquet has; available: x, c")
    GOOD.cast({"x": pl.String}).write_parquet(other)
    refused([good, other], r"other\.parquet: column 'x' is String, but Int64 in .*good\.parquet; write the files")


# ---- CSV -----------------------------------------------------------------------------------------
@pytest.fixture
def csv(tmp_path: Path) -> Path:
    return tmp_path / "rows.csv"


def refused_csv(source: Any, message: str) -> None:
    workflow = etl.Workflow(["x"] + (["c"] >> etl.Categorify()))
    with pytest.raises(SchemaError, match=message):
        workflow.fit(source)
    workflow.fit(GOOD)
    with pytest.raises(SchemaError, match=message):
        workflow.transform(source).collect()


@pytest.mark.parametrize(
    ("row", "found"), [("2", 1), ("2,b,9", 3), ('"2,b"', 1)], ids=["too few", "too many", "quoted"]
)
def test_csv_rows_of_another_length(row: str, found: int, csv: Path) -> None:
    csv.write_text(f"x,c\n1,a\n{row}\n3,c\n")
    expected = rf"rows\.csv: row 3: expected 2 fields as in the header \(x,c\), found {found}: {row}"
    refused_csv(csv, expected)
    csv.write_text('x,c\n1,"a\nb"\n\n3,c\n')
    refused_csv(csv, r"rows\.csv: there is a blank line")


def test_csv_rows_are_counted_far_into_a_file(csv: Path) -> None:
    rows = ["1,a"] * 400_000
    rows[300_000] = "1"
    csv.write_text("x,c\n" + "\n".join(rows))
    refused_csv(csv, r"rows\.csv: row 300002: expected 2 fields")


def test_csv_values_of_another_type(csv: Path) -> None:
    other = csv.parent / "a.csv"
    other.write_text("x,c\n1,a\n")
    csv.write_text("x,c\n" + "1,a\n" * 20_000 + "one,a\n")
    for source in (csv, [other, csv]):
        refused_csv(source, r"rows\.csv: row 20002: column 'x' is 'one', which is not a number; correct it, or")
    csv.write_text("x,c\none,a\n")
    workflow = etl.Workflow(["x"] + (["c"] >> etl.Categorify()))
    with pytest.raises(SchemaError, match=r"rows\.csv: column 'x' is String, but Int64 in .*a\.csv; write"):
        workflow.fit([other, csv])


def test_csv_files_of_other_columns(csv: Path) -> None:
    other = csv.parent / "a.csv"
    other.write_text("x,c\n1,a\n")
    csv.write_text("c,y\na,1\n")
    refused_csv([other, csv], r"rows\.csv: no column 'x', which .*a\.csv has; available: c, y")


def test_csv_integers_and_floats_are_floats(csv: Path) -> None:
    other = csv.parent / "a.csv"
    other.write_text("x,c\n1,a\n")
    csv.write_text("x,c\n1.5,a\n")
    got = etl.Workflow(["x"]).fit_transform([other, csv]).collect()
    assert got["x"].to_list() == [1.0, 1.5]


# ---- columns -------------------------------------------------------------------------------------
def test_a_missing_column() -> None:
    refused(GOOD.drop("c"), "no column 'c'; available: x, l")


def test_no_rows_to_fit_on(good: Path) -> None:
    for source in (GOOD.head(0), GOOD.head(0).lazy()):
        with pytest.raises(SchemaError, match="there are no rows to fit on"):
            make().fit(source)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": ["1", "2", "3"]}, "column 'x' is String, but the workflow was fitted on int64"),
        ({"x": [1.0, 2.5, 3]}, "the frame, row 1: column 'x': 2.5 is not a value of int64"),
        (
            {"x": pl.Series([1, 2, 2**63], dtype=pl.UInt64)},
            "the frame, row 2: column 'x': 9223372036854775808 is not a value of int64",
        ),
        ({"x": [[1], [2], [3]]}, r"column 'x' is List\(Int64\), but the workflow was fitted on int64"),
        ({"c": [1, 2, 3]}, "column 'c' is Int64, but the workflow was fitted on string"),
        ({"l": [1.0, 2.0, 3.0]}, "column 'l' is Float64, but the workflow was fitted on a list of float64"),
        (
            {"l": [["a"], [], []]},
            r"column 'l' is List\(String\), but the workflow was fitted on a list of float64",
        ),
    ],
)
def test_columns_of_another_type(change: dict[str, Any], message: str) -> None:
    workflow = make().fit(GOOD)
    with pytest.raises(SchemaError, match=message):
        workflow.transform(GOOD.with_columns(**{k: pl.Series(v) for k, v in change.items()}))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([timedelta(1)], "column 'x' is of type Duration.*; cast it to an integer"),
        ([{"a": 1}], "column 'x' is of type Struct.*numbers, strings, booleans, dates, and lists of those"),
        ([None], "column 'x' is of type Null; it has only nulls and no type"),
        ([[[1]]], "column 'x' is of type List"),
    ],
)
def test_types_that_are_not_read(values: list[Any], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        etl.Workflow(["x"]).fit(pl.DataFrame({"x": values}))


def test_a_column_of_untyped_nulls_has_the_fitted_type() -> None:
    workflow = etl.Workflow((["c"] >> etl.Categorify()) + (["l"] >> etl.FillMissing()))
    nothing = pl.DataFrame({"c": [None, None], "l": [None, None]})
    assert workflow.fit(GOOD).transform(nothing).collect().rows() == [(1, []), (1, [])]


def test_strings_left_at_the_end() -> None:
    with pytest.raises(SchemaError, match="column 'c' is still string after its operators; Categorify it"):
        etl.Workflow(["c"]).fit(GOOD)


@pytest.mark.parametrize("lazy", [False, True])
def test_nulls_left_at_the_end(lazy: bool) -> None:
    frame = pl.DataFrame({"x": [1.0, None, float("nan")], "l": [[1.0, None], None, []]})
    source = frame.lazy() if lazy else frame
    with pytest.raises(SchemaError, match=r"in column 'x' \(2\), column 'l' \(1\); add FillMissing"):
        etl.Workflow(["x", "l"]).fit(source)
