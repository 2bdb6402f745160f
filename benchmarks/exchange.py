"""Count the bytes that ranks send each other per step, and those sent between nodes.

    python benchmarks/exchange.py                    # counted for 8 ranks; sent and counted for 2 and 4 real ranks

One table of 1,000,000 x 32 float32; ids follow a power law truncated at the last row (frequent ids first, as
Categorify numbers them); each of 8 ranks has a batch of its own. Counted are the bytes of ids, vectors, gradients
and message lengths that a rank sends to others, averaged over ranks. The methods:

- all: HugeCTR's distributed slot embedding: every id, every vector and every gradient is sent.
- row_wise: each distinct row once.
- hybrid: replicas of the frequent rows that `kr.parallel.plan` chooses, or of 1 % of the rows. No number of rows
  is best for both bytes and local lookups: a changed row goes to all ranks, a vector only to the rank that asks.
- two hops: 2 nodes of 4 ranks; distinct rows are sent once between nodes.

Then lists: 512 lists of 100 ids per rank, averaged, row-wise: what ranks send if owners answer with rows or with
sums, predicted and measured, and which of them the plan chooses.

The closed form for row_wise, with U_r distinct ids on rank r, width D and S ranks, is U_r (S - 1) / S (id bytes +
2 x D x 4), plus S x 4 bytes of lengths per message. Bytes are counted from the routing that `Exchange` uses; on 2
and 4 ranks under horovodrun, the bytes that `Exchange` hands to Horovod are measured as well.
"""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import kerasrec as kr
from kerasrec.parallel.planner import cost_model
from kerasrec.tables.byte_sizes import bytes_for
from kerasrec.tables.sharding import shard_tables
from kerasrec.tables.workload import Step, table_workloads

