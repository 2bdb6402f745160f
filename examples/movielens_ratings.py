"""
Title: Predicting ratings: histories of liked and disliked films on MovieLens 100k
Author: the kerasrec authors
Date created: 2026/11/29
Last modified: 2026/11/29
Description: What else a person rated, and who else rated a film, by how they rated, as list columns of a DeepFM.
Accelerator: None
"""

"""
## Introduction

The rating of a film depends on the person and the film, and little else in the data tells as much about either
as their other ratings. Here each row has six lists: the films that the person disliked, found middling and liked,
and the people who disliked, found middling and liked the film. A list is embedded like any other column, so the
model stays DeepFM; the lists are what SVD++ (Koren, "Factorization Meets the Neighborhood", KDD 2008) adds to
matrix factorization, here for both sides and by how a film was rated.

Run it with `python examples/movielens_ratings.py path/to/ml-100k`, or with `--download`; `--split u2` is another
of the published splits. The data's terms are in its README: research use, no redistribution. Without the data it
draws ratings of the same form, far fewer, and trains one of the models.
"""

import argparse
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
from kerasrec.datasets.metrics import rmse

parser = argparse.ArgumentParser(description="Ratings of MovieLens 100k, by a DeepFM with histories.")
parser.add_argument("data", nargs="?", help="the folder ml-100k; ratings are drawn where it is not given")
parser.add_argument("--download", action="store_true", help="get the data from GroupLens, once")
parser.add_argument("--split", default="u1", choices=movielens.SPLITS)
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--seeds", type=int, default=1, help="train the models as often; figures are then means")
parser.add_argument("--json", type=Path, help="a file for the figures")
args = parser.parse_args()

"""
## The data

Published splits have 80,000 training and 20,000 test ratings. All that follows is learnt from training ratings.
"""

folder = movielens.download(Path.home() / ".cache" / "kerasrec" / "ml-100k") if args.download else args.data
train, test = movielens.load(folder, args.split) if folder else movielens.synthetic(6_000)
MEAN = train["rating"].mean()
train, test = (frame.with_columns(above_mean=pl.col("rating") - MEAN) for frame in (train, test))
print(f"{len(train):,} ratings to learn from, {len(test):,} to be tested on")

"""
## Histories

The list of a row is of training ratings with the same `key`, by the class of the rating. A training row is not in
its own lists: they would give its rating away. A test row finds all training ratings there.
"""

CLASSES = {"disliked": [1, 2], "middling": [3], "liked": [4, 5]}


def histories(frame, key, value, name):
    """Return `frame` with a column of lists per class: `value` of the other training rows with the same `key`."""
    rows = frame.with_row_index("row").select("row", "user", "item")
    others = train.select(key, "rating", pl.col("user", "item").name.prefix("other_"))
    same = (pl.col("user") == pl.col("other_user")) & (pl.col("item") == pl.col("other_item"))
    pairs = rows.join(others, on=key).filter(~same)
    lists = pairs.group_by("row").agg(
        pl.col(f"other_{value}").filter(pl.col("rating").is_in(ratings)).alias(f"{kind}_{name}")
        for kind, ratings in CLASSES.items()
    )
    lists = rows.join(lists, on="row", how="left").sort("row").drop("row", "user", "item")
    return pl.concat([frame, lists.select(pl.all().fill_null([]))], how="horizontal")


def features(frame):
    return histories(histories(frame, "user", "item", "films"), "item", "user", "people")


learn, check = features(train), features(test)
LISTS = [f"{kind}_{name}" for name in ("films", "people") for kind in CLASSES]
print(learn.select("rating", *LISTS[:3]).head(3))

"""
## From raw columns to features

Each list has ids of its own, and so an embedding table of its own: a film that somebody liked says something else
than a film that somebody disliked.
"""

