"""A schema of queries and candidates, pairs of them, and each retrieval model as users build it."""

import numpy as np

import kerasrec as kr
from kerasrec.schema import Column, Hotness, Schema, Tag

CAT, CONT, LIST = Tag.CATEGORICAL, Tag.CONTINUOUS, Tag.LIST
USERS, ITEMS, GENRES = 40, 30, 9
COLUMNS = {
    "user": Column("user", "int32", (CAT, Tag.USER, Tag.USER_ID), cardinality=USERS, table="user"),
    "größe": Column("größe", "float32", (CONT, Tag.CONTEXT)),
    "seen": Column("seen", "int32", (CAT, LIST), cardinality=ITEMS, table="item", hotness=Hotness(0, 2.0, 4)),
    "item id": Column("item id", "int32", (CAT, Tag.ITEM_ID), cardinality=ITEMS, table="item"),
    "a.b": Column("a.b", "int32", (CAT, LIST, Tag.ITEM), cardinality=GENRES, hotness=Hotness(0, 1.0, 2)),
    "^x$": Column("^x$", "float32", (CONT, Tag.ITEM)),
}
SCHEMA = Schema(COLUMNS.values())
IDS, WITH_LISTS = SCHEMA.subset(["user", "item id"]), SCHEMA.subset(["user", "seen", "item id", "a.b"])
ONE_ITEM = SCHEMA.subset(["user", "größe", "seen", "item id"])
QUERY, CANDIDATE = ["user", "größe", "seen"], ["item id", "a.b", "^x$"]


def pairs(rows, seed=0):
    """Features of queries and of candidates that belong to them: a user likes the items near a number of his."""
    rng = np.random.default_rng(seed)
    user = rng.integers(3, USERS, rows)
    item = 3 + (7 * user + rng.integers(0, 3, rows)) % (ITEMS - 3)
    seen = rng.integers(3, ITEMS, (rows, 4))
    seen[np.arange(4) >= rng.integers(0, 5, (rows, 1))] = 0
    genres = np.stack([3 + item % 5, 3 + item % 3], axis=1)
    genres[rng.random(rows) < 0.2] = 0
    return {
        "user": user.astype("int32"),
        "größe": rng.normal(size=rows).astype("float32"),
        "seen": seen.astype("int32"),
        "item id": item.astype("int32"),
        "a.b": genres.astype("int32"),
        "^x$": np.sin(item).astype("float32"),
    }


RETRIEVAL = {
    "TwoTower": lambda schema=SCHEMA, **more: kr.models.TwoTower(schema, 8, [16, 8], [8], **more),
    "TwoTower dot": lambda schema=SCHEMA, **more: kr.models.TwoTower(schema, 4, [8], [8], "dot", **more),
    "TwoTower l2": lambda schema=SCHEMA, **more: kr.models.TwoTower(schema, 4, [6], [6], "l2", **more),
    "MatrixFactorization": lambda schema=IDS, **more: kr.models.MatrixFactorization(schema, 4, **more),
    "MatrixFactorization biases": lambda schema=WITH_LISTS, **more: kr.models.MatrixFactorization(
        schema, 4, biases=True, **more
    ),
    "MatrixFactorization biases ids": lambda schema=IDS, **more: kr.models.MatrixFactorization(
        schema, 4, biases=True, **more
    ),
    "MatrixFactorization l2": lambda schema=IDS, **more: kr.models.MatrixFactorization(schema, 4, "l2", **more),
    "YoutubeDNN": lambda schema=ONE_ITEM, **more: kr.models.YoutubeDNN(schema, 4, [8, 6], **more),
}
