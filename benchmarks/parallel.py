"""Measure a step on several ranks, and compare the bytes that it sends with the plan's prediction.

    python benchmarks/parallel.py                        # 1, 2 and 4 ranks; about 5 minutes and 9 GiB
    python benchmarks/parallel.py --models dlrm --rows 100000 --ranks 2

Trains under `horovodrun --gloo` on this machine: `dlrm`, with 26 tables x 1,000,000 x 32, 13 dense columns,
towers 512-256-32 and 512-256; and two of NVIDIA's synthetic recommenders, `tiny` and `small`, with a hundredth of
their rows (`$KERASREC_DATA/synthetic_models.json`, else that of `../shared/data`). Adagrad, 4,096 rows per rank,
ids of a power law that the plan knows (`--exponent`), tables placed by `kr.parallel.plan`.

If ranks share the cores of a machine, times say little about a cluster. The bytes per rank and step count:

- predicted: by the plan, of ids, vectors, gradients and changed replicas, as `print(plan)` shows them.
- counted: the same, of what the step hands to Horovod for other ranks, plus 4 bytes per rank and message for the
  length of the message.
- dense: dense gradients and the number of rows; 2 (S - 1) / S of their bytes in Gloo's ring of S ranks.
- kernel: all bytes that the process's TCP sockets sent, counted by the operating system. Beyond counted and dense
  it has Horovod's negotiation of which tensors are ready; TCP's own headers are not in it.

Bytes and milliseconds are means over ranks; CPU time is that of all ranks together.
"""

import argparse
import json
import os
import socket
import statistics
import struct
import subprocess
import sys
import time
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from plan import features_of, synthetic_models
from rich.console import Console
from rich.table import Table

import kerasrec as kr
from kerasrec.parallel.planner import cost_model
from kerasrec.tables.access_frequency import power_law_head
from kerasrec.tables.workload import Step, table_workloads

MODELS = ("dlrm", "tiny", "small")
PHASES = ("ids", "vectors", "gradients", "copies")
BATCHES, UNCOUNTED = 4, 3  # different ones; steps that trace and warm up


