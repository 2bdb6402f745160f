"""Compare the default optimizer settings and initial values with others, on several models, data sets and seeds.

Data: the synthetic click log (whose best possible score is known), MovieLens 100k (rating >= 4) and an extract of
Criteo's log, each with its own split. A setting is an optimizer and initial values. Features, batches and epochs
are the same for all settings; scores are on rows that were not used to choose anything.

With `--optimizers`, instead, every optimizer's default learning rate and initial accumulator against a small grid,
one seed each, with batches of 1,024 and 8,192 of the click log and of 512 of MovieLens.

With `--bound`, each model over the click log (`--rows`, `--log-seed`) with `compile()` and the default batch size,
against the AUC of the true probabilities. With `--folds`, each on `--criteo` in five folds, shuffled twice, beside
scikit-learn's logistic regression. `--epochs` passes; what `--out` already has is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import polars as pl

import kerasrec as kr
from kerasrec import etl
from kerasrec.cli.demo import workflow as click_log_features
from kerasrec.datasets import criteo, metrics, movielens
from kerasrec.datasets.synthetic import click_log

MODELS = ("DLRM", "DCN", "DeepFM", "WideAndDeep")
DIM, UNITS = 16, [128, 64]
SETTINGS: dict[str, tuple[Any, dict[str, Any]]] = {
    "defaults": (lambda: kr.optimizers.Adagrad(), {}),
    "0.01, accumulator 1e-6": (lambda: kr.optimizers.Adagrad(0.01, 1e-6), {}),
    "defaults, initial values x 10": (
        lambda: kr.optimizers.Adagrad(),
        {"embeddings_initializer": keras.initializers.RandomUniform(-0.5, 0.5)},
    ),
}
# By optimizer: learning rates, and initial accumulators where it has them. The default is tried as well.
GRID: dict[str, list[tuple[float, float | None]]] = {
    "SGD": [(rate, None) for rate in (0.01, 0.1, 0.3, 1.0, 3.0)],
    "Adagrad": [(0.02, 0.0), (0.05, 0.0), (0.1, 0.0), (0.05, 0.1)],
    "RowwiseAdagrad": [(0.02, 0.0), (0.05, 0.0), (0.1, 0.0), (0.05, 0.1)],
    "Adam": [(rate, None) for rate in (0.001, 0.003, 0.01, 0.03)],
    "AdamW": [(rate, None) for rate in (0.001, 0.003, 0.01, 0.03)],
    "Ftrl": [(0.001, 0.1), (0.1, 0.1), (0.02, 0.0), (0.05, 0.0), (0.1, 0.0)],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--movielens", help="the folder ml-100k")
    parser.add_argument("--criteo", help="Criteo's train.txt or a CSV cut from it")
    parser.add_argument("--rows", type=int, default=100_000, help="of the click log, a tenth of them held out")
    parser.add_argument("--optimizers", action="store_true", help="compare the settings of each optimizer")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    parser.add_argument("--bound", action="store_true", help="each model's defaults against the log's best AUC")
    parser.add_argument("--folds", action="store_true", help="each model's defaults on ten folds of --criteo")
    parser.add_argument("--models", nargs="*", default=MODELS, help="of kr.models, for --bound and --folds")
    parser.add_argument("--log-seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=1, help="for --bound and --folds")
    args = parser.parse_args()
    if args.bound:
        compare_with_bound(args)
    elif args.folds:
        compare_on_folds(args)
    elif args.optimizers:
        compare_optimizers(args)
    else:
        compare_settings(args)


def compare_settings(args: argparse.Namespace) -> None:
    figures: dict[str, Any] = {"rows": args.rows, "seeds": args.seeds, "embedding_dim": DIM, "units": UNITS}
    with tempfile.TemporaryDirectory(prefix="defaults-") as scratch:
        for data, folder, batch, epochs in datasets(args, Path(scratch)):
            table = figures.setdefault(data, {"batch_size": batch, "epochs": epochs, "auc": {}})["auc"]
            for setting, name in ((s, n) for s in SETTINGS for n in MODELS):
                aucs = scores(name, setting, folder, batch, epochs, args.seeds)
                error = float(np.std(aucs, ddof=1) / np.sqrt(len(aucs))) if len(aucs) > 1 else float("nan")
                table.setdefault(setting, {})[name] = {"mean": float(np.mean(aucs)), "standard_error": error}
                print(f"{data:12}{setting:32}{name:12} AUC {np.mean(aucs):.4f} ± {error:.4f}", flush=True)
                if args.out:
                    args.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(figures))


def compare_with_bound(args: argparse.Namespace) -> None:
    figures = read_figures(args.out)
    with tempfile.TemporaryDirectory(prefix="defaults-") as scratch:
        log = click_log(Path(scratch) / "log", args.rows, seed=args.log_seed, progress=False)
        write(
            click_log_features(), pl.scan_parquet(log.train), pl.scan_parquet(log.valid), Path(scratch) / "log f"
        )
        train = kr.Loader(Path(scratch) / "log f" / "train", shuffle=True, seed=0)
        held_out = kr.Loader(Path(scratch) / "log f" / "held out", batch_size=8192)
        figures |= {"rows": args.rows, "log_seed": args.log_seed, "epochs": args.epochs, "bound": log.auc_bound}
        for name in args.models:
            if name not in figures.setdefault("auc", {}):
                started = time.perf_counter()
                auc = trained_auc(name, train, held_out, args.epochs)
                figures["auc"][name] = auc
                seconds = time.perf_counter() - started
                print(
                    f"{name:12} AUC {auc:.4f}, below the bound by {log.auc_bound - auc:.4f}, {seconds:.0f} s",
                    flush=True,
                )
                write_figures(args.out, figures)
    print(json.dumps(figures))


def compare_on_folds(args: argparse.Namespace) -> None:
    rows, figures = criteo.scan(args.criteo).collect(), read_figures(args.out)
    figures.setdefault("epochs", args.epochs)
    scored = figures.setdefault("auc", {})
    for name in ["logistic regression", *args.models]:
        if name in scored:
            continue
        aucs = []
        for shuffle in range(2):
            places = np.random.default_rng(shuffle).permutation(len(rows))
            for fold in range(5):
                test = np.sort(places[fold::5])
                learn = np.setdiff1d(places, test)
                aucs.append(fold_auc(name, rows[learn], rows[test], args.epochs))
        scored[name] = {"mean": float(np.mean(aucs)), "folds": aucs}
        print(f"{name:22} AUC {np.mean(aucs):.4f}", flush=True)
        write_figures(args.out, figures)
    print(json.dumps(figures))


def fold_auc(name: str, learn: pl.DataFrame, test: pl.DataFrame, epochs: int) -> float:
    """The AUC of the test rows, of a model or of a logistic regression whose penalty five inner folds choose."""
    features = criteo_features().fit(learn)
    if name != "logistic regression":
        frames = [features.transform(part).to_polars() for part in (learn, test)]
        train, held_out = (
            kr.Loader(frame, schema=features.output_schema, shuffle=i == 0) for i, frame in enumerate(frames)
        )
        return trained_auc(name, train, held_out, epochs)
    from scipy.sparse import csr_matrix, hstack
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers, ids = list(criteo.INTEGERS), list(criteo.CATEGORIES)
    parts = [features.transform(part).to_polars() for part in (learn, test)]
    encoder = OneHotEncoder(handle_unknown="ignore").fit(parts[0][ids].to_numpy())
    scaler = StandardScaler().fit(parts[0][numbers].to_numpy())
    x = [
        hstack([encoder.transform(p[ids].to_numpy()), csr_matrix(scaler.transform(p[numbers].to_numpy()))]).tocsr()
        for p in parts
    ]
    linear = LogisticRegressionCV(
        Cs=(0.003, 0.01, 0.03, 0.1, 0.3, 1), cv=5, l1_ratios=(0,), scoring="neg_log_loss", max_iter=3000
    )
    linear.fit(x[0], learn["label"].to_numpy())
    return metrics.auc(test["label"].to_numpy(), linear.predict_proba(x[1])[:, 1])


def trained_auc(name: str, train: kr.Loader, held_out: kr.Loader, epochs: int) -> float:
    """The AUC of the held-out rows of a model that is compiled and built with its defaults."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    model = getattr(kr.models, name)(train.schema)
    model.compile()
    model.fit(train, epochs=epochs, verbose=0)
    labels = np.concatenate([target for _, target in held_out])[:, 0]
    return metrics.auc(labels, model.predict(held_out, verbose=0)[:, 0])


