"""
Title: One script on one process or on many: DLRM on MovieLens 100k under horovodrun
Author: the kerasrec authors
Date created: 2026/11/24
Last modified: 2026/11/24
Description: One script trains on a laptop and, with tables sharded over ranks, under horovodrun.
Accelerator: None
"""

"""
## Introduction

A recommender's tables outgrow one machine. Then the rows of a table are sharded over ranks, each rank reads
its share of the data, and ranks exchange the vectors that a step looks up. The script stays the same:

    python examples/multi_rank.py path/to/ml-100k
    horovodrun -np 2 python examples/multi_rank.py path/to/ml-100k

Both train the same model with the same number of rows per step, and print scores on all test rows. With so
little data, on one machine, several ranks bring no speed; a job that needs hundreds of ranks is the same
program. Without a path it draws ratings of the same form, the same on every rank.
"""

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import polars as pl

import kerasrec as kr
from kerasrec import etl
from kerasrec.datasets import movielens

parser = argparse.ArgumentParser(description="DLRM on MovieLens 100k, on one rank or on many.")
parser.add_argument("data", nargs="?", help="the folder ml-100k; ratings are drawn where it is not given")
parser.add_argument("--epochs", type=int, default=30, help="at most; the validation rows say when to stop")
parser.add_argument("--rows", type=int, default=512, help="of a step, over all ranks")
parser.add_argument("--out", default="multi_rank.keras", help="where the best epoch's model is saved")
args = parser.parse_args()

"""
## The data

We predict whether a rating is 4 or more, as in `movielens_ranking.py`. Large data is prepared once, by a
separate script, in a folder that every rank reads. This data is prepared in a second, so each rank makes
its own, identical copy: a workflow's state depends only on the rows.
"""

frames = movielens.load(args.data) if args.data else movielens.synthetic()
train, test = (frame.with_columns(liked=(pl.col("rating") >= 4).cast(pl.Int8)) for frame in frames)
held_out = np.random.default_rng(0).random(len(train)) < 0.1

workflow = etl.Workflow(
    (["user", "item", "gender", "occupation", "genres", "hour", "weekday"] >> etl.Categorify(min_count=2))
    + (["age"] >> etl.Normalize())
    + (["liked"] >> etl.Target())
)
scratch = tempfile.TemporaryDirectory(prefix="multi-rank-")  # removed when the script ends
work = Path(scratch.name)
workflow.fit(train)
for name, frame in {"learn": train.filter(~held_out), "check": train.filter(held_out), "test": test}.items():
    workflow.transform(frame).to_parquet(work / name)

"""
## Model and training

A loader reads its rank's share: over all ranks each row is read once per epoch, and `batch_size` is the number
of rows per step on one rank. `kr.parallel.plan` places the tables. `fit` first checks that ranks match (code
versions, schema, plan, number of batches), and reports losses and metrics over all rows, so that
`EarlyStopping` stops all ranks together. Only rank 0 prints and writes the checkpoint.

The optimizer must be one of `kr.optimizers`: they average the gradients over ranks. Another is refused when
there is more than one.
"""

keras.utils.set_random_seed(0)
learn, check, rest = (
    kr.Loader(work / name, batch_size=args.rows // kr.parallel.size(), shuffle=name == "learn")
    for name in ("learn", "check", "test")
)
model = kr.models.DLRM(learn.schema, embedding_dim=16, bottom_units=[32, 16], top_units=[64, 32], dropout=0.4)
model.compile(
    optimizer=kr.optimizers.AdamW(1e-3, weight_decay=0.3),
    loss="binary_crossentropy",
    metrics=[keras.metrics.AUC(name="auc")],
)
model.fit(
    learn,
    validation_data=check,
    epochs=args.epochs,
    callbacks=[
        keras.callbacks.EarlyStopping("val_loss", patience=3, restore_best_weights=True),
        keras.callbacks.ModelCheckpoint(args.out, "val_loss", save_best_only=True),
    ],
    verbose=2 if args.data else 0,
)

"""
## Results

`evaluate` returns the same on every rank. The file contains full tables and loads on any number of ranks.
"""

figures = model.evaluate(rest, return_dict=True, verbose=0)
again = keras.saving.load_model(args.out).evaluate(rest, return_dict=True, verbose=0)
if kr.parallel.rank() == 0:
    print(f"\n{kr.parallel.size()} rank(s), {rest.total_rows:,} test ratings")
    print(f"AUC {figures['auc']:.4f}, log loss {figures['loss']:.4f}; from the file {again['auc']:.4f}")
    if model.embeddings.plan.ranks > 1:
        print(model.embeddings.plan)
