"""Walks over a graph of nodes: its order, and which columns each output depends on."""

from __future__ import annotations

from collections.abc import Iterable

from kerasrec.etl.operator.operator import Node, Operator


def in_order(*roots: Node) -> list[Node]:
    """Every node that `roots` depend on, each once, parents first."""
    seen: dict[int, Node] = {}

    def visit(node: Node) -> None:
        if id(node) not in seen:
            for parent in node.parents:
                visit(parent)
            seen[id(node)] = node

    for root in roots:
        visit(root)
    return list(seen.values())


def trace(node: Node, name: str) -> tuple[list[str], list[Operator]]:
    """The raw columns that output `name` of `node` is made from, and the operators on the way, first one first."""
    if not node.parents:
        return [name], []
    if node.op is None:
        names, own = [name], []
    else:
        names, own = node.sources[name], [node.op]
    raw: list[str] = []
    ops: list[Operator] = []
    for parent in node.parents:
        for column in names:
            if column in parent.sources:
                more, before = trace(parent, column)
                raw += [column for column in more if column not in raw]
                ops += [op for op in before if not any(op is other for other in ops)]
    return raw, ops + own


def wanted(root: Node, names: Iterable[str]) -> dict[int, list[str]]:
    """For each node, by id, which of its outputs the outputs `names` of `root` need."""
    order = in_order(root)
    found: dict[int, set[str]] = {id(node): set() for node in order}
    found[id(root)] = set(names)
    for node in reversed(order):
        read = found[id(node)]
        if node.op is not None:
            read = {name for output in read for name in node.sources[output]}
        for parent in node.parents:
            found[id(parent)] |= read & set(parent.outputs)
    return {id(node): [name for name in node.outputs if name in found[id(node)]] for node in order}


def raw_of(root: Node, names: Iterable[str]) -> set[str]:
    """The raw columns that the outputs `names` of `root` are made from."""
    needed = wanted(root, names)
    return {name for node in in_order(root) if not node.parents for name in needed[id(node)]}
