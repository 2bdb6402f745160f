"""What a step sends, counted as it is handed to Horovod, against the closed form; run by `comm_cases.py`."""

import itertools
from dataclasses import replace

import numpy as np
import tensorflow as tf

import kerasrec as kr
from kerasrec.datasets.power_law import Zipf
from kerasrec.parallel import comm
from kerasrec.tables.access_frequency import power_law_head

ROWS, WIDTH, BATCH = 20_000, 16, 1500
number = itertools.count()


def ids_of(rank, salt=0, rows=ROWS):
    return Zipf(rows, 1.05)(np.random.default_rng([rank, salt]).random(BATCH))


def sent_in_a_step(layer, ids):
    """The names of the messages, and the bytes that each rank sends each other one, (ranks, ranks)."""
    rank, names, to = comm.rank(), [], np.zeros(comm.size())
    alltoall, allgather = comm.alltoall, comm.allgather

    def counted_alltoall(tensor, splits, name):
        row = tensor.dtype.size * int(np.prod(tensor.shape[1:]))
        names.append(name)
        to[:] += np.array(splits) * row + 4  # each part's length goes along
        return alltoall(tensor, splits, name)

    def counted_allgather(tensor, name):
        names.append(name)
        to[:] += tensor.dtype.size * int(np.prod(tensor.shape))
        return allgather(tensor, name)

    layer.build()
    optimizer = kr.optimizers.SGD(0.1)
    optimizer.build(layer.trainable_variables)
    comm.alltoall, comm.allgather = counted_alltoall, counted_allgather
    try:
        with tf.GradientTape() as tape:
            loss = sum(tf.reduce_sum(each) for each in layer(ids, training=True).values())
        optimizer.apply(tape.gradient(loss, layer.trainable_variables), layer.trainable_variables)
    finally:
        comm.alltoall, comm.allgather = alltoall, allgather
    to[rank] = 0
    return names, np.array(comm.gather_objects(to))


def layer_of(features, **options):
    features = {each.name: each for each in features}
    plan = options.pop("plan", None) or kr.parallel.plan_from_placements(features, comm.size())
    return kr.layers.DistributedEmbedding(features, plan=plan, name=f"bytes_{next(number)}", **options)


def check_closed_form():
    """Three messages for all features, tables and widths; each distinct row once, in few bytes."""
    ranks = comm.size()
    one, two = (kr.TableConfig(f"t{width}", ROWS, width, placement="row_wise") for width in (WIDTH, 2 * WIDTH))
    features = [kr.FeatureConfig("a", one), kr.FeatureConfig("b", one), kr.FeatureConfig("c", two)]
    ids = {each.name: tf.constant(ids_of(comm.rank(), salt)) for salt, each in enumerate(features)}
    distinct = [np.unique(np.concatenate([ids_of(r, 0), ids_of(r, 1)])) for r in range(ranks)]
    others = [np.unique(ids_of(r, 2)) for r in range(ranks)]
    for wire, size in (("float32", 4), ("bfloat16", 2)):
        names, sent = sent_in_a_step(layer_of(features, wire_dtype=wire), ids)
        assert [name.rpartition(".")[2] for name in names] == ["ids", "vectors", "gradients"]
        id_bytes = 2  # for an owner's rows of both tables
        form = sum(len(each) * (id_bytes + 2 * WIDTH * size) for each in distinct)
        form += sum(len(each) * (id_bytes + 2 * 2 * WIDTH * size) for each in others)
        form = form * (ranks - 1) / ranks + 3 * 4 * ranks * ranks
        assert 0.9 * form < sent.sum() <= 1.1 * form, (sent.sum(), form)


