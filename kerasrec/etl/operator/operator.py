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


SelectColumns = Callable[[Sequence[str]], pl.LazyFrame]  # returns a frame with the named columns
TrustModule = Callable[[str], bool]  # returns whether functions of the named module may be called

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


@dataclass(repr=False)
class Operator:
    """Base of all operators. An operator computes columns from columns, in Polars and in TensorFlow.

    A subclass is a dataclass whose fields are its settings. Elements have exactly the type `Column.dtype`, in
    expressions and in tensors; NaN has been replaced by null, and null lists by empty ones.

    A stateful operator learns from data in three steps, so the data may be spread over machines: `partial` for
    each part, `merge` of the results (any number of times), and `finalize` once.

    Attributes:
        state: what the operator learned, as JSON values.
        frames: what the operator learned, as tables.
    """

    stateful: ClassVar[bool] = False
    windowed: ClassVar[bool] = False  # whether a row's output depends on other rows of the transformed data
    makes_rows: ClassVar[bool] = False  # whether outputs have other rows than inputs: see `RowMaker`
    needs_row_numbers: ClassVar[bool] = False  # whether the frame passed to `partial` has a column `types.ROW`
    state: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    frames: dict[str, pl.DataFrame] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __new__(cls, *args: Any, **settings: Any) -> Self:
        if settings:
            check_arguments(cls.__name__, settings, list(inspect.signature(cls.__init__).parameters)[1:])
        return super().__new__(cls)

    def __rrshift__(self, columns: Columns) -> Node:
        return as_node([]) if _is_empty(columns) else self.apply(columns)

    def apply(self, columns: Columns) -> Node:
        """Return the node that `columns >> self` makes. It has a copy of this operator, and possibly further
        parents."""
        return Node(self, [as_node(columns)])

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments that the operator was made with."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.init}

    def saved_settings(self, columns: Sequence[Column]) -> dict[str, Any]:
        """Return the settings of an operator that reads `columns` as JSON values."""
        return self.settings

    @classmethod
    def from_saved(cls, settings: Mapping[str, Any], trusted: TrustModule) -> Operator:
        """Return an operator with the settings that `saved_settings` returned.

        The file may come from a stranger: this must neither run code that is not `trusted` nor open files.
        """
        return cls(**settings)

    def __repr__(self) -> str:
        defaults = {item.name: item.default for item in fields(self)}
        arguments = (
            f"{name}={getattr(value, '__qualname__', None) or _SHORT.repr(value)}"
            for name, value in self.settings.items()
            if value != defaults[name] and value != {}
        )
        return f"{type(self).__name__}({', '.join(arguments)})"

    # ---- names, known before any data is read ----------------------------------------------------------------
    def output_names(self, names: list[str]) -> list[str]:
        """Return the names of the outputs for input columns `names`."""
        return list(names)

    def sources(self, names: list[str]) -> dict[str, list[str]]:
        """Return, for each output, which of the input columns `names` it depends on."""
        return {output: [name] for output, name in zip(self.output_names(names), names, strict=True)}

    def vocabularies(self, names: list[str]) -> list[str]:
        """Return the names of the embedding tables whose ids this operator outputs."""
        return []

    # ---- the two implementations -----------------------------------------------------------------------------
    def output(self, columns: Sequence[Column]) -> list[Column]:
        """Describe the outputs for input `columns`.

        Raises:
            SchemaError: the operator does not take a column's type.
        """
        raise NotImplementedError

    def expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        """Return Polars expressions of the outputs, given those of the inputs. `pl.col(types.ROW)` is the row
        number."""
        raise NotImplementedError

    def fitted_expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        """Return the `expressions` for the rows that the operator was fitted on.

        They differ for target encoding, which must not use a row's own target.
        """
        return self.expressions(columns, values)

    def tensorflow(
        self, columns: Sequence[Column], resources: list[Any]
    ) -> Callable[[list[TensorColumn]], list[TensorColumn]]:
        """Return a function from the inputs' tensors to the outputs'.

        Lookup tables and variables are created here and appended to `resources`, so that a SavedModel tracks them.
        """
        raise NotImplementedError

    def unservable(self, columns: Sequence[Column], reason: str) -> SchemaError:
        """Return the error that `tensorflow` raises in an operator that cannot be served."""
        names = ", ".join(repr(column.name) for column in columns)
        return SchemaError(f"{self!r} of column {names} cannot be part of a served model: {reason}")

    # ---- learning --------------------------------------------------------------------------------------------
    def queries(self, select: SelectColumns, columns: Sequence[Column]) -> list[pl.LazyFrame]:
        """Return the queries of `partial`, each over only the columns that it reads, as that is planned faster."""
        return self.partial(select([column.name for column in columns]), columns)

    def partial(self, frame: pl.LazyFrame, columns: Sequence[Column]) -> list[pl.LazyFrame]:
        """Return queries for the statistics of `frame`, a part of the data; each yields a small frame."""
        return []

    def merge(self, parts: Sequence[Sequence[pl.DataFrame]]) -> list[pl.DataFrame]:
        """Merge the statistics of several parts; the result must not depend on their order or grouping."""
        raise NotImplementedError

    def finalize(self, statistics: Sequence[pl.DataFrame], columns: Sequence[Column]) -> None:
        """Set `state` and `frames` from the statistics of all data."""


