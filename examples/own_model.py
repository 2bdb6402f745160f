"""
Title: A model of your own, with an attention over a list
Author: the kerasrec authors
Date created: 2026/11/29
Last modified: 2026/11/29
Description: kr.inputs gives Keras inputs, embeddings and numbers of a schema; the rest is ordinary Keras.
Accelerator: None
"""

"""
## Introduction

The models of `kr.models` are Keras models, and so is one that you write. `kr.inputs(schema)` gives what it
begins with: an input for every column, the embeddings of the categorical ones and the numbers side by side. On
top of that you use any layer of Keras. Here the genres of an item are a list, and an attention decides which of
them matter to a user.

    python examples/own_model.py
"""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras

import kerasrec as kr
from kerasrec import etl
from kerasrec.datasets import synthetic

scratch = tempfile.TemporaryDirectory(prefix="own-model-")  # removed when the script ends
work = Path(scratch.name)

"""
## The data

A synthetic click log, of which the best possible score is known. The workflow writes features and their schema.
"""

log = synthetic.click_log(work / "raw", 40_000, users=1_000, items=400, valid_fraction=0.2, progress=False)
ids = ["user", "item", "device", "city", "category", "hour", "genres"] >> etl.Categorify(min_count=2)
numbers = ["age", "price", "seconds", "past_clicks"] >> etl.FillMissing() >> etl.LogOp() >> etl.Normalize()
workflow = etl.Workflow(ids + numbers + (["clicked"] >> etl.Target()))
workflow.fit(log.train)
for name, files in {"train": log.train, "valid": log.valid}.items():
    workflow.transform(files).to_parquet(work / name)
train, valid = (kr.Loader(work / name, batch_size=512, shuffle=name == "train") for name in ("train", "valid"))

"""
## Inputs

The vectors of a list are combined to their mean, unless `combiner` says otherwise: None keeps them apart, padded
to the longest list of the batch, with a mask. Layers of Keras that know masks leave the padding out.
"""

x = kr.inputs(train.schema, embedding_dim=8, combiner={"genres": None})
print(x)

"""
## The model

The user is the query, the genres are the values. Dot products of all pairs of vectors, the vectors and the
numbers go through an MLP. `kr.parallel.Model` is a `keras.Model` that also trains on several ranks.
"""

user = keras.layers.Reshape((1, 8))(x.embeddings["user"])
genres = keras.layers.Attention()([user, x.embeddings["genres"]])
rest = [vector for name, vector in x.embeddings.items() if name != "genres"]
crossed = kr.layers.DotInteraction()([keras.layers.Flatten()(genres), *rest])
features = keras.layers.Concatenate()([x.numbers, crossed, *rest])
clicked = keras.layers.Dense(1, activation="sigmoid")(kr.layers.MLP([64, 32], dropout=0.2)(features))

model = kr.parallel.Model(x.inputs, clicked)
model.compile(kr.optimizers.Adagrad(0.02), loss="binary_crossentropy", metrics=[keras.metrics.AUC(name="auc")])

"""
## Training
"""

keras.utils.set_random_seed(0)
stop = keras.callbacks.EarlyStopping("val_loss", patience=1, restore_best_weights=True)
model.fit(train, validation_data=valid, epochs=6, callbacks=[stop], verbose=0)
figures = model.evaluate(valid, return_dict=True, verbose=0)

"""
## Saving and serving

As with any Keras model, and the export takes raw columns.
"""

model.save(work / "own.keras")
again = kr.load_model(work / "own.keras").evaluate(valid, return_dict=True, verbose=0)
kr.serving.export(model, work / "served", workflow=workflow)
row = {"user": "never seen", "item": "new", "device": "phone", "city": 3, "category": 7, "hour": 21}
row |= {"genres": ["drama"], "age": None, "price": 9.99, "seconds": 60.0, "past_clicks": 2}
print("a row that it has not seen:", kr.serving.load(work / "served").predict([row]))

"""
## Results
"""

print(f"{'':12}{'AUC':>8}{'log loss':>10}")
baseline = log.bias_baseline()
print(f"{'biases only':12}{baseline.auc:8.4f}{baseline.logloss:10.4f}")
print(f"{'this model':12}{figures['auc']:8.4f}{figures['loss']:10.4f}")
print(f"{'from file':12}{again['auc']:8.4f}{again['loss']:10.4f}")
print(f"{'best':12}{log.auc_bound:8.4f}{log.logloss_bound:10.4f}")