def check_predicted():
    """A plan's bytes are those that are sent, whatever is copied and in whatever number of bytes."""
    ranks, head = comm.size(), power_law_head(ROWS, 1.05)
    for placement, wire in (("row_wise", "float32"), ("hybrid", "bfloat16"), ("hybrid", "float32")):
        table = kr.TableConfig("t", ROWS, WIDTH, placement=placement, frequent_rows=300, lookup_cdf=head)
        table = table if placement == "hybrid" else replace(table, frequent_rows=None)
        plan = kr.parallel.plan([table], ranks, None, BATCH, wire_dtype=wire)
        layer = layer_of([kr.FeatureConfig("t", table)], wire_dtype=wire, plan=plan)
        names, sent = sent_in_a_step(layer, {"t": tf.constant(ids_of(comm.rank()))})
        assert len(names) == (5 if placement == "hybrid" else 3)
        np.testing.assert_allclose(sent.sum(), sum(plan.predicted.sent_bytes), rtol=0.05)
    table = kr.TableConfig("t", ROWS, WIDTH, placement="row_wise", lookup_cdf=head)
    plan = kr.parallel.plan([table], ranks, None, BATCH, dtype="float64")
    layer = layer_of([kr.FeatureConfig("t", table)], plan=plan, dtype="float64")
    _, sent = sent_in_a_step(layer, {"t": tf.constant(ids_of(comm.rank()))})
    np.testing.assert_allclose(sent.sum(), sum(plan.predicted.sent_bytes), rtol=0.05)


def check_nodes():
    """On two nodes a row crosses between them once, however many ranks of a node look it up."""
    ranks, per_node = comm.size(), comm.size() // 2
    if ranks != 4:
        return
    table = kr.TableConfig("t", ROWS, WIDTH, placement="row_wise")
    nodes = [range(per_node), range(per_node, ranks)]
    everyones = [np.unique(ids_of(rank)) for rank in range(ranks)]
    together = [np.unique(np.concatenate([everyones[rank] for rank in node])) for node in nodes]

    def crossing(rows, node):
        return sum(owner not in node for owner in rows % ranks)

    wanted = {
        None: sum(crossing(everyones[rank], node) for node in nodes for rank in node),
        per_node: sum(crossing(rows, node) for rows, node in zip(together, nodes, strict=True)),
    }
    assert wanted[per_node] < 0.9 * wanted[None]
    for ranks_per_node, rows in wanted.items():
        layer = layer_of([kr.FeatureConfig("t", table)], ranks_per_node=ranks_per_node)
        _, sent = sent_in_a_step(layer, {"t": tf.constant(ids_of(comm.rank()))})
        between = sent[:per_node, per_node:].sum() + sent[per_node:, :per_node].sum()
        np.testing.assert_allclose(between, rows * (2 + 2 * WIDTH * 4), rtol=0.01)


def check_what_waits():
    """In a step's graph the bottom tower does not wait for the exchange; dense gradients are one message."""
    columns = [kr.Column(name, "int64", tags=("categorical",), cardinality=ROWS) for name in ("a", "b")]
    columns += [kr.Column("x", "float32", tags=("continuous",)), kr.Column("y", "int8", tags=("target", "binary"))]
    model = kr.models.DLRM(kr.Schema(columns), 4, bottom_units=[8, 4], top_units=[8, 8])
    optimizer = kr.optimizers.SGD(0.1)
    optimizer.build(model.trainable_variables)
    allreduce, messages = comm.allreduce, []

    @tf.function
    def step(features):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model(features, training=True))
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    comm.allreduce = lambda tensors, name: [messages.append(name), allreduce(tensors, name)][1]
    specs = {name: tf.TensorSpec((None,), "int64") for name in ("a", "b")} | {"x": tf.TensorSpec((None,))}
    try:
        graph = step.get_concrete_function(specs).graph
    finally:
        comm.allreduce = allreduce
    assert messages == ["kerasrec.rows", "kerasrec.gradients"]
    products = {"bottom": [], "top": []}
    for each in graph.get_operations():
        for tower, found in products.items():
            if each.type == "MatMul" and f"/{tower}" in each.name and "gradient" not in each.name:
                found.append(each)
    assert [len(found) for found in products.values()] == [2, 2], [o.name for o in graph.get_operations()]
    for tower, found in products.items():
        for each in found:
            assert any("Alltoall" in op.type for op in all_before(each)) == (tower == "top"), each.name


def all_before(operation):
    """All operations of a graph that run before one."""
    found, waiting = set(), [operation]
    while waiting:
        each = waiting.pop()
        before = {tensor.op for tensor in each.inputs} | set(each.control_inputs)
        waiting += before - found
        found |= before
    return found


CASES = (check_closed_form, check_predicted, check_nodes, check_what_waits)
