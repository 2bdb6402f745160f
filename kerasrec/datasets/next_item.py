"""Sequences of events for next-item models: MovieLens 1M as SASRec has it, and the sets of S3-Rec.

The files on which published figures are measured: of SASRec, BERT4Rec and gSASRec on MovieLens 1M, of S3-Rec,
TIGER and ActionPiece on Beauty, Sports, Toys and LastFM. Ids are those of the files: users and items from 1.

| name | users | items | events | source |
| --- | --- | --- | --- | --- |
| ml-1m | 6,040 | 3,416 | 999,611 | [kang205/SASRec](https://github.com/kang205/SASRec) |
| beauty | 22,363 | 12,101 | 198,502 | [S3-Rec](https://github.com/RUCAIBox/CIKM2020-S3Rec), Amazon reviews |
| sports | 35,598 | 18,357 | 296,337 | S3-Rec, Amazon reviews |
| toys | 19,412 | 11,924 | 167,597 | S3-Rec, Amazon reviews |
| lastfm | 1,090 | 3,646 | 52,551 | S3-Rec, Last.fm |

MovieLens 1M is GroupLens's, under the terms of https://grouplens.org/datasets/movielens/1m/: for research, citing
Harper and Konstan (2015), https://doi.org/10.1145/2827872. Amazon's reviews are from McAuley et al. (2015),
https://arxiv.org/abs/1506.04757; the files from Zhou et al. (2020), https://arxiv.org/abs/2008.07873.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from kerasrec.datasets.downloads import fetch
from kerasrec.excerpts import excerpt
from kerasrec.files import write_aside

_SASREC = "https://raw.githubusercontent.com/kang205/SASRec/master/data"
_S3REC = "https://raw.githubusercontent.com/RUCAIBox/CIKM2020-S3Rec/master/data"


@dataclass(frozen=True)
class Published:
    """A published file of sequences.

    Attributes:
        url: where it is.
        users, items, events: the distinct users and items, and the events, in it.
        sha256: its digest, where it was computed; the three counts are verified in any case.
    """

    url: str
    users: int
    items: int
    events: int
    sha256: str | None = None


PUBLISHED = {
    "ml-1m": Published(
        f"{_SASREC}/ml-1m.txt", 6_040, 3_416, 999_611,
        "b725f3acb3986fe3130bffd1e77a74d182a1f51799567a236dbd60270f95b0a2",
    ),
    "beauty": Published(
        f"{_S3REC}/Beauty.txt", 22_363, 12_101, 198_502,
        "226cce9c3105299ca0db9615d7d3fb32b3175e90da43100ae352599f0f0107b8",
    ),
    "sports": Published(f"{_S3REC}/Sports_and_Outdoors.txt", 35_598, 18_357, 296_337),
    "toys": Published(f"{_S3REC}/Toys_and_Games.txt", 19_412, 11_924, 167_597),
    "lastfm": Published(f"{_S3REC}/LastFM.txt", 1_090, 3_646, 52_551),
}  # fmt: skip


def load(path: str | os.PathLike[str]) -> pl.DataFrame:
    """Read a file of sequences as events, for `etl.Sequences`.

    A line is a user and one item or more in the order of time, separated by blanks. So both forms in use are read:
    "user item", a line per event, and "user item item ...", a line per user.

    Returns:
        A row per event, in the order of the file: `user` and `item`, int64, with the ids of the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an empty file; a line with a user and no item, or with something that is not an integer, naming
            file and line.

    Example:

    >>> events = load("Beauty.txt")
    >>> train, valid, test = etl.Sequences("user", "item")(events)
    """
    path = Path(path)
    if not path.exists():
        known = ", ".join(map(repr, PUBLISHED))
        raise FileNotFoundError(f"{path}: no such file; next_item.download(name, folder) has {known}")
    return _events(path.read_bytes(), str(path))


def download(name: str, folder: str | os.PathLike[str], url: str | None = None) -> Path:
    """Download a published file into `folder`, unless it is there.

    Its SHA-256 is verified where this module has it, and its numbers of users, items and events in any case; it
    appears in `folder` only when it is complete.

    Args:
        name: "ml-1m", "beauty", "sports", "toys" or "lastfm".
        folder: it is made if need be; the file is NAME.txt in it.
        url: of a copy, in place of the published address.

    Returns:
        The path of the file, for `load`.

    Raises:
        ConnectionError: the download fails.
        ValueError: an unknown name, or the downloaded file is not the published one.
    """
    if name not in PUBLISHED:
        raise ValueError(f"no sequences {name!r}; available: {', '.join(PUBLISHED)}")
    published = PUBLISHED[name]
    path = Path(folder) / f"{name}.txt"
    if path.exists():
        return path
    url = url or published.url
    content = fetch(url, f"place the file at {path}", sha256=published.sha256)
    events = _events(content, url)
    counts = (events["user"].n_unique(), events["item"].n_unique(), len(events))
    expected = (published.users, published.items, published.events)
    if counts != expected:
        raise ValueError(f"{url}: {counts} users, items and events; expected {expected}")
    with write_aside(path) as aside:
        aside.write_bytes(content)
    return path


def synthetic(users: int = 600, items: int = 120, seed: int = 0) -> pl.DataFrame:
    """Draw events in which an item depends on the one before, for trying a script without data.

    An item has three followers, one of which comes next in 6 of 10 cases; otherwise an item is drawn by
    popularity.

    Args:
        users: the number of users, each with 5 to 30 events.
        items: the number of items, at least 4.
        seed: of everything that is drawn.

    Returns:
        A row per event, sorted by `timestamp`: `user` and `item`, int64 from 1; `timestamp`, int64 seconds;
        `category` of the item, 0 to 7.

    Raises:
        ValueError: a number that is too small.

    >>> events = kr.datasets.next_item.synthetic()
    """
    if users < 1 or items < 4:
        raise ValueError(f"synthetic takes users >= 1 and items >= 4; got {users} and {items}")
    rng = np.random.default_rng([seed, 101])
    popularity = 1 / np.arange(1, items + 1) ** 0.8
    popularity /= popularity.sum()
    followers = np.stack([rng.choice(items, 3, replace=False) for _ in range(items)])
    lengths = rng.integers(5, 31, users)
    drawn = rng.choice(items, (users, lengths.max()), p=popularity)
    follows, which = rng.random(drawn.shape) < 0.6, rng.integers(3, size=drawn.shape)
    for at in range(1, drawn.shape[1]):
        follower = followers[drawn[:, at - 1], which[:, at]]
        drawn[:, at] = np.where(follows[:, at], follower, drawn[:, at])
    begin = rng.integers(0, 30 * 86_400, users)
    times = begin[:, None] + np.cumsum(rng.integers(60, 86_400, drawn.shape), axis=1)
    present = np.arange(drawn.shape[1]) < lengths[:, None]
    category = rng.integers(0, 8, items)
    frame = pl.DataFrame(
        {
            "user": np.repeat(np.arange(1, users + 1), lengths),
            "item": drawn[present] + 1,
            "timestamp": 1_700_000_000 + times[present],
            "category": category[drawn[present]],
        }
    )
    return frame.sort("timestamp", maintain_order=True)


def _events(content: bytes, name: str) -> pl.DataFrame:
    """Return the events in the contents of a file."""
    lines = pl.DataFrame({"line": content.decode("utf-8", "replace").splitlines()}, {"line": pl.String})
    fields = lines.with_row_index("number", offset=1).with_columns(field=pl.col("line").str.extract_all(r"\S+"))
    fields = fields.filter(pl.col("field").list.len() > 0)
    if fields.is_empty():
        raise ValueError(f"{name} is empty")
    ids = fields.with_columns(id=pl.col("field").list.eval(pl.element().cast(pl.Int64, strict=False)))
    wrong = ids.filter((pl.col("id").list.len() < 2) | pl.col("id").list.contains(None, nulls_equal=True))
    if len(wrong):
        number, line = wrong.select("number", "line").row(0)
        raise ValueError(f"{name}, line {number}: expected a user and items, all integers; got {excerpt(line)}")
    events = ids.select(user=pl.col("id").list.first(), item=pl.col("id").list.slice(1))
    return events.explode("item")
