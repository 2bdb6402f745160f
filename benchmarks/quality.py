"""Compare models with FuxiCTR's, live: the AUC of test rows and the seconds per training epoch of both.

    sh benchmarks/peers/setup.sh fuxictr
    python benchmarks/quality.py --movielens ml-100k/ --out quality.json

Data: MovieLens 100k (rating >= 4; a fifth of the ratings, drawn at random, is held out, since batches and epochs
were tried on split u1) and the synthetic click log. Both libraries read the same encoded
rows, in batches of the same size in an order of their own, for the same number of epochs, and have the same
widths of embeddings and towers. Test rows choose nothing. What `--out` has already is not run again.

The optimizer is Adagrad with the same learning rate and initial accumulators in both. Epsilon is each library's
own, `sqrt(acc + 1e-7)` here and `sqrt(acc) + 1e-10` there, which damps the steps of rare ids here.
On embedding tables it is exact in both libraries, whereas FuxiCTR's Adam moves every row of a table in each
step, and `kr.optimizers.Adam` only those of the batch (`--optimizer Adam`). Initial values are each library's
own defaults.

FuxiCTR's epoch is its `train_epoch`: for the first seeds (`--own-loader`) with its NpzDataLoader and a process
per thread, for the others over tensors in memory, which no user of it has but which leaves the steps alone.
Ours is `fit` with `kr.Loader` reading Parquet. Both take turns, seed by seed, each with the same number of
threads. A first, short training of each, with what comes once, is not timed.

The last line is JSON: {"bars": ..., "results": {data: {model: {"kerasrec": ..., "fuxictr": ...}}}, ...}.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import polars as pl
import tensorflow as tf
from peers import fuxictr_pairs
from peers.fuxictr_pairs import Pair
from peers.worker import Worker

import kerasrec as kr
from kerasrec import etl
from kerasrec.datasets import metrics, movielens
from kerasrec.datasets.synthetic import click_log

DIM, UNITS = 16, [128, 64]
# Pairs that need other data, or are variants.
OTHERS = ("DCN mixture", "DIN", "DIEN", "BST", "SharedBottom", "MMoE", "PLE")
PAIRS = {name: pair for name, pair in fuxictr_pairs.pairs(DIM, UNITS).items() if name not in OTHERS}
ACCUMULATORS = [0.0, 1e-5]  # what Adagrad's begin with in tables and in other weights: our defaults
LEARNING_RATE = {"Adagrad": 0.05, "Adam": 1e-3}
BATCH_AND_EPOCHS = {"movielens": (4096, 6), "click log": (4096, 1)}
RATIO, ERRORS = 2.0, 2.0  # the bars: epochs at most half as long; AUC not lower by more than two standard errors


@dataclass(frozen=True)
class Data:
    """Encoded rows on disk: Parquet for `kr.Loader`, archives for FuxiCTR."""

    name: str
    folder: Path
    batch_size: int
    epochs: int

    def loader(self, split: str, batch_size: int, seed: int | None = None) -> kr.Loader:
        shuffle = {} if seed is None else {"shuffle": True, "seed": seed}
        return kr.Loader(self.folder / split, batch_size, **shuffle)


def main() -> None:
    args = arguments()
    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    tf.config.threading.set_inter_op_parallelism_threads(args.threads)
    report = opened(args)
    with (
        tempfile.TemporaryDirectory(prefix="quality-") as scratch,
        closing(fuxictr_pairs.start(args.threads)) as peer,
    ):
        have = fuxictr_pairs.ask(peer, "available", models=[pair.peer for pair in PAIRS.values()])
        models = [name for name in args.models if have[PAIRS[name].peer]]
        for name in set(args.models) - set(models):
            print(f"{name}: left out, FuxiCTR's model is not in its wheel; see benchmarks/peers/setup.sh")
        report["peer_classes"] = have
        for data in datasets(args, Path(scratch)):
            done = report["results"].setdefault(data.name, {})
            for name in models:
                if name not in done:
                    done[name] = compare(PAIRS[name], data, args, peer)
                    print(line(data.name, name, done[name], args.own_loader), flush=True)
                    save(report, args.out)
    report["bars"] = bars(report["results"], args.own_loader)
    save(report, args.out)
    for data, figures in report["bars"].items():
        print(f"{data}: {figures}")
    print(json.dumps(report))


def compare(pair: Pair, data: Data, args: argparse.Namespace, peer: Worker) -> dict[str, dict[str, Any]]:
    """Train both models with each seed, in turn."""
    ours = fit_kerasrec(pair, data, args.optimizer)
    with tempfile.TemporaryDirectory(prefix="scores-") as scratch:
        scores = Path(scratch) / "scores.npy"
        settings = {
            "model": pair.peer, "arguments": dict(pair.peer_arguments), "epochs": data.epochs,
            "folder": str(data.folder / "fuxictr"), "batch_size": data.batch_size,
            "optimizer": args.optimizer, "learning_rate": LEARNING_RATE[args.optimizer],
            "accumulators": ACCUMULATORS, "scores": str(scores),
        }  # fmt: skip
        fuxictr_pairs.ask(peer, "warm_up", loader="memory", **settings)
        labels = labels_of(data)
        runs: dict[str, list[dict[str, Any]]] = {"kerasrec": [], "fuxictr": []}
        for seed in range(args.seeds):
            answer, predicted = ours(seed)
            runs["kerasrec"].append({**answer, "auc": metrics.auc(labels, predicted)})
            loader = "npz" if seed < args.own_loader else "memory"
            answer = fuxictr_pairs.ask(peer, "fit", seed=seed, loader=loader, **settings)
            runs["fuxictr"].append({**answer, "auc": metrics.auc(labels, np.load(scores))})
    return {system: figures(of_system, data.epochs) for system, of_system in runs.items()}


def figures(runs: list[dict[str, Any]], epochs: int) -> dict[str, Any]:
    return {
        "auc": [run["auc"] for run in runs],
        "seconds_per_epoch": [round(run["seconds"] / epochs, 4) for run in runs],
        "cpu_seconds_per_epoch": [round(run["cpu_seconds"] / epochs, 4) for run in runs],
        "parameters": runs[0]["parameters"],
    }


def fit_kerasrec(pair: Pair, data: Data, optimizer: str) -> Callable[[int], tuple[dict[str, Any], np.ndarray]]:
    """Return a function that trains our model with a seed, and returns its figures and the test rows' predictions.

    One model is traced; each seed gives it the initial weights of a model of its own and a new optimizer's state.
    """
    keras.backend.clear_session()
    test = data.loader("test", 16_384)
    optimizers = {
        "Adagrad": lambda: kr.optimizers.Adagrad(LEARNING_RATE["Adagrad"]),  # PyTorch: sqrt(acc) + 1e-10
        "Adam": lambda: kr.optimizers.Adam(LEARNING_RATE["Adam"], epsilon=1e-8),
    }

    def make() -> Any:
        return getattr(kr.models, pair.ours)(test.schema, **pair.our_arguments)

    model = make()
    model.compile(optimizers[optimizer](), loss="binary_crossentropy", metrics=[])
    model.optimizer.build(model.trainable_variables)
    start = [keras.ops.convert_to_numpy(variable) for variable in model.optimizer.variables]
    model.fit(data.loader("warm up", data.batch_size), verbose=0)
    model.predict(test, verbose=0)
    train = data.loader("train", data.batch_size, 0)  # each epoch has an order of its own

    def fit(seed: int) -> tuple[dict[str, Any], np.ndarray]:
        keras.utils.set_random_seed(seed)
        model.set_weights(make().get_weights())
        for variable, value in zip(model.optimizer.variables, start, strict=True):
            variable.assign(value)
        wall, cpu = time.perf_counter(), time.process_time()
        model.fit(train, epochs=data.epochs, verbose=0)
        taken = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
        return {**taken, "parameters": model.count_params()}, model.predict(test, verbose=0)[:, 0]

    return fit


def datasets(args: argparse.Namespace, scratch: Path) -> Iterator[Data]:
    """Encode each data set, and write it for both libraries."""
    if "movielens" in args.data:
        ratings = pl.concat(movielens.load(args.movielens, "u1")).sample(fraction=1.0, shuffle=True, seed=14)
        ratings = ratings.with_columns(liked=(pl.col("rating") >= 4).cast(pl.Int8)).lazy()
        train, test = ratings.head(80_000), ratings.slice(80_000)
        ids = ["user", "item", "gender", "occupation", "genres", "hour", "weekday"] >> etl.Categorify(min_count=2)
        features = etl.Workflow(ids + (["age"] >> etl.Normalize()) + (["liked"] >> etl.Target()))
        yield encoded(
            features, train, test, Data("movielens", scratch / "movielens", *BATCH_AND_EPOCHS["movielens"])
        )
    if "click log" in args.data:
        log = click_log(scratch / "log", args.rows, progress=False)
        print(f"click log: the true probabilities' AUC is {log.auc_bound:.4f}")
        train, test = pl.scan_parquet(log.train), pl.scan_parquet(log.valid)
        yield encoded(
            click_log_features(args.min_count),
            train,
            test,
            Data("click log", scratch / "click log", *BATCH_AND_EPOCHS["click log"]),
        )


def click_log_features(min_count: int) -> etl.Workflow:
    """Those of `kerasrec demo`, where ids that occur fewer than `min_count` times share one."""
    ids = ["user", "item", "site", "device", "city", "category", "advertiser", "hour", "genres"]
    heavy_tailed = ["price", "seconds", "past_clicks"] >> etl.FillMissing() >> etl.LogOp() >> etl.Normalize()
    numbers = heavy_tailed + (["age"] >> etl.FillMissing() >> etl.Normalize())
    return etl.Workflow((ids >> etl.Categorify(min_count=min_count)) + numbers + (["clicked"] >> etl.Target()))


def encoded(features: etl.Workflow, train: pl.LazyFrame, test: pl.LazyFrame, data: Data) -> Data:
    features.fit(train)
    splits = {"train": train, "test": test, "warm up": train.head(5 * data.batch_size)}
    for split, rows in splits.items():
        features.transform(rows).to_parquet(data.folder / split)
    frames = {split: pl.read_parquet(data.folder / split / "*.parquet") for split in ("train", "test")}
    fuxictr_pairs.write(data.folder / "fuxictr", data.loader("test", 1024).schema, frames)
    return data


def labels_of(data: Data) -> np.ndarray:
    return np.concatenate([target for _, target in data.loader("test", 16_384)])[:, 0]


def line(data: str, model: str, result: dict[str, dict[str, Any]], own_loader: int) -> str:
    ours, theirs = result["kerasrec"], result["fuxictr"]
    difference, error = gap(result)
    times = [f"{system} {statistics.median(result[system]['seconds_per_epoch']):.2f}" for system in result]
    ratios = [f"{name} {ratio:.1f}" for name, ratio in speeds(result, own_loader).items() if ratio]
    return (
        f"{data:11}{model:12} AUC {np.mean(ours['auc']):.4f}, FuxiCTR {np.mean(theirs['auc']):.4f} "
        f"({difference:+.4f} ± {error:.4f})  s per epoch {', '.join(times)} (x {', '.join(ratios)})"
    )


def gap(result: dict[str, dict[str, Any]]) -> tuple[float, float]:
    """How much higher our mean AUC is, and the standard error of that difference."""
    ours, theirs = (np.array(result[system]["auc"]) for system in ("kerasrec", "fuxictr"))
    if len(ours) < 2:
        return float(ours.mean() - theirs.mean()), float("nan")
    variances = [scores.var(ddof=1) / len(scores) for scores in (ours, theirs)]
    return float(ours.mean() - theirs.mean()), float(np.sqrt(sum(variances)))


def speeds(result: dict[str, dict[str, Any]], own_loader: int) -> dict[str, float | None]:
    """How many times as long as ours FuxiCTR's epoch takes, with its own loader and from memory.

    Each is the median over seeds, whose trainings took turns.
    """
    ours, theirs = (result[system]["seconds_per_epoch"] for system in ("kerasrec", "fuxictr"))
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    parts = {"own loader": ratios[:own_loader], "from memory": ratios[own_loader:]}
    return {name: round(statistics.median(part), 2) if part else None for name, part in parts.items()}


def bars(results: dict[str, dict[str, Any]], own_loader: int) -> dict[str, dict[str, Any]]:
    """For each data set: the models below FuxiCTR's and those above them, and how many times as fast they are."""
    out = {}
    for data, by_model in results.items():
        gaps = {model: gap(result) for model, result in by_model.items()}
        ratios = {model: speeds(result, own_loader) for model, result in by_model.items()}
        out[data] = {
            "models": len(by_model),
            "below": [model for model, (difference, error) in gaps.items() if difference < -ERRORS * error],
            "above": [model for model, (difference, _) in gaps.items() if difference > 0],
            "slow": [model for model, ratio in ratios.items() if (ratio["own loader"] or RATIO) < RATIO],
            "times_as_fast": ratios,
        }
    return out


