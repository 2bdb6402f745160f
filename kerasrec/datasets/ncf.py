"""MovieLens 1M in the protocol of Neural Collaborative Filtering.

As He et al. (2017), https://arxiv.org/abs/1708.05031, have it, the last item of each of 6,040 users tests,
against 99 given items; all other pairs, 994,169 of them, train. Rendle et al. (2020),
https://arxiv.org/abs/2005.09683, measure matrix factorisation on the same files. Users are numbered from 0,
items from 0 in the order in which they first appear. MovieLens 1M is GroupLens's: see
`kerasrec.datasets.next_item`.
"""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl

from kerasrec.datasets.downloads import fetch
from kerasrec.excerpts import excerpt
from kerasrec.files import write_aside

URL = "https://raw.githubusercontent.com/hexiangnan/neural_collaborative_filtering/master/Data"
TRAIN, TEST, NEGATIVE = "ml-1m.train.rating", "ml-1m.test.rating", "ml-1m.test.negative"
SHA256 = {
    TEST: "231ae11eb060b643a8c58c063cd17ffc743b54f569afb073d1abb6cf126b88b5",
    NEGATIVE: "127853228a76b7d21c0481e8ef8d00dd009cd5c88670dbdd9e9debfdb9f93de4",
}
USERS, TRAIN_ROWS, NEGATIVES = 6_040, 994_169, 99
_LOCAL = {TRAIN: "ratings.parquet", TEST: "ncf.test.rating", NEGATIVE: "ncf.test.negative"}


def load(folder: str | os.PathLike[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Read the pairs to train on, and each user's item to rank against given ones.

    In 156 of the test rows the item is itself among the 99 given ones. The rows are returned as they are in the
    file. NCF's own evaluation counts such an item once, since it collects scores by item; so do
    `benchmarks/retrieval.py` and published figures.

    Args:
        folder: the folder with `ml-1m.train.rating`, `ml-1m.test.rating` and `ml-1m.test.negative`, as `download`
            makes it; or with `ratings.parquet` (`userID`, `movieID`: all ratings of MovieLens 1M in the order of
            its file), `ncf.test.rating` and `ncf.test.negative`.

    Returns:
        The train frame, `user` and `item`, in the order of the file; the test frame, `user`, `item` and
        `negatives` (lists of 99 items), by user. All ids are int64.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a line is invalid, naming file and line; or the files are not of one data set.

    Example:

    >>> train, test = load("ncf/")
    >>> len(train), len(test)
    (994169, 6040)
    """
    folder = Path(folder)
    test = _pairs(_file(folder, TEST)).join(
        _negatives(_file(folder, NEGATIVE)), on=["user", "item"], how="left", maintain_order="left"
    )
    path = _file(folder, TRAIN)
    train = _pairs(path) if path.name == TRAIN else _without(_numbered(path), test)
    both = train.join(test, on=["user", "item"], how="semi")
    if len(train) != TRAIN_ROWS or len(test) != USERS or test["negatives"].null_count() or len(both):
        raise ValueError(
            f"{folder}: {len(train):,} rows to train on and {len(test):,} to test on, {len(both):,} in both, "
            f"{test['negatives'].null_count():,} without negatives; expected {TRAIN_ROWS:,}, {USERS:,}, 0 and 0"
        )
    return train, test


def download(folder: str | os.PathLike[str], url: str = URL) -> Path:
    """Download the three files from the repository of NCF into `folder`, unless they are there.

    The SHA-256 of the test files is verified, and that the file to train on belongs to them, as `load` does.

    Args:
        folder: it is made if need be.
        url: the folder of the files there, or in a copy.

    Returns:
        `folder`, for `load`.

    Raises:
        ConnectionError: a download fails.
        ValueError: a downloaded file is not the published one.
    """
    folder = Path(folder)
    for name in (TRAIN, TEST, NEGATIVE):
        path = folder / name
        if not path.exists():
            content = fetch(
                f"{url}/{name}", f"place {TRAIN}, {TEST} and {NEGATIVE} there", sha256=SHA256.get(name)
            )
            with write_aside(path) as aside:
                aside.write_bytes(content)
    load(folder)
    return folder


def _file(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / _LOCAL[name]):
        if path.exists():
            return path
    raise FileNotFoundError(
        f"{folder} has neither {name} nor {_LOCAL[name]}; ncf.download(folder) makes the former"
    )


def _fields(path: Path) -> pl.DataFrame:
    """Return the lines of a file that are not blank: `number` from 1, `line`, `field` (a list of strings)."""
    lines = pl.DataFrame({"line": path.read_text(encoding="utf-8").splitlines()}, {"line": pl.String})
    fields = lines.with_row_index("number", offset=1).with_columns(field=pl.col("line").str.split("\t"))
    return fields.filter(pl.col("line").str.strip_chars() != "")


def _pairs(path: Path) -> pl.DataFrame:
    """Read a file of `user, item, rating, time` lines."""
    fields = _fields(path)
    pairs = fields.with_columns(
        pl.col("field").list.get(at, null_on_oob=True).cast(pl.Int64, strict=False).alias(name)
        for at, name in enumerate(("user", "item"))
    )
    _refuse(path, pairs, (pl.col("field").list.len() < 2) | pl.any_horizontal(pl.col("user", "item").is_null()))
    return pairs.select("user", "item")


def _negatives(path: Path) -> pl.DataFrame:
    """Read a file of `(user,item), negative, negative, ...` lines."""
    fields = _fields(path)
    pair = pl.col("field").list.first().str.extract_groups(r"^\((\d+),(\d+)\)$")
    rows = fields.with_columns(
        user=pair.struct[0].cast(pl.Int64),
        item=pair.struct[1].cast(pl.Int64),
        negatives=pl.col("field").list.slice(1).list.eval(pl.element().cast(pl.Int64, strict=False)),
    )
    negatives = pl.col("negatives")
    valid = (negatives.list.len() == NEGATIVES) & ~negatives.list.contains(None, nulls_equal=True)
    _refuse(path, rows, pl.col("user").is_null() | ~valid)
    return rows.select("user", "item", "negatives")


def _refuse(path: Path, rows: pl.DataFrame, wrong: pl.Expr) -> None:
    rows = rows.filter(wrong)
    if len(rows):
        number, line = rows.select("number", "line").row(0)
        raise ValueError(f"{path}, line {number}: not a line of NCF's files: {excerpt(line)}")


def _numbered(path: Path) -> pl.DataFrame:
    """Read all ratings with NCF's numbers: users less 1, items by first appearance."""
    ratings = pl.read_parquet(path, glob=False)
    if missing := {"userID", "movieID"} - set(ratings.columns):
        raise ValueError(
            f"{path}: no column {', '.join(sorted(missing))}; available: {', '.join(ratings.columns)}"
        )
    pairs = ratings.select(user=pl.col("userID").cast(pl.Int64) - 1, film=pl.col("movieID").cast(pl.Int64))
    numbers = pairs.select("film").unique(maintain_order=True).with_row_index("item")
    pairs = pairs.join(numbers, on="film", how="left", maintain_order="left")
    return pairs.select("user", pl.col("item").cast(pl.Int64))


def _without(pairs: pl.DataFrame, test: pl.DataFrame) -> pl.DataFrame:
    return pairs.join(test, on=["user", "item"], how="anti", maintain_order="left")
