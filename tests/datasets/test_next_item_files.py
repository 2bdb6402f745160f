"""Files of sequences and NCF's protocol: real files where they are, small ones, broken ones."""

import hashlib

import polars as pl
import pytest
from real_data import real_data

from kerasrec.datasets import ncf, next_item


def test_both_forms_of_lines_are_read_as_the_same_events(tmp_path):
    pairs, sequences = tmp_path / "pairs.txt", tmp_path / "sequences.txt"
    pairs.write_text("7 3\n7 1\n7 3\n2 9\n2 1\n")
    sequences.write_bytes(b"7 3 1 3\r\n\r\n2\t9 1")
    events = next_item.load(pairs)
    assert events.rows() == [(7, 3), (7, 1), (7, 3), (2, 9), (2, 1)]
    assert events.schema == {"user": pl.Int64, "item": pl.Int64}
    assert next_item.load(sequences).equals(events)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("1 2\n3\n", "line 2: expected a user and items"),
        ("1 2\n\n1 2 x\n", "line 3: .* got '1 2 x'"),
        ("1 2.5\n", "line 1"),
        ("1,2\n", "line 1"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path, text, said):
    (tmp_path / "s.txt").write_text(text)
    with pytest.raises(ValueError, match=rf"s\.txt.*{said}"):
        next_item.load(tmp_path / "s.txt")


def test_a_missing_file_and_an_unknown_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="'ml-1m', 'beauty'"):
        next_item.load(tmp_path / "none.txt")
    with pytest.raises(ValueError, match="no sequences 'steam'; available: ml-1m"):
        next_item.download("steam", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"ml-1m\.test\.rating nor ncf\.test\.rating"):
        ncf.load(tmp_path)


@pytest.mark.parametrize("name", ["ml-1m", "beauty"])
def test_real_sequences_have_the_published_counts_and_digest(name):
    path = real_data("sequences") / {"ml-1m": "ml-1m_sasrec.txt", "beauty": "beauty_s3rec.txt"}[name]
    published, events = next_item.PUBLISHED[name], next_item.load(path)
    counts = (events["user"].n_unique(), events["item"].n_unique(), len(events))
    assert counts == (published.users, published.items, published.events)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == published.sha256


def test_a_download_is_verified_by_digest_and_by_counts(tmp_path):
    (tmp_path / "page").write_text("1 2 3\n")
    page = (tmp_path / "page").as_uri()
    with pytest.raises(ValueError, match="6 bytes with SHA-256"):
        next_item.download("beauty", tmp_path / "data", page)
    with pytest.raises(ValueError, match=r"\(1, 2, 2\) users, items and events; expected \(1090, 3646, 52551\)"):
        next_item.download("lastfm", tmp_path / "data", page)
    with pytest.raises(ConnectionError, match="place the file at"):
        next_item.download("toys", tmp_path / "data", "http://127.0.0.1:9/")
    assert not (tmp_path / "data").exists()
    real = real_data("sequences/beauty_s3rec.txt")
    path = next_item.download("beauty", tmp_path / "data", real.as_uri())
    assert next_item.load(path).equals(next_item.load(real))
    assert next_item.download("beauty", tmp_path / "data", page) == path


def test_drawn_events_have_followers():
    events = next_item.synthetic(users=200, items=50, seed=3)
    assert events.equals(next_item.synthetic(users=200, items=50, seed=3))
    assert events["timestamp"].is_sorted()
    ordered = events.sort("user", "timestamp")
    pairs = ordered.with_columns(before=pl.col("item").shift(1).over("user")).drop_nulls()
    top = pairs.group_by("before", "item").len().sort("len", descending=True)
    three = top.group_by("before", maintain_order=True).agg(pl.col("len").head(3).sum(), n=pl.len())
    assert three["len"].sum() / len(pairs) > 0.55
    assert events.group_by("item").agg(pl.col("category").n_unique())["category"].max() == 1
    with pytest.raises(ValueError, match="items >= 4"):
        next_item.synthetic(items=3)


def test_ncf_protocol():
    train, test = ncf.load(real_data("ncf-ml-1m"))
    assert (len(train), len(test)) == (994_169, 6_040)
    assert test["user"].to_list() == list(range(6_040))
    assert set(test["negatives"].list.len()) == {99}
    assert test.row(0)[:2] == (0, 25)
    assert test["negatives"][0].head(3).to_list() == [1064, 174, 2791]
    assert train.row(0) == (0, 0)
    assert int(test["negatives"].list.contains(test["item"]).sum()) == 156
    given = test.explode("negatives").select("user", item="negatives")
    assert given.join(train, on=["user", "item"], how="semi").is_empty()


def test_ncf_files_that_do_not_belong_together(tmp_path):
    (tmp_path / ncf.TRAIN).write_text("0\t32\t4\t978824330\n")
    (tmp_path / ncf.TEST).write_text("0\t25\t5\t978824351\n")
    (tmp_path / ncf.NEGATIVE).write_text("(0,25)\t" + "\t".join(map(str, range(99))) + "\n")
    with pytest.raises(ValueError, match="1 rows to train on and 1 to test on, 0 in both"):
        ncf.load(tmp_path)
    (tmp_path / ncf.NEGATIVE).write_text("(0,25)\t1\t2\n")
    with pytest.raises(ValueError, match=r"negative, line 1: not a line of NCF's files"):
        ncf.load(tmp_path)