# ---- the models ----------------------------------------------------------------------------------------------
def described(model, rows, exponent):
    """Features, dense columns, and the towers before and after the vectors; None and one tower: side by side."""
    if model == "dlrm":
        tables = [kr.TableConfig(f"c{i}", rows, 32, initializer="zeros") for i in range(26)]
        features = {table.name: kr.FeatureConfig(table.name, table) for table in tables}
        dense, bottom, top = 13, [512, 256, 32], [512, 256]
    else:
        facts = synthetic_models()[model]
        for each in facts["embeddings"]:
            each["rows"] = max(10, each["rows"] // 100)
        features, dense, bottom, top = features_of(facts), facts["num_continuous"], None, facts["mlp_units"]
    for name, each in features.items():
        head = power_law_head(each.table.vocabulary_size, exponent)
        features[name] = replace(each, table=replace(each.table, lookup_cdf=head, initializer="zeros"))
    return features, dense, bottom, top


def built(features, dense, bottom, top, plan, wire="float32"):
    import keras

    x = keras.Input((dense,), name="dense")
    ids = {
        name: keras.Input(() if each.hotness == 1 else (int(each.hotness),), name=name, dtype="int32")
        for name, each in features.items()
    }
    vectors = list(kr.layers.DistributedEmbedding(features, plan=plan, wire_dtype=wire, name="emb")(ids).values())
    if bottom:
        below = kr.layers.MLP(bottom, name="bottom")(x)
        vectors = [below, kr.layers.DotInteraction()([below, *vectors])]
    else:
        vectors.append(x)
    above = kr.layers.MLP(top, name="top")(keras.layers.Concatenate()(vectors))
    return kr.parallel.Model({"dense": x, **ids}, keras.layers.Dense(1, activation="sigmoid")(above))


@cache
def share_of_rows(rows, exponent):
    return np.cumsum(np.arange(1, rows + 1, dtype=np.float64) ** -exponent)


def batches(features, dense, batch, exponent, rank):
    """Endless, of the same few. In a list id 0 means nothing, so row 1 is the most frequent."""
    import tensorflow as tf

    rng, columns = np.random.default_rng(rank), {}
    for name, each in features.items():
        share = share_of_rows(each.table.vocabulary_size - 1, exponent)
        size = (BATCHES, batch) if each.hotness == 1 else (BATCHES, batch, int(each.hotness))
        columns[name] = (np.searchsorted(share, share[-1] * rng.random(size)) + 1).astype("int32")
    columns["dense"] = rng.normal(size=(BATCHES, batch, dense)).astype("float32")
    target = (rng.random((BATCHES, batch, 1)) < 0.3).astype("float32")
    return tf.data.Dataset.from_tensor_slices((columns, target)).repeat()


# ---- on each rank --------------------------------------------------------------------------------------------
def worker(case):
    """Trains, and prints on rank 0 what all ranks measured."""
    import keras
    import tensorflow as tf

    from kerasrec.parallel import comm

    ranks, batch = comm.size(), case["batch"]
    tf.config.threading.set_intra_op_parallelism_threads(max(1, os.cpu_count() // ranks))
    features, dense, bottom, top = described(case["model"], case["rows"], case["exponent"])
    plan = kr.parallel.plan(
        features, ranks, memory=None, batch_size=batch, optimizer=case["optimizer"], wire_dtype=case["wire"]
    )
    model = built(features, dense, bottom, top, plan, case["wire"])
    trainer = {"adagrad": kr.optimizers.Adagrad, "rowwise_adagrad": kr.optimizers.RowwiseAdagrad}
    model.compile(trainer[case["optimizer"]](0.01), loss="binary_crossentropy", jit_compile=False)
    data = batches(features, dense, batch, case["exponent"], comm.rank())

    class Steps(keras.callbacks.Callback):
        """Between the ends of steps; the sockets' figures once the first of them are over."""

        def on_train_begin(self, logs=None):
            self.wall, self.cpu = [], []

        def on_train_batch_end(self, step, logs=None):
            self.wall.append(time.perf_counter())
            self.cpu.append(time.process_time())
            if step + 1 == UNCOUNTED:
                self.before, counts["bytes"] = sent_by_sockets(), dict.fromkeys(counts["bytes"], 0)

    def run():
        seen = Steps()
        steps = UNCOUNTED + case["steps"]
        model.fit(data, steps_per_epoch=steps, epochs=1, verbose=0, callbacks=[seen])
        return seen, (sent_by_sockets() - seen.before) / case["steps"]

    counts = {"bytes": {}}
    seen, kernel = run()
    wall, cpu = (np.diff(times[UNCOUNTED - 1 :]) * 1e3 for times in (seen.wall, seen.cpu))
    count_messages(comm, counts)
    model.train_function = None  # traced again, now with counting
    run()
    mine = {
        "wall_ms": statistics.median(wall),
        "cpu_ms": float(np.mean(cpu)),
        "kernel": kernel,
        **{name: counts["bytes"].get(name, 0) / case["steps"] for name in (*PHASES, "dense")},
    }
    everyones = comm.gather_objects(mine)
    if comm.rank() == 0:
        predicted = predicted_phases(plan, features, case)
        print("\nmeasured: " + json.dumps({"ranks": everyones, "predicted": predicted}), flush=True)


def count_messages(comm, counts):
    """Put counters before what the step sends; they add up bytes for other ranks by kind of message."""
    import tensorflow as tf

    ranks, rank = comm.size(), comm.rank()
    alltoall, allgather, allreduce = comm.alltoall, comm.allgather, comm.allreduce

    def add(kind, number):
        def now(number):
            counts["bytes"][kind] = counts["bytes"].get(kind, 0) + int(number)
            return np.int64(number)

        tf.numpy_function(now, [number], tf.int64)

    def counted_alltoall(tensor, splits, name):
        others = tf.cast(tf.reduce_sum(splits) - splits[rank], tf.int64)
        row = tensor.dtype.size * int(np.prod(tensor.shape[1:], dtype=int))
        add(name.rpartition(".")[2], others * row + 4 * (ranks - 1))
        return alltoall(tensor, splits, name)

    def counted_allgather(tensor, name):
        tensor = tf.convert_to_tensor(tensor)
        size = tf.size(tensor, tf.int64) * tensor.dtype.size + 4
        add("copies" if name.endswith(".copies") else "dense", size * (ranks - 1))
        return allgather(tensor, name)

    def counted_allreduce(tensors, name):
        size = sum(tf.size(each, tf.int64) * each.dtype.size for each in map(tf.convert_to_tensor, tensors))
        add("dense", size * 2 * (ranks - 1) // ranks)
        return allreduce(tensors, name)

    comm.alltoall, comm.allgather, comm.allreduce = counted_alltoall, counted_allgather, counted_allreduce


def sent_by_sockets():
    """Bytes that this process's TCP connections have sent and others acknowledged (Linux's `tcpi_bytes_acked`)."""
    total = 0
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            with socket.socket(fileno=os.dup(fd)) as connection:
                facts = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
            total += struct.unpack_from("<Q", facts, 120)[0]
        except OSError:  # no socket, or none of TCP's
            continue
    return total


def predicted_phases(plan, features, case):
    """Bytes that the mean rank sends, by kind of message and in all."""
    step = Step(plan.ranks, case["batch"], 25e9, 1e12, case["wire"])
    load = np.zeros(9)
    for workload in table_workloads(features, case["optimizer"]):
        placed = plan[workload.table.name]
        owners = len(placed.ranks)
        option = cost_model.Option(placed.placement, owners, placed.exchange, placed.frequent_rows)
        every, owner = cost_model.cost(workload, step, option)
        load += every + owner * owners / plan.ranks
    sent = (cost_model.IDS_OUT, cost_model.VECTORS_OUT, cost_model.GRADIENTS_OUT, cost_model.CHANGED_OUT)
    total = statistics.mean(plan.predicted.sent_bytes)
    kinds = sorted(f"{each.placement}, {each.exchange}" for each in plan.tables)
    return {
        **{name: load[phase] for name, phase in zip(PHASES, sent, strict=True)},
        "in_all": total,
        "placements": {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
    }


# ---- all together --------------------------------------------------------------------------------------------
def measure(ranks, case):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent), "TF_CPP_MIN_LOG_LEVEL": "2"}
    command = [sys.executable, __file__, "--worker", json.dumps(case)]
    if ranks > 1:
        launcher = [sys.executable, "-m", "horovod.runner.launch", "--gloo", "-np", str(ranks)]
        command = [*launcher, "-H", f"localhost:{ranks}", *command]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    lines = [line.partition("measured: ")[2] for line in done.stdout.splitlines() if "measured: " in line]
    if not lines:
        raise SystemExit(f"{case} on {ranks} ranks failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    result = json.loads(lines[0])
    mean = {key: statistics.mean(each[key] for each in result["ranks"]) for key in result["ranks"][0]}
    counted = {name: mean[name] for name in PHASES} | {"in_all": sum(mean[name] for name in PHASES)}
    return {
        "model": case["model"],
        "ranks": ranks,
        "wall_ms": mean["wall_ms"],
        "cpu_ms": mean["cpu_ms"] * ranks,
        "predicted": result["predicted"],
        "counted": counted,
        "dense": mean["dense"],
        "kernel": mean["kernel"],
    }


def row(result):
    def kb(number):
        return f"{number / 1e3:,.1f}" if number else ""

    predicted, counted = result["predicted"], result["counted"]
    pairs = [f"{kb(counted[name])} ({kb(predicted[name])})" if counted[name] else "" for name in PHASES]
    ratio = f"{counted['in_all'] / predicted['in_all']:.3f}" if predicted["in_all"] else ""
    sent = counted["in_all"] + result["dense"]
    return (
        result["model"], str(result["ranks"]), f"{result['wall_ms']:,.0f}", f"{result['cpu_ms']:,.0f}", *pairs,
        kb(counted["in_all"]), kb(predicted["in_all"]), ratio, kb(result["dense"]), kb(result["kernel"]),
        f"{result['kernel'] / sent:.3f}" if sent else "",
    )  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--ranks", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--rows", type=int, default=1_000_000, help="of each table of dlrm")
    parser.add_argument("--batch", type=int, default=4096, help="rows of a step on each rank")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--exponent", type=float, default=1.05, help="of the power law of ids")
    parser.add_argument("--optimizer", default="adagrad", choices=["adagrad", "rowwise_adagrad"])
    parser.add_argument("--wire", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker(json.loads(args.worker))
        return
    options = {key: value for key, value in vars(args).items() if key not in ("models", "ranks", "worker")}
    title = f"{args.batch:,} rows a rank and step, {args.optimizer}, zipf({args.exponent}), vectors {args.wire}"
    table = Table(
        *("model", "ranks", "ms", "CPU ms", *(f"{phase}, KB" for phase in PHASES)),
        *("counted, KB", "predicted", "ratio", "dense, KB", "kernel, KB", "ratio"),
        title=title,
        caption="KB is 1,000 bytes that the mean rank sends in a step; in brackets what the plan predicts",
    )
    results = []
    for model in args.models:
        for ranks in args.ranks:
            results.append(measure(ranks, {"model": model, **options}))
            table.add_row(*row(results[-1]), end_section=ranks == args.ranks[-1])
    console = Console(width=190)
    console.print(table)
    for result in results:
        placements = ", ".join(f"{count} {kind}" for kind, count in result["predicted"]["placements"].items())
        console.print(f"{result['model']} on {result['ranks']}: {placements}")
    print(json.dumps({"benchmark": "parallel", **options, "results": results}))


if __name__ == "__main__":
    main()
