"""
Title: Ranking films: DLRM, DCN and DeepFM on MovieLens 100k
Author: the kerasrec authors
Date created: 2026/11/23
Last modified: 2026/11/23
Description: From raw ratings to three deep ranking models, next to a baseline of user and item biases.
Accelerator: None
"""

"""
## Introduction

MovieLens 100k contains 100,000 ratings, 1 to 5, of 1,682 films by 943 people. We predict two things for a
person and a film: whether the rating is 4 or more (like a click), and the rating itself.

A recommender is worth what it adds to the simplest model: some people rate higher than others, and some
films are better liked. So we fit that model first and compare the others with it.

Run it with `python examples/movielens_ranking.py path/to/ml-100k`, or with `--download`. The data's terms are
in its README: research use, no redistribution. Without the data it draws ratings of the same form, a tenth as
many, and trains one of the models.
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
from kerasrec.datasets import movielens
from kerasrec.datasets.additive import Additive
from kerasrec.datasets.metrics import auc, log_loss, rmse

parser = argparse.ArgumentParser(description="DLRM, DCN and DeepFM on MovieLens 100k, beside a bias baseline.")
parser.add_argument("data", nargs="?", help="the folder ml-100k; ratings are drawn where it is not given")
parser.add_argument("--download", action="store_true", help="get the data from GroupLens, once")
parser.add_argument("--split", default="u1", choices=movielens.SPLITS)
parser.add_argument("--epochs", type=int, default=30, help="at most; the validation rows say when to stop")
parser.add_argument("--seeds", type=int, default=1, help="train each model as often; figures are then means")
parser.add_argument("--json", type=Path, help="a file for the figures")
args = parser.parse_args()

"""
## The data

`movielens.load` returns the standard split u1, 80,000 training and 20,000 test ratings, with the features of
users and films; `movielens.synthetic` returns frames of the same columns. A tenth of the training ratings is
for validation: it sets the baseline's regularisation and each model's number of epochs. The test ratings are
not used to choose anything.
"""

folder = movielens.download(Path.home() / ".cache" / "kerasrec" / "ml-100k") if args.download else args.data
frames = movielens.load(folder, args.split) if folder else movielens.synthetic()
train, test = (frame.with_columns(liked=(pl.col("rating") >= 4).cast(pl.Int8)) for frame in frames)
held_out = np.random.default_rng(0).random(len(train)) < 0.1
learn, check = train.filter(~held_out), train.filter(held_out)
print(train.head(3))
print(f"{len(learn):,} ratings to learn from, {len(check):,} to choose by, {len(test):,} to be tested on")

"""
## The baseline: user + item biases

`rating = mean + b_user + b_item`, with biases fitted by ridge regression in NumPy; and for `rating >= 4` a
logistic regression of the same form. An unknown film has no bias. The validation rows choose the ridge.
"""


def ids(frame):
    return [frame["user"].to_numpy(), frame["item"].to_numpy()]


def baseline(loss, target, score):
    """Predictions for the test rows, of the (user, item) ridges that score lowest on the rows put aside."""

    def aside(ridges):
        return score(check[target], Additive(loss, ridges).fit(ids(learn), learn[target]).predict(ids(check)))

    best = min(itertools.product((0.1, 0.3, 1, 3, 10, 30), repeat=2), key=aside)
    return Additive(loss, best).fit(ids(train), train[target]).predict(ids(test)), best


def scores(liked, rated):
    return auc(test["liked"], liked), log_loss(test["liked"], liked), rmse(test["rating"], np.clip(rated, 1, 5))


started = time.perf_counter()
liked, ridge_liked = baseline("logistic", "liked", log_loss)
rated, ridge_rated = baseline("squared", "rating", rmse)
rows = {"user + item biases": ([scores(liked, rated)], time.perf_counter() - started)}
print(f"ridge {ridge_liked} for rating >= 4, {ridge_rated} for the rating")

"""
## From raw columns to features

Categorical columns become ids: users and films, but also the hour, the weekday, and a film's genres, which
are a list. Values that occur in fewer than two ratings share one id. The age remains a number.

