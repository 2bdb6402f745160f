"""Trains models of the next item on the same global batches on any number of ranks."""

import keras
import numpy as np
import polars as pl
import tensorflow as tf

import kerasrec as kr
from kerasrec.parallel import comm
from kerasrec.schema import Column, Schema, Tag

LIST = (Tag.CATEGORICAL, Tag.LIST, Tag.SEQUENCE)
SCHEMA = Schema(
    [
        Column("items", "int32", (*LIST, Tag.ITEM_ID), cardinality=9, table="item"),
        Column("kinds", "int32", LIST, cardinality=6, table="kind"),
        Column("country", "int32", (Tag.CATEGORICAL, Tag.USER), cardinality=5, table="country"),
    ]
)
MORE = {"embeddings_initializer": keras.initializers.RandomNormal(stddev=1.0), "seed": 1}
CASES = {
    "SASRec": lambda: kr.models.SASRec(SCHEMA, 4, 1, 2, 6, 0.0, **MORE),
    "untied": lambda: kr.models.SASRec(SCHEMA, 4, 1, 2, 6, 0.0, tied=False, **MORE),
    "described items": lambda: kr.models.SASRec(SCHEMA, 4, 1, 2, 6, 0.0, items=described(), **MORE),
}


def described():
    """A table of items, which every rank reads."""
    columns = {"items": np.arange(3, 9, dtype="int32"), "colour": np.array([1, 2, 3, 3, 2, 1], "int32")}
    schema = Schema(Column(name, "int32", (Tag.CATEGORICAL,), cardinality=9) for name in columns)
    return kr.Loader(pl.DataFrame(columns), schema=schema, rank=0, ranks=1)


def batches():
    """Global batches, and where ranks' rows end: ranks differ in rows, and in predictions per row."""
    rng = np.random.default_rng(0)
    for step in range(4):
        lengths = np.concatenate([rng.integers(0, 3, 12), rng.integers(2, 9, 8)])
        splits = np.concatenate([[0], np.cumsum(lengths)])
        lists = {
            name: tf.RaggedTensor.from_row_splits(rng.integers(1, count, splits[-1]).astype("int32"), splits)
            for name, count in {"items": 9, "kinds": 6}.items()
        }
        yield {**lists, "country": rng.integers(0, 5, 20).astype("int32")}, (12, 15)[step % 2]


def train(name):
    """The weights after some steps, and what `evaluate` says of the last batch."""
    keras.utils.set_random_seed(7)
    model = CASES[name]()
    model.compile(kr.optimizers.SGD(0.3), metrics=["hit_rate@2", "mrr@5"])
    before = weights_of(model)
    for batch, cut in batches():
        mine = slice(0, None) if comm.size() == 1 else (slice(0, cut), slice(cut, None))[comm.rank()]
        mine = {column: values[mine] for column, values in batch.items()}
        model.train_on_batch(mine)
    after = weights_of(model)
    results = model.evaluate(tf.data.Dataset.from_tensors(mine), return_dict=True, verbose=0)
    return {"before": before, "after": after, "results": results}


def weights_of(model):
    layers = [each for each in (model.items, model.predicted, model.embeddings) if each is not None]
    layers += [] if model.tower is None else [model.tower.embeddings]
    tables = {p.table.name: each.table(p.table.name) for each in layers for p in each.plan.tables}
    blocks = [w.numpy() for w in model.trainable_weights if "block" in w.path or "mlp" in w.path]
    return {**tables, **{f"block weight {i}": value for i, value in enumerate(blocks)}}


def run(names):
    return {name: train(name) for name in names}
