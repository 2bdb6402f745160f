"""Walks over a graph of nodes: their order, and which columns an output depends on."""

from __future__ import annotations

from collections.abc import Iterable

from kerasrec.etl.operator.operator import Node, Operator
from kerasrec.schema import Column


def topological_order(*roots: Node) -> list[Node]:
    """Return every node that `roots` depend on, each once, parents first."""
    visited: dict[int, Node] = {}

    def visit(node: Node) -> None:
        if id(node) not in visited:
            for parent in node.parents:
                visit(parent)
            visited[id(node)] = node

    for root in roots:
        visit(root)
    return list(visited.values())


def input_columns(nodes: Iterable[Node], raw: Iterable[Column]) -> dict[int, list[Column]]:
    """Return the descriptions of the input columns of fitted nodes, parents first, by the node's id."""
    raw_by_name = {column.name: column for column in raw}
    inputs: dict[int, list[Column]] = {}
    outputs: dict[int, list[Column]] = {}
    for node in nodes:
        inputs[id(node)] = [column for parent in node.parents for column in outputs[id(parent)]]
        if node.op is not None:
            outputs[id(node)] = node.op.output(inputs[id(node)])
            continue
        available = {column.name: column for column in inputs[id(node)]} if node.parents else raw_by_name
        # DropLowCardinality may have dropped some columns.
        outputs[id(node)] = [available[name] for name in node.outputs if name in available]
    return inputs


def trace(node: Node, name: str) -> tuple[list[str], list[Operator]]:
    """Return the raw columns that output `name` of `node` depends on, and the operators between, first one
    first."""
    if not node.parents:
        return [name], []
    if node.op is None:
        inputs, own = [name], []
    else:
        inputs, own = node.sources[name], [node.op]
    raw: list[str] = []
    ops: list[Operator] = []
    for parent in node.parents:
        for column in inputs:
            if column in parent.sources:
                parent_raw, parent_ops = trace(parent, column)
                raw += [column for column in parent_raw if column not in raw]
                ops += [op for op in parent_ops if not any(op is other for other in ops)]
    return raw, ops + own


def needed_outputs(root: Node, names: Iterable[str]) -> dict[int, list[str]]:
    """Return, for each node by its id, those of its outputs that the outputs `names` of `root` depend on."""
    order = topological_order(root)
    needed: dict[int, set[str]] = {id(node): set() for node in order}
    needed[id(root)] = set(names)
    for node in reversed(order):
        inputs = needed[id(node)]
        if node.op is not None:
            inputs = {name for output in inputs for name in node.sources[output]}
        for parent in node.parents:
            needed[id(parent)] |= inputs & set(parent.outputs)
    return {id(node): [name for name in node.outputs if name in needed[id(node)]] for node in order}


def raw_inputs(root: Node, names: Iterable[str]) -> set[str]:
    """Return the raw columns that the outputs `names` of `root` depend on."""
    needed = needed_outputs(root, names)
    return {name for node in topological_order(root) if not node.parents for name in needed[id(node)]}
