"""
Title: Two towers, and films that nobody has seen yet
Author: the kerasrec authors
Date created: 2026/11/29
Last modified: 2026/11/29
Description: A retrieval model finds new films by their genres, if it has learned to do without their ids.
Accelerator: None
"""

"""
## Introduction

Of thousands of films a recommender first has to find the few dozen that a person may like; a ranking model then
sorts those. Two towers do that: one makes a vector of the person, the other of a film, and what belongs together
is close. The films' vectors are computed once, and the nearest ones of a person are a matrix product away.

Each night there are new films. Their ids mean nothing to the model, but their genres do. We take some films out of
the training data altogether and see how well each of three models finds them for the people who liked them:

- one that knows films by id, genres and year;
- the same one, which was made to do without the id of three films in ten while it learned;
- one that has no ids.

`python examples/two_tower_cold_items.py path/to/ml-100k` does the same on MovieLens 100k. There the three find
0.000, 0.021 and 0.094 of the new films that a person liked among their first 20 of 1,682 (one seed): films that
the model knows by id keep new ones out of the first places.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import polars as pl

import kerasrec as kr
from kerasrec import etl
from kerasrec.datasets import movielens

parser = argparse.ArgumentParser(description="Two towers and new films.")
parser.add_argument("data", nargs="?", help="the folder ml-100k; ratings are drawn where it is not given")
parser.add_argument("--epochs", type=int, default=10)
args = parser.parse_args()

"""
## Pairs

Each row is a person and a film that the person liked: a rating of 4 or 5. It needs no target. One film in six is
new: all rows with it are set apart.
"""

ratings = pl.concat(movielens.load(args.data) if args.data else movielens.synthetic(20_000))
liked = ratings.filter(pl.col("rating") >= 4).select("user", "occupation", "age", "item", "genres")
films = ratings.select("item", "genres").unique("item", maintain_order=True)
new_films = films.sample(len(films) // 6, seed=1)
is_new = pl.col("item").is_in(new_films["item"].implode())
known, new = liked.filter(~is_new), liked.filter(is_new)
print(f"{len(known):,} pairs of {len(films) - len(new_films):,} films")
print(f"{len(new):,} pairs of {len(new_films)} new films")
print(known.head(3))

"""
## Whose column is whose

Tags say which tower reads a column, and which one names the film.
"""

person = (["user"] >> etl.Categorify() >> etl.AddTags(["user", "user_id"])) + (
    (["occupation"] >> etl.Categorify()) + (["age"] >> etl.Normalize()) >> etl.AddTags("user")
)
film = (["item"] >> etl.Categorify() >> etl.AddTags(["item", "item_id"])) + (
    ["genres"] >> etl.Categorify() >> etl.AddTags("item")
)
workflow = etl.Workflow(person + film).fit(known)
train = workflow.transform(known)
print(train.schema)

"""
## Training

In a batch each person's film is compared with the films of all others: a softmax over the batch. A film that many
people like is there more often, which the loss counts and makes up for. No negatives have to be made beforehand.
"""

MODELS = {
    "ids, genres": {},
    "ids, genres; 3 of 10 ids dropped": {"id_dropout": 0.3},
    "genres": {"embed_item_id": False},
}


def trained(**options):
    keras.utils.set_random_seed(0)
    model = kr.models.TwoTower(train.schema, 32, [64, 32], [64, 32], **options)
    model.compile(loss=kr.losses.InBatchSoftmax(temperature=0.05))
    model.fit(kr.Loader(train, 256, shuffle=True), epochs=args.epochs, verbose=0)
    return model


models = {name: trained(**options) for name, options in MODELS.items()}

"""
## All films are candidates, the new ones too

The index takes raw rows: a film that the vocabulary does not have is the unknown one to the model, and still has a
name of its own here. The films that a person is known to have liked are left out of that person's ranking.
"""

indexes = {name: kr.retrieval.Index(model, films, workflow=workflow) for name, model in models.items()}
print(indexes["genres"])
print(indexes["genres"].evaluate(new, at=(10, 50), exclude_seen=known))

"""
## Results

How often there is a new film that the person liked among the first 20 of all films, and which share of such films
is among them.
"""

print(f"{'the model knows films by':36}{'hit rate @20':>18}{'recall @20':>18}")
for name, index in indexes.items():
    report = index.evaluate(new, at=20, exclude_seen=known)
    figures = [
        (report[f"{metric}@20"], report.standard_errors[f"{metric}@20"]) for metric in ("hit_rate", "recall")
    ]
    print(f"{name:36}" + "".join(f"{f'{mean:.4f} ± {error:.4f}':>18}" for mean, error in figures))

"""
## Serving

The index exports as one SavedModel: a person's raw columns in, film ids out. New films join it with
`served.update(rows)`, without training and without exporting the model's weights anew.
"""

served = kr.serving.load(kr.serving.export(indexes["genres"], "retriever", workflow=workflow))
print(sorted(served.inputs))
