"""One model with a table for every placement, optimizer and kind of input, trained on any number of ranks.

One trace serves all cases of a world size. It can also go wrong on purpose, to see that tests find it.
"""

from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import cache
from itertools import combinations, product

import keras
import numpy as np
import tensorflow as tf
from equivalence_cases import check_copies, part

import kerasrec as kr
from kerasrec.parallel import comm
from kerasrec.parallel.comm import batch_share

STEPS = 20
HOTNESS = 4
PLACEMENTS = ("row_wise", "table_wise", "column_wise", "replicated", "hybrid")
SUMMED = ("row_wise sums", "table_wise sums", "column_wise sums")  # where sums are exchanged, not rows
KINDS = ("one", "padded", "ragged", "weighted", "shared")
COMBINERS = ("sum", "mean", "sqrtn", None)
# By name: what trains the dense weights, and what the tables, at rates at which each moves by more than 0.01.
OPTIMIZERS = {
    "sgd": (kr.optimizers.SGD(0.1), kr.optimizers.SGD(30.0)),
    "momentum": (kr.optimizers.SGD(0.02, momentum=0.9), kr.optimizers.SGD(5.0, momentum=0.9)),
    "adagrad": tuple(kr.optimizers.Adagrad(0.02, initial_accumulator_value=start) for start in (1e-3, 1e-7)),
    "rowwise_adagrad": tuple(
        kr.optimizers.RowwiseAdagrad(0.02, initial_accumulator_value=start) for start in (1e-3, 1e-7)
    ),
    "adam": (kr.optimizers.Adam(0.003), kr.optimizers.Adam(0.003)),
    "adamw": (kr.optimizers.AdamW(0.003), kr.optimizers.AdamW(0.003)),
    "ftrl": (kr.optimizers.Ftrl(0.02), kr.optimizers.Ftrl(0.5)),
    "clipnorm": (kr.optimizers.SGD(1.0, clipnorm=0.02), kr.optimizers.SGD(5.0, clipnorm=0.01)),
    "global_clipnorm": (kr.optimizers.Adagrad(0.06, global_clipnorm=0.02, initial_accumulator_value=1e-6), None),
}
CLIPPED = ("clipnorm", "global_clipnorm")


def every_case():
    """The product: (placement, optimizer, kind) of each table."""
    cases = [
        each
        for each in product((*PLACEMENTS, *SUMMED), (name for name in OPTIMIZERS if name not in CLIPPED), KINDS)
        if not each[0].startswith("column_wise") or each[1] != "rowwise_adagrad"  # which it refuses
    ]
    # A norm is of a variable, so of all tables of one width: only by columns would there be others.
    cases += [("row_wise", "clipnorm", "one"), ("row_wise", "clipnorm", "ragged")]
    return cases + [(placement, "global_clipnorm", "padded") for placement in PLACEMENTS]


def pairwise_cases():
    """As few as hold every pair of a placement, an optimizer and a kind that is in the product."""

    def pairs(case):
        return set(combinations(enumerate(case), 2))

    cases, chosen = every_case(), []
    left = set().union(*map(pairs, cases))
    while left:
        chosen.append(max(cases, key=lambda case: len(pairs(case) & left)))
        left -= pairs(chosen[-1])
    return chosen


def sgd_cases():
    """Those in which a gradient's length shows."""
    return [(placement, "sgd", ("one", "ragged")[n % 2]) for n, placement in enumerate((*PLACEMENTS, *SUMMED))]


# What a rank's gradients are multiplied by instead of its share of the global batch.
WRONG = {
    "every rank alike": lambda share: 1 / comm.size(),
    "one rank left out": lambda share: share * (comm.rank() != 1),
    "summed": lambda share: 1.0,
}


@contextmanager
def going_wrong(how):
    """Steps that are traced meanwhile weigh the ranks' gradients so."""
    right = batch_share.share_of
    batch_share.share_of = lambda rows: tf.cast(WRONG[how](right(rows)), tf.float64)
    try:
        yield
    finally:
        batch_share.share_of = right


class Case:
    """A table and the features that look it up."""

    def __init__(self, number, placement, optimizer, kind):
        placement, _, self.exchange = placement.partition(" ")
        combiner = COMBINERS[number % (3 if kind == "weighted" or self.exchange else 4)]
        self.rows, self.shift = 7 + number % 11, number % 3
        self.table = kr.TableConfig(
            ".".join([placement, self.exchange or "rows", optimizer, kind, str(combiner)]),
            self.rows,
            4,
            combiner,
            keras.initializers.RandomNormal(0, 0.5),
            placement=placement,
            optimizer=OPTIMIZERS[optimizer][1],
            frequent_rows=2 if placement == "hybrid" else None,
        )
        forms = {"shared": ("one", "ragged"), "weighted": (("weighted_padded", "weighted_ragged")[number % 2],)}
        self.features = {f"{self.table.name}.{form}": form for form in forms.get(kind, (kind,))}

    def ids(self, batch, form):
        """As every table looks up other ids; 0 stays the padding's."""
        if form == "one":
            return (batch["one"] + self.shift) % self.rows
        padded, rows = batch["padded"], self.rows - 1
        padded = tf.where(padded > 0, 1 + (padded + self.shift) % rows, 0)
        ragged = batch["ragged"].with_values((batch["ragged"].values + self.shift) % self.rows)
        return {
            "padded": padded,
            "ragged": ragged,
            "weighted_padded": (padded, batch["weights"]),
            "weighted_ragged": (ragged, ragged.with_values(tf.cast(ragged.values + 1, tf.float32) / 10)),
        }[form]