def opened(args: argparse.Namespace) -> dict[str, Any]:
    """The report so far, or a new one. Raise `SystemExit` if it was made with other settings."""
    settings = {
        **{
            name: value for name, value in vars(args).items() if name not in ("movielens", "data", "models", "out")
        },
        "learning_rate": LEARNING_RATE[args.optimizer],
        "embedding_dim": DIM,
        "units": UNITS,
        "batch_and_epochs": {name: list(values) for name, values in BATCH_AND_EPOCHS.items()},
    }
    if not args.out or not args.out.exists():
        return {"benchmark": "quality", "cores": os.cpu_count(), "settings": settings, "results": {}}
    report = json.loads(args.out.read_text(encoding="utf-8"))
    if report["settings"] != settings:
        raise SystemExit(f"{args.out} was made with other settings, {report['settings']}; pass another --out")
    return report


def save(report: dict[str, Any], out: Path | None) -> None:
    if out:
        out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--movielens", help="the folder ml-100k")
    parser.add_argument("--data", nargs="+", choices=["movielens", "click log"], help="by default both")
    parser.add_argument("--models", nargs="+", choices=list(PAIRS), default=list(PAIRS), metavar="MODEL")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the click log, a tenth of them held out")
    parser.add_argument("--min-count", type=int, default=10, help="rarer ids of the click log share one")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--optimizer", choices=list(LEARNING_RATE), default="Adagrad")
    parser.add_argument(
        "--own-loader", type=int, default=2, help="seeds for which FuxiCTR reads with its own loader"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of each library")
    parser.add_argument(
        "--out", type=Path, help="a JSON file, written after each model; what it has is not run again"
    )
    args = parser.parse_args()
    args.data = args.data or (["movielens", "click log"] if args.movielens else ["click log"])
    if "movielens" in args.data and not args.movielens:
        parser.error("pass --movielens, the folder ml-100k")
    return args


if __name__ == "__main__":
    main()
