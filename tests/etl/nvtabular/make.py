"""Makes the files beside it: what NVTabular 23.8 itself makes of `raw.parquet`, for `../test_nvtabular.py`.

    sh benchmarks/peers/setup.sh merlin
    benchmarks/peers/.venv-merlin/bin/python tests/etl/nvtabular/make.py [FOLDER]

Each file holds the rows of one operator under NVTabular's own names of columns, but for those it passed on. Values
of a column to categorify differ in how often they occur: NVTabular orders equal counts in no set way.
"""

import sys
import tempfile
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
import nvtabular as nvt  # noqa: E402
import pandas as pd  # noqa: E402
from merlin.io import Dataset  # noqa: E402
from nvtabular import ops  # noqa: E402

ROWS = 210
STATS = ["count", "sum", "mean", "std", "var", "min", "max"]


def raw():
    """`word`, `city` and `user` have a value k that occurs k times, shuffled; nulls but in `user` and `time`."""
    rng = np.random.default_rng(5)
    triangular = np.repeat(np.arange(1, 21), np.arange(1, 21))
    word, city, user = (rng.permutation(triangular) for _ in range(3))
    price = np.round(rng.lognormal(2, 1, ROWS), 2)
    price[rng.random(ROWS) < 0.1] = np.nan
    return pd.DataFrame(
        {
            "word": [None if i == 13 else f"w{97 * i % 20:02d}" for i in word],
            "city": [f"c{i}" for i in city],
            "user": user.astype("int64"),
            "price": price,
            "age": pd.Series(rng.integers(18, 90, ROWS), dtype="int64"),
            "clicked": (rng.random(ROWS) < 0.3).astype("int64"),
            "time": rng.permutation(ROWS).astype("int64"),
        }
    )


def graphs(out):
    strings = ["word", "city"]
    prices = ["price"] >> ops.FillMissing(fill_val=1.0)
    aggs = {
        "price": ["sum", "mean", "min", "max", "first", "last"],
        "time": ["first", "last", "count"],
        "age": ["list"],
    }
    return {
        "categorify": strings + ["user"] >> ops.Categorify(out_path=out),
        "categorify_rare": strings >> ops.Categorify(freq_threshold=8, out_path=out),
        "categorify_size": strings >> ops.Categorify(max_size=10, out_path=out),
        "normalize": ["price", "age"] >> ops.Normalize(),
        "normalize_min_max": ["price", "age"] >> ops.NormalizeMinMax(),
        "fill_median": ["price"] >> ops.FillMedian(),
        "log": prices >> ops.LogOp(),
        "bucketize": ["age"] >> ops.Bucketize({"age": [20, 30, 45, 60]}),
        "target_encoding": ["user", "city"] >> ops.TargetEncoding("clicked", kfold=1, p_smooth=5, out_path=out),
        "target_encoding_folds": ["user", "city"]  # without a seed, a row's fold is its position modulo kfold
        >> ops.TargetEncoding("clicked", kfold=3, fold_seed=None, p_smooth=5, out_path=out),
        "join_groupby": ["user", "city"] >> ops.JoinGroupby(cont_cols=prices + ["age"], stats=STATS, out_path=out),
        "groupby": ["user", "time", "price", "age"]
        >> ops.Groupby(groupby_cols=["user"], sort_cols=["time"], aggs=aggs),
        "difference_lag": ["time", "age"] >> ops.DifferenceLag(partition_cols=["user"], shift=[1, -1]),
    }


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    frame = raw()
    frame.to_parquet(folder / "raw.parquet")
    with tempfile.TemporaryDirectory() as out:
        for name, graph in graphs(out).items():
            some = frame.sort_values(["user", "time"]) if name == "difference_lag" else frame
            data = Dataset(some.reset_index(drop=True), npartitions=1)
            made = nvt.Workflow(graph).fit_transform(data).to_ddf().compute()
            made.to_parquet(folder / f"{name}.parquet")
            print(name, made.shape, dict(made.dtypes.astype(str)))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
