"""The graph that `>>` and `+` draw: nodes that apply an operator to columns of other nodes."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from kerasrec.etl.sources.types import check_name

if TYPE_CHECKING:
    from kerasrec.etl.operator.operator import Operator


class Node:
    """Columns, and where they come from.

    A node without an operator selects raw columns (no parents), or unites its parents' columns, or selects some of
    them; one with an operator applies it to its parents' columns. You rarely make one:
    `["age"] >> FillMissing() >> Normalize()` does, `cats + conts` unites nodes, `node["age", "city"]` and
    `node - ["city"]` select columns. Lists and single names count as selections on either side.

    Attributes:
        op: the node's own copy of the operator; its fitted state lives there.
        inputs: names of the columns that the operator reads.
        outputs: names of the columns that the node makes.
        maker: the node whose operator made the rows that the columns have; None where they are the source's.
    """

    def __init__(self, op: Operator | None, parents: Sequence[Node], names: Sequence[str] | None = None):
        self.op = copy.deepcopy(op)
        self.parents = tuple(parents)
        self.inputs = [name for parent in parents for name in parent.outputs]
        self.outputs: list[str] = list(self.inputs if names is None else names)
        if not self.outputs:
            raise ValueError("no columns are left")
        known = set(self.inputs)
        if parents and (unknown := [name for name in self.outputs if name not in known]):
            raise ValueError(f"no columns {unknown}; there are: {', '.join(self.inputs)}")
        self.maker = _maker(self)
        if self.op is not None:
            unique(self.inputs, f"the columns that {self.op} reads")
            self.outputs = self.op.output_names(self.inputs)
        unique(self.outputs, "the output columns")
        for name in self.outputs:
            check_name(name)

    @cached_property
    def sources(self) -> dict[str, list[str]]:
        """For each output, the inputs that it is made from; a node without parents makes its own."""
        return {name: [name] for name in self.outputs} if self.op is None else self.op.sources(self.inputs)

    def __rshift__(self, op: Operator) -> Node:
        from kerasrec.etl.operator.operator import Operator

        if isinstance(op, type) and issubclass(op, Operator):
            raise TypeError(f"an operator is applied as an instance: write {op.__name__}()")
        if not isinstance(op, Operator):
            raise TypeError(f"only an operator can follow >>, not {op!r}")
        return op.apply(self)

    def __add__(self, other: Columns) -> Node:
        return Node(None, [self, as_node(other)])

    def __radd__(self, other: Columns) -> Node:
        return Node(None, [as_node(other), self])

    def __getitem__(self, names: str | Sequence[str]) -> Node:
        return Node(None, [self], [names] if isinstance(names, str) else list(names))

    def __sub__(self, names: str | Sequence[str]) -> Node:
        others = set(self[names].outputs)
        return Node(None, [self], [name for name in self.outputs if name not in others])

    def __iter__(self) -> Iterator[str]:
        raise TypeError("a node is no list of columns; its names are in node.outputs")

    def __repr__(self) -> str:
        before = " + ".join(map(repr, self.parents)) if self.parents else repr(self.outputs)
        if self.op is None:
            some = self.parents and self.outputs != self.inputs
            return f"({before})[{', '.join(map(repr, self.outputs))}]" if some else before
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


def _maker(node: Node) -> Node | None:
    """The node that makes the rows of `node`. Raises `ValueError` where its parents' rows are not the same."""
    makers = {id(parent.maker): parent for parent in node.parents}
    if len(makers) > 1:
        rows = (
            f"{', '.join(map(repr, parent.outputs))} "
            + (f"of rows that {parent.maker.op!r} makes" if parent.maker else "of the source's rows")
            for parent in makers.values()
        )
        raise ValueError(f"columns of different rows cannot stand side by side: {'; '.join(rows)}")
    if node.op is not None and node.op.makes_rows:
        return node
    return node.parents[0].maker if node.parents else None


def unique(names: Sequence[str], what: str) -> None:
    """Raise `ValueError` where a name stands twice."""
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise ValueError(f"{what} hold {', '.join(map(repr, twice))} twice; Rename one of the two")
