"""Which columns of a schema describe a query, and which a candidate."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from kerasrec.schema import Column, Schema, SchemaError, Tag

QUERY_TAGS = {Tag.USER, Tag.USER_ID, Tag.CONTEXT, Tag.SESSION, Tag.SESSION_ID, Tag.SEQUENCE}
CANDIDATE_TAGS = {Tag.ITEM, Tag.ITEM_ID}


@dataclass(frozen=True)
class TowerColumns:
    """The columns of a schema that a retrieval model reads.

    Attributes:
        queries: those of queries, in the schema's order.
        candidates: those of candidates.
        item_id: the column that names the candidate.
        embedded: the columns that have embeddings.
    """

    queries: Schema
    candidates: Schema
    item_id: str
    embedded: Schema

    @classmethod
    def of(
        cls,
        model: str,
        schema: Schema,
        candidate_columns: Collection[str] | None,
        item_id: str | None = None,
        embed_item_id: bool = True,
    ) -> TowerColumns:
        """Return the columns by their tags, or by the names that are given.

        Args:
            model: its name, for messages.
            schema: its categorical and continuous columns that are neither targets nor weights are read.
            candidate_columns: those of candidates, where all others are of queries; by default tags decide.
            item_id: the candidates' id column; by default the one with the tag ITEM_ID.
            embed_item_id: whether this column has an embedding.

        Raises:
            SchemaError: a column whose tags do not say where it belongs, no column of a query or of a candidate,
                or no id.
            ValueError: a name that is not in the schema.
        """
        read = Schema(c for c in schema.features if {Tag.CATEGORICAL, Tag.CONTINUOUS} & set(c.tags))
        for name in (*(candidate_columns or ()), *([item_id] if item_id else [])):
            if name not in read:
                raise ValueError(f"{model}: no column {name!r} to read in the schema; available: {read.names}")
        if candidate_columns is None:
            is_candidate = {c.name: c.name == item_id or _is_candidate(model, c, read) for c in read}
        else:
            is_candidate = {name: name in {*candidate_columns, item_id} for name in read.names}
        candidates = Schema(column for column in read if is_candidate[column.name])
        queries = Schema(column for column in read if not is_candidate[column.name])
        for kind, columns, tags in (
            ("query", queries, "user, context"),
            ("candidate", candidates, "item, item_id"),
        ):
            if not len(columns):
                raise SchemaError(
                    f"{model}: the schema has no column of a {kind} ({tags}); tag them with etl.AddTags, or pass "
                    "candidate_columns=[...]"
                )
        item_id = item_id or _item_id(model, candidates)
        if not embed_item_id and len(candidates) == 1:
            raise SchemaError(
                f"{model}: embed_item_id=False leaves nothing to make the candidate's vector from: {item_id!r} is "
                "its only column"
            )
        embedded = Schema(c for c in read.categorical if embed_item_id or c.name != item_id)
        return cls(queries, candidates, item_id, embedded)


def _is_candidate(model: str, column: Column, schema: Schema) -> bool:
    tags = set(column.tags)
    if Tag.SEQUENCE in tags or _is_history(column, schema):
        return False
    of_query, of_candidate = bool(tags & QUERY_TAGS), bool(tags & CANDIDATE_TAGS)
    if of_query == of_candidate:
        raise SchemaError(_unclear(model, column, "has tags of both" if of_query else "has tags of neither"))
    return of_candidate


def _is_history(column: Column, schema: Schema) -> bool:
    """Return whether a list column has ids of a scalar column, such as the items that a user has seen."""
    return column.is_list and any(
        not other.is_list and column.table is not None and other.table == column.table
        for other in schema.categorical
    )


def _unclear(model: str, column: Column, why: str) -> str:
    return (
        f"{model}: column {column.name!r} must be of a query (tags user, context, session, sequence) or of a "
        f"candidate (item, item_id), but {why}: {', '.join(column.tags)}. Tag it with etl.AddTags, or pass "
        "candidate_columns=[...]"
    )


def _item_id(model: str, candidates: Schema) -> str:
    ids = [column.name for column in candidates if Tag.ITEM_ID in column.tags and not column.is_list]
    scalars = [column.name for column in candidates.categorical if not column.is_list]
    if len(ids) == 1 or len(scalars) == 1:
        return (ids if len(ids) == 1 else scalars)[0]
    raise SchemaError(
        f"{model}: {'several columns' if ids else 'no column'} with the tag item_id among those of candidates "
        f"({', '.join(candidates.names)}); tag the one that names the candidate, or pass item_id=..."
    )
