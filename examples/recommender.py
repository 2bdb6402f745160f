"""
Title: Retrieve, filter, rank, order: one model for a page of films
Author: the kerasrec authors
Date created: 2026/11/29
Last modified: 2026/11/29
Description: A retriever finds candidates, a ranking model that reads more scores them, and one SavedModel answers.
Accelerator: None
"""

"""
## Introduction

A model that reads everything about a person, a moment and a film is too slow to score all films for each visit,
and one that finds films by a product of two vectors does not know what hour it is. So the second finds some
candidates, and the first puts them in order. Between the two are rules, such as which films may be shown; after
them, the wish that the films of a page should differ.

`kr.serving.Recommender` makes one model of these stages. `python examples/recommender.py path/to/ml-100k` does it
on MovieLens 100k.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import polars as pl

import kerasrec as kr
from kerasrec import etl
from kerasrec.datasets import movielens

parser = argparse.ArgumentParser(description="Four stages as one model.")
parser.add_argument("data", nargs="?", help="the folder ml-100k; ratings are drawn where it is not given")
parser.add_argument("--epochs", type=int, default=6)
args = parser.parse_args()
keras.utils.set_random_seed(0)

"""
## Films and ratings

A film has its genres and the number of its ratings so far. A rating of 4 or 5 says that the film was liked.
"""

train, test = movielens.load(args.data) if args.data else movielens.synthetic()
train, test = (each.with_columns(liked=(pl.col("rating") >= 4).cast(pl.Int8)) for each in (train, test))
films = train.group_by("item", maintain_order=True).agg(pl.col("genres").first(), ratings=pl.len())
print(films.head(3))

"""
## The retriever

It reads who and which film, of the ratings that say that a film was liked.
"""

who = ["user"] >> etl.Categorify() >> etl.AddTags(["user", "user_id"])
which = ["item"] >> etl.Categorify() >> etl.AddTags(["item", "item_id"])
pairs = etl.Workflow(who + which).fit(train)
retriever = kr.models.MatrixFactorization(pairs.output_schema, embedding_dim=16)
retriever.compile()
retriever.fit(pairs.transform(train.filter(pl.col("liked") == 1)), epochs=args.epochs, verbose=0)
index = kr.retrieval.Index(retriever, films, workflow=pairs)

"""
## The ranker

It reads the person's gender and occupation, the hour and the film's genres as well, and learns from all ratings.
"""

cats = ["user", "gender", "occupation", "hour", "item", "genres"] >> etl.Categorify()
ranker = kr.Pipeline(etl.Workflow(cats + (["liked"] >> etl.Target())), kr.models.DCN)
ranker.fit(train, validation_fraction=0.1, epochs=args.epochs, verbose=0)
print({name: round(figure, 3) for name, figure in ranker.evaluate(test).items()})

"""
## Four stages

A raw column that the ranker reads is the film's if `item_features` has it, and else comes with the request.
Filters are Polars expressions over both; the second lets a request say how well known a film must be. They are
applied before candidates are chosen, so a page is full if there are enough films.
"""


def stages(diversity=0.0):
    return kr.serving.Recommender(
        retriever=index,
        ranker=ranker,
        item_features=films,
        filters=[pl.col("genres").list.len() > 0, pl.col("ratings") >= pl.col("at_least")],
        inputs=[kr.Column("at_least", "int64")],
        candidates=50,
        diversity=diversity,
    )


recommender = stages()
print(recommender)

"""
## A page

What a person has rated is excluded. A higher `at_least` leaves the films that many have rated.
"""

visit = test.select("user", "gender", "occupation", "hour").row(0, named=True)
seen = train.filter(pl.col("user") == visit["user"])["item"].to_list()
for at_least in (0, 50):
    page = recommender.recommend([{**visit, "at_least": at_least}], k=3, exclude=[seen])
    shown = pl.DataFrame({"item": page["ids"][0].astype("int64"), "score": page["scores"][0]})
    print(shown.join(films.select("item", "ratings"), on="item", how="left", maintain_order="left"))

"""
## Order

With `diversity` each film is chosen by its score, less its similarity to the films before it: here how alike the
films of a page are, by the mean cosine of their vectors, and what that costs in the score.
"""


def alike(ids):
    vectors = index.vectors[index.item_ids.positions(ids)]
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    products = vectors @ vectors.T
    return (products.sum() - len(ids)) / (len(ids) * (len(ids) - 1))


visits = test.unique("user", maintain_order=True).head(100)
visits = visits.select("user", "gender", "occupation", "hour", pl.lit(0, pl.Int64).alias("at_least"))
for diversity in (0.0, 0.5):
    recommender = stages(diversity)
    pages = recommender.recommend(visits, k=10)
    cosine = np.mean([alike(ids) for ids in pages["ids"]])
    print(f"diversity {diversity}: mean score {pages['scores'].mean():.4f}, mean cosine {cosine:.4f}")

"""
## Serving

All of it is one SavedModel, with the features of films inside: the columns of a visit in, film ids out.
`kerasrec serve films=films/` puts it behind HTTP and gRPC.
"""

served = kr.serving.load(kr.serving.export(recommender, "films"))
print(sorted(served.inputs))
print((served.recommend(visits, k=10)["ids"] == pages["ids"]).all())
