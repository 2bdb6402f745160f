"""Models that kerasrec and FuxiCTR both have, with arguments that mean the same, and data as FuxiCTR reads it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from kerasrec.schema import Schema

from .worker import Worker

PEERS = Path(__file__).parent
PYTHON = PEERS / ".venv-fuxictr/bin/python"


@dataclass(frozen=True)
class Pair:
    """A model's class in each library, and the arguments of each."""

    ours: str
    peer: str
    our_arguments: Mapping[str, Any] = field(default_factory=dict)
    peer_arguments: Mapping[str, Any] = field(default_factory=dict)


def pairs(dim: int, units: Sequence[int]) -> dict[str, Pair]:
    """Return the pairs by the name of our class, all with the same widths."""
    width = {"embedding_dim": dim}
    deep, theirs = {**width, "deep_units": units}, {**width, "hidden_units": units}
    listed = [
        Pair("LR", "LR"),
        Pair("FM", "FM", width, width),
        Pair("DLRM", "DLRM", {**width, "bottom_units": [units[-1], dim], "top_units": units},
             {**width, "bottom_mlp_units": [units[-1]], "top_mlp_units": units}),
        Pair("WideAndDeep", "WideDeep", deep, theirs),
        Pair("DeepFM", "DeepFM", deep, theirs),
        Pair("DCN", "DCNv2", deep, {**width, "parallel_dnn_hidden_units": units}),
    ]  # fmt: skip
    return {pair.ours: pair for pair in listed}


def start(threads: int) -> Worker:
    """Start the worker. Raise `SystemExit` where FuxiCTR is not installed."""
    if not PYTHON.exists():
        raise SystemExit("FuxiCTR is not installed: sh benchmarks/peers/setup.sh fuxictr")
    # PyTorch's threads spin while they wait, which takes the cores from kerasrec's.
    environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": str(threads)}
    worker = Worker("FuxiCTR", [PYTHON, "-W", "ignore", PEERS / "fuxictr_worker.py", threads], environment)
    worker.hear()
    return worker


def ask(worker: Worker, do: str, **arguments: Any) -> dict[str, Any]:
    """Return the worker's answer to a call of one of its functions."""
    return worker.ask(json.dumps({"do": do, **arguments}))


def write(folder: Path, schema: Schema, splits: Mapping[str, pl.DataFrame]) -> None:
    """Write encoded rows as FuxiCTR reads them: a feature map, and an archive of columns per split.

    A list column is padded with 0 to the longest list. Ids stay as they are: 0 is padding in lists alone.
    """
    folder.mkdir(parents=True)
    longest = {
        column.name: max(int(rows[column.name].list.len().max() or 1) for rows in splits.values())
        for column in schema.features.categorical
        if column.is_list
    }
    features = []
    for column in schema.features.categorical:
        spec: dict[str, Any] = {"source": "", "type": "categorical", "vocab_size": column.cardinality}
        if column.is_list:
            spec |= {"type": "sequence", "padding_idx": 0, "max_len": longest[column.name]}
            spec["feature_encoder"] = "layers.MaskedAveragePooling()"
        features.append({column.name: spec})
    features += [{column.name: {"source": "", "type": "numeric"}} for column in schema.features.continuous]
    feature_map = {"dataset_id": folder.name, "labels": schema.targets.names, "features": features}
    (folder / "feature_map.json").write_text(json.dumps(feature_map), encoding="utf-8")
    for split, rows in splits.items():
        columns = {column.name: _ids(rows, column.name, longest) for column in schema.features.categorical}
        numbers = [*schema.features.continuous, *schema.targets]
        columns |= {column.name: rows[column.name].to_numpy().astype("float32") for column in numbers}
        np.savez(folder / f"{split}.npz", **columns)


def _ids(rows: pl.DataFrame, name: str, longest: Mapping[str, int]) -> np.ndarray:
    ids = rows[name]
    if name not in longest:
        return ids.to_numpy().astype("int64")
    lengths = ids.list.len().to_numpy()
    out = np.zeros((len(ids), longest[name]), "int64")
    out[np.arange(longest[name]) < lengths[:, None]] = ids.explode(empty_as_null=False).to_numpy()
    return out