class Node:
    """Columns of a graph of operators.

    A node with an operator applies it to its parents' columns. One without an operator selects raw columns (no
    parents), or combines its parents' columns, or selects some of them. Nodes are made by `>>`, `+`, `-` and `[]`:
    `["age"] >> FillMissing() >> Normalize()` applies operators, `cats + conts` combines nodes, `node["age",
    "city"]` and `node - ["city"]` select columns. A name or a list of names stands for raw columns. A node may
    have no columns: `cats + []` is `cats`, and an operator makes nothing of nothing.

    Attributes:
        op: the node's own copy of the operator, with its fitted state.
        parents: the nodes whose columns are the inputs.
        inputs: the names of the input columns.
        outputs: the names of the output columns.
        row_maker: the node whose operator made the rows of the outputs; None where they are the source's.
    """

    def __init__(self, op: Operator | None, parents: Sequence[Node], names: Sequence[str] | None = None):
        self.op = copy.deepcopy(op)
        self.parents = tuple(parent for parent in parents if parent.outputs)
        self.inputs = [name for parent in parents for name in parent.outputs]
        self.outputs: list[str] = list(self.inputs if names is None else names)
        known = set(self.inputs)
        if parents and (unknown := [name for name in self.outputs if name not in known]):
            raise ValueError(f"no column {', '.join(map(repr, unknown))}; available: {', '.join(self.inputs)}")
        self.row_maker = _row_maker(self)
        if self.op is not None:
            check_unique(self.inputs, f"the inputs of {self.op}")
            self.outputs = self.op.output_names(self.inputs)
        check_unique(self.outputs, "the output columns")
        for name in self.outputs:
            check_name(name)

    @cached_property
    def sources(self) -> dict[str, list[str]]:
        """For each output, the inputs that it depends on; a raw column depends on itself."""
        return {name: [name] for name in self.outputs} if self.op is None else self.op.sources(self.inputs)

    def __rshift__(self, op: Operator) -> Node:
        if isinstance(op, type) and issubclass(op, Operator):
            raise TypeError(f">> takes an instance of an operator; write {op.__name__}()")
        if not isinstance(op, Operator):
            raise TypeError(f">> takes an operator; got {op!r}")
        return op.__rrshift__(self)

    def __add__(self, other: Columns) -> Node:
        return Node(None, [self, as_node(other)])

    def __radd__(self, other: Columns | int) -> Node:
        if isinstance(other, int):  # sum() begins at 0
            return self if other == 0 else NotImplemented
        return Node(None, [as_node(other), self])

    def __getitem__(self, names: str | Sequence[str]) -> Node:
        return Node(None, [self], [names] if isinstance(names, str) else list(names))

    def __sub__(self, names: str | Sequence[str]) -> Node:
        others = set(self[names].outputs)
        return Node(None, [self], [name for name in self.outputs if name not in others])

    def __iter__(self) -> Iterator[str]:
        raise TypeError("a node cannot be iterated over; its column names are in node.outputs")

    def __repr__(self) -> str:
        before = " + ".join(map(repr, self.parents)) if self.parents else repr(self.outputs)
        if self.op is None:
            is_selection = self.parents and self.outputs != self.inputs
            return f"({before})[{', '.join(map(repr, self.outputs))}]" if is_selection else before
        return f"({before}) >> {self.op!r}" if len(self.parents) > 1 else f"{before} >> {self.op!r}"


Columns = Node | str | Iterable["Node | str"]


def as_node(columns: Columns) -> Node:
    """Convert an operand of `>>` or `+` to a node: a node, a name, or a list of either."""
    if isinstance(columns, Node):
        return columns
    if isinstance(columns, str):
        columns = [columns]
    if not isinstance(columns, Iterable):
        raise TypeError(f"expected column names or nodes; got {columns!r}")
    parts = list(columns)
    if all(isinstance(part, str) for part in parts):
        return Node(None, [], parts)  # type: ignore[arg-type]
    if not all(isinstance(part, str | Node) for part in parts):
        raise TypeError(f"expected column names or nodes; got {parts!r}")
    return Node(None, [as_node(part) for part in parts])


def output_node(columns: Columns) -> Node:
    """Convert the columns that a workflow outputs to a node. Raise `ValueError` where there are none."""
    node = as_node(columns)
    if not node.outputs:
        raise ValueError("the workflow has no columns; pass nodes or names, such as cats + conts + label")
    return node


def _is_empty(columns: Any) -> bool:
    """Return whether an operand of `>>` has no columns."""
    if isinstance(columns, Node):
        return not columns.outputs
    return isinstance(columns, list | tuple) and all(map(_is_empty, columns))


def _row_maker(node: Node) -> Node | None:
    """Return the node that made the rows of `node`. Raise `ValueError` where its parents have different rows."""
    parents = {id(parent.row_maker): parent for parent in node.parents}
    if len(parents) > 1:
        origins = (
            f"{', '.join(map(repr, parent.outputs))} "
            + (f"(rows of {parent.row_maker.op!r})" if parent.row_maker else "(the source's rows)")
            for parent in parents.values()
        )
        raise ValueError(
            f"cannot combine columns that come from different rows: {'; '.join(origins)}. Apply the operator that "
            "makes rows to all of them"
        )
    if node.op is not None and node.op.makes_rows:
        return node
    return node.parents[0].row_maker if node.parents else None


def check_unique(names: Sequence[str], what: str) -> None:
    """Raise `ValueError` where a name occurs twice."""
    duplicates = sorted(name for name, count in Counter(names).items() if count > 1)
    if duplicates:
        raise ValueError(f"{what} have {', '.join(map(repr, duplicates))} more than once; Rename all but one")
