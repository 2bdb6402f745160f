"""
Title: In a notebook: pandas and Polars frames in memory
Author: the kerasrec authors
Date created: 2026/11/29
Last modified: 2026/11/29
Description: Fit, evaluate and predict on frames, without a file; then workflow and model as one pipeline.
Accelerator: None
"""

"""
## Introduction

Data that fits into memory needs no files: a workflow is fitted on a frame, and a model on what the workflow
makes of it. Frames of pandas, Polars and Arrow, lists of dicts and dicts of columns do. Paste the blocks into a
notebook, or run the script:

    python examples/in_memory.py
"""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import kerasrec as kr
from kerasrec import etl

"""
## A frame

Here it is pandas'. `kr.datasets.clicks` draws rows of a click log: strings, numbers, nulls and a list column.
pandas makes floats of integers with missing values; `convert_dtypes` makes integers of them again, so that they
can become ids.
"""

frame = kr.datasets.clicks(24_000).to_pandas().convert_dtypes()
columns = ["user", "item", "city", "genres", "age", "price", "clicked"]
print(frame[columns].head(4).to_string(max_colwidth=24))

"""
## Features

Rows to validate on are drawn first: the workflow is fitted on the others alone. What `transform` returns is
computed when it is read.
"""

train, valid = etl.SplitRandom((0.8, 0.2))(frame)
ids = ["user", "item", "city", "device", "category", "genres"] >> etl.Categorify(min_count=2)
numbers = ["age", "price", "seconds"] >> etl.FillMissing() >> etl.LogOp() >> etl.Normalize()
workflow = etl.Workflow(ids + numbers + (["clicked"] >> etl.Target())).fit(train)
print(workflow.transform(train).head(3).to_pandas()[columns].to_string(max_colwidth=24))

"""
## A model

It is built from the schema. `compile` takes what suits the target, here 0 or 1; `fit`, `evaluate` and `predict`
read the transformed rows.
"""

model = kr.models.DCN(workflow.output_schema, embedding_dim=8, deep_units=[64, 32], seed=0)
model.compile()
model.fit(workflow.transform(train), validation_data=workflow.transform(valid), epochs=2, verbose=0)
print(model.evaluate(workflow.transform(valid), return_dict=True, verbose=0))

"""
## Predictions

New rows have no target. The predictions are an array with a row for each.
"""

new = kr.datasets.clicks(6, seed=1).drop("clicked").to_pandas().convert_dtypes()
new["probability"] = model.predict(workflow.transform(new, targets=False), verbose=0)[:, 0]
print(new[["user", "item", "city", "probability"]].sort_values("probability", ascending=False).to_string())

"""
## One object

A pipeline is the workflow and the model together, with scikit-learn's habits: `fit`, `predict` and `evaluate`
take raw rows, `save` writes a folder, and `kr.load` reads it in any process.
"""

pipeline = kr.Pipeline(etl.Workflow(ids + numbers + (["clicked"] >> etl.Target())), "deepfm")
pipeline.fit(frame, validation_fraction=0.2, epochs=2, verbose=0)
with tempfile.TemporaryDirectory() as folder:
    pipeline.save(Path(folder) / "clicks")
    again = kr.load(Path(folder) / "clicks")
print(again.evaluate(kr.datasets.clicks(2_000, seed=2)))
print(again.predict(kr.datasets.clicks(2, seed=3)))