@cache
def batches():
    """Global batches of some 20 rows, frequent ids and rare ones, lists of no id among them."""
    rng, out = np.random.default_rng(0), []
    for _ in range(STEPS):
        rows = int(rng.integers(8, 33))
        ids = np.minimum(rng.zipf(1.3, (rows, 1 + HOTNESS)) - 1, 102)
        hotness = rng.integers(0, HOTNESS + 1, rows)
        batch = {
            "x": rng.normal(size=(rows, 3)).astype("float32"),
            "one": ids[:, 0],
            "padded": np.where(np.arange(HOTNESS) < hotness[:, None], 1 + ids[:, 1:], 0),
            "ragged": [np.minimum(rng.zipf(1.3, n) - 1, 102).tolist() for n in rng.integers(0, 5, rows)],
            "weights": rng.random((rows, HOTNESS)).astype("float32"),
        }
        out.append((batch, rng.normal(size=(rows, 1)).astype("float32")))
    return out


SIGNATURE = [
    {
        "x": tf.TensorSpec((None, 3)),
        "one": tf.TensorSpec((None,), tf.int64),
        "padded": tf.TensorSpec((None, HOTNESS), tf.int64),
        "ragged": tf.RaggedTensorSpec((None, None), tf.int64, 1),
        "weights": tf.TensorSpec((None, HOTNESS)),
    },
    tf.TensorSpec((None, 1)),
]


def tensors(batch):
    return {
        name: tf.ragged.constant(values, tf.int64, ragged_rank=1, row_splits_dtype=tf.int64)
        if name == "ragged"
        else tf.constant(values, SIGNATURE[0][name].dtype)
        for name, values in batch.items()
    }


def flat(vectors):
    """Vectors that were kept apart, (batch, hotness, dim), added up with the place in the list as weight."""
    if isinstance(vectors, tf.RaggedTensor):
        vectors = vectors.to_tensor(shape=(None, HOTNESS, vectors.shape[-1]))
    if len(vectors.shape) == 2:
        return vectors
    return tf.reduce_sum(vectors * tf.range(1.0, HOTNESS + 1)[:, None], axis=1) / HOTNESS


def train(cases, ranks_per_node=None):
    """Weights by name before and after, and the losses of all global batches."""
    rank, ranks = comm.rank(), comm.size()
    keras.utils.set_random_seed(7 if rank == 0 else 100 + rank)  # dense weights begin as rank 0's
    cases = [Case(number, *each) for number, each in enumerate(cases)]
    features = {name: kr.FeatureConfig(name, case.table) for case in cases for name in case.features}
    plan = kr.parallel.plan_from_placements(features, ranks)
    exchange = {case.table.name: case.exchange or "rows" for case in cases}
    plan = replace(plan, tables=tuple(replace(each, exchange=exchange[each.table.name]) for each in plan.tables))
    layer = kr.layers.DistributedEmbedding(features, seed=3, plan=plan, ranks_per_node=ranks_per_node)
    layer.build()
    # For every optimizer a tower that it trains; the last one's trains the tables too.
    towers = {}
    optimizers = {name: type(dense).from_config(dense.get_config()) for name, (dense, _) in OPTIMIZERS.items()}
    for name, optimizer in optimizers.items():
        hidden = keras.layers.Dense(8, "tanh")
        towers[name] = keras.Sequential([keras.Input((3 + 4 * len(features),)), hidden, keras.layers.Dense(1)])
        tables = layer.trainable_variables if name == "global_clipnorm" else []
        optimizer.build([*tables, *towers[name].trainable_variables])

    @tf.function(input_signature=SIGNATURE, autograph=False)
    def step(batch, target):
        with tf.GradientTape(persistent=True) as tape:
            ids = {name: case.ids(batch, form) for case in cases for name, form in case.features.items()}
            vectors = [flat(each) for each in layer(ids, training=True).values()]
            inputs = tf.concat([batch["x"], *(each / len(vectors) ** 0.5 for each in vectors)], axis=1)
            out = tf.add_n([tower(inputs) for tower in towers.values()]) / 3
            loss = tf.reduce_mean((out - target) ** 2)
        trained = [towers[name].trainable_variables for name in towers]
        trained[-1] = [*layer.trainable_variables, *trained[-1]]
        gradients = tape.gradient(loss, trained)
        for optimizer, some, variables in zip(optimizers.values(), gradients, trained, strict=True):
            optimizer.apply(some, variables)
        return tf.reduce_sum((out - target) ** 2)

    def weights():
        dense = {name: [v.numpy().ravel() for v in tower.trainable_variables] for name, tower in towers.items()}
        return {f"dense.{name}": np.concatenate(values) for name, values in dense.items()} | {
            case.table.name: layer.table(case.table.name) for case in cases
        }

    before, losses = weights(), []
    for number, (batch, target) in enumerate(batches()):
        mine, wanted = part(batch, target, number, rank, ranks)
        (total,) = comm.allreduce([step(tensors(mine), tf.constant(wanted))], "loss")
        losses.append(float(total) / len(target))
    after = weights()
    for name in after:
        if name.startswith("dense."):
            assert len(set(comm.gather_objects(after[name].tobytes()))) == 1, f"{name} differs between ranks"
    if ranks > 1:
        for shards, variable in zip(layer._shards, layer._variables, strict=True):
            if shards.replica_rows:
                check_copies(after, shards, variable)
    return {"losses": np.array(losses), "before": before, "after": after}


CASES = {"product": every_case, "pairwise": pairwise_cases, "sgd": sgd_cases}


def run(which, ranks_per_node, ways):
    """Train the cases of that name once for each way to go wrong (None: as it should be)."""
    results = []
    for how in ways:
        with going_wrong(how) if how else nullcontext():
            results.append(train(CASES[which](), ranks_per_node))
    return results
