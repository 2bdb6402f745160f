"""
Title: Feature engineering on a cluster of Dask workers
Author: the kerasrec authors
Date created: 2026/11/29
Last modified: 2026/11/29
Description: fit and transform many files on two workers, then train on what they wrote.
Accelerator: None
"""

"""
## Introduction

Feature engineering runs out of core on one machine, or on the workers of a Dask cluster with the same result.
Workers get the operators and the names of files, never rows, and return small statistics: counts by value,
sums, moments. This script starts a cluster of two workers on this machine. On a real one only the `Client`'s
address differs, and all workers must see the files under the same paths.

    python examples/dask_cluster.py
    python examples/dask_cluster.py tcp://scheduler:8786 /shared/clicks/
"""

import argparse
import os
import tempfile
from contextlib import nullcontext
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from distributed import Client, LocalCluster

import kerasrec as kr
from kerasrec import etl
from kerasrec.datasets import synthetic

parser = argparse.ArgumentParser(description="Feature engineering on a cluster of Dask workers.")
parser.add_argument(
    "scheduler", nargs="?", help="a running cluster; two workers are started where it is not given"
)
parser.add_argument("folder", nargs="?", type=Path, help="where to work; a temporary folder where it is not given")
args = parser.parse_args()

"""
## The workflow

It is an ordinary one. Statistics of parts of the files are merged in a tree of fixed shape, so vocabularies
and means do not depend on the number of workers.
"""

cats = ["user", "item", "site", "device", "city", "category", "genres"] >> etl.Categorify(min_count=2)
encoded = ["advertiser"] >> etl.TargetEncoding("clicked", p_smooth=20)
conts = ["age", "price", "past_clicks"] >> etl.FillMissing() >> etl.LogOp() >> etl.Normalize()
workflow = etl.Workflow(cats + encoded + conts + (["clicked"] >> etl.Target()))

"""
## fit and transform on the workers

`client=` is all that changes. `to_parquet` writes one file or more for each raw file, in the order of the raw
files. If a worker dies, another one repeats its part.

Worker processes import this file, so what must happen once is below `if __name__ == "__main__"`.
"""


def local_cluster():
    """Start two workers on this machine, of one thread each: Polars itself uses several."""
    return LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)


if __name__ == "__main__":
    scratch = tempfile.TemporaryDirectory(prefix="dask-")  # removed when the script ends
    work = args.folder or Path(scratch.name)
    log = synthetic.click_log(
        work / "raw", 24_000, users=1_000, items=500, valid_fraction=0.2, rows_per_file=6_000, progress=False
    )
    with nullcontext(args.scheduler) if args.scheduler else local_cluster() as cluster, Client(cluster) as client:
        print(f"{len(client.scheduler_info()['workers'])} workers")
        workflow.fit(log.train, client=client)
        workflow.transform(log.train).to_parquet(work / "train", client=client)
        workflow.transform(log.valid).to_parquet(work / "valid", client=client)
    for name in ("train", "valid"):
        print(name, *sorted(path.name for path in (work / name).iterdir()))

"""
## The same on one machine

A process without Dask uses all cores already. Its vocabularies are the same, and so are the ids.
"""

if __name__ == "__main__":
    alone = etl.Workflow(cats + encoded + conts + (["clicked"] >> etl.Target())).fit(log.train)
    same = alone.transform(log.valid).collect().select("user", "item", "genres")
    print("the same ids:", same.equals(workflow.transform(log.valid).collect().select("user", "item", "genres")))

"""
## Training on what the workers wrote
"""

if __name__ == "__main__":
    train, valid = (kr.Loader(work / name, batch_size=512, shuffle=name == "train") for name in ("train", "valid"))
    model = kr.models.DCN(train.schema, embedding_dim=8, cross_layers=2, deep_units=[64, 32], seed=0)
    model.compile()
    model.fit(train, epochs=2, verbose=0)
    figures = model.evaluate(valid, return_dict=True, verbose=0)
    print(f"{valid.total_rows:,} held-out rows: AUC {figures['auc']:.3f}, best possible {log.auc_bound:.3f}")