def criteo_features() -> etl.Workflow:
    numbers = list(criteo.INTEGERS) >> etl.FillMissing(0) >> etl.Clip(min=0) >> etl.LogOp() >> etl.Normalize()
    return etl.Workflow(
        numbers + (list(criteo.CATEGORIES) >> etl.Categorify(min_count=4)) + (["label"] >> etl.Target())
    )


def read_figures(path: Path | None) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path is not None and path.exists() else {}


def write_figures(path: Path | None, figures: dict[str, Any]) -> None:
    if path is not None:
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def compare_optimizers(args: argparse.Namespace) -> None:
    figures: dict[str, Any] = {"rows": args.rows, "embedding_dim": DIM, "units": UNITS}
    with tempfile.TemporaryDirectory(prefix="defaults-") as scratch:
        for data, folder, batch, epochs in datasets(args, Path(scratch)):
            for size in (1024, 8192) if data == "click log" else (batch,):
                for name in ("DLRM", "WideAndDeep"):
                    for optimizer, grid in GRID.items():
                        row = figures.setdefault(f"{data}, batch {size}", {}).setdefault(name, {})
                        row[optimizer] = grid_scores(name, optimizer, grid, folder, size, epochs)
                        best = "  ".join(f"{setting} {auc:.3f}" for setting, auc in row[optimizer].items())
                        print(f"{data}, batch {size:<6}{name:12}{optimizer:15} {best}", flush=True)
                        if args.out:
                            args.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def grid_scores(
    name: str, optimizer: str, grid: list[tuple[float, float | None]], folder: Path, batch: int, epochs: int
) -> dict[str, float]:
    """The AUC of the held-out rows for each setting of an optimizer, by its name; "default" is one of them.

    The model is traced once: each setting sets the same initial weights, the rate and the accumulators.
    """
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    held_out = kr.Loader(folder / "held out", 16_384)
    labels = np.concatenate([target for _, target in held_out])[:, 0]
    model = make(name, "defaults", held_out.schema)
    model.compile(getattr(kr.optimizers, optimizer)(), loss="binary_crossentropy")
    model.optimizer.build(model.trainable_variables)
    weights, start = model.get_weights(), [np.array(variable) for variable in model.optimizer.variables]
    default = (
        round(float(model.optimizer.learning_rate), 6),
        getattr(model.optimizer, "initial_accumulator_value", None),
    )
    aucs = {}
    for rate, accumulator in dict.fromkeys([default, *grid]):
        model.set_weights(weights)
        for variable, value in zip(model.optimizer.variables, start, strict=True):
            variable.assign(np.full_like(value, accumulator) if "accumulator" in variable.path else value)
        model.optimizer.learning_rate = rate
        model.fit(kr.Loader(folder / "train", batch, shuffle=True), epochs=epochs, verbose=0)
        setting = f"{rate:g}" if accumulator is None else f"{rate:g}, accumulator {accumulator:g}"
        key = f"{setting} (default)" if (rate, accumulator) == default else setting
        aucs[key] = round(metrics.auc(labels, model.predict(held_out, verbose=0)[:, 0]), 4)
    return aucs


