"""Saves and loads a fitted graph: `workflow.json`, and a Parquet file per vocabulary."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from kerasrec.etl.operator.graph import input_columns, topological_order
from kerasrec.etl.operator.operator import Node, TrustModule
from kerasrec.etl.ops import OPERATORS
from kerasrec.etl.run.column_expr import ColumnExpr
from kerasrec.etl.run.evaluate import evaluate
from kerasrec.etl.run.parquet_parts import naming_folder
from kerasrec.files import write_aside
from kerasrec.files.readable import check_checksum, crc32_of, read_json, what_is_wrong, with_checksum
from kerasrec.schema import Column, Schema, SchemaError

VERSION = 1
FILENAME = "workflow.json"
FILES = (FILENAME, "node-*.parquet")


def save(folder: Path, root: Node, inputs: list[Column], fitted_on: list[str] | None, *, overwrite: bool) -> Path:
    """Write a fitted graph, and the fingerprint of what it was fitted on, into a new folder."""
    nodes = topological_order(root)
    numbers = {id(node): i for i, node in enumerate(nodes)}
    columns = input_columns(nodes, inputs)
    with write_aside(folder, overwrite=overwrite, files=FILES) as aside, naming_folder(folder):
        aside.mkdir()
        described = []
        for i, node in enumerate(nodes):
            values: dict[str, Any] = {"parents": [numbers[id(parent)] for parent in node.parents]}
            if not node.parents:
                values = {"columns": node.outputs}
            elif node.op is None and node.outputs != node.inputs:
                values["columns"] = node.outputs
            if node.op is not None:
                files = {name: f"node-{i:03d}-{j:03d}.parquet" for j, name in enumerate(node.op.frames)}
                for name, file in files.items():
                    pq.write_table(node.op.frames[name].to_arrow(), aside / file, write_page_checksum=True)
                values |= {"op": type(node.op).__name__, "settings": node.op.saved_settings(columns[id(node)])}
                values |= {"facts": node.op.state, "frames": files}
            described.append({name: value for name, value in values.items() if value not in ({}, None)})
        contents = {
            "kerasrec_workflow": VERSION,
            "fitted_on": fitted_on,
            "inputs": Schema(inputs).to_dict(),
            "files": {file.name: crc32_of(file) for file in sorted(aside.iterdir())},
            "nodes": described,
        }
        lines = [f" {json.dumps(name)}: {_text(value)}" for name, value in with_checksum(contents).items()]
        (aside / FILENAME).write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    return folder


def _text(value: Any) -> str:
    """Return a value as JSON; a list has one line per item."""
    if not isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    return "[\n" + ",\n".join("  " + json.dumps(item, ensure_ascii=False) for item in value) + "\n ]"


def load(folder: Path, trust: bool | Collection[str] = False) -> tuple[Node, list[Column], list[str] | None]:
    """Read what `save` wrote; return the graph, the raw columns it was fitted on, and the fingerprint.

    Args:
        trust: as in `Workflow.load`.
    """
    path = folder / FILENAME
    if not path.exists():
        raise FileNotFoundError(f"no workflow at {path}")
    try:
        values = read_json(path)
    except ValueError as error:
        raise SchemaError(str(error)) from None
    if not isinstance(values, dict) or "kerasrec_workflow" not in values:
        raise SchemaError(f"{path}: not a kerasrec workflow: there is no 'kerasrec_workflow' version")
    if values["kerasrec_workflow"] != VERSION:
        version = values["kerasrec_workflow"]
        raise SchemaError(f"{path}: the workflow has version {version!r}; this kerasrec reads version {VERSION}")
    try:
        nodes: list[Node] = []
        for described in values["nodes"]:
            nodes.append(_node(described, nodes, folder, values.get("files", {}), _trusted(trust)))
        inputs = list(Schema.from_dict(values["inputs"]))
        # Fails where an operator lacks its fitted state.
        evaluate(nodes[-1], {column.name: ColumnExpr(column, pl.col(column.name)) for column in inputs})
    except SchemaError as error:
        raise SchemaError(f"{path}: {error}") from error
    except (
        KeyError,
        IndexError,
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
        pl.exceptions.PolarsError,
    ) as error:
        raise SchemaError(f"{path}: invalid workflow: {type(error).__name__}: {error}") from error
    try:
        check_checksum(values, path)
    except ValueError as error:
        raise SchemaError(str(error)) from None
    return nodes[-1], inputs, values.get("fitted_on")


def _trusted(trust: bool | Collection[str]) -> TrustModule:
    if isinstance(trust, bool):
        return lambda module: trust
    names = [trust] if isinstance(trust, str) else trust
    return lambda module: any(module == name or module.startswith(f"{name}.") for name in names)


def _node(
    described: dict[str, Any], nodes: list[Node], folder: Path, checksums: Mapping[str, str], trusted: TrustModule
) -> Node:
    parents = [nodes[i] for i in described.get("parents", [])]
    if "op" not in described:
        return Node(None, parents, described["columns"] if not parents else described.get("columns"))
    node = Node(OPERATORS[described["op"]].from_saved(described.get("settings", {}), trusted), parents)
    assert node.op is not None
    node.op.state = described.get("facts", {})
    for name, file in described.get("frames", {}).items():
        if not isinstance(file, str) or Path(file).name != file or file in ("", ".."):
            raise SchemaError(f"{file!r} is not the name of a file in its folder")
        node.op.frames[name] = _frame(folder / file, checksums.get(file))
    return node


def _frame(path: Path, checksum: str | None) -> pl.DataFrame:
    """Read the file of a vocabulary; release 0.1 wrote no checksums of them."""
    try:
        wrong = what_is_wrong(path)
        if wrong is None and checksum is not None and (actual := crc32_of(path)) != checksum:
            wrong = f"the file is damaged: its CRC-32 is {actual}, expected {checksum}"
        if wrong is not None:
            raise SchemaError(f"{path}: cannot be read: {wrong}")
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            frame = pl.from_arrow(file.read())
    except (OSError, pa.ArrowException, pl.exceptions.PolarsError) as error:
        raise SchemaError(f"{path}: cannot be read: {error}") from None
    assert isinstance(frame, pl.DataFrame)
    return frame
