"""`kr.Pipeline` and rows in memory, on any number of ranks."""

import keras
import numpy as np
import polars as pl
import pytest

import kerasrec as kr
from kerasrec import etl
from kerasrec.parallel import comm


def make_frame(rows=203, seed=0):
    rng = np.random.default_rng(seed)
    user, age = rng.integers(0, 20, rows), rng.normal(size=rows)
    return pl.DataFrame({"user": user, "age": age, "clicked": ((user % 3 == 0) ^ (age > 0)).astype(int)})


def make_workflow():
    conts = ["age"] >> etl.Normalize()
    return etl.Workflow((["user"] >> etl.Categorify()) + conts + (["clicked"] >> etl.Target()))


def make_model(schema):
    keras.utils.set_random_seed(1)
    return kr.models.DCN(schema, embedding_dim=4, deep_units=[8])


def everything(work):
    """Fit a pipeline on several ranks, and what it says of all rows."""
    frame, held_out = make_frame(), make_frame(50, seed=1)
    pipeline = kr.Pipeline(make_workflow(), make_model)
    pipeline.fit(frame, held_out, epochs=2, batch_size=16, verbose=0)
    pipeline.save(work / "pipeline")
    loaded = kr.load(work / "pipeline")
    # A dataset in memory: each rank has all rows and trains on its share.
    dataset = pipeline.workflow.transform(frame)
    pipeline.model.fit(dataset, batch_size=16, verbose=0)
    own = pipeline.model.predict(pipeline.workflow.transform(frame, targets=False), verbose=0)
    with pytest.raises(kr.parallel.RanksDiffer, match="data"):
        pipeline.model.fit(pipeline.workflow.transform(make_frame(seed=comm.rank())), verbose=0)
    return {
        "history": pipeline.history,
        "predicted": loaded.predict(held_out),
        "nothing": loaded.predict([]),
        "one row": loaded.predict(held_out.head(1)),
        "evaluated": loaded.evaluate(held_out),
        "own": len(own),
        "all": len(pipeline.predict(frame)),
        "iterations": int(pipeline.model.optimizer.iterations),
    }
