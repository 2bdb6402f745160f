"""
Title: Behaviour sequences: DIN against DCN
Author: the kerasrec authors
Date created: 2026/11/29
Last modified: 2026/11/29
Description: What attention to a candidate adds to the mean and the sum of a history.
Accelerator: None
"""

"""
## Introduction

What somebody clicked before is the best hint at what they click next. A model of features sees such a history as
one vector, the mean or the sum of its items' embeddings, which has to serve for every candidate. DIN weighs the
history anew for each candidate: a person who likes trains and cookery is a cook while we ask about a pan.

We compare both on clicks that are drawn so that the true probabilities are known, without ids of people: what the
models know about a person is the history. `python examples/behaviour_sequences.py path/to/ml-100k` does the same
on MovieLens 100k, where a history is the films that a person had liked before the rating.

The drawn clicks are made so that attention pays. MovieLens is not: with a film and a history alone, split by time,
neither model beats the film's popularity (AUC 0.697; DCN 0.687, DIN 0.685, one seed).
"""

import argparse
import json
import os
import time
from collections import defaultdict
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import polars as pl

import kerasrec as kr
from kerasrec import etl
from kerasrec.datasets import movielens
from kerasrec.datasets.additive import Additive
from kerasrec.datasets.metrics import auc, log_loss

parser = argparse.ArgumentParser(description="DIN and DCN on behaviour sequences.")
parser.add_argument("data", nargs="?", help="the folder ml-100k; clicks are drawn where it is not given")
parser.add_argument("--rows", type=int, default=16_000, help="how many clicks are drawn")
parser.add_argument("--epochs", type=int, default=7, help="at most; the validation rows say when to stop")
parser.add_argument("--seeds", type=int, default=2, help="train each model as often; figures are means")
parser.add_argument("--json", type=Path, help="a file for the figures")
args = parser.parse_args()

"""
## Clicks of people with several interests

There are 20 styles of 5 items each. A person likes 4 styles, and a history has up to 30 items: one in five of any
style, the others of styles that the person likes. A candidate is clicked if it is attractive in itself, and
if the history has one or two items of its style. So most of a history says nothing about a given candidate.
"""


