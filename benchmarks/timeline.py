"""Show whether a DLRM's bottom tower waits for the exchange.

    python benchmarks/timeline.py                        # writes docs/timeline.png and docs/timeline.json.gz

Trains the DLRM of `parallel.py` on two ranks under `horovodrun --gloo` and draws a step on rank 0 on one time
axis: Horovod's timeline (HOROVOD_TIMELINE), which has the messages, and TensorFlow's profile, which has the
model's operations. Twice: as it is, and with rank 1 starting every step `--late` milliseconds late, as on a slow
network, to show what a rank does while it waits for a message.

The JSON is in Chrome's trace format: open it at https://ui.perfetto.dev. The last line printed is JSON too: when,
in milliseconds from the start of the step, the bottom tower and the messages began and ended.
"""

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from parallel import batches, built, described

import kerasrec as kr

DOCS = Path(__file__).parent.parent / "docs"
WARM, PROFILED = 5, 5  # steps
BOTTOM, BACKWARD = "bottom tower", "bottom tower, gradients"
# Of a TensorFlow operation, by what its name holds; the first that fits.
KINDS = (
    ("gradient_tape/functional_1/bottom", BACKWARD),
    ("gradient_tape", "gradients of the rest, rows to update"),
    ("functional_1/bottom", BOTTOM),
    ("functional_1/emb", "lookup: rows requested, answered, stitched"),
    ("adagrad", "update"),
    ("functional_1/", "interaction, top tower"),
    ("compile_loss", "interaction, top tower"),
    ("", "gradients of the rest, rows to update"),
)
MESSAGES = (
    ("kerasrec.rows", "message: how many rows"),
    ("emb.ids", "message: rows asked for"),
    ("emb.vectors", "message: vectors"),
    ("emb.gradients", "message: gradients of rows"),
    ("copies", "message: changed copies"),
    ("kerasrec.gradients", "message: dense gradients"),
    ("kerasrec.metrics", "message: metrics"),
)
LANES = (
    BOTTOM, "lookup: rows requested, answered, stitched", "message: how many rows", "message: rows asked for",
    "message: vectors", "interaction, top tower", "message: metrics", "gradients of the rest, rows to update",
    BACKWARD, "message: gradients of rows", "message: dense gradients", "update", "message: changed copies",
)  # fmt: skip


# ---- on each rank --------------------------------------------------------------------------------------------
def worker(rows, batch, late, folder):
    import keras
    import tensorflow as tf

    from kerasrec.parallel import comm

    rank, ranks = comm.rank(), comm.size()
    features, dense, bottom, top = described("dlrm", rows, 1.05)
    plan = kr.parallel.plan(features, ranks, memory=None, batch_size=batch)
    model = built(features, dense, bottom, top, plan)
    model.compile(kr.optimizers.Adagrad(0.01), loss="binary_crossentropy", jit_compile=False)
    data = batches(features, dense, batch, 1.05, rank)

    def begin(step, logs=None):
        if rank == 1 and late:
            time.sleep(late / 1e3)
        if rank == 0 and step == WARM:
            tf.profiler.experimental.start(folder)

    seen = keras.callbacks.LambdaCallback(on_train_batch_begin=begin)
    steps = WARM + PROFILED
    model.fit(data, steps_per_epoch=steps, epochs=1, verbose=0, callbacks=[seen])
    if rank == 0:
        tf.profiler.experimental.stop()


# ---- what it left --------------------------------------------------------------------------------------------
def messages(path):
    """(start, end, lane, whether it moves or waits for the other rank), in microseconds since 1970."""
    text = path.read_text().rstrip().rstrip(",")
    events = json.loads(text if text.endswith("]") else text + "]")
    facts = [each.get("args", {}) for each in events]
    (began,) = (
        each["start_time_since_epoch_in_micros"] for each in facts if len(each) == 1 and "start" in str(each)
    )
    names = {
        each["pid"]: each["args"]["name"] for each in events if each.get("name") == "process_name" and each["pid"]
    }
    spans, stack, ready = set(), {}, {}
    for each in events:
        if (
            each["ph"] == "X" and each["name"] == "0"
        ):  # a negotiation begins when the first rank is ready: now this one
            ready[each["pid"]] = each["ts"]
        elif each["ph"] == "B":
            stack.setdefault(each["pid"], []).append((each["name"], each["ts"]))
        elif each["ph"] == "E" and stack.get(each["pid"]):
            (name, start), depth = stack[each["pid"]].pop(), len(stack[each["pid"]])
            lane = next((lane for word, lane in MESSAGES if word in names[each["pid"]]), None)
            moves = not name.startswith("NEGOTIATE")
            if lane and depth == 0:  # of tensors that travel together, the same times: kept once
                start = start if moves else max(start, ready.get(each["pid"], start))
                spans.add((began + start, began + each["ts"], lane, moves))
    return sorted(spans)


