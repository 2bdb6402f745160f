"""MovieLens 100k: 100,000 ratings of 1,682 films by 943 people, 1997-98, collected by GroupLens.

Terms (the data's README has them in full): for research; no endorsement may be implied; not to be redistributed
without permission; no commercial use without permission of GroupLens; publications cite

    F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and Context. ACM Transactions
    on Interactive Intelligent Systems (TiiS) 5, 4, Article 19. https://doi.org/10.1145/2827872
"""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

from kerasrec.datasets.downloads import fetch
from kerasrec.excerpts import excerpt
from kerasrec.files import write_aside

URL = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
SIZE = 4_924_029  # bytes
MD5 = "0e33842e24a9c977be4e0107933c0723"
FILES = ("u.*", "u?.base", "u?.test", "README", "allbut.pl", "mku.sh")
GENRES = ("Action", "Comedy", "Crime", "Drama", "Horror", "Musical", "Romance", "Thriller", "War", "Western")
OCCUPATIONS = ("artist", "engineer", "student", "other")
SPLITS = ("u1", "u2", "u3", "u4", "u5", "ua", "ub")


def load(folder: str | os.PathLike[str], split: str = "u1") -> tuple[pl.DataFrame, pl.DataFrame]:
    """Read one of the standard splits: ratings with the attributes of the user and the film.

    Args:
        folder: the folder with `u.user`, `u.item`, `u.genre`, and the split's `.base` and `.test`.
        split: "u1" to "u5" (five folds of 80,000 / 20,000), "ua" or "ub" (ten test ratings per user).

    Returns:
        Train and test frames: `user`, `item` (int64), `age` (int64, years), `gender` ("M", "F"), `occupation`,
        `genres` (list of strings), `hour` (0-23) and `weekday` (0 is Monday) of the timestamp in UTC, `rating`
        (1-5, int64), `timestamp` (seconds since 1970).

    Raises:
        ValueError: an unknown split, or an invalid line; the message names the file and the line.
        FileNotFoundError: a file is missing.

    Example:

    >>> train, test = load("ml-100k/")
    >>> train.height, test.height
    (80000, 20000)
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}; got {split!r}")
    folder = Path(folder)
    users, items = _users(folder / "u.user"), _items(folder / "u.item", _genres(folder / "u.genre"))
    train, test = (_ratings(folder / f"{split}.{part}", users, items) for part in ("base", "test"))
    return train, test


def synthetic(ratings: int = 12_000, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Draw ratings of the data's form, for trying a script without the data.

    Args:
        ratings: the number of ratings, 1 to 30,000; a fifth of them are test ratings.
        seed: of everything that is drawn.

    Returns:
        Train and test frames as `load` returns them, of 300 users and 200 films. A rating depends on the user, the
        film, and how people of the user's gender and occupation like the film's genres.

    Raises:
        ValueError: `ratings` is out of range.

    >>> train, test = kr.datasets.movielens.synthetic()
    """
    if not 1 <= ratings <= 30_000:
        raise ValueError(f"ratings must be from 1 to 30,000; got {ratings}")
    rng = np.random.default_rng([seed, 100])
    users, items, genres = 300, 200, np.array(GENRES)
    has = rng.random((items, len(genres))) < 0.15
    pair = rng.choice(users * items, ratings, replace=False)
    user, item = np.divmod(pair, items)
    gender, occupation = rng.integers(2, size=users), rng.integers(len(OCCUPATIONS), size=users)
    taste = rng.normal(size=(2, len(OCCUPATIONS), len(genres))) @ (has.T / np.maximum(has.sum(axis=1), 1) ** 0.5)
    score = 3.5 + rng.normal(scale=0.4, size=users)[user] + rng.normal(scale=0.4, size=items)[item]
    score += 0.7 * taste[gender, occupation][user, item] + rng.normal(scale=0.6, size=ratings)
    when = 874_724_710 + np.sort(rng.integers(18_561_928, size=ratings))
    frame = pl.DataFrame(
        {
            "user": user + 1,
            "item": item + 1,
            "age": rng.integers(16, 70, users)[user],
            "gender": np.array(["F", "M"])[gender][user],
            "occupation": np.array(OCCUPATIONS)[occupation][user],
            "genres": [genres[row].tolist() for row in has[item]],
            "rating": np.clip(np.rint(score), 1, 5).astype(np.int64),
            "timestamp": when,
        }
    )
    moment = pl.from_epoch("timestamp")
    frame = frame.with_columns(
        hour=moment.dt.hour().cast(pl.Int64), weekday=moment.dt.weekday().cast(pl.Int64) - 1
    )
    frame = frame.select(*frame.columns[:6], "hour", "weekday", "rating", "timestamp")
    last = pl.Series(rng.random(ratings) < 0.2)
    return frame.filter(~last), frame.filter(last)


