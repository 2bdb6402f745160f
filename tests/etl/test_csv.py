"""CSV as pandas, R, Excel, MySQL and Hive write it is read as meant, or refused by file, row and column."""

import gzip
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasrec import etl
from kerasrec.etl.sources.scan import scan
from kerasrec.schema import SchemaError


def columns(source, *names):
    frame = scan(source).select(names or list(scan(source).columns.names)).frame.collect(engine="streaming")
    return {name: frame[name].to_list() for name in frame.columns}


def refused(source, name, message):
    with pytest.raises(SchemaError, match=message):
        etl.Workflow([name]).fit(source)


# ---- what the fields are -----------------------------------------------------------------------------
@settings(max_examples=15, deadline=None)
@given(st.data())
def test_a_frame_that_pandas_writes(tmp_path_factory, data):
    """However null is spelled, numbers, booleans and text come back as pandas reads them."""
    null = data.draw(st.sampled_from(["", "NA", "\\N", "NULL", "nan", "None", "N/A"]))
    separator = data.draw(st.sampled_from([",", ";", "\t", "|"]))
    rows = data.draw(st.integers(1, 6))
    some = {
        "i": st.integers(-(2**63), 2**63 - 1),
        "f": st.floats(allow_nan=False, width=32).map(lambda x: x + 0.5),
        "b": st.booleans(),
        "t": st.text("ab,;|\t\"\n'é ", min_size=1).filter(str.strip).map(lambda text: f"x{text}"),
    }
    frame = pd.DataFrame(
        {
            name: pd.Series(
                data.draw(st.lists(st.one_of(values, st.none()), min_size=rows, max_size=rows)), dtype=object
            )
            for name, values in some.items()
        }
    )
    path = tmp_path_factory.mktemp("csv") / "rows.csv"
    end = data.draw(st.sampled_from(["\n", "\r\n"]))
    frame.to_csv(path, sep=separator, na_rep=null, lineterminator=end, index=data.draw(st.booleans()))
    found = columns(path, *some)
    for name in "ifb":
        assert found[name] == [None if value is None else value for value in frame[name]]
    is_text = null not in ("", "\\N") and frame["t"].notna().any()  # a country, perhaps
    assert found["t"] == [null if value is None and is_text else value for value in frame["t"]]


@pytest.mark.parametrize("names", [["x"], ["x", "y"], ["x", "y", "z"]])
def test_columns_without_any_value_have_all_rows(tmp_path, names):
    path = tmp_path / "rows.csv"
    path.write_text("x,y,z\n,,7\n,NA,8\n,,9\n")
    assert columns(path, *names) == {name: {"z": [7, 8, 9]}.get(name, [None] * 3) for name in names}


