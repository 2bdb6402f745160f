"""Measure the cost of a training step, next to the dense network alone and to other libraries.

    python benchmarks/train_step.py                             # the project's bars, under 6 minutes
    python benchmarks/train_step.py --sweep vocabulary batch --plot docs/train_step.png

The model is a DLRM: 26 tables x 1,000,000 x 32, 13 dense columns, towers 512-256-32 and 512-256, batches of 4,096,
Adagrad. Ids follow a power law (exponent 1.2) truncated at the last row, by inverse CDF, with frequent ids spread
over the table. The systems:

- kerasrec: `kr.layers.DistributedEmbedding` and `kr.optimizers`.
- keras: one `keras.layers.Embedding` per feature, `keras.optimizers`.
- keras_rs: `keras_rs.layers.DistributedEmbedding`, `keras.optimizers`, which updates its tables on a CPU.
- torchrec: fbgemm's CPU kernel with its fused optimizer, as TorchRec uses it, in a PyTorch loop
  (`sh benchmarks/peers/setup.sh` installs it; left out if it is not installed).
- floor: the same kerasrec model without tables: the vectors are inputs.

The four that run in `model.fit` have the same dense network, of kerasrec's layers, so they differ only in the
tables. XLA is off for all: it cannot compile kerasrec's lookup, and plain Keras is slower with it (26 x 100,000
rows: 281 ms of CPU time per step against 203).

What is timed: a step is timed from the end of the previous step to its own end, so everything that `fit` does is
included. Batches are in memory as tensors and are passed on without a copy, two ahead, in the same way for all:
the floor pays no more for its 13.6 MB of vectors per batch than others for their 0.4 MB of ids. Apart from the
tables, the floor leaves out passing the vectors' gradient on. The first two steps of a burst are not counted.

How cases take turns: each case is a process of its own with as many threads as there are cores. As many as fit
into `--memory` are alive at a time, and in each of `--repeats` rounds each trains for `--seconds`, the floor
first. The milliseconds of a case are the median over rounds of the median step; its ratio to the floor is the
median over rounds of its time over the floor's in the same round. Cases that were not alive together are compared
through that ratio, so that slower and faster minutes of the machine cancel out. CPU time is that of all threads
of the process: compare it on a busy machine.

All begin with the same weights (torchrec with the same tables), and the losses of the first steps must be equal,
or the run ends with an error. The last line is JSON: {"bars": {name: {bar, wall, cpu}}, "results": [...], ...}.
"""

import argparse
import json
import os
import statistics
import sys
from contextlib import ExitStack, closing
from dataclasses import asdict, fields, replace
from pathlib import Path

from peers.shared import FEATURES, Case, command
from peers.worker import Worker
from rich.console import Console
from rich.table import Table

SWEEPS = {
    "vocabulary": [1_000, 10_000, 100_000, 1_000_000, 2_000_000],
    "batch": [512, 4_096, 16_384, 65_536],
    "width": [16, 32, 64, 128],
    "hotness": [1, 5, 20, 100, 500],
    "optimizer": ["adagrad", "rowwise_adagrad", "adam", "sgd", "ftrl"],
    "policy": ["float32", "mixed_bfloat16"],
}
LONG, SHORT_BATCH = 100, 512  # lists from this length on are swept in batches of at most so many rows
STATES = {"adagrad": 1, "rowwise_adagrad": 0, "adam": 2, "sgd": 0, "ftrl": 2}  # numbers kept beside each weight
SYSTEMS = ["kerasrec", "torchrec", "keras", "keras_rs"]
LACKS = {"torchrec": {"adam", "ftrl"}, "keras": {"rowwise_adagrad"}, "keras_rs": {"rowwise_adagrad"}}
PEERS = Path(__file__).parent / "peers"
TORCHREC = PEERS / ".venv-torchrec/bin/python"

console = Console(stderr=True, highlight=False)


def worker(case):
    """A process that has the case ready to train."""
    python, script = (
        (TORCHREC, "torchrec_step.py") if case.system == "torchrec" else (sys.executable, "keras_step.py")
    )
    # PyTorch's threads spin while they wait: with anything else on the machine, for most of the step.
    environment = os.environ | {"PYTHONPATH": str(PEERS.parent.parent), "OMP_WAIT_POLICY": "PASSIVE"}
    return Worker(label(case), command(str(python), script, case), environment)


def gib(case):
    """What a case will take: tables, their state, Keras's gradients as large as tables and its vectors of all ids
    (with their gradients), and the framework."""
    keras = case.system in ("keras", "keras_rs")
    rows = (1 + STATES[case.optimizer] + keras) * case.vocabulary + 3 * keras * case.batch * case.hotness
    return 1 + (case.system != "floor") * rows * FEATURES * case.width * 4 / 2**30


def swept(base, name, value):
    """The default case with one thing changed; long lists come in smaller batches."""
    short = name == "hotness" and value >= LONG
    return replace(base, **{name: value}, **({"batch": min(base.batch, SHORT_BATCH)} if short else {}))


