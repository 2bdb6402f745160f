"""Base of operators that learn values per key and look up each row's key."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import polars as pl

from kerasrec.etl.lookup.key_index import KeyIndex, ValueTable, check_keys, sort_by_keys
from kerasrec.etl.operator.operator import Columns, Node, Operator, SelectColumns, as_node
from kerasrec.etl.sources.types import key_column
from kerasrec.schema import Column
from kerasrec.tags import inherited_tags

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn


@dataclass(repr=False)
class Keyed(Operator):
    """Base of operators whose outputs are values learned per key. A key is one column or several together.

    Args:
        keys: names, or lists of names for keys of several columns; by default, each column before `>>` that values
            are not learned from is a key, and so is each inner list there: `["user", ["user", "hour"]] >> ...`.
        name_sep: joins the names of a key's columns and the rest of an output's name.
    """

    stateful: ClassVar[bool] = True
    keys: Sequence[str | Sequence[str]] = field(default=(), kw_only=True)
    name_sep: str = field(default="_", kw_only=True)

    @property
    def groups(self) -> list[list[str]]:
        """The columns of each key."""
        return _as_lists(self.keys)

    # ---- in the graph ----------------------------------------------------------------------------------------
    def value_columns(self) -> Columns:
        """Return the columns that values are learned from: names (of columns before `>>`, else raw ones) or a
        node."""
        raise NotImplementedError

    def set_value_columns(self, names: list[str]) -> None:
        """Set the names of the columns that values are learned from."""
        raise NotImplementedError

    def apply(self, columns: Columns) -> Node:
        op = copy.copy(self)
        node, groups = key_groups(columns)
        parents, value_columns = [node], self.value_columns()
        names: list[str] = []
        if isinstance(value_columns, Node) or value_columns:
            values = as_node(value_columns)
            names = values.outputs
            if values.op is None and not values.parents:  # names
                missing = [name for name in names if name not in node.outputs]
                parents += [Node(None, [], missing)] if missing else []
            else:
                parents.append(values)
        op.set_value_columns(names)
        op.keys = self.groups or groups or [[name] for name in node.outputs if name not in names]
        unknown = sorted({name for key in op.keys for name in key} - set(node.outputs))
        if unknown or not op.keys or not all(op.keys):
            problem = f"no column {', '.join(map(repr, unknown))}" if unknown else "no column to use as a key"
            raise ValueError(f"{type(self).__name__}: {problem}; available: {', '.join(node.outputs)}")
        return Node(op, parents)

    def output_keys(self) -> list[tuple[str, list[str]]]:
        """Return the names of the outputs, each with the columns of its key."""
        raise NotImplementedError

    def output_names(self, names: list[str]) -> list[str]:
        return [name for name, _ in self.output_keys()]

    def sources(self, names: list[str]) -> dict[str, list[str]]:
        return dict(self.output_keys())

    def frame_name(self, key: Sequence[str]) -> str:
        """Return the name in `frames` of the values of a key."""
        return self.name_sep.join(key)

    # ---- the two implementations -----------------------------------------------------------------------------
    def available_outputs(self, columns: Sequence[Column]) -> dict[str, list[Column]]:
        """Return the outputs whose keys are among `columns`, each with the columns of its key."""
        by_name = {column.name: column for column in columns}
        check_keys([by_name[name] for key in self.groups for name in key if name in by_name], type(self).__name__)
        return {
            output: [by_name[name] for name in key]
            for output, key in self.output_keys()
            if all(name in by_name for name in key)
        }

    def defaults(self) -> dict[str, Any]:
        """Return the value of each output for keys that were not seen in fit; None for null."""
        raise NotImplementedError

    def value_tables(self) -> dict[str, ValueTable]:
        """Return the values of each output, by the position of their key."""
        defaults = self.defaults()
        return {
            output: ValueTable(self.frames[self.frame_name(key)], [output], defaults[output])
            for output, key in self.output_keys()
        }

    def key_index(self, key: Sequence[str]) -> KeyIndex:
        """Return an index of a key's values; built once per frame."""
        frame, cache = self.frames[self.frame_name(key)], self.__dict__.setdefault("_indexes", {})
        if (cached := cache.get(self.frame_name(key))) and cached[0] is frame:
            return cached[1]
        index = KeyIndex(frame.select(key_column(name) for name in key))
        cache[self.frame_name(key)] = frame, index
        return index

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_indexes"}

    def positions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> dict[str, pl.Expr]:
        """Return the positions of the key of each available output; one expression per key, so that Polars
        computes it once."""
        by_name = {column.name: value for column, value in zip(columns, values, strict=True)}
        outputs = {
            output: [column.name for column in key] for output, key in self.available_outputs(columns).items()
        }
        keys = {self.frame_name(key): key for key in outputs.values()}
        positions = {
            frame: self.key_index(key).position([by_name[name] for name in key]) for frame, key in keys.items()
        }
        return {output: positions[self.frame_name(key)] for output, key in outputs.items()}

    def expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        tables = self.value_tables()
        return [
            tables[output].expression(position) for output, position in self.positions(columns, values).items()
        ]

    def tensorflow(
        self, columns: Sequence[Column], resources: list[Any]
    ) -> Callable[[list[TensorColumn]], list[TensorColumn]]:
        names = [column.name for column in columns]
        outputs = [
            (output, [column.name for column in key]) for output, key in self.available_outputs(columns).items()
        ]
        finders = {self.frame_name(key): (key, self.key_index(key).tensors(resources)) for _, key in outputs}
        tables = self.value_tables()
        gathers = [(self.frame_name(key), tables[output].tensor(resources)) for output, key in outputs]

        def look_up(values: list[TensorColumn]) -> list[TensorColumn]:
            by_name = dict(zip(names, values, strict=True))
            positions = {frame: find([by_name[name] for name in key]) for frame, (key, find) in finders.items()}
            return [gather(positions[frame]) for frame, gather in gathers]

        return look_up

    # ---- learning --------------------------------------------------------------------------------------------
    @property
    def value_names(self) -> list[str]:
        """The names of the columns that values are learned from."""
        raise NotImplementedError

    def key_query(self, frame: pl.LazyFrame, key: Sequence[str]) -> pl.LazyFrame:
        """Return the query for the statistics of a key."""
        raise NotImplementedError

    def queries(self, select: SelectColumns, columns: Sequence[Column]) -> list[pl.LazyFrame]:
        names = self.value_names
        return [self.key_query(select(list(dict.fromkeys([*key, *names]))), key) for key in self.groups]

    def partial(self, frame: pl.LazyFrame, columns: Sequence[Column]) -> list[pl.LazyFrame]:
        return [self.key_query(frame, key) for key in self.groups]

    def finalize(self, statistics: Sequence[pl.DataFrame], columns: Sequence[Column]) -> None:
        for key, frame in zip(self.groups, statistics, strict=True):
            # Sorted, so that the frame does not depend on how the data was split into parts.
            values = self.key_values(key, frame)
            self.frames[self.frame_name(key)] = sort_by_keys(values, [key_column(name) for name in key])

    def key_values(self, key: Sequence[str], frame: pl.DataFrame) -> pl.DataFrame:
        """Compute the values of a key's outputs from its statistics; return them with the key's columns."""
        raise NotImplementedError


def key_groups(columns: Columns) -> tuple[Node, list[list[str]]]:
    """Return a node of `columns`, and the groups that inner lists make of them, if there are any."""
    if isinstance(columns, (Node, str)):
        return as_node(columns), []
    items: list[Any] = list(columns)
    if not any(isinstance(item, (list, tuple)) for item in items):
        return as_node(items), []
    groups = _as_lists(items)
    return as_node(list(dict.fromkeys(name for group in groups for name in group))), groups


def _as_lists(keys: Sequence[str | Sequence[str]]) -> list[list[str]]:
    return [[key] if isinstance(key, str) else list(key) for key in keys]


def common_tags(columns: Sequence[Column]) -> tuple[str, ...]:
    """Return the tags of a column that is computed from these columns."""
    return inherited_tags(*(column.tags for column in columns))