def test_floats_after_many_integers(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("x,y,z\n" + "1,,7\n" * 10_000 + "1.5,8,NA\n2.25,NA,\n")
    found = columns(path)
    assert found["x"] == [1.0] * 10_000 + [1.5, 2.25]
    assert found["y"] == [None] * 10_000 + [8, None]
    assert found["z"] == [7] * 10_000 + [None, None]
    workflow = etl.Workflow(["x"]).fit(path)
    assert workflow.transform(path).collect()["x"].to_list() == found["x"]
    path.write_text(f"x\n{2**53 + 1}\n" + "1\n" * 10_000 + "1.5\n")
    refused(
        path, "x", r"rows\.csv: row 2: column 'x' is '9007199254740993', an integer among floats, which float64"
    )
    path.write_text("x\n" + "1\n" * 10_000 + "1.5\nx\n")
    refused(
        path, "x", r"rows\.csv: row 10003: column 'x' is 'x', which is not a number; correct it, or read the col"
    )
    path.write_text("x\n" + "true\n" * 10_000 + "1\n")
    refused(path, "x", r"rows\.csv: row 10002: column 'x' is '1', which is not true or false")
    path.write_text("x\n" + "\n" * 10_000 + "word\n7\n")
    assert columns(path)["x"] == [None] * 10_000 + ["word", "7"]


def test_integers_of_64_bits_and_more(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(f"x,y,z\n{2**63 - 1},{2**64 - 1},{10**30}\n{-(2**63)},0,1\n")
    found = columns(path)
    assert found["x"] == [2**63 - 1, -(2**63)]
    assert found["y"] in ([2**64 - 1, 0], [str(2**64 - 1), "0"])  # older releases of Polars guess integers
    assert found["z"] == [str(10**30), "1"]
    path.write_text("x\n" + "1\n" * 10_000 + f"{10**30}\n")
    assert columns(path)["x"][-2:] == ["1", str(10**30)]


def test_the_fitted_type_by_value(tmp_path):
    """pandas writes integers beside a null as 1.0."""
    fitted = etl.Workflow(["x"] >> etl.Categorify()).fit(pl.DataFrame({"x": [1, 2, 2, None]}))
    path = tmp_path / "rows.csv"
    path.write_text("x\n1.0\n2.0\n\nNA\n")
    assert fitted.transform(path).collect()["x"].to_list() == [4, 3, 1, 1]
    path.write_text("x\n1.0\n2.5\n")
    with pytest.raises(SchemaError, match=r"rows\.csv, row 1: column 'x': 2.5 is not a value of int64"):
        fitted.transform(path).collect()
    path.write_text("x\n1\ntwo\n")
    with pytest.raises(SchemaError, match=r"rows\.csv: row 3: column 'x' is 'two', which is not a"):
        fitted.transform(path).collect()


# ---- names and columns -----------------------------------------------------------------------------
def test_the_index_that_pandas_writes(tmp_path):
    pd.DataFrame({"x": [1, 2], "c": ["a", "b"]}).to_csv(tmp_path / "a.csv")
    pd.DataFrame({"c": ["b"], "x": [3]}).to_csv(tmp_path / "b.csv", index=False)
    workflow = etl.Workflow(["x"] + (["c"] >> etl.Categorify()))
    assert workflow.fit_transform(tmp_path).collect().rows() == [(1, 4), (2, 3), (3, 3)]
    assert list(scan(tmp_path / "a.csv").columns.names) == ["", "x", "c"]


def test_names_are_taken_literally(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('"a\nb",*,^x.*$,x1,x1,a_duplicated_0, s ,c0\n1,2,3,4,5,6,7,8\n')
    assert columns(path, "a\nb", "a_duplicated_0", " s ", "c0") == {
        "a\nb": [1],
        "a_duplicated_0": [6],
        " s ": [7],
        "c0": [8],
    }
    refused(path, "x1", r"rows\.csv: 2 columns are named 'x1'")


def test_files_of_other_columns_and_types(tmp_path):
    texts = ["x,y\n1,a\n", "y,z,x\n2,b,2.5\n", "x\n", "x;y\n;\n4;5\n", "y,x\nNA,NA\n"]
    for order in (texts, texts[::-1]):
        for number, text in enumerate(order):
            (tmp_path / f"{number}.csv").write_text(text)
        found = columns(tmp_path, "x")["x"]
        expected = [1.0, 2.5, None, 4.0, None] if order is texts else [None, None, 4.0, 2.5, 1.0]
        assert found == expected
    with pytest.raises(SchemaError, match=r"column 'y' is String, but Int64 in"):
        etl.Workflow(["y"]).fit([tmp_path / "1.csv", tmp_path / "4.csv"])
    (tmp_path / "2.csv").write_text("y\na\n")
    refused(tmp_path, "x", r"2\.csv: no column 'x', which .*0\.csv has; available: y")


def test_files_with_a_header_only(tmp_path):
    for name, text in {"a": "x,c\n", "b": "x,c\n1,a\n", "c": "x,c"}.items():
        (tmp_path / f"{name}.csv").write_text(text)
    workflow = etl.Workflow(["x"] + (["c"] >> etl.Categorify())).fit(tmp_path)
    assert workflow.transform(tmp_path).collect().rows() == [(1, 3)]
    assert workflow.transform(tmp_path / "a.csv").collect().rows() == []
    with pytest.raises(SchemaError, match=r"a\.csv: there are no rows to fit on"):
        workflow.fit(tmp_path / "a.csv")


# ---- forms of a file ---------------------------------------------------------------------------------
TEXT = 'x,c\n1,"é, ""y""\n2"\n2,b\n'
FORMS = {
    "a.csv": TEXT.encode(),
    "bom.csv": TEXT.encode("utf-8-sig"),
    "crlf.csv": TEXT.replace("\n", "\r\n").encode(),
    "utf16.csv": TEXT.encode("utf-16"),
    "utf16be.csv": b"\xfe\xff" + TEXT.encode("utf-16-be"),
    "a.csv.gz": gzip.compress(TEXT.encode()),
    "gzipped.csv": gzip.compress(TEXT.encode()),
    "excel.tsv": TEXT.replace(",", "\t").replace("é\t", "é,").encode("utf-16"),
    "semicolon.csv": TEXT.replace(",", ";").replace("é;", "é,").encode(),
    "bar.csv": TEXT.replace(",", "|").replace("é|", "é,").encode(),
    "a.csv.zst": pa.compress(TEXT.encode(), "zstd", asbytes=True),
}


@pytest.mark.parametrize("name", FORMS)
def test_forms(tmp_path, name):
    (tmp_path / name).write_bytes(FORMS[name])
    expected = ['é, "y"\n2', "b"]
    if "crlf" in name:
        expected[0] = expected[0].replace("\n", "\r\n")
    assert columns(tmp_path) == {"x": [1, 2], "c": expected}
    workflow = etl.Workflow(["x"] + (["c"] >> etl.Categorify())).fit(tmp_path)
    assert workflow.transform(tmp_path / name).collect().rows() == [(1, 4), (2, 3)]


def test_forms_beside_each_other(tmp_path):
    for name in ("a.csv", "utf16.csv", "a.csv.gz", "bar.csv"):
        (tmp_path / name).write_bytes(FORMS[name])
    assert columns(tmp_path)["x"] == [1, 2] * 4


def test_forms_that_are_not_read(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(b"x,c\n1,a\n2,caf\xe9\n")
    refused(
        path,
        "c",
        r"rows\.csv: row 3: column 'c' is 'caf.', not UTF-8; convert the file to UTF-8, for example with iconv",
    )
    assert columns(path, "x") == {"x": [1, 2]}
    for data, message in {
        b"BZh9": "this is a bzip2 file; pass CSV",
        b"PK\x03\x04": "this is a zip file",
        b"PAR1": "this is a Parquet file",
        b"x\0,\0c\0\n\0": "NUL bytes in the first",
        b"x,c\r1,a\r": "lines end in carriage returns only",
        b"\xef\xbb\xbf": "the file is empty",
        gzip.compress(TEXT.encode())[:-9]: "not readable as gzip",
        b'x,c\n1,"a\n2,b\n': "(CSV malformed|not readable as CSV)",
    }.items():
        path.write_bytes(data)
        refused(path, "x", rf"rows\.csv: .*{message}")


def test_a_field_of_3_megabytes(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("x,c\n1," + "y" * 3_000_000 + "\n2,b\n")
    assert [len(text) for text in columns(path)["c"]] == [3_000_000, 1]
    path.write_text("x,c\n1," + "y" * 9_000_000 + "\n2," + "z" * 9_000_000 + "\n")
    assert columns(path, "x")["x"] == [1, 2]
    path.write_text("x,c\n1," + "y" * 3_000_000 + "\n2\n")
    refused(path, "x", r"row 3: expected 2 fields")


def test_a_wrong_row_never_ends_in_an_abort(tmp_path):
    """A callback in Python that Arrow's threads still called when Python had ended aborted it, now and then."""
    rows = np.repeat("1,a\n", 400_000)
    rows[1_000] = "2\n"
    (tmp_path / "rows.csv").write_text("x,c\n" + "".join(rows))
    script = (
        "from kerasrec import etl\n"
        "try: etl.Workflow(['x']).fit('rows.csv')\n"
        "except ValueError as error: print(error)"
    )
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert "rows.csv: row 1002: expected 2 fields as in the header (x,c), found 1: 2" in done.stdout
