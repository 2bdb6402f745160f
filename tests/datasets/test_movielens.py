"""MovieLens 100k: the real files where they are, small ones of the same form, and broken ones."""

import http.server
import threading
from datetime import UTC, datetime

import polars as pl
import pytest
from real_data import real_data

from kerasrec.datasets import movielens

FILES = {
    "u.user": "1|24|M|technician|85711\n2|53|F|other|94043\n",
    "u.item": "1|Ein Fall f\xfcr Zwei (1995)|01-Jan-1995||http://x|0|1|1\n2|GoldenEye (1995)||||0|0|0\n",
    "u.genre": "unknown|0\nAction|1\nAdventure|2\n\n",
    "u1.base": "1\t1\t5\t874965758\n2\t2\t3\t876893171\n",
    "u1.test": "2\t1\t1\t0\n",
}


def write(folder, **changed):
    for name, text in {**FILES, **{key.replace("__", "."): text for key, text in changed.items()}}.items():
        (folder / name).write_text(text, encoding="latin-1")
    return folder


def test_small_files(tmp_path):
    train, test = movielens.load(write(tmp_path))
    assert train.row(0, named=True) == {
        "user": 1, "item": 1, "age": 24, "gender": "M", "occupation": "technician",
        "genres": ["Action", "Adventure"], "hour": 22, "weekday": 0, "rating": 5, "timestamp": 874965758,
    }  # fmt: skip
    assert train["genres"].to_list()[1] == []
    assert test.row(0, named=True)["weekday"] == 3  # 1 January 1970 was a Thursday
    assert test.schema == train.schema


def test_drawn_ratings_have_the_form_of_the_real_ones_and_more_than_biases_in_them(tmp_path):
    real, _ = movielens.load(write(tmp_path))
    train, test = movielens.synthetic(seed=1)
    assert train.schema == test.schema == real.schema
    both = pl.concat([train, test])
    assert len(both) == 12_000
    assert both.select("user", "item").is_unique().all()
    assert both["rating"].is_between(1, 5).all()
    assert both["timestamp"].is_between(874_724_710, 893_286_638).all()
    assert both.group_by("item").agg(pl.col("genres").n_unique())["genres"].max() == 1
    again, _ = movielens.synthetic(seed=1)
    assert again.equals(train)
    with pytest.raises(ValueError, match="ratings must be from 1 to 30,000; got 0"):
        movielens.synthetic(0)


def test_real_files():
    folder = real_data("ml-100k")
    train, test = movielens.load(folder, "u1")
    assert (train.height, test.height) == (80_000, 20_000)
    keys = ("user", "item", "rating", "timestamp")
    for frame, name in ((train, "u1.base"), (test, "u1.test")):
        lines = (folder / name).read_text().splitlines()
        assert frame.select(keys).rows() == [tuple(map(int, line.split("\t"))) for line in lines]
    for row in train.sample(50, seed=0).iter_rows(named=True):
        moment = datetime.fromtimestamp(row["timestamp"], UTC)
        assert (row["hour"], row["weekday"]) == (moment.hour, moment.weekday())
    assert train.filter(item=1)["genres"][0].to_list() == ["Animation", "Children's", "Comedy"]
    assert train.null_count().sum_horizontal().item() == 0


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"u__user": "1|24|M|technician|85711\n2|53|F\n"}, r"u\.user, line 2: 3 fields, expected 5"),
        ({"u__user": "1|24|M|technician|85711\n2|old|F|other|9\n"}, r"u\.user, line 2: not an integer: 'old'"),
        ({"u__item": "1|a|b|c|d|0|1\n"}, r"u\.item, line 1: 7 fields, expected 8"),
        ({"u__item": "1|a|b|c|d|0|1|7\n"}, r"u\.item, line 1: genre flags must be 0 or 1"),
        ({"u__genre": "a|0\nb|2\n"}, r"u\.genre: genres must be numbered"),
        ({"u1__base": "1\t1\t5\t874965758\n1\t1\t6\t0\n"}, r"u1\.base, line 2: a rating must be from 1 to 5; got"),
        ({"u1__base": "1\t1\t5\n"}, r"u1\.base, line 1: 3 fields, expected 4"),
        ({"u1__test": "3\t1\t5\t0\n"}, r"u1\.test, line 1: user 3 is not in u\.user"),
        ({"u1__test": "1\t9\t5\t0\n"}, r"u1\.test, line 1: item 9 is not in u\.item"),
        ({"u1__test": "\n"}, r"u1\.test is empty"),
    ],
)
def test_broken_files_are_named(tmp_path, changed, said):
    with pytest.raises(ValueError, match=said):
        movielens.load(write(tmp_path, **changed))


def test_missing_file_and_unknown_split(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"u\.user is missing"):
        movielens.load(tmp_path)
    with pytest.raises(ValueError, match="u9"):
        movielens.load(tmp_path, "u9")


def test_download_without_a_connection(tmp_path):
    with pytest.raises(ConnectionError, match="pass the folder of an unpacked"):
        movielens.download(tmp_path / "ml", "http://127.0.0.1:9/ml-100k.zip")
    assert list(tmp_path.iterdir()) == []


def test_download_of_something_else(tmp_path):
    """A page that is served in place of the archive is refused, and nothing is unpacked."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"please log in")

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        with pytest.raises(ValueError, match="13 bytes with MD5"):
            movielens.download(tmp_path / "ml", f"http://127.0.0.1:{server.server_port}/ml-100k.zip")
    assert list(tmp_path.iterdir()) == []


def test_download_leaves_what_is_there(tmp_path):
    (tmp_path / "u.data").write_text("")
    assert movielens.download(tmp_path, "http://127.0.0.1:9/") == tmp_path