PROFILE = ["user", "item", "gender", "occupation", "genres"]
workflow = etl.Workflow(
    ([*PROFILE, *LISTS] >> etl.Categorify()) + (["age"] >> etl.Normalize()) + (["above_mean"] >> etl.Target())
)
scratch = tempfile.TemporaryDirectory(prefix="ratings-")  # removed when the script ends
work = Path(scratch.name)
workflow.fit(learn)
for name, frame in {"learn": learn, "check": check}.items():
    workflow.transform(frame).to_parquet(work / name)


def loader(name, columns, **options):
    return kr.Loader(work / name, batch_size=512 if folder else 64, columns=columns, **options)


"""
## The models

Matrix factorization with biases is a factorization machine on two columns. DeepFM is trained without the lists
and with them. The vectors of a list are added up and divided by the square root of their number, as in SVD++.
"""


def matrix_factorization(schema):
    return kr.models.FM(schema, embedding_dim=16)


def deepfm(schema):
    combiner = {name: "sqrtn" for name in LISTS if name in schema.names}
    return kr.models.DeepFM(schema, embedding_dim=16, deep_units=[64, 32], dropout=0.4, combiner=combiner)


MODELS = {  # columns and learning rate
    "matrix factorization": (matrix_factorization, ["user", "item"], 5e-3),
    "deepfm without lists": (deepfm, [*PROFILE, "age"], 3e-3),
    "deepfm with lists": (deepfm, [*PROFILE, "age", *LISTS], 1e-3),
}

"""
## Training

Keras's AdamW decays all rows of a table in every step, not only those that a batch looks up: on tables as small as
these that is cheap, and what we want. The learning rate falls to 0, so the last epoch is the best one, and no
ratings need to be put aside to find it. Rates, weight decay and the number of epochs were chosen on a part of u1's
training ratings; they are the same for all splits.
"""


def clipped_rmse(predictions):
    return rmse(test["rating"], np.clip(predictions, 1, 5))


def score(make, columns, rate, seed):
    """Return the RMSE on the test ratings of a model that is trained with `seed`."""
    keras.utils.set_random_seed(seed)
    batches = loader("learn", columns, shuffle=True, seed=seed)
    model = make(batches.schema)
    falling = keras.optimizers.schedules.PolynomialDecay(rate, args.epochs * len(batches), 0.0)
    model.compile(keras.optimizers.AdamW(falling, weight_decay=0.3), loss="mse")
    model.fit(batches, epochs=args.epochs, verbose=0)
    return clipped_rmse(MEAN + model.predict(loader("check", columns), verbose=0)[:, 0])


def ids(frame):
    return [frame["user"].to_numpy(), frame["item"].to_numpy()]


biases = Additive("squared", ridge=5.0).fit(ids(train), train["rating"])
scores, seconds = {"user + item biases": [clipped_rmse(biases.predict(ids(test)))]}, {"user + item biases": 0.0}
for name, (make, columns, rate) in MODELS.items() if folder else list(MODELS.items())[-1:]:
    started = time.perf_counter()
    scores[name] = [score(make, columns, rate, seed) for seed in range(args.seeds)]
    seconds[name] = (time.perf_counter() - started) / args.seeds
    print(f"{name}: {', '.join(f'{value:.4f}' for value in scores[name])}", flush=True)

"""
## Results

With several seeds these are means with standard errors.
"""

figures = {}
data = f"MovieLens 100k, split {args.split}" if folder else "Drawn"
print(f"{data}, {len(test):,} test ratings, {args.seeds} seeds")
print(f"{'':22}{'RMSE':>16}{'seconds':>10}")
for name, values in scores.items():
    error = np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else 0.0
    figures[name] = {"rmse": {"mean": float(np.mean(values)), "standard_error": float(error), "seeds": values}}
    print(f"{name:22}{f'{np.mean(values):.4f} ± {error:.4f}':>16}{seconds[name]:10.1f}")
if args.json:
    args.json.write_text(json.dumps({"split": args.split, "epochs": args.epochs, **figures}, indent=1) + "\n")