def groups(cases, memory):
    """Cases in the order given, as many to a group as fit in memory."""
    group = []
    for case in cases:
        if gib(case) > memory:
            console.print(f"left out, needs about {gib(case):.0f} GiB: {label(case)}")
        elif sum(map(gib, group)) + gib(case) > memory:
            yield group
            group = [case]
        else:
            group.append(case)
    if group:
        yield group


def measure(floor, cases, args):
    """Rounds over the cases of each group; a dict of figures for each case, the floor first."""
    results = []
    with closing(worker(floor)) as yardstick:
        losses = {floor: yardstick.hear()["loss"]}
        for group in groups(cases, args.memory - gib(floor)):
            with ExitStack() as started:
                others = {case: started.enter_context(closing(worker(case))) for case in group}
                losses |= {case: other.hear()["loss"] for case, other in others.items()}
                agree(losses)
                rounds = {case: [] for case in (floor, *group)}
                for number in range(args.repeats):
                    for case, trained in {floor: yardstick, **others}.items():
                        console.print(f"round {number + 1} of {args.repeats}: {label(case)}", end="  ")
                        rounds[case].append(trained.ask(args.seconds))
                        console.print("{wall_ms:.1f} ms, CPU {cpu_ms:.1f} ms".format(**rounds[case][-1]))
            results += [summary(case, losses[case], taken, rounds[floor]) for case, taken in rounds.items()]
    return merged(results)


def summary(case, loss, taken, floor):
    figures = {"loss": loss, "peak_gib": taken[-1]["peak_gib"]}
    for clock in ("wall", "cpu"):
        times, floors = ([burst[f"{clock}_ms"] for burst in bursts] for bursts in (taken, floor))
        figures[f"{clock}_ms"] = times
        figures[f"{clock}_to_floor"] = [mine / least for mine, least in zip(times, floors, strict=True)]
    return {**asdict(case), **figures}


def merged(results):
    """The floor was alive in every group: its rounds in one entry."""
    floors = [result for result in results if result["system"] == "floor"]
    lists = [key for key, value in floors[0].items() if isinstance(value, list)]
    floor = floors[0] | {key: [value for result in floors for value in result[key]] for key in lists}
    return [floor, *(result for result in results if result["system"] != "floor")]


def agree(losses):
    """Equal work must give equal losses; TorchRec's dense network and the lazy optimizers may differ a little."""
    equal = {}
    for case, loss in losses.items():
        if case.system in ("kerasrec", "keras", "keras_rs") and case.optimizer in ("adagrad", "sgd"):
            other = equal.setdefault(replace(case, system=""), loss)
            if abs(loss - other) > (1e-4 if case.policy == "float32" else 1e-2):
                raise SystemExit(f"not the same work: {case} has loss {loss}, another system {other}")


def label(case):
    """What sets a case apart from the default one."""
    own = (f"{f.name} {getattr(case, f.name)}" for f in fields(Case)[1:] if getattr(case, f.name) != f.default)
    return ", ".join([case.system, *own])


def case_of(result):
    return Case(**{field.name: result[field.name] for field in fields(Case)})


def table(title, results):
    ours = next((result for result in results if result["system"] == "kerasrec"), None)
    out = Table(
        "case", "ms", "CPU ms", "of floor", "of floor, CPU", "of kerasrec", "peak GiB", "loss", title=title
    )
    for column in out.columns[1:]:
        column.justify = "right"
    for result in results:
        wall, cpu, to_floor, cpu_to_floor = (
            statistics.median(result[key]) for key in ("wall_ms", "cpu_ms", "wall_to_floor", "cpu_to_floor")
        )
        to_ours = f"{to_floor / statistics.median(ours['wall_to_floor']):.2f}" if ours else ""
        out.add_row(
            label(case_of(result)), f"{wall:.1f}", f"{cpu:.1f}", f"{to_floor:.3f}", f"{cpu_to_floor:.3f}", to_ours,
            f"{result['peak_gib']:.1f}", f"{result['loss']:.4f}",
        )  # fmt: skip
    Console(width=max(120, console.width)).print(out)


def bar_cases(base):
    return {
        "ours": base,
        "torchrec": replace(base, system="torchrec"),
        "keras": replace(base, system="keras"),
        "keras_rs": replace(base, system="keras_rs"),
        "large": replace(base, vocabulary=2 * base.vocabulary, distinct=1000),
        "small": replace(base, vocabulary=1000, distinct=1000),
        "bfloat16": replace(base, policy="mixed_bfloat16"),
        "adam": replace(base, optimizer="adam"),
        "keras_adam": replace(base, system="keras", optimizer="adam"),
    }


