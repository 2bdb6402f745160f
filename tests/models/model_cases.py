"""A small schema of every kind of column, batches for it, and each model as users build it.

`MODELS` go through every test of models, `ZOO` through those of test_every_model, which take less time.
"""

import numpy as np

import kerasrec as kr
from kerasrec.schema import Column, Hotness, Schema, Tag

CAT, CONT, LIST, TARGET = Tag.CATEGORICAL, Tag.CONTINUOUS, Tag.LIST, Tag.TARGET
COLUMNS = {
    "user": Column("user", "int32", (CAT,), cardinality=30, embedding_dim=8, table="user"),
    "genres": Column("genres", "int32", (CAT, LIST), cardinality=12, table="genre", hotness=Hotness(0, 1.5, 3)),
    "favourite": Column("favourite", "int32", (CAT,), cardinality=12, table="genre"),
    "age": Column("age", "float32", (CONT,)),
    "price": Column("price", "float32", (CONT,)),
}
CLICKED = Column("clicked", "float32", (TARGET, Tag.BINARY))
RATING = Column("rating", "float32", (TARGET, Tag.REGRESSION))

MODELS = {
    "DLRM": lambda schema, **more: kr.models.DLRM(schema, 8, [16, 8], [16], **more),
    "DCN": lambda schema, **more: kr.models.DCN(schema, deep_units=[16], **more),
    "DeepFM": lambda schema, **more: kr.models.DeepFM(schema, 8, deep_units=[16], **more),
    "WideAndDeep": lambda schema, **more: kr.models.WideAndDeep(schema, deep_units=[16], **more),
}
ZOO = {
    "DCN stacked": lambda schema, **more: kr.models.DCN(
        schema, 4, 2, 3, deep_units=[16], structure="stacked", **more
    ),
}


def schema_of(*names, target=CLICKED):
    return Schema([*(COLUMNS[name] for name in names or COLUMNS), target])


def batch_of(rows, seed=0):
    """Features, empty lists among them, and a click that follows from user, favourite and age."""
    rng = np.random.default_rng(seed)
    genres = rng.integers(1, 12, (rows, 3)).astype("int32")
    genres[np.arange(3) >= rng.integers(0, 4, (rows, 1))] = 0
    x = {
        "user": rng.integers(0, 30, rows).astype("int32"),
        "genres": genres,
        "favourite": rng.integers(0, 12, rows).astype("int32"),
        "age": rng.normal(size=rows).astype("float32"),
        "price": rng.normal(size=rows).astype("float32"),
    }
    logit = np.where(x["user"] % 2, 2.0, -2.0) + np.where(x["favourite"] % 3, 1.0, -2.0) + 2 * x["age"]
    return x, (logit > 0).astype("float32")[:, None]
