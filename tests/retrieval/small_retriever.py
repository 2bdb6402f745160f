"""A retrieval model of a few weights, and data for it, with ids as `etl.Categorify` makes them."""

from __future__ import annotations

import keras
import numpy as np
import polars as pl
from keras import ops

from kerasrec import etl
from kerasrec.schema import Schema, Tag


class SmallRetriever(keras.Model):
    """q = U[user] + mean of I[history], c = I[item] + price w; no item id where `by_content`."""

    first_id = 3

    def __init__(self, schema, similarity="dot", dim=5, by_content=False, seed=0):
        super().__init__(name="small")
        self.schema, self.similarity, self.item_id, self.by_content = schema, similarity, "item", by_content
        self.query_schema = Schema(c for c in schema if Tag.USER in c.tags)
        self.candidate_schema = Schema(c for c in schema if Tag.ITEM in c.tags)
        normal = keras.initializers.RandomNormal(seed=seed)
        sizes = {name: (schema[name].cardinality, dim) for name in ("user", "item")}
        self.tables = {name: self.add_weight(name=name, shape=s, initializer=normal) for name, s in sizes.items()}
        self.of_price = self.add_weight(name="price", shape=(1, dim), initializer=normal)
        self.built = True

    def encode_queries(self, features):
        query = ops.take(self.tables["user"], ops.reshape(features["user"], (-1,)), axis=0)
        if "history" in self.query_schema:
            history = features["history"]
            history = history.to_tensor() if hasattr(history, "to_tensor") else history
            known = ops.cast(ops.not_equal(history, 0), "float32")[..., None]
            vectors = ops.take(self.tables["item"], ops.cast(history, "int32"), axis=0) * known
            query += ops.sum(vectors, axis=1) / ops.maximum(ops.sum(known, axis=1), 1.0)
        return self.output_of(query)

    def encode_candidates(self, features):
        vectors = 0.0
        if not self.by_content:
            vectors = ops.take(
                self.tables["item"], ops.reshape(ops.cast(features["item"], "int32"), (-1,)), axis=0
            )
        if "price" in self.candidate_schema:
            vectors += ops.reshape(ops.cast(features["price"], "float32"), (-1, 1)) * self.of_price
        return self.output_of(vectors)

    def output_of(self, vectors):
        return ops.normalize(vectors, axis=-1) if self.similarity == "cosine" else vectors


def raw_pairs(rows=200, users=20, items=30, seed=0):
    """Return users with items; names that are strings, and a list of other items."""
    rng = np.random.default_rng(seed)
    user, item = rng.integers(0, users, rows), rng.integers(0, items, rows)
    return pl.DataFrame(
        {
            "user": [f"u{i}" for i in user],
            "item": [f"i{i}" for i in item],
            "price": (item * 0.37) % 1.9,
            "history": [[f"i{i}" for i in range(u % 4)] for u in user],
        }
    )


def fitted(frame, history=True):
    """Return a workflow for `raw_pairs`, fitted."""
    users = ["user"] >> etl.Categorify() >> etl.AddTags(["user", "user_id"])
    items = (["item", "history"] if history else ["item"]) >> etl.Categorify(table="item")
    prices = ["price"] >> etl.Normalize() >> etl.AddTags(["item"])
    columns = users + (items["item"] >> etl.AddTags(["item", "item_id"])) + prices
    if history:
        columns += items["history"] >> etl.AddTags(["user", "sequence"])
    return etl.Workflow(columns).fit(frame)
