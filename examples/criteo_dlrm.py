"""
Title: Predicting clicks: DLRM on Criteo's display advertising log
Author: the kerasrec authors
Date created: 2026/11/23
Last modified: 2026/11/23
Description: Integers with nulls and hashed ids, prepared out of core, for DLRM, DCN and DeepFM.
Accelerator: None
"""

"""
## Introduction

Criteo's log is the standard benchmark of click models: a label, 13 integer columns (counts, many of them
missing), and 26 columns of hashed ids whose meaning is not published. It has 45,840,617 rows;
`kerasrec.datasets.criteo` says where to get it.

Run it with `python examples/criteo_dlrm.py path/to/train.txt`. It reads the published TSV and CSV
extracts with a header, of any size: nothing below loads all rows into memory. Without a path it draws a few
thousand rows of the same form, which show how things fit together; scores on so few rows say little, so each
has its standard error.
"""

import argparse
import itertools
import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import polars as pl

import kerasrec as kr
from kerasrec import etl
from kerasrec.datasets import criteo
from kerasrec.datasets.additive import Additive, number_quantiles
from kerasrec.datasets.metrics import auc, log_loss

parser = argparse.ArgumentParser(description="DLRM, DCN and DeepFM on Criteo's log, beside a linear model.")
parser.add_argument("data", nargs="?", help="Criteo's train.txt, or a CSV cut from it; drawn where not given")
parser.add_argument("--epochs", type=int, default=20, help="at most; the validation rows say when to stop")
parser.add_argument("--batch-size", type=int, help="a hundredth of the training rows, 16 to 8192, if not given")
parser.add_argument("--min-count", type=int, help="ids seen less often share one; 4 below a million rows, else 15")
parser.add_argument("--seeds", type=int, default=1, help="train each model as often; figures are then means")
parser.add_argument("--json", type=Path, help="a file for the figures")
args = parser.parse_args()

"""
## The data

The rows are in order of time. We train on the first 70 %, validate on the next 10 % and test on the last
20 %, as in production, where a model trained until yesterday predicts today.
"""

