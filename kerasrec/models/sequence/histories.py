"""`History`: list columns of past behaviours, and the columns of the candidate that they are compared with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kerasrec.schema import Column, Schema, SchemaError, Tag

REMEDY = "name the pairs: histories={list column: column of the candidate}"


@dataclass(frozen=True)
class History:
    """Past behaviours, and the candidate that each of them is compared with.

    Attributes:
        columns: list columns; the k-th elements of all describe the k-th behaviour.
        candidate: columns of the candidate, which look up the tables of `columns`, in the same order.
    """

    columns: tuple[str, ...]
    candidate: tuple[str, ...]


def find_histories(
    model: str,
    schema: Schema,
    given: Mapping[str, str] | None = None,
    aligned: Sequence[Sequence[str]] = (),
) -> tuple[History, ...]:
    """Return the histories of a schema, in the order of their first columns.

    A history is a categorical list column whose table a scalar column looks up as well, which is the candidate's.
    Where list columns are tagged "sequence", only these are histories.

    Args:
        model: whose name an error begins with.
        schema: its categorical columns that are not targets are read.
        given: the candidate's column by list column; other lists are then no histories.
        aligned: groups of histories whose k-th elements describe the same behaviour.

    Raises:
        SchemaError: no history, one whose table no scalar column looks up or several do, or a given pair that is
            not a list column and a scalar column of one table.
        ValueError: `aligned` names a column that is not a history, or one twice.
    """
    pairs = _tied(model, schema) if given is None else _given(model, schema, given)
    if not pairs:
        raise SchemaError(
            f"{model} needs a history: a categorical list column, and a scalar column of the same table that is "
            'compared with it, as ["item", "clicked_items"] >> etl.Categorify(table="item") writes them; the '
            f"schema's categorical columns: {_described(schema.features.categorical)}"
        )
    pairs = {name: pairs[name] for name in schema.names if name in pairs}
    groups = [tuple(group) for group in aligned]
    listed = [name for group in groups for name in group]
    for name in listed:
        if name not in pairs or listed.count(name) > 1:
            problem = "in more than one place" if name in pairs else "not a history"
            raise ValueError(f"{model}: aligned: {name!r} is {problem}; histories: {', '.join(pairs)}")
    groups += [(name,) for name in pairs if name not in listed]
    order = list(pairs)
    groups.sort(key=lambda group: order.index(group[0]))
    return tuple(History(group, tuple(pairs[name] for name in group)) for group in groups)


def _tied(model: str, schema: Schema) -> dict[str, str]:
    """Return the candidate's column of each history, by what the schema says."""
    columns = list(schema.features.categorical)
    tagged = [column for column in columns if column.is_list and Tag.SEQUENCE in column.tags]
    pairs: dict[str, str] = {}
    for column in tagged or [column for column in columns if column.is_list]:
        table = _table(column)
        scalars = [other.name for other in columns if not other.is_list and _table(other) == table]
        if len(scalars) > 1:
            raise SchemaError(
                f"{model}: columns {', '.join(map(repr, scalars))} all share table {table!r} with the history "
                f"{column.name!r}, so the schema does not say which is the candidate's; {REMEDY}, such as "
                f"histories={{{column.name!r}: {scalars[0]!r}}}"
            )
        if not scalars and tagged:
            raise SchemaError(
                f"{model} needs a candidate's column for {column.name!r}, which is tagged {str(Tag.SEQUENCE)!r}: "
                f"no scalar column looks up table {table!r}; encode both with one "
                f"etl.Categorify(table={table!r}), or {REMEDY}"
            )
        pairs |= dict.fromkeys([column.name] if scalars else [], *scalars)
    return pairs


def _given(model: str, schema: Schema, given: Mapping[str, str]) -> dict[str, str]:
    """Check the pairs that the user gives."""
    categorical = schema.features.categorical
    for history, candidate in given.items():
        for name, is_list in ((history, True), (candidate, False)):
            kind = "list" if is_list else "scalar"
            if name not in categorical or categorical[name].is_list != is_list:
                raise SchemaError(
                    f"{model}: histories={{{history!r}: {candidate!r}}}: {name!r} is not a categorical {kind} "
                    f"column; the schema's: {_described(c for c in categorical if c.is_list == is_list)}"
                )
        tables = [_table(categorical[name]) for name in (history, candidate)]
        if tables[0] != tables[1]:
            raise SchemaError(
                f"{model}: histories={{{history!r}: {candidate!r}}}: the columns look up different tables, "
                f"{tables[0]!r} and {tables[1]!r}, so that their ids mean different things; encode both with one "
                f"etl.Categorify(table={tables[1]!r})"
            )
    return dict(given)


def _table(column: Column) -> str:
    return column.table or column.name


def _described(columns: Iterable[Column]) -> str:
    described = [f"{c.name!r} ({'list, ' if c.is_list else ''}table {_table(c)!r})" for c in columns]
    return ", ".join(described) or "none"
