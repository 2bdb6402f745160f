"""Operators, and the nodes of the graph that `>>` and `+` build of them."""

from __future__ import annotations

import copy
import inspect
import reprlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import polars as pl

from kerasrec.etl.operator.nvtabular_arguments import check_arguments
from kerasrec.etl.sources.types import check_name
from kerasrec.schema import Column, SchemaError

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn


Take = Callable[[Sequence[str]], pl.LazyFrame]  # makes a frame of some columns
Trusted = Callable[[str], bool]  # whether functions of a module of this name may be called

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


@dataclass(repr=False)
class Operator:
    """Base of all operators: columns in, columns out, on Polars and on TensorFlow.

    A subclass is a dataclass whose fields are its settings. Expressions and tensors hold elements in exactly
    `Column.dtype`; NaN is null already, and a null list an empty one.

    A stateful operator learns from the data in three steps, so that parts of it may lie on several machines:
    `partial` of each part, `merge` of what came back (any number of times), `finalize` once. What it learned is in
    `facts` (plain JSON values) and `frames` (small tables), and nowhere else.
    """

    stateful: ClassVar[bool] = False
    windowed: ClassVar[bool] = False  # whether a row's output depends on other rows of the data that is passing
    makes_rows: ClassVar[bool] = False  # see `ops.rows`
    numbered: ClassVar[bool] = False  # whether `partial` wants a column `types.ROW`: each row's number
    facts: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    frames: dict[str, pl.DataFrame] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __new__(cls, *args: Any, **settings: Any) -> Self:
        if settings:
            check_arguments(cls.__name__, settings, list(inspect.signature(cls.__init__).parameters)[1:])
        return super().__new__(cls)

    def __rrshift__(self, columns: Columns) -> Node:
        return self.apply(columns)

    def apply(self, columns: Columns) -> Node:
        """What `columns >> self` is: a node with a copy of this operator, which may have more parents than one."""
        return Node(self, [as_node(columns)])

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments that make this operator again."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.init}

    def saved(self, names: Sequence[str]) -> dict[str, Any]:
        """The settings as plain JSON values, of an operator that reads columns `names`."""
        return self.settings

    @classmethod
    def restored(cls, settings: Mapping[str, Any], trusted: Trusted) -> Operator:
        """An operator of the settings that `saved` gave, read from a file that a stranger may have written: it
        must neither run code that is not `trusted` nor open files."""
        return cls(**settings)

    def __repr__(self) -> str:
        defaults = {item.name: item.default for item in fields(self)}
        given = (
            f"{name}={getattr(value, '__qualname__', None) or _SHORT.repr(value)}"
            for name, value in self.settings.items()
            if value != defaults[name] and value != {}
        )
        return f"{type(self).__name__}({', '.join(given)})"

    # ---- names, known before any data is seen ----------------------------------------------------------------
    def output_names(self, names: list[str]) -> list[str]:
        """The columns made from columns `names`."""
        return list(names)

    def sources(self, names: list[str]) -> dict[str, list[str]]:
        """For each output, which of the columns `names` it is made from."""
        return {output: [name] for output, name in zip(self.output_names(names), names, strict=True)}

    def vocabularies(self, names: list[str]) -> list[str]:
        """Names of the embedding tables whose ids this operator makes."""
        return []

    # ---- the two faces ---------------------------------------------------------------------------------------
    def output(self, columns: Sequence[Column]) -> list[Column]:
        """Facts of the columns made from `columns`.

        Raises:
            SchemaError: a column of a type that the operator does not take.
        """
        raise NotImplementedError

    def expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        """Polars expressions of the outputs, given those of the inputs. They may use `pl.col(types.ROW)` as well,
        each row's number."""
        raise NotImplementedError

    def fitted_expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        """`expressions` over the very rows that the operator was fitted on, where those need others: a row must
        not see what was learned from itself."""
        return self.expressions(columns, values)

    def tensorflow(
        self, columns: Sequence[Column], resources: list[Any]
    ) -> Callable[[list[TensorColumn]], list[TensorColumn]]:
        """A function of the inputs' tensors that makes the outputs'. Tables and variables it needs are made
        here and appended to `resources`, so that a SavedModel tracks them."""
        raise NotImplementedError

    def unserved(self, columns: Sequence[Column], why: str) -> SchemaError:
        """What `tensorflow` raises in an operator without that face."""
        names = ", ".join(repr(column.name) for column in columns)
        return SchemaError(f"{self!r} of column {names} cannot be served to single raw rows: {why}")

    # ---- learning --------------------------------------------------------------------------------------------
    def queries(self, take: Take, columns: Sequence[Column]) -> list[pl.LazyFrame]:
        """The queries of `partial`, each over the columns that it reads: planning a query takes time for each
        column of its frame."""
        return self.partial(take([column.name for column in columns]), columns)

    def partial(self, frame: pl.LazyFrame, columns: Sequence[Column]) -> list[pl.LazyFrame]:
        """Queries for the statistics of `frame`, one part of the data; each makes a small frame."""
        return []

    def merge(self, parts: Sequence[Sequence[pl.DataFrame]]) -> list[pl.DataFrame]:
        """Several parts' statistics as if of one part; in any order and grouping the same."""
        raise NotImplementedError

    def finalize(self, statistics: Sequence[pl.DataFrame], columns: Sequence[Column]) -> None:
        """Fill `facts` and `frames` from the whole data's statistics."""


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
            raise ValueError(f"no columns {unknown}; available: {', '.join(self.inputs)}")
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
