"""A fitted graph on disk: `workflow.json`, and a Parquet file for each vocabulary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from kerasrec.etl.dataset import naming
from kerasrec.etl.engine import evaluate
from kerasrec.etl.graph import Node, in_order
from kerasrec.etl.ops import OPERATORS
from kerasrec.etl.values import Value
from kerasrec.files import write_aside
from kerasrec.schema import Column, Schema, SchemaError

VERSION = 1
FILENAME = "workflow.json"


def save(folder: Path, root: Node, inputs: list[Column], fitted_on: list[str] | None, *, overwrite: bool) -> Path:
    """Write a fitted graph, and the fingerprint of what it was fitted on, into a new folder."""
    nodes = in_order(root)
    numbers = {id(node): i for i, node in enumerate(nodes)}
    with write_aside(folder, overwrite=overwrite) as aside, naming(folder):
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
                    pq.write_table(node.op.frames[name].to_arrow(), aside / file)
                values |= {"op": type(node.op).__name__, "settings": node.op.saved(node.inputs)}
                values |= {"facts": node.op.facts, "frames": files}
            described.append({name: value for name, value in values.items() if value not in ({}, None)})
        lines = ",\n".join("  " + json.dumps(values, ensure_ascii=False) for values in described)
        schema = json.dumps(Schema(inputs).to_dict(), ensure_ascii=False)
        (aside / FILENAME).write_text(
            f'{{"kerasrec_workflow": {VERSION},\n "fitted_on": {json.dumps(fitted_on)},\n "inputs": {schema},\n'
            f' "nodes": [\n{lines}\n ]}}\n',
            encoding="utf-8",
        )
    return folder


def load(folder: Path) -> tuple[Node, list[Column], list[str] | None]:
    """Read what `save` wrote: the graph, the raw columns it was fitted on, and the fingerprint."""
    path = folder / FILENAME
    if not path.exists():
        raise FileNotFoundError(f"no workflow at {path}")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SchemaError(f"{path}: not readable as JSON: {error}") from None
    if not isinstance(values, dict) or "kerasrec_workflow" not in values:
        raise SchemaError(f"{path}: this is not a kerasrec workflow")
    if values["kerasrec_workflow"] != VERSION:
        version = values["kerasrec_workflow"]
        raise SchemaError(f"{path}: the workflow is of version {version!r}; this kerasrec reads version {VERSION}")
    try:
        nodes: list[Node] = []
        for described in values["nodes"]:
            nodes.append(_node(described, nodes, folder))
        inputs = list(Schema.from_dict(values["inputs"]))
        # Fails where an operator lacks what it learned.
        evaluate(nodes[-1], {column.name: Value(column, pl.col(column.name)) for column in inputs})
        return nodes[-1], inputs, values.get("fitted_on")
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise SchemaError(f"{path}: broken: {type(error).__name__}: {error}") from error


def _node(described: dict[str, Any], nodes: list[Node], folder: Path) -> Node:
    parents = [nodes[i] for i in described.get("parents", [])]
    if "op" not in described:
        return Node(None, parents, described["columns"] if not parents else described.get("columns"))
    node = Node(OPERATORS[described["op"]](**described.get("settings", {})), parents)
    assert node.op is not None
    node.op.facts = described.get("facts", {})
    for name, file in described.get("frames", {}).items():
        try:
            node.op.frames[name] = pl.read_parquet(folder / file)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise SchemaError(f"{folder / file}: cannot be read: {error}") from None
    return node
