"""Criteo's two forms, and broken lines of both."""

import polars as pl
import pytest
from real_data import real_data

from kerasrec.datasets import criteo

NAMES = ("label", *criteo.INTEGERS, *criteo.CATEGORIES)
ROW = ["1", *map(str, range(13)), *(f"{i:08x}" for i in range(26))]
GAPS = ["0", "", "-2", *[""] * 11, *[""] * 26]


def tsv(rows, end="\n"):
    return end.join("\t".join(row) for row in rows) + end


def test_tsv_without_a_header(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text(tsv([ROW, GAPS]))
    frame = criteo.scan(path)
    assert isinstance(frame, pl.LazyFrame)
    frame = frame.collect()
    assert frame.columns == list(NAMES)
    assert frame.row(0) == (1, *range(13), *(f"{i:08x}" for i in range(26)))
    assert frame.row(1) == (0, None, -2, *[None] * 37)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last_newline", [True, False])
def test_csv_with_a_header(tmp_path, end, last_newline):
    path = tmp_path / "train.csv"
    header = ["Id", "Label", *criteo.INTEGERS, *criteo.CATEGORIES]
    text = end.join(",".join(row) for row in (header, ["7", *ROW], ["8", *ROW])) + end * last_newline
    path.write_bytes(text.encode())
    frame = criteo.scan(path).collect()
    assert frame.columns == list(NAMES)
    assert frame.rows() == [(1, *range(13), *(f"{i:08x}" for i in range(26)))] * 2


def test_drawn_rows_have_the_form_of_the_log(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text(tsv([ROW, GAPS]))
    drawn = criteo.synthetic(500, seed=1)
    assert drawn.collect_schema() == criteo.scan(path).collect_schema()
    frame = drawn.collect()
    assert frame.height == 500
    assert set(frame["label"]) == {0, 1}
    assert frame.equals(criteo.synthetic(500, seed=1).collect())
    assert all(frame[name].drop_nulls().str.contains("^[0-9a-f]{8}$").all() for name in criteo.CATEGORIES)
    with pytest.raises(ValueError, match="rows must be an integer >= 1; got 0"):
        criteo.synthetic(0)


def test_real_file():
    path = real_data("criteo_tiny.csv")
    frame = criteo.scan(path).collect()
    lines = path.read_text().splitlines()
    assert frame.height == len(lines) - 1
    for row in (0, 1000, frame.height - 1):
        expected = [field or None for field in lines[row + 1].split(",")][1:]
        assert [None if value is None else str(value) for value in frame.row(row)] == expected
    assert set(frame["label"]) == {0, 1}


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_line_of_another_length_is_named(tmp_path, at, monkeypatch):
    monkeypatch.setattr(criteo, "_CHUNK", 200)  # lines straddle what is read at once
    for wrong in (ROW[:-1], [*ROW, "more"]):
        rows = [ROW, GAPS, ROW, GAPS]
        rows[at] = wrong
        path = tmp_path / "train.txt"
        path.write_text(tsv(rows))
        with pytest.raises(ValueError, match=rf"train\.txt, line {at + 1}: {len(wrong)} fields, expected 40"):
            criteo.scan(path)


def test_cut_off_in_the_last_line(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text(tsv([ROW, ROW])[:-40])
    with pytest.raises(ValueError, match="line 2: 36 fields, expected 40"):
        criteo.scan(path)


def test_a_word_among_the_numbers(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text(tsv([ROW, ["1", "many", *ROW[2:]]]))
    with pytest.raises(pl.exceptions.ComputeError, match="many"):
        criteo.scan(path).collect()


def test_missing_empty_and_lacking(tmp_path):
    with pytest.raises(FileNotFoundError, match="for where to get it"):
        criteo.scan(tmp_path / "train.txt")
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(ValueError, match=r"empty\.txt is empty"):
        criteo.scan(tmp_path / "empty.txt")
    (tmp_path / "short.csv").write_text("Id,Label,I1\n1,0,2\n")
    with pytest.raises(ValueError, match="the header lacks I2"):
        criteo.scan(tmp_path / "short.csv")