log = criteo.scan(args.data) if args.data else criteo.synthetic()
rows = log.select(pl.len()).collect().item()
parts = {
    "learn": log.slice(0, rows * 7 // 10),
    "check": log.slice(rows * 7 // 10, rows * 8 // 10 - rows * 7 // 10),
    "test": log.slice(rows * 8 // 10),
}
print(log.head(3).collect())

"""
## From raw columns to features

The integers are counts with long tails: missing and negative values (I2 has some) become 0, then
log(1 + x) is taken and scaled to mean 0 and variance 1. Hashed ids become consecutive ids; the rare ones of
a column share one. Fitting reads only the training rows.
"""

min_count = args.min_count or (4 if rows < 1_000_000 else 15)
integers = list(criteo.INTEGERS) >> etl.FillMissing(0) >> etl.Clip(min=0) >> etl.LogOp() >> etl.Normalize()
categories = list(criteo.CATEGORIES) >> etl.Categorify(min_count=min_count)
workflow = etl.Workflow(integers + categories + (["label"] >> etl.Target()))

scratch = tempfile.TemporaryDirectory(prefix="criteo-")  # removed when the script ends
work = Path(scratch.name)
started = time.perf_counter()
workflow.fit(parts["learn"])
for name, part in parts.items():
    workflow.transform(part).to_parquet(work / name)
print(f"{rows / (time.perf_counter() - started):,.0f} rows per second, raw rows to features")
schema = kr.Schema.load(work / "learn")
print(schema)

"""
## The baseline

A logistic regression with a weight per id and per quantile of each number: the best that can be done
without interactions. It reads at most two million rows. The ridge penalty and the number of quantiles are
chosen on the validation rows.
"""

frames = {name: pl.scan_parquet(work / name / "*.parquet").head(2_000_000).collect() for name in parts}


def columns(quantiles):
    """Return every column as ids; numbers become the ids of their quantiles."""
    arrays = {name: [frame[c.name].to_numpy() for c in schema.categorical] for name, frame in frames.items()}
    for column in schema.continuous:
        series = [frames[name][column.name] for name in parts]
        for name, bins in zip(parts, number_quantiles(*series, bins=quantiles), strict=True):
            arrays[name].append(bins)
    return arrays


def linear(setting, part):
    ridge, quantiles = setting
    data = columns(quantiles)
    return Additive("logistic", ridge).fit(data["learn"], frames["learn"]["label"]).predict(data[part])


def loss_aside(setting):
    return log_loss(frames["check"]["label"], linear(setting, "check"))


started = time.perf_counter()
best = min(itertools.product((3, 10, 30, 100, 300), (4, 8, 16, 64)), key=loss_aside)
clicked = frames["test"]["label"].to_numpy()
results = [("logistic regression", [linear(best, "test")], time.perf_counter() - started)]
print(f"ridge {best[0]}, {best[1]} quantiles, log loss {loss_aside(best):.4f} on the rows to choose by")

"""
## Three models

Embeddings and towers grow with the log: models with wide ones overfit a few thousand rows quickly at the
default learning rate, 0.05. Training stops when the loss on the validation rows no longer falls, and the
weights of the best epoch are restored.
"""

small = rows < 1_000_000
dim, towers, rate = (4, [16], 0.02) if small else (16, [256, 128], 0.05)
batch_size = args.batch_size or int(np.clip(rows // 100, 16, 8192))


def dlrm(schema):
    bottom = [16, dim] if small else [256, 64, dim]
    return kr.models.DLRM(schema, embedding_dim=dim, bottom_units=bottom, top_units=towers, dropout=0.1)


def dcn(schema):
    return kr.models.DCN(schema, embedding_dim=dim, cross_layers=2, deep_units=towers, dropout=0.1)


def deepfm(schema):
    return kr.models.DeepFM(schema, embedding_dim=dim, deep_units=towers, dropout=0.1)


def loader(name, seed, shuffle=False):
    return kr.Loader(work / name, batch_size=batch_size, shuffle=shuffle, seed=seed)


def trained(make, seed):
    """Return the probabilities of the test rows."""
    keras.utils.set_random_seed(seed)
    model = make(schema)
    model.compile(optimizer=kr.optimizers.Adagrad(rate), loss="binary_crossentropy")
    stop = keras.callbacks.EarlyStopping("val_loss", patience=2, restore_best_weights=True)
    history = model.fit(
        loader("learn", seed, shuffle=True),
        validation_data=loader("check", seed),
        epochs=args.epochs,
        callbacks=[stop],
        verbose=0,
    )
    losses = history.history["val_loss"]
    print(f"{make.__name__}: best after {1 + int(np.argmin(losses))} epochs, log loss {min(losses):.4f} there")
    return model.predict(loader("test", seed), verbose=0)[: len(clicked), 0]


for make in (dlrm, dcn, deepfm):
    started = time.perf_counter()
    predictions = [trained(make, seed) for seed in range(args.seeds)]
    results.append((make.__name__, predictions, time.perf_counter() - started))

"""
## Results

The first error is the standard error of the mean over seeds, if there are several. The second is the
standard error over test rows, from 200 bootstrap samples.
"""

rng = np.random.default_rng(0)
samples = [rng.integers(len(clicked), size=len(clicked)) for _ in range(200)]


def summary(score, predictions):
    values = [score(clicked, predicted) for predicted in predictions]
    again = [np.mean([score(clicked[sample], each[sample]) for each in predictions]) for sample in samples]
    seeds = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "over_seeds": seeds, "over_rows": float(np.std(again))}


constant = np.full(len(clicked), frames["learn"]["label"].mean())
figures = {
    name: {"auc": summary(auc, predictions), "log_loss": summary(log_loss, predictions), "seconds": seconds}
    for name, predictions, seconds in [("always the mean", [constant], 0.0), *results]
}
print(f"\n{'Criteo' if args.data else 'Drawn'}, {rows:,} rows, {len(clicked):,} test rows, ", end="")
print(f"{clicked.mean():.1%} clicked, {args.seeds} seeds")
print(f"{'':20}{'AUC':>27}{'log loss':>27}{'seconds':>10}")
for name, found in figures.items():
    scores = [
        f"{s['mean']:.4f} ± {s['over_seeds']:.4f} ± {s['over_rows']:.4f}"
        for s in (found["auc"], found["log_loss"])
    ]
    print(f"{name:20}{scores[0]:>27}{scores[1]:>27}{found['seconds']:10.1f}")
if args.json:
    args.json.write_text(json.dumps({"rows": rows, "seeds": args.seeds, **figures}, indent=1) + "\n")
