"""Compare plans with placing whole tables round-robin, or the largest first (predicted).

    python benchmarks/plan.py [--batch 65536] [--memory 80GiB] [--optimizer RowwiseAdagrad] [--models tiny jumbo]

Plans NVIDIA's six synthetic recommenders (`$KERASREC_DATA/synthetic_models.json`, else that of `../shared/data`),
each on a suitable number of ranks, and prints how long the slowest rank's step is predicted to take with our plan
and with two table-wise ones: round-robin, and each table, largest first, on the rank that has the fewest bytes.
These two use the better exchange for each table, as ours does, and are estimated by the same cost model. They may
exceed the memory; the table says so. `--batch` is the number of rows per step over all ranks.

The table is followed by one line of JSON: {"models": {model: {"ranks": ..., "seconds_to_plan": ..., "ours": {...},
"round_robin": {...}, "size_sorted": {...}}}, ...}, times in milliseconds, balances as worst rank over mean.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np

import kerasrec as kr
from kerasrec.parallel.planner import cost_model
from kerasrec.tables.byte_sizes import parse_bytes
from kerasrec.tables.plan_report import balance
from kerasrec.tables.table_plan import TablePlan
from kerasrec.tables.workload import Step, table_workloads

RANKS = {"tiny": 8, "small": 8, "medium": 16, "large": 32, "jumbo": 128, "colossal": 512}


def synthetic_models():
    """The six models as plain numbers; `FileNotFoundError` where they are not."""
    folder = os.environ.get("KERASREC_DATA") or Path(__file__).parents[2] / "shared" / "data"
    return json.loads((Path(folder) / "synthetic_models.json").read_text())


def features_of(model):
    """A feature for each hotness of each table."""
    features = {}
    for group, group_config in enumerate(model["embeddings"]):
        for index in range(group_config["tables"]):
            table = kr.TableConfig(
                f"t{group}_{index}", group_config["rows"], group_config["width"], combiner="sum"
            )
            for hotness in group_config["hotness"]:
                name = f"{table.name}_{hotness}hot"
                features[name] = kr.FeatureConfig(name, table, hotness=hotness)
    return features


def round_robin(workloads, step):
    """Tables in their order, table i on rank i modulo ranks."""
    return _table_wise(workloads, step, [at % step.ranks for at in range(len(workloads))])


def size_sorted(workloads, step):
    """The largest table first, each to the rank that holds fewest bytes."""
    size = [workload.table.vocabulary_size * workload.table.embedding_dim for workload in workloads]
    bytes_per_rank, owner = np.zeros(step.ranks), [0] * len(workloads)
    for at in sorted(range(len(workloads)), key=lambda at: -size[at]):
        owner[at] = int(np.argmin(bytes_per_rank))
        bytes_per_rank[owner[at]] += size[at]
    return _table_wise(workloads, step, owner)


def _table_wise(workloads, step, owner):
    def seconds(workload, exchange):
        every, owner = cost_model.cost(workload, step, cost_model.Option("table_wise", 1, exchange))
        return cost_model.seconds(every + owner, step)

    plans = []
    for workload, rank in zip(workloads, owner, strict=True):
        exchanges = ["rows", "sums"] if any(hot != 1 for hot in workload.hotness) else ["rows"]
        exchange = min(exchanges, key=lambda each: seconds(workload, each))
        plans.append(TablePlan(workload.table, "table_wise", (rank,), exchange=exchange))
    return plans


def figures(predicted, memory):
    return {
        "worst_ms": max(predicted.seconds) * 1e3,
        "mean_ms": sum(predicted.seconds) / len(predicted.seconds) * 1e3,
        "memory_balance": balance(predicted.memory),
        "bytes_balance": balance(predicted.sent_bytes),
        "worst_gib": max(predicted.memory) / 2**30,
        "fits": max(predicted.memory) <= memory,
    }


def compare(model, ranks, batch, memory, optimizer):
    features = features_of(model)
    start = time.perf_counter()
    ours = kr.parallel.plan(features, ranks, memory, batch, optimizer=optimizer)
    seconds = time.perf_counter() - start
    workloads = table_workloads(features, optimizer)
    step = Step(ranks, batch, bandwidth=25e9, memory_bandwidth=1e12, wire_dtype="float32")
    results = {"ours": figures(ours.predicted, memory)}
    for baseline in (round_robin, size_sorted):
        predicted = cost_model.predict(baseline(workloads, step), workloads, step)
        results[baseline.__name__] = figures(predicted, memory)
    return {"ranks": ranks, "tables": len(workloads), "seconds_to_plan": seconds, **results}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", nargs="+", default=list(RANKS), choices=list(RANKS))
    parser.add_argument("--batch", type=int, default=65_536, help="rows of a step, all ranks together")
    parser.add_argument("--memory", default="80GiB")
    parser.add_argument("--optimizer", default="RowwiseAdagrad")
    args = parser.parse_args()

    from rich.console import Console
    from rich.table import Table

    models, memory = synthetic_models(), parse_bytes(args.memory)
    title = f"predicted, {args.batch:,} rows a step in all, {args.memory} a rank, {args.optimizer}"
    header = ("model", "tables", "ranks", "plan", "ms, slowest", "ms, mean", "GiB, fullest", "memory", "bytes")
    table = Table(*header, "planned in s", title=title, caption="memory and bytes: worst rank over mean")
    results = {}
    for name in args.models:
        ranks = RANKS[name]
        results[name] = compare(models[name], ranks, args.batch // ranks, memory, args.optimizer)
        for kind in ("ours", "round_robin", "size_sorted"):
            each, ours = results[name][kind], kind == "ours"
            first = (name, f"{results[name]['tables']:,}", str(ranks)) if ours else ("", "", "")
            fullest = f"{each['worst_gib']:,.1f}" + ("" if each["fits"] else " (does not fit)")
            numbers = (f"{each['worst_ms']:,.2f}", f"{each['mean_ms']:,.2f}", fullest)
            even = (f"{each['memory_balance']:.2f}", f"{each['bytes_balance']:.2f}")
            planned = f"{results[name]['seconds_to_plan']:.2f}" if ours else ""
            table.add_row(*first, kind, *numbers, *even, planned, end_section=kind == "size_sorted")
    Console(width=130).print(table)
    own = {"batch": args.batch, "memory": args.memory, "optimizer": args.optimizer}
    print(json.dumps({"benchmark": "plan", **own, "models": results}))


if __name__ == "__main__":
    main()
