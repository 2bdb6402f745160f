"""An index on disk: a folder of the candidates' ids, their vectors, and what they were made with."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from safetensors.numpy import load_file, save_file

from kerasrec.files import write_aside
from kerasrec.retrieval.encoders import Retriever
from kerasrec.retrieval.item_ids import ItemIds

VERSION = 1
FILES = ("index.json", "ids.parquet", "vectors.safetensors")


def save(
    path: str | os.PathLike[str], model: Retriever, ids: ItemIds, vectors: np.ndarray, raw: bool, overwrite: bool
) -> Path:
    """Write an index into a new folder."""
    path = Path(os.path.abspath(path))
    with write_aside(path, overwrite=overwrite, files=FILES) as aside:
        aside.mkdir()
        ids.values.to_frame().write_parquet(aside / "ids.parquet")
        save_file({"vectors": np.ascontiguousarray(vectors)}, str(aside / "vectors.safetensors"))
        values = {"kerasrec_index": VERSION, "raw_ids": raw, "candidates": len(ids), **_columns_read(model)}
        (aside / "index.json").write_text(json.dumps(values, indent=1, ensure_ascii=False), encoding="utf-8")
    return path


def load(path: str | os.PathLike[str], model: Retriever, raw: bool) -> tuple[pl.Series, np.ndarray]:
    """Read the ids and vectors of an index of this model."""
    path = Path(path)
    if not (path / "index.json").exists():
        raise FileNotFoundError(f"no index at {path}: it has no index.json")
    saved = json.loads((path / "index.json").read_text(encoding="utf-8"))
    if saved.get("kerasrec_index") != VERSION:
        raise ValueError(
            f"the index {path} has version {saved.get('kerasrec_index')!r}; this kerasrec reads version {VERSION}"
        )
    if saved["raw_ids"] != raw:
        kind = "raw ids: pass workflow=..." if saved["raw_ids"] else "transformed ids: leave out workflow="
        raise ValueError(f"the index {path} is of {kind}")
    for name, value in _columns_read(model).items():
        if saved[name] != value:
            raise ValueError(f"the index {path} is of another model: its {name} is {saved[name]!r}, not {value!r}")
    ids = pl.read_parquet(path / "ids.parquet", glob=False)["id"]
    return ids, load_file(str(path / "vectors.safetensors"))["vectors"]


def _columns_read(model: Retriever) -> dict[str, Any]:
    return {
        "similarity": model.similarity,
        "item_id": model.item_id,
        "query_columns": model.query_schema.names,
        "candidate_columns": model.candidate_schema.names,
    }