def datasets(args: argparse.Namespace, work: Path) -> Iterator[tuple[str, Path, int, int]]:
    """Each data set's name, its folder of features, rows per batch and passes."""
    log = click_log(work / "log", args.rows, progress=False)
    print(f"click log: the true probabilities' AUC is {log.auc_bound:.4f}")
    write(click_log_features(), pl.scan_parquet(log.train), pl.scan_parquet(log.valid), work / "click log")
    yield "click log", work / "click log", 1024, 1
    if args.movielens:
        train, test = (
            frame.with_columns(liked=(pl.col("rating") >= 4).cast(pl.Int8)).lazy()
            for frame in movielens.load(args.movielens, "u1")
        )
        ids = ["user", "item", "gender", "occupation", "genres", "hour", "weekday"] >> etl.Categorify(min_count=2)
        features = etl.Workflow(ids + (["age"] >> etl.Normalize()) + (["liked"] >> etl.Target()))
        write(features, train, test, work / "movielens")
        yield "movielens", work / "movielens", 512, 2
    if args.criteo:
        rows = criteo.scan(args.criteo)
        split = rows.select(pl.len()).collect().item() * 8 // 10
        write(criteo_features(), rows.head(split), rows.slice(split), work / "criteo")
        yield "criteo", work / "criteo", 32, 3


def write(features: etl.Workflow, train: pl.LazyFrame, held_out: pl.LazyFrame, folder: Path) -> None:
    features.fit(train)
    features.transform(train).to_parquet(folder / "train")
    features.transform(held_out).to_parquet(folder / "held out")


def scores(name: str, setting: str, folder: Path, batch: int, epochs: int, seeds: int) -> list[float]:
    """The AUC of the held-out rows for each seed.

    One model is traced; each seed gives it the initial weights of a model of its own and a new optimizer's state.
    """
    keras.backend.clear_session()
    held_out = kr.Loader(folder / "held out", 16_384)
    labels = np.concatenate([target for _, target in held_out])[:, 0]
    model = make(name, setting, held_out.schema)
    model.compile(SETTINGS[setting][0](), loss="binary_crossentropy")
    model.optimizer.build(model.trainable_variables)
    start = [np.array(variable) for variable in model.optimizer.variables]
    aucs = []
    for seed in range(seeds):
        keras.utils.set_random_seed(seed)
        model.set_weights(make(name, setting, held_out.schema).get_weights())
        for variable, value in zip(model.optimizer.variables, start, strict=True):
            variable.assign(value)
        model.fit(kr.Loader(folder / "train", batch, shuffle=True, seed=seed), epochs=epochs, verbose=0)
        aucs.append(metrics.auc(labels, model.predict(held_out, verbose=0)[:, 0]))
    return aucs


def make(name: str, setting: str, schema: kr.Schema) -> Any:
    units = {"bottom_units": [64, DIM], "top_units": UNITS} if name == "DLRM" else {"deep_units": UNITS}
    return getattr(kr.models, name)(schema, embedding_dim=DIM, **units, **SETTINGS[setting][1])


if __name__ == "__main__":
    main()
