"""`SequenceColumns`: which columns of a schema are the items of sequences, and which describe events and users."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kerasrec.schema import Column, Schema, SchemaError, Tag


@dataclass(frozen=True)
class SequenceColumns:
    """The columns that a next-item model reads.

    Attributes:
        item: the list column of item ids, in the order of time.
        event_ids, event_numbers: list columns whose k-th elements describe the k-th event, categorical and
            continuous.
        user_ids, user_numbers: scalar columns, categorical and continuous.
    """

    item: str
    event_ids: tuple[str, ...]
    event_numbers: tuple[str, ...]
    user_ids: tuple[str, ...]
    user_numbers: tuple[str, ...]

    @classmethod
    def of(cls, model: str, schema: Schema) -> SequenceColumns:
        """Return the columns by a schema's tags.

        The items are the categorical list column with the tag "item_id", or the only categorical list column.
        Other lists are of events and have the tag "sequence". Columns that are neither categorical nor continuous
        are not read, as in all models. Scalar columns are the user's; those with the tag
        "user_id" are not read, since a row's user says nothing of other rows.

        Raises:
            SchemaError: no such list of items, or several, or a list without the tag "sequence".
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
        return cls(item, *_by_kind(events), *_by_kind(users))

    @property
    def ids(self) -> tuple[str, ...]:
        """The categorical columns but the items."""
        return (*self.event_ids, *self.user_ids)

    @property
    def lists(self) -> tuple[str, ...]:
        """The list columns, the items first."""
        return (self.item, *self.event_ids, *self.event_numbers)

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


def _by_kind(columns: Iterable[Column]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of categorical columns, and of those of numbers."""
    columns = list(columns)
    categorical = tuple(column.name for column in columns if Tag.CATEGORICAL in column.tags)
    return categorical, tuple(
        column.name for column in columns if Tag.CONTINUOUS in column.tags and Tag.CATEGORICAL not in column.tags
    )
