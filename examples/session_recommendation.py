"""
Title: The next item of a session: SASRec
Author: the kerasrec authors
Date created: 2026/11/29
Last modified: 2026/11/29
Description: From a log of events to the next item, ranked among all, beside popularity, item-kNN and EASE.
Accelerator: None
"""

"""
## Introduction

What comes next depends on what came last. A model of the next item reads a session's items in their order and
scores all items at once. Here is the whole way: a log of events becomes sequences, a Transformer (SASRec) learns
from each position what followed it, and the test is a session's last item, ranked among all.

`python examples/session_recommendation.py ml-1m.txt` does the same on MovieLens 1M, which
`kr.datasets.next_item.download` has.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras

import kerasrec as kr
from kerasrec import etl
from kerasrec.retrieval import baselines

parser = argparse.ArgumentParser(description="Next-item recommendation with SASRec.")
parser.add_argument("data", nargs="?", help="a file of sequences; events are drawn where it is not given")
parser.add_argument("--epochs", type=int, default=10, help="at most; the rows to validate say when to stop")
args = parser.parse_args()
keras.utils.set_random_seed(0)

"""
## Events to sequences

`Sequences` makes a row per user of a log of any size. It leaves out each user's last item to test on, and the one
before to validate.
"""

events = kr.datasets.next_item.load(args.data) if args.data else kr.datasets.next_item.synthetic(900, 120)
print(events.head(3))
sequences = etl.Sequences("user", "item", None if args.data else "timestamp")
parts = sequences(events)
print(parts)

"""
## Ids

The workflow comes after, so that a served model takes lists of raw items. It is fitted on the rows to test, which
have all items: an item that the vocabulary lacks could not be recommended.
"""

workflow = etl.Workflow(sequences.items >> etl.Categorify()).fit(parts["test"])
train, valid, test = (workflow.transform(part) for part in parts)
print(train.schema)

"""
## What is easy to beat, and what is not

A table without these says little. They know which items go together, and nothing of the order. Of the drawn events
many come back to an item, so that items which the session has had are ranked, too; on MovieLens none does.
"""

exclude_seen = bool(args.data)
reports = {}
for model in (baselines.Popularity(), baselines.ItemKNN(50), baselines.EASE(100.0)):
    reports[type(model).__name__] = model.fit(train).rank(test, at=10, exclude_seen=exclude_seen)
print(reports["ItemKNN"])

"""
## SASRec

Each position predicts the next with a softmax over all items. Rows of different lengths are packed, so no step
pays for padding. `fit` evaluates on the rows to validate after each epoch, ranking all items.
"""

size = {"embedding_dim": 64, "max_length": 200} if args.data else {"embedding_dim": 32, "max_length": 30}
model = kr.models.SASRec(train.schema, blocks=2, heads=1, dropout=0.1, exclude_seen=exclude_seen, **size)
model.compile(optimizer=kr.optimizers.Adam(0.001 if args.data else 0.005), loss=kr.losses.FullSoftmax())
stop = keras.callbacks.EarlyStopping("val_ndcg@10", mode="max", patience=3, restore_best_weights=True)
model.fit(train, validation_data=valid, epochs=args.epochs, batch_size=128, callbacks=[stop], verbose=0)
reports["SASRec"] = model.rank(test, at=10)

"""
## Results

Each user's last item among all items, with standard errors. What is drawn here are followers of the last item,
which SASRec alone can learn. On MovieLens 1M the first ten of EASE have 11 % of the items
(`benchmarks/retrieval.py`), and those of SASRec with this loss 31 %, as published.
"""

print(f"\n{'':12}{'hit rate@10':>18}{'NDCG@10':>18}")
for name, report in reports.items():
    cells = [f"{report[m]:.4f} ± {report.standard_errors[m]:.4f}" for m in ("hit_rate@10", "ndcg@10")]
    print(f"{name:12}{cells[0]:>18}{cells[1]:>18}")

"""
## Served

Raw items in the order of time in, the best raw items out; `exclude` leaves some out.
"""

kr.serving.export(model, "served/", workflow=workflow)
served = kr.serving.load("served/")
session = parts["test"].lazy().select("item").head(1).collect()
print(served.recommend(session, k=5, exclude=session["item"])["ids"])
