"""The graph that `>>` and `+` draw: nodes that apply an operator to columns of other nodes."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kerasrec.etl.ops.base import Operator


class Node:
    """Columns, and where they come from.

    A node without an operator selects raw columns (no parents) or unites its parents' columns; one with an
    operator applies it to its parents' columns. You rarely make one: `["age"] >> FillMissing() >> Normalize()`
    does, and `cats + conts` unites nodes. Lists and single names count as selections on either side.

    Attributes:
        op: the node's own copy of the operator; its fitted state lives there.
        inputs: names of the columns that the operator reads.
        outputs: names of the columns that the node makes.
    """

    def __init__(self, op: Operator | None, parents: Sequence[Node], names: Sequence[str] = ()):
        self.op = copy.deepcopy(op)
        self.parents = tuple(parents)
        self.inputs = [name for parent in parents for name in parent.outputs]
        self.outputs: list[str] = list(names) if not parents else self.inputs
        if self.op is not None:
            unique(self.inputs, f"the columns that {self.op} reads")
            self.outputs = self.op.output_names(self.inputs)
        unique(self.outputs, "the output columns")

    def __rshift__(self, op: Operator) -> Node:
        from kerasrec.etl.ops.base import Operator

        if isinstance(op, type) and issubclass(op, Operator):
            raise TypeError(f"an operator is applied as an instance: write {op.__name__}()")
        if not isinstance(op, Operator):
            raise TypeError(f"only an operator can follow >>, not {op!r}")
        return op.apply(self)

    def __add__(self, other: Columns) -> Node:
        return Node(None, [self, as_node(other)])

    def __radd__(self, other: Columns) -> Node:
        return Node(None, [as_node(other), self])

    def __repr__(self) -> str:
        before = " + ".join(map(repr, self.parents)) if self.parents else repr(self.outputs)
        if self.op is None:
            return before
        return f"({before}) >> {self.op!r}" if len(self.parents) > 1 else f"{before} >> {self.op!r}"


Columns = Node | str | Iterable["Node | str"]


def as_node(columns: Columns) -> Node:
    """A node of what may stand beside `>>` and `+`: a node, a name, or a list of either."""
    if isinstance(columns, Node):
        return columns
    if isinstance(columns, str):
        columns = [columns]
    parts = list(columns)
    if parts and all(isinstance(part, str) for part in parts):
        return Node(None, [], parts)  # type: ignore[arg-type]
    if not parts or not all(isinstance(part, str | Node) for part in parts):
        raise TypeError(f"expected column names or nodes, not {parts!r}")
    return Node(None, [as_node(part) for part in parts])


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
        names, own = node.op.reads(name, node.inputs), [node.op]
    raw: list[str] = []
    ops: list[Operator] = []
    for parent in node.parents:
        for column in names:
            if column in parent.outputs:
                more, before = trace(parent, column)
                raw += [column for column in more if column not in raw]
                ops += [op for op in before if not any(op is other for other in ops)]
    return raw, ops + own


def unique(names: Sequence[str], what: str) -> None:
    """Raise `ValueError` where a name stands twice."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{what} hold {', '.join(map(repr, twice))} twice; Rename one of the two")
