"""Operators that learn a small frame by key and look each row's key up in it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import polars as pl

from kerasrec.etl.lookup.key_index import Gathered, Keys, check_keys, in_order
from kerasrec.etl.operator.operator import Columns, Node, Operator, Take, as_node
from kerasrec.etl.sources.types import key_column
from kerasrec.schema import Column, Tag

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn


@dataclass(repr=False)
class Keyed(Operator):
    """Base of operators whose outputs are values learned for each key; a key is a column, or several jointly.

    Args:
        keys: names, or lists of names for joint keys; by default each column before `>>` is one, but for those
            that are learned from, and so are lists within the list there: `["user", ["user", "hour"]] >> ...`.
        name_sep: what joins the names of a key's columns, and those of what is made.
    """

    stateful: ClassVar[bool] = True
    keys: Sequence[str | Sequence[str]] = field(default=(), kw_only=True)
    name_sep: str = field(default="_", kw_only=True)

    @property
    def groups(self) -> list[list[str]]:
        """The columns of each key."""
        return _lists(self.keys)

    # ---- in the graph ----------------------------------------------------------------------------------------
    def learned_from(self) -> Columns:
        """Columns that values are learned from: names (of columns before `>>`, else raw ones) or a node."""
        raise NotImplementedError

    def with_names(self, learned: list[str]) -> None:
        """Note the names of the columns that are learned from."""
        raise NotImplementedError

    def apply(self, columns: Columns) -> Node:
        op = copy.copy(self)
        node, groups = grouped(columns)
        parents, learned = [node], self.learned_from()
        names: list[str] = []
        if isinstance(learned, Node) or learned:
            more = as_node(learned)
            names = more.outputs
            if more.op is None and not more.parents:  # names
                missing = [name for name in names if name not in node.outputs]
                parents += [Node(None, [], missing)] if missing else []
            else:
                parents.append(more)
        op.with_names(names)
        op.keys = self.groups or groups or [[name] for name in node.outputs if name not in names]
        unknown = sorted({name for key in op.keys for name in key} - set(node.outputs))
        if unknown or not op.keys or not all(op.keys):
            what = f"no columns {unknown}" if unknown else "no key"
            raise ValueError(f"{type(self).__name__}: {what} among the columns: {', '.join(node.outputs)}")
        return Node(op, parents)

    def made(self) -> list[tuple[str, list[str]]]:
        """The outputs' names, each with the columns of its key."""
        raise NotImplementedError

    def output_names(self, names: list[str]) -> list[str]:
        return [name for name, _ in self.made()]

    def sources(self, names: list[str]) -> dict[str, list[str]]:
        return dict(self.made())

    def stored(self, key: Sequence[str]) -> str:
        """The name in `frames` of what was learned for a key."""
        return self.name_sep.join(key)

    # ---- the two faces ---------------------------------------------------------------------------------------
    def made_of(self, columns: Sequence[Column]) -> list[tuple[str, list[Column]]]:
        """The outputs that can be made of some of the columns, each with the columns of its key."""
        given = {column.name: column for column in columns}
        check_keys([given[name] for key in self.groups for name in key if name in given], type(self).__name__)
        return [(n, [given[k] for k in key]) for n, key in self.made() if all(k in given for k in key)]

    def defaults(self) -> dict[str, Any]:
        """What a key that was not seen gets, for each output; None for null."""
        raise NotImplementedError

    def values(self) -> dict[str, Gathered]:
        """The values of each output by the position of their keys."""
        defaults = self.defaults()
        return {
            output: Gathered(self.frames[self.stored(key)], [output], defaults[output])
            for output, key in self.made()
        }

    def found(self, key: Sequence[str]) -> Keys:
        """What finds a key's position; made once for what was learned."""
        frame, cache = self.frames[self.stored(key)], self.__dict__.setdefault("_found", {})
        if (known := cache.get(self.stored(key))) and known[0] is frame:
            return known[1]
        keys = Keys(frame.select(key_column(name) for name in key))
        cache[self.stored(key)] = frame, keys
        return keys

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_found"}

    def positions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> dict[str, pl.Expr]:
        """The position of the key of each output that can be made; one expression a key, which Polars computes
        once."""
        given = {column.name: value for column, value in zip(columns, values, strict=True)}
        made = [(output, [column.name for column in key]) for output, key in self.made_of(columns)]
        keys = {self.stored(key): key for _, key in made}
        found = {stored: self.found(key).position([given[name] for name in key]) for stored, key in keys.items()}
        return {output: found[self.stored(key)] for output, key in made}

    def expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        gathered = self.values()
        return [gathered[output].expression(at) for output, at in self.positions(columns, values).items()]

    def tensorflow(
        self, columns: Sequence[Column], resources: list[Any]
    ) -> Callable[[list[TensorColumn]], list[TensorColumn]]:
        names = [column.name for column in columns]
        outputs = [(output, [column.name for column in key]) for output, key in self.made_of(columns)]
        finders = {self.stored(key): (key, self.found(key).tensors(resources)) for _, key in outputs}
        gathered = self.values()
        takers = [(self.stored(key), gathered[output].tensor(resources)) for output, key in outputs]

        def look_up(values: list[TensorColumn]) -> list[TensorColumn]:
            given = dict(zip(names, values, strict=True))
            at = {name: find([given[k] for k in key]) for name, (key, find) in finders.items()}
            return [take(at[name]) for name, take in takers]

        return look_up

    # ---- learning --------------------------------------------------------------------------------------------
    @property
    def learned_names(self) -> list[str]:
        """The columns that values are learned from."""
        raise NotImplementedError

    def of_key(self, frame: pl.LazyFrame, key: Sequence[str]) -> pl.LazyFrame:
        """The query of what is learned for a key."""
        raise NotImplementedError

    def queries(self, take: Take, columns: Sequence[Column]) -> list[pl.LazyFrame]:
        names = self.learned_names
        return [self.of_key(take(list(dict.fromkeys([*key, *names]))), key) for key in self.groups]

    def partial(self, frame: pl.LazyFrame, columns: Sequence[Column]) -> list[pl.LazyFrame]:
        return [self.of_key(frame, key) for key in self.groups]

    def finalize(self, statistics: Sequence[pl.DataFrame], columns: Sequence[Column]) -> None:
        for key, frame in zip(self.groups, statistics, strict=True):
            # In order, so that any split of the data learns the same frame.
            self.frames[self.stored(key)] = in_order(self.learned(key, frame), [key_column(name) for name in key])

    def learned(self, key: Sequence[str], frame: pl.DataFrame) -> pl.DataFrame:
        """What is kept of a key's statistics: the key's columns, and those that `values` gives."""
        raise NotImplementedError


def grouped(columns: Columns) -> tuple[Node, list[list[str]]]:
    """A node of `columns`, and where lists within the list group them, the groups."""
    if isinstance(columns, (Node, str)):
        return as_node(columns), []
    items: list[Any] = list(columns)
    if not any(isinstance(item, (list, tuple)) for item in items):
        return as_node(items), []
    groups = _lists(items)
    return as_node(list(dict.fromkeys(name for group in groups for name in group))), groups


def _lists(keys: Sequence[str | Sequence[str]]) -> list[list[str]]:
    return [[key] if isinstance(key, str) else list(key) for key in keys]


def tags_of(key: Sequence[Column]) -> tuple[Tag, ...]:
    """USER or ITEM, where all columns of a key are tagged so."""
    return tuple(tag for tag in (Tag.USER, Tag.ITEM) if all(tag in column.tags for column in key))
