"""Seconds per training epoch of SASRec, next to RecTools's (PyTorch), in turn on the same sequences.

    sh benchmarks/peers/setup.sh rectools
    python benchmarks/next_item_epochs.py ml-1m.txt            # a file of kr.datasets.next_item

Both have the same size (`--dim`, `--blocks`, `--length`), full softmax over all items, dropout, batches of the
same number of users, Adam with the same rate, and the same number of threads. RecTools reads its own dataset in
memory with its own loader, we read Parquet with `kr.Loader`; both shuffle. An epoch of one follows one of the
other; a first one of each, with what comes once, is not counted. The median of the others is reported, in wall
time and in CPU time of all threads. RecTools pads each batch to `--length` events, we compute only the events
that there are.

The last line is JSON with arguments, versions, the machine's load and every epoch of both.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import polars as pl
import tensorflow as tf
from peers.worker import Worker

import kerasrec as kr
from kerasrec import etl

PEERS = Path(__file__).parent / "peers"
PYTHON = PEERS / ".venv-rectools" / "bin" / "python"


def main() -> None:
    args = arguments()
    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    tf.config.threading.set_inter_op_parallelism_threads(args.threads)
    keras.utils.set_random_seed(args.seed)
    with tempfile.TemporaryDirectory(prefix="next-item-") as scratch:
        folder = Path(scratch)
        loader = prepare(args, folder)
        with closing(start_rectools(args, folder / "events.csv")) as peer:
            ready = peer.hear()
            print(f"{ready['users']:,} users, {ready['items'] - 1:,} items, batches of {args.batch}", flush=True)
            turns = Turns(peer, args.epochs)
            model = sasrec(args, loader)
            model.fit(loader, epochs=args.epochs, callbacks=[turns], verbose=0)
    report(args, turns, ready["torch"])


class Turns(keras.callbacks.Callback):
    """Times the epochs of `fit`, and has the peer train one after each."""

    def __init__(self, peer: Worker, epochs: int):
        super().__init__()
        self.peer, self.epochs = peer, epochs
        self.ours: list[dict[str, float]] = []
        self.rectools: list[dict[str, float]] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.start = time.perf_counter(), time.process_time()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        wall, cpu = time.perf_counter() - self.start[0], time.process_time() - self.start[1]
        self.ours.append({"seconds": wall, "cpu_seconds": cpu, "loss": float(logs["loss"])})
        self.rectools.append(self.peer.ask())
        for name, epochs in (("kerasrec", self.ours), ("RecTools", self.rectools)):
            wall, cpu, loss = (epochs[-1][key] for key in ("seconds", "cpu_seconds", "loss"))
            times = f"{wall:6.1f} s, {cpu:6.1f} s of CPU"
            print(f"epoch {epoch + 1}/{self.epochs}  {name}: {times}, loss {loss:.4f}", flush=True)


def prepare(args: argparse.Namespace, folder: Path) -> kr.Loader:
    """Write the rows to train on, for both libraries."""
    events = kr.datasets.next_item.load(args.file)
    if args.users:
        events = events.filter(
            pl.col("user").is_in(events["user"].unique(maintain_order=True).head(args.users).implode())
        )
    sequences = etl.Sequences("user", "item")
    train, _, test = sequences(events)
    workflow = etl.Workflow(sequences.items >> etl.Categorify()).fit(test)
    workflow.transform(train).to_parquet(folder / "train", progress=False)
    train.lazy().select("user", "item").explode("item").collect().write_csv(folder / "events.csv")
    return kr.Loader(folder / "train", args.batch, shuffle=True, seed=args.seed)


def sasrec(args: argparse.Namespace, loader: kr.Loader) -> Any:
    model = kr.models.SASRec(
        loader.schema,
        embedding_dim=args.dim,
        blocks=args.blocks,
        heads=args.heads,
        max_length=args.length,
        dropout=args.dropout,
    )
    model.compile(optimizer=kr.optimizers.Adam(args.rate), loss=kr.losses.FullSoftmax())
    return model


def start_rectools(args: argparse.Namespace, events: Path) -> Worker:
    """Start the worker. Raise `SystemExit` where RecTools is not installed."""
    if not PYTHON.exists():
        raise SystemExit("RecTools is not installed: sh benchmarks/peers/setup.sh rectools")
    model = {
        "n_blocks": args.blocks, "n_heads": args.heads, "n_factors": args.dim, "dropout_rate": args.dropout,
        "session_max_len": args.length, "loss": "softmax", "lr": args.rate, "batch_size": args.batch,
    }  # fmt: skip
    settings = {
        "events": str(events), "threads": args.threads, "epochs": args.epochs, "seed": args.seed, "model": model,
    }  # fmt: skip
    # PyTorch's threads spin while they wait, which takes the cores from kerasrec's.
    environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": str(args.threads)}
    command = [PYTHON, "-W", "ignore", PEERS / "rectools_worker.py", json.dumps(settings)]
    return Worker("RecTools", command, environment)


def report(args: argparse.Namespace, turns: Turns, torch: str) -> None:
    figures: dict[str, Any] = {}
    for name, epochs in (("kerasrec", turns.ours), ("rectools", turns.rectools)):
        counted = epochs[1:]
        figures[name] = {key: statistics.median(e[key] for e in counted) for key in ("seconds", "cpu_seconds")}
        figures[name]["epochs"] = epochs
    for key in ("seconds", "cpu_seconds"):
        figures[f"{key}_ratio"] = figures["kerasrec"][key] / figures["rectools"][key]
    for key, what in (("seconds", "seconds per epoch"), ("cpu_seconds", "of CPU, all threads")):
        ours, peer = figures["kerasrec"][key], figures["rectools"][key]
        print(f"{what}: {ours:.1f}, RecTools {peer:.1f}; ratio {figures[f'{key}_ratio']:.2f}")
    versions = {module.__name__: module.__version__ for module in (kr, keras, tf)}
    versions |= {"rectools": "0.19.0", "torch": torch}
    machine = {"cores": os.cpu_count(), "load": os.getloadavg()}
    print(json.dumps({"arguments": vars(args), "versions": versions, "machine": machine, **figures}))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="a file of sequences, as kr.datasets.next_item.download makes it")
    parser.add_argument("--epochs", type=int, default=4, help="of each, with the first one, which is not counted")
    parser.add_argument("--users", type=int, help="take only the first users")
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--heads", type=int, default=1)
    parser.add_argument("--length", type=int, default=200)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.epochs < 2:
        parser.error("--epochs must be 2 or more: the first one is not counted")
    return args


if __name__ == "__main__":
    main()
