"""`SequenceColumns`: which columns of a schema are the items of sequences, and which describe events and users."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kerasrec.etl.sources.types import is_integer
from kerasrec.schema import Column, Schema, SchemaError, Tag


@dataclass(frozen=True)
class SequenceColumns:
    """The columns that a next-item model reads.

    Attributes:
        item: the list column of item ids, in the order of time.
        event_ids, event_numbers: list columns whose k-th elements describe the k-th event, categorical and
            continuous.
        user_ids, user_numbers: scalar columns, categorical and continuous.
        time: the list column of the events' times, integers; None where the model reads none.
    """

    item: str
    event_ids: tuple[str, ...]
    event_numbers: tuple[str, ...]
    user_ids: tuple[str, ...]
    user_numbers: tuple[str, ...]
    time: str | None

    @classmethod
    def of(cls, model: str, schema: Schema, reads_time: bool = False) -> SequenceColumns:
        """Return the columns by a schema's tags.

        The items are the categorical list column with the tag "item_id", or the only categorical list column.
        Other lists are of events and have the tag "sequence"; the one with the tag "time" is read as times, by
        models that know times, and by others not at all. Columns that are neither categorical nor continuous
        are not read, as in all models. Scalar columns are the user's; those with the tag
        "user_id" are not read, since a row's user says nothing of other rows.

        Raises:
            SchemaError: no such list of items, or several, or a list without the tag "sequence"; several columns
                of times, or one that is not of integers.
        """
        features = [column for column in schema.features if {Tag.CATEGORICAL, Tag.CONTINUOUS} & set(column.tags)]
        lists = [column for column in features if column.is_list]
        item = _items(model, [column for column in lists if Tag.CATEGORICAL in column.tags])
        events = [column for column in lists if column.name != item]
        for column in events:
            if Tag.SEQUENCE not in column.tags:
                raise SchemaError(
                    f"{model}: the list column {column.name!r} is not tagged {str(Tag.SEQUENCE)!r}, so it is "
                    f"unclear whether its k-th element describes the k-th item of {item!r}; tag it with "
                    "etl.AddTags(['sequence']), or leave it out with columns=[...] in the loader"
                )
        users = [column for column in features if not column.is_list and Tag.USER_ID not in column.tags]
        times = [column for column in events if Tag.TIME in column.tags]
        events = [column for column in events if column not in times]
        time = _time(model, times) if reads_time and times else None
        return cls(item, *_by_kind(events), *_by_kind(users), time)

    @property
    def ids(self) -> tuple[str, ...]:
        """The categorical columns but the items."""
        return (*self.event_ids, *self.user_ids)

    @property
    def lists(self) -> tuple[str, ...]:
        """The list columns, the items first."""
        return (self.item, *self.event_ids, *self.event_numbers, *([self.time] if self.time else []))

    @property
    def names(self) -> tuple[str, ...]:
        """All columns."""
        return (*self.lists, *self.user_ids, *self.user_numbers)


def _items(model: str, lists: list[Column]) -> str:
    tagged = [column.name for column in lists if Tag.ITEM_ID in column.tags]
    names = tagged or [column.name for column in lists]
    if len(names) == 1:
        return names[0]
    if not names:
        raise SchemaError(
            f"{model} needs a list column of item ids in the order of time, one row per user or session, as "
            "etl.Groupby makes them of events; the schema has no categorical list column"
        )
    raise SchemaError(
        f"{model}: columns {', '.join(map(repr, names))} may all be the sequence's items; tag the one with "
        "etl.AddTags(['item_id'])"
    )


def _time(model: str, times: list[Column]) -> str:
    names = ", ".join(repr(column.name) for column in times)
    if len(times) > 1:
        raise SchemaError(f"{model}: columns {names} may all be the events' times; leave the tag 'time' to one")
    (column,) = times
    if not is_integer(column.dtype):
        raise SchemaError(
            f"{model}: column {names} has the tag 'time', so it must be of integers, such as seconds; got "
            f"{column.dtype}"
        )
    return column.name


def _by_kind(columns: Iterable[Column]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of categorical columns, and of those of numbers."""
    columns = list(columns)
    categorical = tuple(column.name for column in columns if Tag.CATEGORICAL in column.tags)
    return categorical, tuple(
        column.name for column in columns if Tag.CONTINUOUS in column.tags and Tag.CATEGORICAL not in column.tags
    )