def bars(cases, results):
    """Each bar's figure by wall and by CPU time, and the bar itself: ">=", "<=" or "<" and a number."""
    by_name = {name: result for result in results for name, case in cases.items() if case_of(result) == case}
    out = {}
    for clock in ("wall", "cpu"):
        to_floor = {name: statistics.median(result[f"{clock}_to_floor"]) for name, result in by_name.items()}

        def ratio(above, below, less=0.0, to_floor=to_floor):
            if above not in to_floor or below not in to_floor or to_floor[below] <= less:
                return None
            return round((to_floor[above] - less) / (to_floor[below] - less), 3)

        for name, bar, value in (
            ("plain_keras_ratio", ">= 9", ratio("keras", "ours")),
            ("keras_rs_ratio", ">= 8", ratio("keras_rs", "ours")),
            ("torchrec_ratio", "> 1", ratio("torchrec", "ours")),
            ("floor_ratio", "<= 1.15", round(to_floor["ours"], 3) if "ours" in to_floor else None),
            ("above_floor_2e6_over_1e3", "<= 1.3", ratio("large", "small", less=1.0)),
            ("adam_ratio", ">= 12", ratio("keras_adam", "adam")),
            ("bf16_ratio", ">= 1.3", ratio("ours", "bfloat16")),
        ):
            out.setdefault(name, {"bar": bar})[clock] = value
    return out


def supported(case):
    return case.optimizer not in LACKS.get(case.system, ()) and (case.system != "torchrec" or TORCHREC.exists())


def plot(results, path):
    """A panel for each sweep of numbers: milliseconds a step against what is swept, a line for each system."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = {
        "kerasrec": "kerasrec",
        "torchrec": "TorchRec (fbgemm CPU)",
        "keras": "Keras 3",
        "keras_rs": "keras-rs",
    }
    styles = {"kerasrec": "o-", "torchrec": "s-", "keras": "^-", "keras_rs": "v-", "floor": "k--"}
    words = {"vocabulary": "rows a table", "batch": "rows a batch", "width": "width", "hotness": "ids a feature"}
    swept = [name for name in words if any(result["sweep"] == name for result in results)]
    if not swept:
        raise SystemExit(f"nothing to plot: sweep one of {list(words)}")
    figure, axes = plt.subplots(
        1, len(swept), figsize=(1.5 + 4.5 * len(swept), 4), layout="constrained", squeeze=False
    )
    for axis, sweep in zip(axes[0], swept, strict=True):
        for system, style in styles.items():
            points = sorted(
                (result[sweep], statistics.median(result["wall_ms"]))
                for result in results
                if result["sweep"] == sweep and result["system"] == system
            )
            if points:
                axis.plot(*zip(*points, strict=True), style, label=names.get(system, "dense network alone"))
        axis.set(xscale="log", yscale="log", xlabel=words[sweep])
        axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("milliseconds a training step")
    axes[0, 0].legend()
    figure.savefig(path, dpi=120)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for field in fields(Case)[1:]:
        choices = SWEEPS[field.name] if field.type is str else None
        parser.add_argument(f"--{field.name}", type=field.type, default=field.default, choices=choices)
    parser.add_argument(
        "--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS, help="beside the floor; default all"
    )
    parser.add_argument("--sweep", nargs="+", choices=SWEEPS, default=[], help="instead of the bars' cases")
    parser.add_argument("--repeats", type=int, default=3, help="rounds over all cases")
    parser.add_argument("--seconds", type=float, default=2.5, help="of training, per case and round")
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    parser.add_argument(
        "--memory", type=float, default=round(0.6 * total, 1), help="GiB; default 60%% of the machine"
    )
    parser.add_argument("--plot", type=Path, help="a PNG of the sweeps")
    parser.add_argument("--results", type=Path, help="plot this run's last line, saved in a file; measure nothing")
    return parser.parse_args()


def main():
    args = arguments()
    if args.results:
        plot(json.loads(args.results.read_text().splitlines()[-1])["results"], args.plot)
        return
    base = Case("kerasrec", **{field.name: getattr(args, field.name) for field in fields(Case)[1:]})
    bar_case_of = bar_cases(base)
    if args.sweep:
        runs = [
            (
                name,
                swept(base, name, value),
                [swept(replace(base, system=system), name, value) for system in SYSTEMS],
            )
            for name in args.sweep
            for value in SWEEPS[name]
        ]
    else:
        runs = [("", base, list(bar_case_of.values()))]
    results = []
    for name, ours, cases in runs:
        cases = [case for case in cases if case.system in args.systems and supported(case)]
        got = measure(replace(ours, system="floor"), cases, args)
        table(f"{name} {getattr(ours, name)}" if name else "", got)
        results += [{"sweep": name, **result} for result in got]
    if args.plot:
        plot(results, args.plot)
    figures = {} if args.sweep else bars(bar_case_of, results)
    for name, figure in figures.items():
        print(f"{name:26} {figure['wall']} (CPU {figure['cpu']}), bar {figure['bar']}")
    own = {key: getattr(args, key) for key in ("repeats", "seconds", "memory")}
    print(
        json.dumps(
            {"benchmark": "train_step", "cores": os.cpu_count(), **own, "bars": figures, "results": results}
        )
    )


if __name__ == "__main__":
    main()
