"""Trains the same model on the same global batches on any number of ranks."""

from dataclasses import replace

import keras
import numpy as np
import tensorflow as tf

import kerasrec as kr
from kerasrec.parallel import comm

STEPS = 20
OPTIMIZERS = {
    "sgd": lambda: kr.optimizers.SGD(0.1),
    "momentum": lambda: kr.optimizers.SGD(0.02, momentum=0.9),
    "adagrad": lambda: kr.optimizers.Adagrad(0.1, initial_accumulator_value=0.01),
    "rowwise_adagrad": lambda: kr.optimizers.RowwiseAdagrad(0.1, initial_accumulator_value=0.01),
    "adam": lambda: kr.optimizers.Adam(0.01),
    "adamw": lambda: kr.optimizers.AdamW(0.01),
    "ftrl": lambda: kr.optimizers.Ftrl(0.1),
    "clipnorm": lambda: kr.optimizers.SGD(2.0, clipnorm=0.05),
    "global_clipnorm": lambda: kr.optimizers.Adagrad(0.3, global_clipnorm=0.05, initial_accumulator_value=0.01),
}
SIZES = {"item": (103, 4), "tag": (31, 6), "tiny": (2, 4)}


def layer_of(case):
    placed = case["placements"]
    tables = {
        name: kr.TableConfig(
            name,
            rows,
            width,
            case["combiner"],
            "normal",
            placement=placed[name],
            frequent_rows=case.get("frequent"),
        )
        for name, (rows, width) in SIZES.items()
    }
    features = {
        "item": kr.FeatureConfig("item", tables["item"]),
        "history": kr.FeatureConfig("history", tables["item"]),
        "tags": kr.FeatureConfig("tags", tables["tag"]),
        "tiny": kr.FeatureConfig("tiny", tables["tiny"]),
    }
    plan = kr.parallel.plan_from_placements(features, comm.size())
    if case.get("sums"):
        plan = replace(
            plan, tables=tuple(replace(t, exchange="rows" if t.frequent_rows else "sums") for t in plan.tables)
        )
    per_node = case.get("ranks_per_node") if comm.size() == 4 else None
    return kr.layers.DistributedEmbedding(
        features,
        seed=3,
        plan=plan,
        wire_dtype=case.get("wire_dtype"),
        ranks_per_node=per_node,
        dtype=case.get("dtype", "float32"),
    )


def batches(case):
    """Global batches of some 24 rows."""
    rng = np.random.default_rng(0)
    for _ in range(STEPS):
        rows = int(rng.integers(8, 25))
        ids = np.minimum(rng.zipf(1.3, (rows, 5)) - 1, 102)
        hotness = rng.integers(0, 5, rows)
        batch = {
            "x": rng.normal(size=(rows, 3)).astype(case.get("dtype", "float32")),
            "item": ids[:, 0],
            "history": np.where(np.arange(4) < hotness[:, None], ids[:, 1:], 0),
            "tags": [rng.integers(0, 31, n).tolist() for n in rng.integers(0, 4, rows)],
            "tiny": rng.integers(0, 2, rows),
            "weights": rng.random((rows, 4)).astype(case.get("dtype", "float32")),
        }
        yield batch, rng.normal(size=(rows, 1)).astype(case.get("dtype", "float32"))


def part(batch, target, step, rank, ranks):
    """A rank's rows: unequal shares, and none at all on some rank now and then."""
    cuts = np.sort(np.random.default_rng(step).integers(0, len(target) + 1, ranks - 1))
    if step % 3 == 0 and ranks > 1:
        cuts[0] = 0
    first, last = np.concatenate([[0], np.sort(cuts), [len(target)]])[rank : rank + 2].astype(int)
    return {name: values[first:last] for name, values in batch.items()}, target[first:last]


def train(case):
    """The weights before and after, and the losses of all global batches."""
    rank, ranks = comm.rank(), comm.size()
    keras.utils.set_random_seed(7 if rank == 0 else 100 + rank)  # dense weights begin as rank 0's
    layer = layer_of(case)
    layer.build()
    dtype = case.get("dtype", "float32")
    hidden = keras.layers.Dense(8, "tanh", dtype=dtype)
    tower = keras.Sequential([keras.layers.Input((21,), dtype=dtype), hidden, keras.layers.Dense(1, dtype=dtype)])
    optimizer = OPTIMIZERS[case["optimizer"]]()
    variables = [*layer.trainable_variables, *tower.trainable_variables]
    optimizer.build(variables)
    tables = {name: layer.table(name) for name in SIZES}
    dense = np.concatenate([v.numpy().ravel() for v in tower.trainable_variables])

    @tf.function(
        input_signature=[
            {
                "x": tf.TensorSpec((None, 3), dtype),
                "item": tf.TensorSpec((None,), tf.int64),
                "history": tf.TensorSpec((None, 4), tf.int64),
                "tags": tf.RaggedTensorSpec((None, None), tf.int64, 1),
                "tiny": tf.TensorSpec((None,), tf.int64),
                "weights": tf.TensorSpec((None, 4), dtype),
            },
            tf.TensorSpec((None, 1), dtype),
        ]
    )
    def step(batch, target):
        with tf.GradientTape() as tape:
            ids = {name: batch[name] for name in ("item", "history", "tags", "tiny")}
            if case.get("weighted"):
                ids["history"] = (batch["history"], batch["weights"])
            vectors = layer(ids, training=True)
            out = tower(tf.concat([batch["x"], *vectors.values()], axis=1))
            loss = tf.reduce_mean((out - target) ** 2)
        optimizer.apply(tape.gradient(loss, variables), variables)
        return tf.reduce_sum((out - target) ** 2)

    losses = []
    for number, (batch, target) in enumerate(batches(case)):
        mine, wanted = part(batch, target, number, rank, ranks)
        mine = {
            name: tf.ragged.constant(values, tf.int64, ragged_rank=1)
            if name == "tags"
            else tf.constant(values, dtype if name in ("x", "weights") else tf.int64)
            for name, values in mine.items()
        }
        (total,) = comm.allreduce([step(mine, wanted)], "loss")
        losses.append(float(total) / len(target))
    mine = np.concatenate([v.numpy().ravel() for v in tower.trainable_variables])
    everyones = comm.gather_objects(mine.tobytes())
    assert len(set(everyones)) == 1, "dense weights differ between ranks"
    out = {"losses": np.array(losses), "dense": mine, "dense_before": dense}
    for name in SIZES:
        out[name], out[f"{name}_before"] = layer.table(name), tables[name]
    for shards, variable in zip(layer._shards, layer._variables, strict=True):
        if shards.replica_rows and ranks > 1:
            check_copies(out, shards, variable)
    return out


def check_copies(tables, shards, variable):
    """Every rank's copies of rows are to the bit what their owners have."""
    copies = variable.replicas.replicas.numpy()
    for each, first in zip(shards.slices, shards.first_replica.tolist(), strict=False):
        rows = tables[each.source.name][: each.frequent_rows, slice(*each.columns)]
        np.testing.assert_array_equal(copies[first : first + each.frequent_rows], rows)


def run(cases):
    """Train each case."""
    return [train(case) for case in cases]