def operations(folder):
    """The operations of the model (start, end, lane, name), and each step's start and end, in microseconds."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    (path,) = Path(folder).glob("plugins/profile/*/*.xplane.pb")
    space = xplane_pb2.XSpace()
    space.ParseFromString(path.read_bytes())
    began = next(
        stat.uint64_value / 1e3
        for plane in space.planes
        for stat in plane.stats
        if plane.stat_metadata[stat.metadata_id].name == "profile_start_time"
    )
    spans, steps = [], []
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                name = plane.event_metadata[event.metadata_id].name
                start = began + line.timestamp_ns / 1e3 + event.offset_ps / 1e6
                end = start + event.duration_ps / 1e6
                if name == "multi_step_on_iterator":  # what Keras calls once a step
                    steps.append((start, end))
                elif name.startswith("StatefulPartitionedCall/"):
                    lane = next(lane for word, lane in KINDS if word in name)
                    spans.append((start, end, lane, name.removeprefix("StatefulPartitionedCall/")))
    return sorted(spans), sorted(steps)


def one_step(timeline, folder):
    """The step of median length, in milliseconds from its start."""
    sent, (computed, steps) = messages(timeline), operations(folder)
    first, last = sorted(steps, key=lambda step: step[1] - step[0])[len(steps) // 2]
    spans = [
        {"lane": lane, "start": (start - first) / 1e3, "end": (end - first) / 1e3, "moves": moves}
        for start, end, lane, moves in sent
        if first <= start <= last
    ]
    spans += [
        {"lane": lane, "start": (start - first) / 1e3, "end": (end - first) / 1e3, "op": name}
        for start, end, lane, name in computed
        if first <= start <= last
    ]
    return {"ms": (last - first) / 1e3, "spans": spans}


def run(late, args):
    with tempfile.TemporaryDirectory(prefix="timeline-") as folder:
        timeline = Path(folder) / "horovod.json"
        facts = [str(args.rows), str(args.batch), str(late), folder]
        command = [sys.executable, "-m", "horovod.runner.launch", "--gloo", "-np", "2", "-H", "localhost:2"]
        done = subprocess.run(
            [*command, sys.executable, __file__, "--worker", *facts],
            env=os.environ
            | {"PYTHONPATH": str(DOCS.parent), "TF_CPP_MIN_LOG_LEVEL": "2", "HOROVOD_TIMELINE": str(timeline)},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"horovodrun failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        return one_step(timeline, folder)


def ends(step, lane):
    """When a lane's first span begins and its last ends."""
    spans = [each for each in step["spans"] if each["lane"] == lane]
    return [min(each["start"] for each in spans), max(each["end"] for each in spans)] if spans else None


# ---- as a picture, and for a trace viewer ---------------------------------------------------------------------
def draw(steps, path):
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot
    from matplotlib.patches import Patch

    figure, axes = pyplot.subplots(len(steps), 1, figsize=(11, 4.3 * len(steps)), layout="constrained")
    place = {lane: at for at, lane in enumerate(LANES)}
    for axis, (title, step) in zip(axes, steps.items(), strict=True):
        for each in step["spans"]:
            if "op" in each:
                colour = "#d9822b" if each["lane"] in (BOTTOM, BACKWARD) else "#8a9199"
            else:
                colour = "#1f6fb2" if each["moves"] else "#b9d6ee"
            width = max(each["end"] - each["start"], step["ms"] / 1000)  # a hair line at least
            axis.barh(place[each["lane"]], width, left=each["start"], height=0.7, color=colour, linewidth=0)
        for lane in (BOTTOM, BACKWARD):
            if span := ends(step, lane):
                axis.axvspan(*span, color="#d9822b", alpha=0.10, linewidth=0)
        axis.set_yticks(range(len(LANES)), LANES)
        axis.set_ylim(len(LANES) - 0.4, -0.6)
        axis.set_xlim(0, step["ms"])
        axis.set_title(title, loc="left", fontsize=10.5)
        axis.set_xlabel("milliseconds from the step's start, on rank 0")
        axis.grid(axis="x", color="#e4e7ea")
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    legend = {
        "bottom tower computes": "#d9822b",
        "other operations": "#8a9199",
        "message waits for rank 1": "#b9d6ee",
        "message moves": "#1f6fb2",
    }
    handles = [Patch(color=colour, label=label) for label, colour in legend.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def trace(steps):
    """Chrome's trace format: a process for each step, a thread for each lane."""
    events = []
    for process, (title, step) in enumerate(steps.items()):
        events.append({"ph": "M", "name": "process_name", "pid": process, "args": {"name": title}})
        for thread, lane in enumerate(LANES):
            own = {"pid": process, "tid": thread}
            events.append({"ph": "M", "name": "thread_name", **own, "args": {"name": f"{thread:02} {lane}"}})
        for each in step["spans"]:
            name = each.get("op", "moves" if each.get("moves") else "waits for rank 1")
            start, length = round(each["start"] * 1e3, 1), round((each["end"] - each["start"]) * 1e3, 1)
            own = {"pid": process, "tid": LANES.index(each["lane"])}
            events.append({"ph": "X", "name": name, "ts": start, "dur": length, **own})
    return {"displayTimeUnit": "ms", "traceEvents": events}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000, help="of each of the 26 tables")
    parser.add_argument("--batch", type=int, default=4096, help="rows of a step on each rank")
    parser.add_argument(
        "--late", type=float, default=100.0, help="milliseconds that rank 1 is late in the second run"
    )
    parser.add_argument("--out", type=Path, default=DOCS / "timeline", help="without .png and .json.gz")
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        rows, batch, late, folder = args.worker
        worker(int(rows), int(batch), float(late), folder)
        return
    steps = {
        "As it comes, on two ranks": run(0, args),
        f"With rank 1 {args.late:.0f} ms late to every step, as behind a slow network": run(args.late, args),
    }
    draw(steps, args.out.with_suffix(".png"))
    with gzip.GzipFile(args.out.with_suffix(".json.gz"), "wb", mtime=0) as file:
        file.write(json.dumps(trace(steps), separators=(",", ":")).encode())
    lanes = (BOTTOM, "message: rows asked for", "message: vectors", BACKWARD, "message: gradients of rows")
    spans = {
        title: {"step": step["ms"], **{lane: ends(step, lane) for lane in lanes}} for title, step in steps.items()
    }
    for title, each in spans.items():
        print(title)
        for lane, span in each.items():
            print(f"  {lane}: {span}")
    print(json.dumps({"benchmark": "timeline", "rows": args.rows, "batch": args.batch, "steps": spans}))


if __name__ == "__main__":
    main()
