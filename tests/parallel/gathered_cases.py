"""Trains retrieval models on the same global batches on any number of ranks."""

import keras
import numpy as np
import polars as pl

import kerasrec as kr
from kerasrec.parallel import comm
from kerasrec.schema import Column, Schema, Tag

SCHEMA = Schema(
    [
        Column("user", "int32", (Tag.CATEGORICAL, Tag.USER), cardinality=40),
        Column("seen", "int32", (Tag.CATEGORICAL, Tag.LIST), cardinality=50, table="item"),
        Column("item", "int32", (Tag.CATEGORICAL, Tag.ITEM_ID), cardinality=50, table="item"),
        Column("price", "float32", (Tag.CONTINUOUS, Tag.ITEM)),
    ]
)
RANKED = Schema([*SCHEMA, Column("clicked", "float32", (Tag.TARGET, Tag.BINARY))])
ITEMS = {"item": range(3, 50), "price": [0.5 * (i % 7) for i in range(47)]}
STEPS = 8
CASES = {
    "softmax": lambda: (
        kr.models.TwoTower(SCHEMA, 6, [8, 5], [5], seed=1),
        kr.losses.InBatchSoftmax(0.1, memory=30, hard_negatives=12),
    ),
    "hinge": lambda: (
        kr.models.TwoTower(SCHEMA, 6, [5], [5], "l2", seed=1),
        kr.losses.InBatch(kr.losses.Hinge(), remove_accidental_hits=False),
    ),
    "biases": lambda: (
        kr.models.MatrixFactorization(SCHEMA.subset(["user", "seen", "item"]), 6, biases=True, seed=1),
        kr.losses.InBatchSoftmax(),
    ),
}
FIT = lambda: kr.models.MatrixFactorization(SCHEMA.subset(["user", "item"]), 4, seed=1)  # noqa: E731


def batches():
    """Global batches, and where ranks' rows end: unequal shares of two ranks."""
    rng = np.random.default_rng(0)
    rows = 20
    for step in range(STEPS):
        yield (
            {
                "user": rng.integers(0, 40, rows).astype("int32"),
                "seen": rng.integers(0, 50, (rows, 3)).astype("int32"),
                "item": np.minimum(rng.zipf(1.3, rows) + 2, 49).astype("int32"),
                "price": rng.normal(size=rows).astype("float32"),
            },
            (7, 13)[step % 2],
        )


def train(name):
    """The weights after some steps, with what the loss has counted and remembered; tables by name."""
    keras.utils.set_random_seed(7)
    model, loss = CASES[name]()
    model.compile(kr.optimizers.SGD(0.3), loss)
    before = weights_of(model)
    for batch, cut in batches():
        mine = slice(0, None) if comm.size() == 1 else (slice(0, cut), slice(cut, None))[comm.rank()]
        model.train_on_batch({column: values[mine] for column, values in batch.items()})
    return {"before": before, "after": weights_of(model)}


def weights_of(model):
    layers = [each for each in (model.embeddings, model.item_table) if each is not None]
    tables = {p.table.name: each.table(p.table.name) for each in layers for p in each.plan.tables}
    dense = [w for w in model.weights if "tower" in w.path]  # ranks have other numbers of weights of tables
    towers = {f"tower {i}": w.numpy() for i, w in enumerate(dense)}
    kept = dict(zip(("counts", "memory"), model.batch_candidates.get_weights(), strict=False))
    return {**tables, **towers, **kept}


def run(names, folder=None):
    return {name: train(name) for name in names} | ({"index": search(folder)} if folder else {})


def search(folder):
    """What an index of a model with sharded tables finds, its SavedModel after it, and that of a recommender."""
    keras.utils.set_random_seed(7)
    model = kr.models.TwoTower(SCHEMA, 6, [8, 5], [5], seed=1)
    items, rng = pl.DataFrame(ITEMS), np.random.default_rng(1)
    rows = pl.DataFrame(
        {"user": rng.integers(0, 40, 30), "seen": rng.integers(3, 50, (30, 3)), "item": rng.integers(3, 50, 30)}
    )
    rows = rows.with_columns(pl.col("seen").cast(pl.List(pl.Int64)))
    index = kr.retrieval.Index(model, items)
    index.update(items[:3].with_columns(price=pl.lit(2.0)))
    served = kr.serving.load(kr.serving.export(index, f"{folder} index"))
    queries = rows.select("user", "seen")
    ranker = kr.models.DLRM(RANKED, 6, [6], [4], embeddings_initializer="normal", seed=2)
    recommender = kr.serving.Recommender(index, ranker, items, filters=pl.col("price") < 3, candidates=20)
    recommender = kr.serving.load(kr.serving.export(recommender, f"{folder} recommender"))
    return {
        "recommended": recommender.recommend(queries, 5),
        "report": index.evaluate(rows, at=(2, 10), exclude_seen=rows[:9], user="user").to_dict(),
        "ids": index.recommend(queries, 5).ids,
        "served": served.recommend(queries, 5)["ids"],
    }


def fit_drawn():
    """The losses of a fit against drawn items, with fewer of them than the batch has rows."""
    model = FIT()
    model.compile(kr.optimizers.SGD(0.3), kr.losses.BPR(2))
    rng = np.random.default_rng(comm.rank())
    x = {"user": rng.integers(3, 40, 64).astype("int32"), "item": rng.integers(3, 50, 64).astype("int32")}
    return model.fit(x, batch_size=16, epochs=2, verbose=0).history["loss"]