Both targets are written; a loader selects one of them.
"""

workflow = etl.Workflow(
    (["user", "item", "gender", "occupation", "genres", "hour", "weekday"] >> etl.Categorify(min_count=2))
    + (["age"] >> etl.Normalize())
    + (["liked", "rating"] >> etl.Target())
)
scratch = tempfile.TemporaryDirectory(prefix="movielens-")  # removed when the script ends
work = Path(scratch.name)
workflow.fit(train)
for name, frame in {"learn": learn, "check": check, "train": train, "test": test}.items():
    workflow.transform(frame).to_parquet(work / name)
schema = kr.Schema.load(work / "train")
print(schema)


def loader(name, target, shuffle=False, seed=0):
    return kr.Loader(work / name, batch_size=512, targets=target, shuffle=shuffle, seed=seed)


"""
## Three models

All three have the same inputs. DLRM multiplies embeddings pairwise, DCN crosses all features with each
other, DeepFM sums a factorization machine and a deep tower. The data is small, so the models are, too:
embeddings of width 16, narrow towers, dropout, and weight decay, which keeps the vectors of people and films
with few ratings short.
"""

DIM = 16


def dlrm(schema):
    return kr.models.DLRM(schema, embedding_dim=DIM, bottom_units=[32, DIM], top_units=[64, 32], dropout=0.4)


def dcn(schema):
    return kr.models.DCN(schema, embedding_dim=DIM, cross_layers=2, deep_units=[64, 32], dropout=0.4)


def deepfm(schema):
    return kr.models.DeepFM(schema, embedding_dim=DIM, deep_units=[64, 32], dropout=0.4)


"""
## Training

Each model is trained twice: first without the validation ratings, to find the best number of epochs, then
from scratch on all training ratings for as many epochs. The optimizer is Keras's AdamW, which decays all rows of
a table in every step, not only those that a batch looks up: on tables as small as these that is cheap, and what
we want.
"""


def compiled(make, target, seed):
    keras.utils.set_random_seed(seed)
    model = make(loader("train", target).schema)
    loss = "binary_crossentropy" if target == "liked" else "mse"
    model.compile(optimizer=keras.optimizers.AdamW(1e-3, weight_decay=0.3), loss=loss)
    if target == "rating":
        model.logit.bias.assign([train["rating"].mean()])
    return model


def predictions(make, target, seed):
    """Return predictions for the test rows, and the number of epochs."""
    stop = keras.callbacks.EarlyStopping("val_loss", patience=3)
    history = compiled(make, target, seed).fit(
        loader("learn", target, shuffle=True, seed=seed),
        validation_data=loader("check", target),
        epochs=args.epochs,
        callbacks=[stop],
        verbose=0,
    )
    epochs = 1 + int(np.argmin(history.history["val_loss"]))
    model = compiled(make, target, seed)
    model.fit(loader("train", target, shuffle=True, seed=seed), epochs=epochs, verbose=0)
    return model.predict(loader("test", target), verbose=0)[:, 0], epochs


for make in (dlrm, dcn, deepfm) if folder else (deepfm,):
    started, per_seed = time.perf_counter(), []
    for seed in range(args.seeds):
        liked, epochs_liked = predictions(make, "liked", seed)
        rated, epochs_rated = predictions(make, "rating", seed)
        print(f"{make.__name__}: {epochs_liked} epochs for rating >= 4, {epochs_rated} for the rating", flush=True)
        per_seed.append(scores(liked, rated))
    rows[make.__name__] = per_seed, time.perf_counter() - started

"""
## Results

With several seeds these are means with standard errors: a single seed does not rank the models.
"""

figures = {}
name = f"MovieLens 100k, split {args.split}" if folder else "Drawn"
print(f"\n{name}, {len(test):,} test ratings, {args.seeds} seeds")
print(f"{'':20}{'AUC >= 4':>18}{'log loss':>18}{'RMSE':>18}{'seconds':>10}")
for name, (per_seed, seconds) in rows.items():
    means = np.mean(per_seed, axis=0)
    errors = np.std(per_seed, axis=0, ddof=1) / np.sqrt(len(per_seed)) if len(per_seed) > 1 else np.zeros(3)
    pairs = dict(zip(("auc", "log_loss", "rmse"), zip(means.tolist(), errors.tolist(), strict=True), strict=True))
    figures[name] = {what: {"mean": mean, "standard_error": error} for what, (mean, error) in pairs.items()}
    columns = "".join(f"{f'{mean:.4f} ± {error:.4f}':>18}" for mean, error in pairs.values())
    print(f"{name:20}{columns}{seconds:10.1f}")
if args.json:
    args.json.write_text(json.dumps({"split": args.split, "seeds": args.seeds, **figures}, indent=1) + "\n")
