"""The data of `retrieval.py`: rows of sequences, and NCF's pairs with given items to rank."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

import kerasrec as kr
from kerasrec import etl
from kerasrec.datasets import ncf, next_item
from kerasrec.retrieval import Lists, RankingReport
from kerasrec.retrieval.baselines import Histories

FILES = {"ml-1m": "ml-1m_sasrec.txt", "beauty": "beauty_s3rec.txt"}  # names that files may have besides NAME.txt
NCF_FOLDER = "ncf-ml-1m"


def sequences(name: str, data: Path, out: Path) -> dict[str, Path]:
    """Return the folders of encoded rows to train, validate and test on, which are made once.

    The vocabulary has all items, also those that occur only in rows to test, as in the published figures.
    """
    folders = {part: out / "data" / name / part for part in ("train", "valid", "test")}
    if not all(folder.exists() for folder in folders.values()):
        names = (f"{name}.txt", FILES.get(name, f"{name}_s3rec.txt"))
        places = [place / file for place in (data, data / "sequences") for file in names]
        path = next((place for place in places if place.exists()), None)
        events = next_item.load(path or next_item.download(name, data))
        parts = etl.Sequences("user", "item")
        rows = parts(events)
        workflow = etl.Workflow(parts.items >> etl.Categorify()).fit(rows["test"])
        for part, folder in folders.items():
            workflow.transform(rows[part]).to_parquet(folder, progress=False, overwrite=True)
    return folders


@dataclass(frozen=True)
class Given:
    """NCF's way to test: each user's item among given ones.

    Attributes:
        train: the pairs to train on, `user` and `item`.
        users: the user of each row, (rows,).
        items: the item to rank first, then the given ones, (rows, 1 + given).
        count: the number of items; those of NCF are numbered from 0.
    """

    train: pl.DataFrame
    users: np.ndarray
    items: np.ndarray
    count: int

    def histories(self) -> Histories:
        """Return the items of each user, from user 0 on."""
        by_user = self.train.group_by("user", maintain_order=True).agg("item").sort("user")
        assert by_user["user"].to_list() == list(range(len(by_user)))
        offsets = np.cumsum([0, *by_user["item"].list.len()])
        return Histories(Lists(by_user["item"].explode().to_numpy(), offsets), self.count)

    def ranks(self, scores: np.ndarray, *, copy_counted: bool = False) -> np.ndarray:
        """Return the rank of each row's item, given the scores of `items`. Ties count against the model.

        Args:
            copy_counted: whether a given item that is the row's own counts as a competitor.
        """
        competes = scores[:, 1:] >= scores[:, :1]
        if not copy_counted:
            competes &= self.items[:, 1:] != self.items[:, :1]
        return competes.sum(axis=1)

    def report(self, scores: np.ndarray) -> dict[str, float | int | bool]:
        """Return the metrics of the scores of `items`."""
        figures, with_copy = (
            RankingReport.of(self.ranks(scores, copy_counted=counted), candidates=self.items.shape[1], at=10)
            for counted in (False, True)
        )
        own = (self.items[:, 1:] == self.items[:, :1]).any(axis=1)
        copies = {"rows": int(own.sum()), **with_copy.values}
        return {**figures.to_dict(), "copy_counted": copies}


def given(data: Path, *, valid: bool, seed: int = 0) -> Given:
    """Return NCF's rows.

    Args:
        valid: instead of the rows to test, hold out one train item per user, with 99 drawn ones that are not hers.
    """
    folder = data / NCF_FOLDER if (data / NCF_FOLDER).exists() else ncf.download(data / NCF_FOLDER)
    train, test = ncf.load(folder)
    count = 1 + max(frame["item"].max() for frame in (train, test))
    if not valid:
        items = np.concatenate([test["item"].to_numpy()[:, None], np.array(test["negatives"].to_list())], axis=1)
        return Given(train, test["user"].to_numpy(), items, count)
    rng = np.random.default_rng([seed, 102])
    shuffled = train.with_row_index("row").sample(fraction=1, shuffle=True, seed=seed)
    held_out = shuffled.unique("user", keep="first", maintain_order=True).sort("user")
    rest = train.with_row_index("row").join(held_out, on="row", how="anti", maintain_order="left").drop("row")
    rows = []
    for user, own in train.group_by("user", maintain_order=True).agg("item").sort("user").rows():
        others = np.setdiff1d(np.arange(count), own, assume_unique=True)
        rows.append(np.concatenate([[held_out["item"][user]], rng.choice(others, 99, replace=False)]))
    return Given(rest, held_out["user"].to_numpy(), np.array(rows), count)


def pairs(rows: Given, folder: Path, *, valid: bool) -> tuple[Path, etl.Workflow]:
    """Return a folder of encoded pairs to train on, which is made once, and the workflow that encodes them.

    The vocabulary has all users and items. The target of a pair is 1.
    """
    columns = (["user"] >> etl.Categorify() >> etl.AddTags("user_id")) + (
        ["item"] >> etl.Categorify() >> etl.AddTags("item_id")
    )
    asked = pl.DataFrame({"user": rows.users, "item": rows.items[:, 0]})
    one = pl.lit(1.0).alias("had")
    workflow = etl.Workflow(columns + (["had"] >> etl.Target()))
    workflow.fit(pl.concat([rows.train, asked]).with_columns(one), progress=False)
    path = folder / ("pairs-valid" if valid else "pairs")
    if not path.exists():
        workflow.transform(rows.train.with_columns(one)).to_parquet(path, progress=False)
    return path, workflow


def encoded(workflow: etl.Workflow, rows: Given) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids of the users and items of `rows`, (rows,) and (rows, 1 + given)."""
    users = np.repeat(rows.users, rows.items.shape[1])
    pairs = pl.DataFrame({"user": users, "item": rows.items.ravel()})
    frame = workflow.transform(pairs, targets=False).collect()
    return frame["user"].to_numpy()[:: rows.items.shape[1]], frame["item"].to_numpy().reshape(rows.items.shape)


def loader(folder: Path, batch: int, seed: int | None = None) -> kr.Loader:
    """Return the rows of a folder, shuffled where there is a seed."""
    return kr.Loader(folder, batch) if seed is None else kr.Loader(folder, batch, shuffle=True, seed=seed)
