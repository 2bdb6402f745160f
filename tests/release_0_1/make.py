"""Write one of each file that kerasrec keeps, with the release installed: `python make.py FOLDER`."""

import json
import sys
from pathlib import Path

import keras
import numpy as np
import polars as pl

import kerasrec as kr
from kerasrec import etl
from kerasrec.parallel import comm

out = Path(sys.argv[1])
if comm.rank() == 0:
    out.mkdir(parents=True, exist_ok=True)
comm.barrier() if comm.size() > 1 else None
keras.utils.set_random_seed(7)
rng = np.random.default_rng(7)
n = 64
raw = pl.DataFrame(
    {
        "user": [f"u{i}" for i in rng.integers(0, 9, n)],
        "item": rng.integers(100, 112, n),
        "genres": [[f"g{j}" for j in rng.integers(0, 5, rng.integers(0, 4))] for _ in range(n)],
        "age": [None if i % 9 == 0 else float(i % 50) for i in range(n)],
        "clicked": rng.integers(0, 2, n),
    }
)
if comm.rank() == 0:
    nodes = (["user", "item", "genres"] >> etl.Categorify(min_count=2)) + (
        ["age"] >> etl.FillMissing() >> etl.LogOp() >> etl.Normalize()
    )
    nodes = (
        nodes
        + (["user"] >> etl.TargetEncoding("clicked"))
        + (["item"] >> etl.JoinGroupby(["age"], ["mean", "count"]) >> etl.FillMissing())
        + (["clicked"] >> etl.Target())
    )
    workflow = etl.Workflow(nodes)
    workflow.fit(raw)
    workflow.transform(raw).to_parquet(out / "data")
    workflow.save(out / "workflow")
    raw.write_parquet(out / "raw.parquet")
    workflow.transform(raw).collect().write_parquet(out / "expected.parquet")
if comm.size() > 1:
    comm.barrier()
folder = out if comm.size() == 1 else Path(sys.argv[2])
loader = kr.Loader(folder / "data", batch_size=16, shuffle=True, seed=3)
model = kr.models.DLRM(loader.schema, embedding_dim=4, bottom_units=[4], top_units=[4], name="dlrm")
model.compile(kr.optimizers.Adagrad(0.05), loss="binary_crossentropy")
model.fit(loader, verbose=0)
if comm.size() == 1:
    model.save(out / "model.keras")
    model.save_weights(out / "model.weights.h5")
    kr.save_tables(model, out / "tables")
    kr.parallel.save(out / "checkpoint", model)
    (out / "loader.json").write_text(json.dumps(loader.state(2)))
    plain = kr.Loader(out / "data", batch_size=64)
    np.save(out / "predictions.npy", model.predict(plain, verbose=0))
    kr.serving.export(model, out / "served", workflow=workflow)
else:
    kr.parallel.save(out / "checkpoint", model)
    plain = kr.Loader(folder / "data", batch_size=64, rank=0, ranks=1)
    predictions = np.concatenate([np.asarray(model(x, training=False)) for x, _ in plain])
    if comm.rank() == 0:
        np.save(out / "predictions.npy", predictions)
