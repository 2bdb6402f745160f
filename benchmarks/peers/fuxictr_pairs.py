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
MEAN = "layers.MaskedAveragePooling()"


@dataclass(frozen=True)
class Pair:
    """A model's class in each library, and the arguments of each."""

    ours: str
    peer: str
    our_arguments: Mapping[str, Any] = field(default_factory=dict)
    peer_arguments: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""  # where it is not the name of our class


def pairs(dim: int, units: Sequence[int]) -> dict[str, Pair]:
    """Return the pairs by label, all with the same widths."""
    width = {"embedding_dim": dim}
    deep, theirs = {**width, "deep_units": units}, {**width, "hidden_units": units}
    dnn = {**width, "dnn_hidden_units": units}
    towers = [units[-1]]
    experts = {**width, "expert_units": units, "tower_units": towers}
    tasks = {**width, "num_tasks": 2, "tower_hidden_units": towers}
    listed = [
        Pair("LR", "LR", {"combiner": "sum"}),
        Pair("FM", "FM", width, width),
        Pair("DLRM", "DLRM", {**width, "bottom_units": [units[-1], dim], "top_units": units},
             {**width, "bottom_mlp_units": [units[-1]], "top_mlp_units": units}),
        Pair("WideAndDeep", "WideDeep", deep, theirs),
        Pair("DeepFM", "DeepFM", deep, theirs),
        Pair("DCN", "DCNv2", deep, {**width, "parallel_dnn_hidden_units": units}),
        Pair("DCN", "DCNv2", {**deep, "experts": 3, "projection_dim": dim},
             {**width, "parallel_dnn_hidden_units": units, "use_low_rank_mixture": True, "num_experts": 3,
              "low_rank": dim}, "DCN mixture"),
        Pair("xDeepFM", "xDeepFM", {**deep, "cin_units": [16, 16]}, {**dnn, "cin_hidden_units": [16, 16]}),
        Pair("PNN", "PNN", deep, theirs),
        Pair("NFM", "NFM", deep, theirs),
        Pair("FwFM", "FwFM", width, width),
        Pair("AutoInt", "AutoInt", {**deep, "attention_units": 2 * dim, "attention_heads": 2},
             {**dnn, "attention_dim": 2 * dim, "num_heads": 2}),
        Pair("FiBiNET", "FiBiNET", {**deep, "excitation": "relu"}, theirs),
        Pair("FinalMLP", "FinalMLP", {**deep, "gate_columns": [["user"], ["item"]]},
             {**width, "mlp1_hidden_units": units, "mlp2_hidden_units": units, "fs1_context": ["user"],
              "fs2_context": ["item"]}),
        Pair("GDCN", "GDCNP", deep, dnn),
        Pair("MaskNet", "MaskNet", {**deep, "block_units": units[-1]},
             {**dnn, "model_type": "ParallelMaskNet", "parallel_num_blocks": 3, "parallel_block_dim": units[-1]}),
        Pair("DIN", "DIN", {**deep, "attention_units": [8]}, {**dnn, "attention_hidden_units": [8]}),
        Pair("DIEN", "DIEN", {**deep, "auxiliary_weight": 0}, {**dnn, "batch_norm": False}),
        Pair("BST", "BST", {**deep, "position_dim": dim},
             {**dnn, "bst_target_field": "item", "bst_sequence_field": "history"}),
        Pair("SharedBottom", "SharedBottom", {**deep, "tower_units": towers},
             {**tasks, "bottom_hidden_units": units}),
        Pair("MMoE", "MMoE", {**experts, "experts": 3},
             {**tasks, "num_experts": 3, "expert_hidden_units": units, "gate_hidden_units": []}),
        Pair("PLE", "PLE", {**experts, "levels": 1, "own_experts": 2, "shared_experts": 2},
             {**tasks, "num_layers": 1, "num_specific_experts": 2, "num_shared_experts": 2,
              "expert_hidden_units": units, "gate_hidden_units": []}),
    ]  # fmt: skip
    return {pair.label or pair.ours: pair for pair in listed}


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


def write(folder: Path, schema: Schema, splits: Mapping[str, pl.DataFrame], pad_last: bool = False) -> None:
    """Write encoded rows as FuxiCTR reads them: a feature map, and an archive of columns per split.

    A list column is padded with 0 to the longest list, at its beginning as FuxiCTR does it, or at its end. It is a
    history, whose vectors are not combined, if a scalar column before it has the name of its table. Ids stay as
    they are: 0 is padding in lists alone.
    """
    folder.mkdir(parents=True)
    categorical = schema.features.categorical
    longest = {
        column.name: max(int(rows[column.name].list.len().max() or 1) for rows in splits.values())
        for column in categorical
        if column.is_list
    }
    features = []
    for column in categorical:
        spec: dict[str, Any] = {"source": "", "type": "categorical", "vocab_size": column.cardinality}
        if column.is_list:
            spec |= {"type": "sequence", "padding_idx": 0, "max_len": longest[column.name]}
            history = column.table != column.name and column.table in categorical.names
            spec |= {"share_embedding": column.table} if history else {"feature_encoder": MEAN}
        features.append({column.name: spec})
    features += [{column.name: {"source": "", "type": "numeric"}} for column in schema.features.continuous]
    feature_map = {"dataset_id": folder.name, "labels": schema.targets.names, "features": features}
    (folder / "feature_map.json").write_text(json.dumps(feature_map), encoding="utf-8")
    for split, rows in splits.items():
        columns = {column.name: _ids(rows[column.name], longest, pad_last) for column in categorical}
        numbers = [*schema.features.continuous, *schema.targets]
        columns |= {column.name: rows[column.name].to_numpy().astype("float32") for column in numbers}
        np.savez(folder / f"{split}.npz", **columns)


def _ids(ids: pl.Series, longest: Mapping[str, int], pad_last: bool) -> np.ndarray:
    if ids.name not in longest:
        return ids.to_numpy().astype("int64")
    length, places = longest[ids.name], np.arange(longest[ids.name])
    lengths = ids.list.len().to_numpy()[:, None].astype("int64")
    out = np.zeros((len(ids), length), "int64")
    out[places < lengths if pad_last else places >= length - lengths] = ids.explode().drop_nulls().to_numpy()
    return out
