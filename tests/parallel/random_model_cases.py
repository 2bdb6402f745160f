"""Takes a few steps on models and batches that the test draws, one after another.

A case is plain data: `tables`, `features` (of which table, in which form), `steps` (by step, by rank, by row: each
feature's list of ids, or of pairs of id and weight, and the target) and what holds for all of it.
"""

import keras
import numpy as np
import tensorflow as tf
from equivalence_cases import check_copies

import kerasrec as kr
from kerasrec.parallel import comm
from kerasrec.tables.table_plan import TablePlan

HOTNESS = 3  # of padded lists, and the most of ragged ones
OPTIMIZERS = {  # rates that float32 holds exactly, as Keras keeps them so
    "sgd": lambda: kr.optimizers.SGD(0.25),
    "adagrad": lambda: kr.optimizers.Adagrad(0.25, initial_accumulator_value=0.125),
}


def layer_of(case):
    tables = [
        kr.TableConfig(f"t{number}", table["rows"], table["width"], table["combiner"], "normal")
        for number, table in enumerate(case["tables"])
    ]
    plan = kr.parallel.Plan(
        comm.size(),
        tuple(
            TablePlan(each, table["placement"], tuple(table["owners"]), table["frequent"], table["exchange"])
            for each, table in zip(tables, case["tables"], strict=True)
        ),
    )
    features = {
        f"f{number}": kr.FeatureConfig(f"f{number}", tables[feature["table"]])
        for number, feature in enumerate(case["features"])
    }
    dtype = case["dtype"]
    return kr.layers.DistributedEmbedding(
        features, seed=1, plan=plan, ranks_per_node=case["ranks_per_node"], dtype=dtype, name="drawn"
    )


def tensor_of(feature, lists, dtype):
    """A feature's ids as its form says, and their weights if they have some."""
    weighted, kind = feature["weighted"], feature["form"]
    ids = [[each[0] if weighted else each for each in some] for some in lists]
    weights = [[each[1] for each in some] for some in lists] if weighted else None

    def laid_out(values, dtype):
        if kind == "ragged":
            lengths = tf.constant([len(some) for some in values], feature["splits"])
            flat = tf.constant([each for some in values for each in some], dtype)
            return tf.RaggedTensor.from_row_lengths(flat, lengths)
        width = HOTNESS if kind == "padded" else 1
        filled = np.zeros((len(values), width))
        for row, some in zip(filled, values, strict=True):
            row[: len(some)] = some
        return tf.constant(filled if kind != "one" else filled[:, 0], dtype)

    return (
        (laid_out(ids, feature["dtype"]), laid_out(weights, dtype))
        if weighted
        else laid_out(ids, feature["dtype"])
    )


def one_vector(vectors):
    """Vectors that were kept apart, (batch, hotness, dim), added up with the place in the list as weight."""
    if isinstance(vectors, tf.RaggedTensor):
        vectors = vectors.to_tensor(shape=(None, HOTNESS, vectors.shape[-1]))
    if len(vectors.shape) == 2:
        return vectors
    places = tf.range(1, vectors.shape[1] + 1, dtype=vectors.dtype)
    return tf.reduce_sum(vectors * places[:, None], axis=1)


def train(case):
    """All weights by name, before the steps and after."""
    layer, dtype = layer_of(case), case["dtype"]
    layer.build()
    factors = [
        keras.Variable(np.linspace(1, 2, case["tables"][feature["table"]]["width"]), dtype=dtype)
        for feature in case["features"]
    ]
    variables = [*layer.trainable_variables, *factors]
    optimizer = OPTIMIZERS[case["optimizer"]]()
    optimizer.build(variables)

    def weights():
        tables = {f"t{number}": layer.table(f"t{number}") for number in range(len(case["tables"]))}
        return tables | {f"f{number}": factor.numpy() for number, factor in enumerate(factors)}

    before = weights()
    for parts in case["steps"]:
        batch = parts[comm.rank()]
        ids = {
            f"f{number}": tensor_of(feature, [row["ids"][number] for row in batch], dtype)
            for number, feature in enumerate(case["features"])
        }
        with tf.GradientTape() as tape:
            vectors = layer(ids, training=True).values()
            out = [tf.linalg.matvec(one_vector(v), factor) for v, factor in zip(vectors, factors, strict=True)]
            target = tf.constant([row["target"] for row in batch], dtype)
            loss = tf.reduce_mean((tf.add_n(out) - target) ** 2)
        optimizer.apply(tape.gradient(loss, variables), variables)
    after = weights()
    for name in after:
        assert len(set(comm.gather_objects(after[name].tobytes()))) == 1, f"{name} differs between ranks"
    for shards, variable in zip(layer._shards, layer._variables, strict=True):
        if shards.replica_rows:
            check_copies(after, shards, variable)
    return {f"{name} before": rows for name, rows in before.items()} | after