def drawn(rows, seed=1, styles=20, per_style=5, interests=4, longest=30):
    """Return a frame of candidates, histories and clicks, in no particular order, with the true probabilities."""
    rng = np.random.default_rng(seed)
    liked = rng.permuted(np.tile(np.arange(styles), (rows, 1)), axis=1)[:, :interests]

    def items(row, share_of_others):
        """An item for each element of `row`: of a style that the row's person likes, or of any."""
        style = liked[row, rng.integers(interests, size=len(row))]
        any_style = rng.random(len(row)) < share_of_others
        style = np.where(any_style, rng.integers(styles, size=len(row)), style)
        return style * per_style + rng.integers(per_style, size=len(row))

    lengths = rng.integers(longest + 1, size=rows)
    row = np.repeat(np.arange(rows), lengths)
    history, item = items(row, 0.2), items(np.arange(rows), 0.5)
    similar = np.bincount(row, history // per_style == item[row] // per_style, rows)
    appeal = rng.normal(size=styles * per_style)
    probability = 1 / (1 + np.exp(2 - appeal[item] - 2 * np.minimum(similar, 2)))
    return pl.DataFrame(
        {
            "item": item,
            "history": pl.Series(np.split(history, np.cumsum(lengths)[:-1]), dtype=pl.List(pl.Int64)),
            "clicked": (rng.random(rows) < probability).astype(np.int8),
            "probability": probability,
        }
    )


"""
## Films that a person had liked before

On MovieLens the rows are in the order of time: the last fifth of the ratings is the test, and a history has only
films that the person rated 4 or 5 at an earlier moment. (Ratings of the same second do not see each other.)
"""


def liked_before(ratings):
    """Return the films that the user of each rating, in the order of time, had liked before."""
    liked, waiting, moments, histories = defaultdict(list), defaultdict(list), {}, []
    for user, item, rating, moment in ratings.select("user", "item", "rating", "timestamp").iter_rows():
        if moments.get(user) != moment:
            liked[user] += waiting.pop(user, [])
            moments[user] = moment
        histories.append(liked[user][-50:])
        if rating >= 4:
            waiting[user].append(item)
    return pl.Series(histories, dtype=pl.List(pl.Int64))


if args.data:
    ratings = pl.concat(movielens.load(args.data)).sort("timestamp", maintain_order=True)
    rows = ratings.select("item", history=liked_before(ratings), clicked=(pl.col("rating") >= 4).cast(pl.Int8))
else:
    rows = drawn(args.rows)
first, second = int(0.7 * len(rows)), int(0.8 * len(rows))
learn, check, test = rows[:first], rows[first:second], rows[second:]
print(rows.head(3))
print(f"{len(learn):,} rows to learn from, {len(check):,} to stop by, {len(test):,} to be tested on")

"""
## The schema says what is compared

A candidate and a history that share a vocabulary share an embedding table: that ties them, and DIN finds the pair
in the schema. The last item of a list is the most recent one. Other models take the list as one more feature.
"""

workflow = etl.Workflow((["item", "history"] >> etl.Categorify(table="item")) + (["clicked"] >> etl.Target())).fit(
    learn
)
learn, check, test = (workflow.transform(part) for part in (learn, check, test))
print(learn.schema)
print(kr.models.DIN(learn.schema).histories)

"""
## Models

The same embeddings and towers for all. The baseline is a logistic regression of the candidate alone: how
attractive it is. DCN gets the history as a sum, from which it can tell how often something was clicked, and on
MovieLens as a mean, too.
"""

SIZE = {"embedding_dim": 16, "deep_units": [64, 32]}
MODELS = {
    "DCN mean": lambda schema: kr.models.DCN(schema, **SIZE),
    "DCN sum": lambda schema: kr.models.DCN(schema, combiner="sum", **SIZE),
    "DIN": lambda schema: kr.models.DIN(schema, **SIZE),
}
if not args.data:
    del MODELS["DCN mean"]  # less than the sum on these rows, and this run is short
labels = rows[second:]["clicked"].to_numpy()


def scores(probabilities):
    return auc(labels, probabilities), log_loss(labels, probabilities)


def trained(make, seed):
    """Return predictions for the test rows, and the number of epochs."""
    keras.utils.set_random_seed(seed)
    model = make(learn.schema)
    model.compile(kr.optimizers.Adam(0.01), loss="binary_crossentropy")
    stop = keras.callbacks.EarlyStopping("val_loss", patience=2, restore_best_weights=True)
    fitted = model.fit(
        learn, validation_data=check, epochs=args.epochs, batch_size=128, callbacks=[stop], verbose=0
    )
    return model.predict(test, verbose=0)[:, 0], 1 + int(np.argmin(fitted.history["val_loss"]))


candidates, clicked = rows["item"].to_numpy(), rows["clicked"].to_numpy()
popularity = Additive("logistic", (1.0,)).fit([candidates[:second]], clicked[:second])
figures = {"candidate alone": ([scores(popularity.predict([candidates[second:]]))], 0.0)}
for name, make in MODELS.items():
    started, per_seed = time.perf_counter(), []
    for seed in range(args.seeds):
        predictions, epochs = trained(make, seed)
        per_seed.append(scores(predictions))
    print(f"{name}: {epochs} epochs", flush=True)
    figures[name] = per_seed, time.perf_counter() - started
if not args.data:
    figures["true probabilities"] = [scores(rows[second:]["probability"].to_numpy())], 0.0

"""
## Results

Means over seeds with standard errors.
"""

means = {}
print(f"\n{'MovieLens 100k' if args.data else 'Drawn'}, {len(labels):,} test rows, {args.seeds} seeds")
print(f"{'':20}{'AUC':>18}{'log loss':>18}{'seconds':>10}")
for name, (per_seed, seconds) in figures.items():
    mean = np.mean(per_seed, axis=0)
    error = np.std(per_seed, axis=0, ddof=1) / np.sqrt(len(per_seed)) if len(per_seed) > 1 else np.zeros(2)
    means[name] = {"auc": mean[0], "auc_error": error[0], "log_loss": mean[1], "log_loss_error": error[1]}
    cells = "".join(f"{f'{m:.4f} ± {e:.4f}':>18}" for m, e in zip(mean, error, strict=True))
    print(f"{name:20}{cells}{seconds:10.1f}")
if args.json:
    args.json.write_text(json.dumps({"seeds": args.seeds, **means}, indent=1) + "\n")
