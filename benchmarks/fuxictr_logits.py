"""Compare the logits of FuxiCTR's models with ours, with the same weights on the same rows.

    sh benchmarks/peers/setup.sh fuxictr
    python benchmarks/fuxictr_logits.py --out docs/figures/fuxictr_logits.json

Each of our models gets random weights, which are copied into FuxiCTR's by name; both compute the logits of the
same random rows, and the largest difference must be at most 1e-5. Rows have a few categorical columns, and
where both libraries mean the same by them a list column or continuous columns as well: docs/fuxictr.md says
where they do not.

The last line is JSON: {"largest": ..., "models": {name: {columns: {"difference": ..., "deviation": ...}}}},
where the deviation is that of the logits over the rows.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import polars as pl
from numpy.typing import NDArray
from peers import fuxictr_pairs
from peers.fuxictr_pairs import Pair
from peers.fuxictr_weights import WEIGHTS

import kerasrec as kr
from kerasrec.schema import Column, Hotness, Schema, Tag

ROWS, DIM, UNITS = 500, 8, [16, 12]
BAR = 1e-5
IDS = {"user": 60, "city": 20, "device": 5, "item": 40}


# Columns beside categorical ones that mean the same in both libraries.
ALSO = {
    "LR": ["continuous", "list"], "FM": ["continuous"], "DLRM": ["continuous", "list"], "DCN": ["list"],
    "NFM": ["continuous"], "FwFM": ["continuous"], "PNN": ["list"], "MaskNet": ["list"],
    "FinalMLP": ["list"], "GDCN": ["list"], "SharedBottom": ["list"], "MMoE": ["list"], "PLE": ["list"],
}  # fmt: skip
HISTORIES = ("DIN", "DIEN", "BST")
SEVERAL = ("SharedBottom", "MMoE", "PLE")


def schema_of(model: str, columns: str) -> Schema:
    listed = [Column(name, "int32", (Tag.CATEGORICAL,), cardinality=n, table=name) for name, n in IDS.items()]
    if columns == "list":
        listed.append(lists("genres", "genres", 12))
    if columns == "history":
        listed.append(lists("history", "item", IDS["item"]))
    if columns == "continuous":
        listed += [Column(name, "float32", (Tag.CONTINUOUS,)) for name in ("age", "price", "hour")]
    targets = ["score", "other"] if model in SEVERAL else ["score"]
    return Schema([*listed, *(Column(name, "float32", (Tag.TARGET, Tag.REGRESSION)) for name in targets)])


def lists(name: str, table: str, cardinality: int) -> Column:
    tags = (Tag.CATEGORICAL, Tag.LIST)
    return Column(name, "int32", tags, cardinality=cardinality, table=table, hotness=Hotness(0, 2, 4))


def rows_of(schema: Schema) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    columns: dict[str, Any] = {}
    for column in schema.features.categorical:
        ids = [rng.integers(1, column.cardinality, n).tolist() for n in rng.integers(0, 5, ROWS)]
        columns[column.name] = ids if column.is_list else rng.integers(0, column.cardinality, ROWS)
    for column in (*schema.features.continuous, *schema.targets):
        columns[column.name] = rng.normal(size=ROWS).astype("float32")
    return pl.DataFrame(columns)


def batch_of(schema: Schema, archive: Path) -> dict[str, NDArray[Any]]:
    with np.load(archive) as columns:
        return {name: columns[name] for name in schema.features.names}


def random_weights(model: Any) -> None:
    """Give a model weights of a size that lets every part of it count; what a layer only measures stays."""
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(scale=0.4, size=variable.shape))


def compare(name: str, pair: Pair, columns: str, folder: Path, worker: Any) -> dict[str, float]:
    """Return the largest difference of logits, and the deviation of ours over the rows."""
    schema = schema_of(pair.ours, columns)
    rows = rows_of(schema)
    fuxictr_pairs.write(folder, schema, {"train": rows, "test": rows}, pad_last=pair.ours == "DIEN")
    more = {"bias_vector": False} if pair.ours == "DLRM" else {}
    model = getattr(kr.models, pair.ours)(schema, **pair.our_arguments, **more)
    random_weights(model)
    np.savez(folder / "weights.npz", **WEIGHTS[name](model))
    differ = fuxictr_pairs.ask(
        worker, "logits", model=pair.peer, arguments=dict(pair.peer_arguments), folder=str(folder),
        weights=str(folder / "weights.npz"), out=str(folder / "logits.npz"),
    )  # fmt: skip
    if differ != {"unknown": [], "missing": []}:
        raise SystemExit(f"{pair.ours}: the weights are not FuxiCTR's: {differ}")
    ours = model(batch_of(schema, folder / "test.npz"))
    ours = (
        {f"{target}_pred": value for target, value in ours.items()} if isinstance(ours, dict) else {"y_pred": ours}
    )
    with np.load(folder / "logits.npz") as theirs:
        differences = [np.abs(keras.ops.convert_to_numpy(ours[key]) - theirs[key]).max() for key in theirs]
        deviations = [theirs[key].std() for key in theirs]
    return {"difference": float(max(differences)), "deviation": float(min(deviations))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(WEIGHTS), default=list(WEIGHTS), metavar="MODEL")
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    args = parser.parse_args()
    pairs, figures = fuxictr_pairs.pairs(DIM, UNITS), {}
    with tempfile.TemporaryDirectory(prefix="logits-") as scratch, closing(fuxictr_pairs.start(1)) as worker:
        have = fuxictr_pairs.ask(worker, "available", models=[pairs[name].peer for name in args.models])
        for name in args.models:
            source = have[pairs[name].peer]
            if source is None:
                print(f"{name:14} left out: FuxiCTR's model is not in its wheel; see benchmarks/peers/setup.sh")
                continue
            figures[name] = {"peer": pairs[name].peer, "class": source, "columns": {}}
            for columns in ["history"] if name in HISTORIES else ["categorical", *ALSO.get(name, [])]:
                figure = compare(name, pairs[name], columns, Path(scratch) / f"{name} {columns}", worker)
                figures[name]["columns"][columns] = figure
                print(
                    f"{name:14}{columns:12} {figure['difference']:.1e} (deviation {figure['deviation']:.2f})",
                    flush=True,
                )
    largest = max(f["difference"] for model in figures.values() for f in model["columns"].values())
    report = {
        "benchmark": "fuxictr_logits",
        "fuxictr": "2.3.10",
        "bar": BAR,
        "largest": largest,
        "models": figures,
    }
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report))
    if largest > BAR:
        raise SystemExit(f"logits differ by {largest:.1e}")


if __name__ == "__main__":
    main()
