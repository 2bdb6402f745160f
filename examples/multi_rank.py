"""
Title: One script on one process or on many: DLRM on MovieLens 100k under horovodrun
Author: the kerasrec authors
Date created: 2026/11/24
Last modified: 2026/11/24
Description: The same lines train on a laptop and, with the tables spread over ranks, under horovodrun.
Accelerator: None
"""

"""
## Introduction

A recommender outgrows one machine by its tables. Then rows of a table live on several ranks, each rank reads
its share of the data, and what a step looks up travels between them. In the script nothing of that shows:

    python examples/multi_rank.py path/to/ml-100k
    horovodrun -np 2 python examples/multi_rank.py path/to/ml-100k

Both learn the same model from the same number of rows a step, and both print figures of all test rows. On
data as small as this, and on one machine, more ranks are no gain; they are the same program as a job that needs
hundreds of them. Without a path the data is downloaded (for several ranks, run it alone once).
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
parser.add_argument("data", nargs="?", help="the folder ml-100k; downloaded where it is not given")
parser.add_argument("--epochs", type=int, default=30, help="at most; the validation rows say when to stop")
parser.add_argument("--rows", type=int, default=512, help="of a step, over all ranks")
parser.add_argument("--out", default="multi_rank.keras", help="where the best epoch's model is saved")
args = parser.parse_args()

"""
## The data

We predict whether a rating is 4 or more, as in `movielens_ranking.py`. Large data is prepared once, in a run
of its own, to a folder that every rank reads. This is small and prepared in a second, so each rank makes its
own copy, equal to the others': a workflow's state depends on the rows alone.
"""

folder = args.data or movielens.download(Path.home() / ".cache" / "kerasrec" / "ml-100k")
train, test = (frame.with_columns(liked=(pl.col("rating") >= 4).cast(pl.Int8)) for frame in movielens.load(folder))
held_out = np.random.default_rng(0).random(len(train)) < 0.1

workflow = etl.Workflow(
    (["user", "item", "gender", "occupation", "genres", "hour", "weekday"] >> etl.Categorify(min_count=2))
    + (["age"] >> etl.Normalize())
    + (["liked"] >> etl.Target())
)
scratch = tempfile.TemporaryDirectory(prefix="multi-rank-")  # goes when the script ends
work = Path(scratch.name)
workflow.fit(train)
for name, frame in {"learn": train.filter(~held_out), "check": train.filter(held_out), "test": test}.items():
    workflow.transform(frame).to_parquet(work / name)

"""
## Model and training

A loader reads its rank's share: every row comes once an epoch over all ranks, and `batch_size` is what one rank
takes of a step. Where each table lives, `kr.parallel.plan` decides. `fit` compares the ranks first (code
versions, schema, plan, number of batches) and then reports losses and metrics of all rows, so that
`EarlyStopping` stops all ranks together. Only rank 0 prints, and only it writes the checkpoint.

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
    verbose=2,
)

"""
## Results

`evaluate` returns the same on every rank. The file holds whole tables and loads anywhere, on one rank or many.
"""

figures = model.evaluate(rest, return_dict=True, verbose=0)
again = keras.saving.load_model(args.out).evaluate(rest, return_dict=True, verbose=0)
if kr.parallel.rank() == 0:
    print(f"\n{kr.parallel.size()} rank(s), {rest.total_rows:,} test ratings")
    print(f"AUC {figures['auc']:.4f}, log loss {figures['loss']:.4f}; from the file {again['auc']:.4f}")
    if model.embeddings.plan.ranks > 1:
        print(model.embeddings.plan)