ROWS, WIDTH, RANKS = 1_000_000, 32, 8
LISTS, HOTNESS, LIST_EXPONENT = 512, 100, 1.05
WAYS = {"row_wise": {}, "hybrid": {}, "hybrid, 1 %": {"frequent_rows": ROWS // 100}}


def ids_of(rank, batch, exponent):
    share = np.cumsum(np.arange(1, ROWS + 1, dtype=np.float64) ** -exponent)
    drawn = share[-1] * np.random.default_rng([rank, batch]).random(batch)
    return np.searchsorted(share, drawn, side="right").clip(max=ROWS - 1)


def head_of(exponent):
    """What a schema tells of such ids: the share of lookups that go to the first 1, 2, 4, ... rows."""
    share = np.cumsum(np.arange(1, ROWS + 1, dtype=np.float64) ** -exponent)
    return tuple(share[2**k - 1] / share[-1] for k in range(ROWS.bit_length()) if 2**k <= ROWS)


def planned(way, ranks, batch, exponent):
    placement = way.split(",")[0]
    table = kr.TableConfig("t", ROWS, WIDTH, placement=placement, lookup_cdf=head_of(exponent), **WAYS[way])
    return kr.parallel.plan([table], ranks, memory=None, batch_size=batch)


def planned_lists(ranks, exchange=None):
    """As `kr.parallel.plan` chooses, or with the exchange that is named."""
    table = kr.TableConfig("t", ROWS, WIDTH, "mean", placement="row_wise", lookup_cdf=head_of(LIST_EXPONENT))
    features = [kr.FeatureConfig("t", table, HOTNESS)]
    plan = kr.parallel.plan(features, ranks, memory=None, batch_size=LISTS)
    if exchange is None:
        return plan
    tables = tuple(replace(each, exchange=exchange) for each in plan.tables)
    step = Step(ranks, LISTS, 25e9, 1e12, "float32")
    return replace(
        plan, tables=tables, predicted=cost_model.predict(tables, table_workloads(features, "sgd"), step)
    )


def counted(plan, batches, per_node=None):
    """(ranks, ranks) bytes that each sends each in a step, counts included; and the share of local lookups."""
    (shards,) = shard_tables(plan, [each.table for each in plan.tables])
    (part,) = shards.slices
    ranks, copied = plan.ranks, part.frequent_rows
    per_node = per_node or ranks
    rows_held, owned = int(shards.first_local_row[-1].max()), shards.max_owned_replicas
    vector = 4 * WIDTH
    sent = np.zeros((ranks, ranks))
    touched = []  # frequent rows, on whichever rank
    asked = {}  # by relay: what its node's ranks want of it
    messages = 3 if per_node == ranks else 6
    for rank, ids in enumerate(batches):
        distinct = np.unique(ids)
        owner = np.array(part.owners)[distinct % len(part.owners)]
        relay = owner if per_node == ranks else rank // per_node * per_node + owner % per_node
        nodes = ranks // per_node
        id_bytes = bytes_for((rows_held + owned) * (nodes - 1) + rows_held - 1)
        frequent = distinct < copied
        touched.append(distinct[frequent])
        for to in range(ranks):
            mine = relay == to
            cold = mine & ~frequent
            sent[rank, to] += cold.sum() * id_bytes + -(-nodes * owned // 8)  # ids, a bit for each copied row
            sent[rank, to] += mine.sum() * vector  # gradients
            sent[to, rank] += cold.sum() * vector
            asked.setdefault(to, []).append(distinct[mine])
    if per_node != ranks:
        for relay, wanted in asked.items():
            distinct = np.unique(np.concatenate(wanted))
            owner = np.array(part.owners)[distinct % len(part.owners)]
            for to in range(ranks):
                mine = distinct[owner == to]
                cold = (mine >= copied).sum()
                sent[relay, to] += cold * bytes_for(rows_held - 1) + -(-owned // 8) + len(mine) * vector
                sent[to, relay] += cold * vector
    changed = np.unique(np.concatenate(touched))
    for rank in range(ranks):  # owners tell every rank the copied rows that changed
        mine = (np.array(part.owners)[changed % len(part.owners)] == rank).sum()
        sent[rank] += mine * vector + -(-owned // 8)
    sent += 4 * messages
    np.fill_diagonal(sent, 0)
    local = np.mean([(ids < copied).mean() for ids in batches])
    return sent, local


def undeduplicated(batches, ranks):
    """Every lookup's id (4 bytes), vector and gradient, rows on `id % ranks`."""
    sent = np.zeros((ranks, ranks))
    for rank, ids in enumerate(batches):
        to = np.bincount(ids % ranks, minlength=ranks)
        sent[rank] += to * (4 + 4 * WIDTH)
        sent[:, rank] += to * 4 * WIDTH
    sent += 4 * 3
    np.fill_diagonal(sent, 0)
    return sent


def between_nodes(sent, per_node):
    node = np.arange(len(sent)) // per_node
    return sent[node[:, None] != node].sum()


def compare(exponent, batch):
    batches = [ids_of(rank, batch, exponent) for rank in range(RANKS)]
    every = undeduplicated(batches, RANKS)
    distinct = np.mean([len(np.unique(ids)) for ids in batches])
    closed = distinct * (RANKS - 1) / RANKS * (bytes_for(-(-ROWS // RANKS) - 1) + 8 * WIDTH)
    out = {"exponent": exponent, "batch": batch, "distinct": distinct, "closed_form": closed}
    out["all"] = every.sum() / RANKS
    for way in WAYS:
        plan = planned(way, RANKS, batch, exponent)
        sent, local = counted(plan, batches)
        out[way] = {"bytes": sent.sum() / RANKS, "local": local, "copied": plan["t"].frequent_rows}
    plan = planned("row_wise", RANKS, batch, exponent)
    nodes = {"all": every, "direct": counted(plan, batches)[0], "two hops": counted(plan, batches, 4)[0]}
    out["between_nodes"] = {way: between_nodes(sent, 4) for way, sent in nodes.items()}
    return out


# ---- what is really sent -------------------------------------------------------------------------------------
def worker(batch, exponent):
    """On every rank: a step of training, with what goes through Horovod measured."""
    import tensorflow as tf

    from kerasrec.parallel import comm

    rank, ranks = comm.rank(), comm.size()
    results = {}
    for way, per_node in (("row_wise", None), ("hybrid, 1 %", None), ("row_wise", 2)):
        if per_node and ranks == per_node:
            continue
        plan = planned(way, ranks, batch, exponent)
        feature = kr.FeatureConfig("t", plan["t"].table)
        layer = kr.layers.DistributedEmbedding({"t": feature}, plan=plan, ranks_per_node=per_node, name="emb")
        real = sent_in_a_step(layer, tf.constant(ids_of(rank, batch, exponent)))
        batches = [ids_of(each, batch, exponent) for each in range(ranks)]
        expected = counted(plan, batches, per_node)[0].sum()
        results[f"{way}{', two hops' if per_node else ''}"] = {"sent": real / ranks, "counted": expected / ranks}
    lists = {}
    for exchange in ("rows", "sums"):
        plan = planned_lists(ranks, exchange)
        feature = kr.FeatureConfig("t", plan["t"].table, HOTNESS)
        layer = kr.layers.DistributedEmbedding({"t": feature}, plan=plan, name="lists")
        ids = ids_of(rank, LISTS * HOTNESS, LIST_EXPONENT).reshape(LISTS, HOTNESS)
        sent = sent_in_a_step(layer, tf.RaggedTensor.from_tensor(tf.constant(ids)))
        lists[exchange] = {"sent": sent / ranks, "predicted": float(np.mean(plan.predicted.sent_bytes))}
    lists["chosen"] = planned_lists(ranks)["t"].exchange
    if rank == 0:
        print(json.dumps({"ranks": ranks, "single": results, "lists": lists}))


def sent_in_a_step(layer, ids):
    """The bytes that all ranks send to others in one step of training, as they are handed to Horovod."""
    import tensorflow as tf

    from kerasrec.parallel import comm

    rank, ranks, sizes = comm.rank(), comm.size(), []
    originals = comm.alltoall, comm.allgather

    def alltoall(tensor, splits, name):
        row = tensor.dtype.size * int(np.prod(tensor.shape[1:]))
        sizes.append(sum(int(n) * row + 4 for to, n in enumerate(splits) if to != rank))
        return originals[0](tensor, splits, name)

    def allgather(tensor, name):
        sizes.append(tensor.dtype.size * int(np.prod(tensor.shape)) * (ranks - 1))
        return originals[1](tensor, name)

    layer.build()
    optimizer = kr.optimizers.SGD(0.1)
    optimizer.build(layer.trainable_variables)
    comm.alltoall, comm.allgather = alltoall, allgather
    try:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer({"t": ids}, training=True)["t"])
        optimizer.apply(tape.gradient(loss, layer.trainable_variables), layer.trainable_variables)
    finally:
        comm.alltoall, comm.allgather = originals
    return sum(comm.gather_objects(sum(sizes)))


def really(ranks, batch, exponent):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent), "TF_CPP_MIN_LOG_LEVEL": "2"}
    command = [sys.executable, "-m", "horovod.runner.launch", "--gloo", "-np", str(ranks)]
    command += ["-H", f"localhost:{ranks}", sys.executable, __file__, "--worker", str(batch), str(exponent)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    lines = [line.partition("<stdout>:")[2] for line in done.stdout.splitlines() if '{"ranks"' in line]
    if not lines:
        raise SystemExit(f"horovodrun failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return json.loads(lines[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--worker", nargs=2, metavar=("BATCH", "EXPONENT"), help=argparse.SUPPRESS)
    parser.add_argument("--real", nargs="*", type=int, default=[2, 4], help="numbers of real ranks to check with")
    args = parser.parse_args()
    if args.worker:
        worker(int(args.worker[0]), float(args.worker[1]))
        return
    console = Console(width=150)
    results = [compare(exponent, batch) for exponent in (1.05, 1.2) for batch in (4_096, 65_536)]
    table = Table(
        *("zipf", "batch", "distinct", "all, KB", "row_wise, KB", "to closed form", "all / row_wise"),
        *("hybrid / row_wise", "copied", "local", "1 %: / row_wise", "local"),
        *("between nodes: all / direct", "all / two hops"),
        title=f"bytes that a rank sends in a step, {RANKS} ranks",
    )
    for found in results:
        ours, nodes = found["row_wise"]["bytes"], found["between_nodes"]
        hybrid, more = found["hybrid"], found["hybrid, 1 %"]
        table.add_row(
            f"{found['exponent']}", f"{found['batch']:,}", f"{found['distinct']:,.0f}",
            f"{found['all'] / 1e3:,.0f}", f"{ours / 1e3:,.0f}",
            f"{ours / found['closed_form']:.3f}", f"{found['all'] / ours:.2f}",
            f"{hybrid['bytes'] / ours:.4f}", f"{hybrid['copied']:,}", f"{hybrid['local']:.0%}",
            f"{more['bytes'] / ours:.2f}", f"{more['local']:.0%}",
            f"{nodes['all'] / nodes['direct']:.2f}", f"{nodes['all'] / nodes['two hops']:.2f}",
        )  # fmt: skip
    console.print(table)
    checks = [really(ranks, 4_096, 1.2) for ranks in args.real]
    table = Table("ranks", "way", "sent, KB", "counted, KB", title="sent by real ranks, batch 4,096, zipf(1.2)")
    lists = Table("ranks", "answers", "sent, KB", "predicted, KB", "chosen", title="lists of 100 ids, sent")
    for check in checks:
        for way, found in check["single"].items():
            table.add_row(
                f"{check['ranks']}", way, f"{found['sent'] / 1e3:,.1f}", f"{found['counted'] / 1e3:,.1f}"
            )
        chosen = check["lists"].pop("chosen")
        for exchange, found in check["lists"].items():
            kb = f"{found['sent'] / 1e3:,.1f}", f"{found['predicted'] / 1e3:,.1f}"
            lists.add_row(f"{check['ranks']}", exchange, *kb, "x" if exchange == chosen else "")
    console.print(table)
    console.print(lists)
    print(json.dumps({"benchmark": "exchange", "counted": results, "real": checks}))


if __name__ == "__main__":
    main()
