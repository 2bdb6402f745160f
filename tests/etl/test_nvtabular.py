"""What NVTabular 23.8 itself made of a file (see nvtabular/make.py) is what kerasrec makes of it.

Where the two differ on purpose, the test says by what (`ours_as_theirs`), or stays clear of it: NVTabular counts
the rows of a null key as 0 (so JoinGroupby's mean is infinite there, and TargetEncoding's may pass 1), and divides
a sum by the number of rows where some of the values are null.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from kerasrec import etl

FOLDER = Path(__file__).parent / "nvtabular"
PEER = Path(__file__).parent.parent.parent / "benchmarks" / "peers" / ".venv-merlin" / "bin" / "python"
WORDS = ["word", "city"]
STATS = ["count", "sum", "mean", "std", "var", "min", "max"]
AGGS = {
    "price": ["sum", "mean", "min", "max", "first", "last"],
    "time": ["first", "last", "count"],
    "age": ["list"],
}
PRICES = ["price"] >> etl.FillMissing(1.0)
GRAPHS: dict[str, Callable[[], Any]] = {
    "categorify": lambda: [*WORDS, "user"] >> etl.Categorify(),
    "categorify_rare": lambda: WORDS >> etl.Categorify(min_count=8),
    "categorify_size": lambda: WORDS >> etl.Categorify(max_size=10),
    "normalize": lambda: ["price", "age"] >> etl.Normalize() >> etl.FillMissing(-9),
    "normalize_min_max": lambda: ["price", "age"] >> etl.NormalizeMinMax() >> etl.FillMissing(-9),
    "fill_median": lambda: ["price"] >> etl.FillMedian(),
    "log": lambda: PRICES >> etl.LogOp(),
    "bucketize": lambda: ["age"] >> etl.Bucketize([20, 30, 45, 60]),
    "target_encoding": lambda: ["user", "city"] >> etl.TargetEncoding("clicked", kfold=1, p_smooth=5),
    "target_encoding_folds": lambda: (
        ["user", "city"] >> etl.TargetEncoding("clicked", kfold=3, fold="row", p_smooth=5)
    ),
    "difference_lag": lambda: ["time", "age"] >> etl.DifferenceLag("user", shift=[1, -1]) >> etl.FillMissing(-9),
    "join_groupby": lambda: (
        ["user", "city"] >> etl.JoinGroupby(PRICES + ["age"], stats=STATS) >> etl.FillMissing(-9)
    ),
    "groupby": lambda: (
        ["user", "time", "price", "age"] >> etl.Groupby(["user"], "time", AGGS) >> etl.FillMissing(-9)
    ),
}


@pytest.fixture(scope="module")
def raw() -> pl.DataFrame:
    return pl.read_parquet(FOLDER / "raw.parquet").with_row_index("row").cast({"row": pl.Int64})


def ours_as_theirs(name: str, ours: pl.DataFrame, raw: pl.DataFrame) -> pl.DataFrame:
    """Our outputs less the differences that docs/nvtabular.md tells of."""
    if name == "bucketize":  # ids begin at 3
        return ours.select(pl.all() - 3)
    if name == "normalize":  # their standard deviation is a sample's, ours the population's
        ratio = {column: ((n := raw[column].count()) - 1) / n for column in ours.columns}
        is_null = {c: pl.col(c) == -9 for c in ratio}
        return ours.select(pl.when(is_null[c]).then(c).otherwise(pl.col(c) * ratio[c] ** 0.5) for c in ratio)
    return ours


@pytest.mark.parametrize("name", GRAPHS)
def test_as_nvtabular(name: str, raw: pl.DataFrame) -> None:
    theirs = pl.read_parquet(FOLDER / f"{name}.parquet")
    if name == "difference_lag":  # it wants partitions to lie together
        raw = raw.sort("user", "time")
    ours = ours_as_theirs(name, etl.Workflow(GRAPHS[name]()).fit_transform(raw).collect(), raw)
    missing = [column for column in theirs.columns if column not in ours.columns]
    assert not missing
    if name == "groupby":
        theirs = theirs.sort("user")
    for column in theirs.columns:
        a, b = ours[column], theirs[column]
        if isinstance(b.dtype, pl.List):
            assert a.list.len().equals(b.list.len(), check_names=False)
            a, b = a.explode(), b.explode()
        a, b = (x.cast(pl.Float64).fill_nan(None).fill_null(-9).to_numpy() for x in (a, b))
        np.testing.assert_allclose(a, b, 1e-5, 1e-6, err_msg=column)


@pytest.mark.slow
@pytest.mark.skipif(not PEER.exists(), reason="no NVTabular: sh benchmarks/peers/setup.sh merlin installs it")
def test_the_files_are_what_nvtabular_makes(tmp_path: Path) -> None:
    subprocess.run([PEER, FOLDER / "make.py", tmp_path], check=True, capture_output=True)
    for path in sorted(FOLDER.glob("*.parquet")):
        kept, made = pl.read_parquet(path), pl.read_parquet(tmp_path / path.name)
        assert made.select(kept.columns).equals(kept), path.name  # it has an order of columns in no set way
