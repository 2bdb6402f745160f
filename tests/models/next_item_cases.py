"""Small sequences with every kind of column, as loaders of lists yield them."""

import numpy as np
import polars as pl

import kerasrec as kr
from kerasrec.schema import Column, Hotness, Schema, Tag

ITEMS = 20  # ids, of which the first three are no items
CAT, CONT, LIST, SEQUENCE = Tag.CATEGORICAL, Tag.CONTINUOUS, Tag.LIST, Tag.SEQUENCE
LISTS = Hotness(0, 4.5, 12)
ITEM = Column(
    "item id", "int32", (CAT, LIST, SEQUENCE, Tag.ITEM_ID), cardinality=ITEMS, table="item", hotness=LISTS
)
COLUMNS = {
    "item id": ITEM,
    "größe": Column("größe", "int32", (CAT, LIST, SEQUENCE), cardinality=7, table="größe", hotness=LISTS),
    "price": Column("price", "float32", (CONT, LIST, SEQUENCE), hotness=LISTS),
    "^x$": Column("^x$", "int32", (CAT, Tag.USER), cardinality=5, table="^x$"),
    "a.b": Column("a.b", "float32", (CONT, Tag.USER)),
    "favourite": Column("favourite", "int32", (CAT, Tag.USER), cardinality=ITEMS, table="item"),
}
PLAIN, ALL = Schema([ITEM]), Schema(COLUMNS.values())
LENGTHS = (4, 0, 7, 1, 2, 12, 5, 3, 3, 9, 2, 6)


def frame_of(lengths=LENGTHS, seed=0):
    """Rows with all columns, of random values."""
    rng = np.random.default_rng(seed)
    ids = [rng.integers(1, ITEMS, n).tolist() for n in lengths]
    sizes = [rng.integers(0, 7, n).tolist() for n in lengths]
    prices = [rng.normal(size=n).tolist() for n in lengths]
    return pl.DataFrame(
        {
            "item id": pl.Series(ids, dtype=pl.List(pl.Int32)),
            "größe": pl.Series(sizes, dtype=pl.List(pl.Int32)),
            "price": pl.Series(prices, dtype=pl.List(pl.Float32)),
            "^x$": pl.Series(rng.integers(0, 5, len(lengths)), dtype=pl.Int32),
            "a.b": pl.Series(rng.normal(size=len(lengths)), dtype=pl.Float32),
            "favourite": pl.Series(rng.integers(3, ITEMS, len(lengths)), dtype=pl.Int32),
        }
    )


def circle(rows=60, length=9, seed=0):
    """Sequences in which the next item is always the id after this one, and after the last the first."""
    starts = np.random.default_rng(seed).integers(0, ITEMS - 3, rows)
    lists = [
        [int(3 + (start + k) % (ITEMS - 3)) for k in range(2 + row % length)] for row, start in enumerate(starts)
    ]
    return pl.DataFrame({"item id": pl.Series(lists, dtype=pl.List(pl.Int32))})


def loader_of(frame, schema=ALL, batch_size=5, **more):
    columns = pl.DataFrame({name: frame[name] for name in schema.names})  # select would read "^x$" as a pattern
    return kr.Loader(columns, batch_size, schema=schema, **more)


MODELS = {
    "SASRec": lambda schema, **more: kr.models.SASRec(schema, 8, 1, 2, 6, 0.0, **more),
    "GRU4Rec": lambda schema, **more: kr.models.GRU4Rec(schema, 8, [10], 6, 0.0, **more),
    "BERT4Rec": lambda schema, **more: kr.models.BERT4Rec(schema, 8, 1, 2, 7, 0.0, 0.3, 0.3, **more),
    "HSTU": lambda schema, **more: kr.models.HSTU(schema, 8, 1, 2, 6, 0.0, **more),
}