def download(folder: str | os.PathLike[str], url: str = URL) -> Path:
    """Download the archive from GroupLens and unpack it to `folder`, unless that exists.

    The archive's size and MD5 are verified before it is unpacked; `folder` appears only when it is complete.

    Returns:
        `folder`, for `load`.

    Raises:
        ConnectionError: the download fails.
        ValueError: the downloaded file is not the archive.
    """
    folder = Path(folder)
    if (folder / "u.data").exists():
        return folder
    archive = fetch(url, "pass the folder of an unpacked ml-100k.zip")
    md5 = hashlib.md5(archive, usedforsecurity=False).hexdigest()
    if (len(archive), md5) != (SIZE, MD5):
        raise ValueError(f"{url}: {len(archive)} bytes with MD5 {md5}; expected {SIZE} with {MD5}")
    with TemporaryDirectory() as scratch, write_aside(folder, files=FILES) as aside:
        path = Path(scratch) / "ml-100k.zip"
        path.write_bytes(archive)
        zipfile.ZipFile(path).extractall(scratch)
        shutil.copytree(Path(scratch) / "ml-100k", aside)
    return folder


def _ratings(path: Path, users: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """Read ratings, joined with their users and films, in the order of the file."""
    known_users, known_items = set(users["user"]), set(items["item"])
    rows = []
    for line, fields in _lines(path, "\t", 4):
        user, item, rating, timestamp = (_integer(path, line, field) for field in fields)
        if not 1 <= rating <= 5:
            raise ValueError(f"{path}, line {line}: a rating must be from 1 to 5; got {rating}")
        for kind, number, known in (("user", user, known_users), ("item", item, known_items)):
            if number not in known:
                raise ValueError(f"{path}, line {line}: {kind} {number} is not in u.{kind}")
        rows.append((user, item, rating, timestamp))
    frame = pl.DataFrame(rows, schema=["user", "item", "rating", "timestamp"], orient="row")
    if frame.is_empty():
        raise ValueError(f"{path} is empty")
    time = pl.from_epoch("timestamp", time_unit="s")
    return (
        frame.join(users, on="user", how="left", maintain_order="left")
        .join(items, on="item", how="left", maintain_order="left")
        .with_columns(
            hour=time.dt.hour().cast(pl.Int64),
            weekday=time.dt.weekday().cast(pl.Int64) - 1,
        )
        .select(
            *("user", "item", "age", "gender", "occupation", "genres"),
            *("hour", "weekday", "rating", "timestamp"),
        )
    )


def _users(path: Path) -> pl.DataFrame:
    rows = [
        (_integer(path, line, user), _integer(path, line, age), gender, occupation)
        for line, (user, age, gender, occupation, _) in _lines(path, "|", 5)
    ]
    return pl.DataFrame(rows, schema=["user", "age", "gender", "occupation"], orient="row")


def _items(path: Path, genres: list[str]) -> pl.DataFrame:
    rows = []
    for line, (item, _title, _released, _video, _url, *flags) in _lines(path, "|", 5 + len(genres)):
        if not set(flags) <= {"0", "1"}:
            raise ValueError(f"{path}, line {line}: genre flags must be 0 or 1; got {excerpt('|'.join(flags))}")
        rows.append(
            (_integer(path, line, item), [g for g, flag in zip(genres, flags, strict=True) if flag == "1"])
        )
    return pl.DataFrame(rows, schema={"item": pl.Int64, "genres": pl.List(pl.String)}, orient="row")


def _genres(path: Path) -> list[str]:
    """Read the genre names, in the order of the flags in u.item."""
    named = {_integer(path, line, index): name for line, (name, index) in _lines(path, "|", 2)}
    if sorted(named) != list(range(len(named))):
        raise ValueError(f"{path}: genres must be numbered 0, 1, ...; got {sorted(named)}")
    return [named[index] for index in range(len(named))]


def _lines(path: Path, separator: str, count: int) -> Iterator[tuple[int, list[str]]]:
    """Yield line numbers from 1 and fields, without blank lines. The files are in Latin-1."""
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; is {path.parent} the folder of MovieLens 100k?")
    with path.open(encoding="latin-1", newline="\n") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                fields = line.rstrip("\r\n").split(separator)
                if len(fields) != count:
                    raise ValueError(f"{path}, line {number}: {len(fields)} fields, expected {count}")
                yield number, fields


def _integer(path: Path, line: int, field: str) -> int:
    try:
        return int(field)
    except ValueError:
        raise ValueError(f"{path}, line {line}: not an integer: {excerpt(field)}") from None
