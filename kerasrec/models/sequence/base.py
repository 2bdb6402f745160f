"""`SequenceModel`: a model of a schema in which histories are compared with a candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from keras import ops

from kerasrec.layers.embedding.bags import bags_of, combine
from kerasrec.models.base import SchemaModel
from kerasrec.models.sequence.histories import find_histories
from kerasrec.models.sequence.recent import padded_ids, recent_ids
from kerasrec.schema import Schema
from kerasrec.tables.from_schema import column_combiners
from kerasrec.typing import Tensor


class Behaviours(NamedTuple):
    """The vectors of a history and of its candidate.

    Attributes:
        target: the candidate, `(batch, dim)`.
        history: its columns side by side, in the order of time, `(batch, length, dim)`; zeros at padding.
        mask: where there is a behaviour, `(batch, length)`; rows are padded at their beginning.
    """

    target: Tensor
    history: Tensor
    mask: Tensor


class SequenceModel(SchemaModel):
    """A `SchemaModel` that compares histories with a candidate.

    A history is a list column of the schema whose table a scalar column, the candidate's, looks up too. Other list
    columns are combined as in every model. `call` gets the vectors of all columns from `embed_histories`.

    Args:
        schema, embedding_dim, task: as in `SchemaModel`.
        histories: the candidate's column by list column, where the schema does not say it; other lists are then
            combined.
        aligned: groups of histories whose k-th elements describe the same behaviour, such as items and their
            categories: their vectors are put side by side, as the candidate's are. Histories that are not in a
            group are each compared on their own.
        max_length: only the last behaviours of a row count, which are the most recent ones; None is all.

    Raises:
        SchemaError: as `find_histories`.
        ValueError: as `find_histories`; `max_length` below 1, or a `combiner` for a history, which has none.
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        embedding_dim: int | None,
        task: str | Mapping[str, str] | None,
        *,
        histories: Mapping[str, str] | None = None,
        aligned: Sequence[Sequence[str]] = (),
        max_length: int | None = None,
        **kwargs: Any,
    ):
        schema = schema if isinstance(schema, Schema) else Schema.from_dict(schema)
        found = find_histories(type(self).__name__, schema, histories, aligned)
        columns = [name for history in found for name in history.columns]
        tables = {schema[name].table or name for name in columns}
        super().__init__(schema, embedding_dim, task, uncombined=tables, **kwargs)
        if max_length is not None and (int(max_length) != max_length or max_length < 1):
            raise ValueError(f"{self.name}: max_length must be an integer >= 1 or None; got {max_length!r}")
        combiner = self.options.combiner
        if isinstance(combiner, dict) and (unused := set(combiner) & set(columns)):
            raise ValueError(
                f"{self.name}: combiner: {min(unused)!r} is a history, whose vectors are not combined"
            )
        self.histories, self.max_length = found, max_length
        self._apart = tuple(c.name for c in schema.features.categorical if (c.table or c.name) in tables)
        self._combiners = tuple(column_combiners(schema, combiner).items())

    @property
    def history_columns(self) -> tuple[str, ...]:
        """The list columns that are histories."""
        return tuple(name for history in self.histories for name in history.columns)

    @property
    def history_widths(self) -> list[int]:
        """The width of each history's vectors."""
        by_column = dict(zip(self.schema.features.categorical.names, self.widths, strict=True))
        return [sum(by_column[name] for name in history.columns) for history in self.histories]

    @property
    def other_width(self) -> int:
        """The width of the continuous columns and of the vectors of all columns that are not histories."""
        return self.side_by_side_width - sum(self.history_widths)

    def embed_histories(self, ids: Mapping[str, Tensor]) -> tuple[list[Tensor], list[Behaviours]]:
        """Return a vector per column that is not a history, in the schema's order, and the histories'."""
        ids = self._as_lists(ids)
        names = self.schema.features.categorical.names
        vectors = dict(zip(names, self.embed(ids), strict=True))
        combiners = dict(self._combiners)
        for name in self._apart:
            if self.schema[name].is_list and name not in self.history_columns:
                bags = bags_of(ids[name])
                flat = ops.reshape(vectors[name], (-1, vectors[name].shape[-1]))
                vectors[name] = ops.cast(combine(flat, bags, combiners[name]), self.compute_dtype)
        behaviours = [
            Behaviours(
                _side_by_side([vectors[name] for name in history.candidate]),
                _side_by_side([vectors[name] for name in history.columns]),
                self._present([ids[name] for name in history.columns]),
            )
            for history in self.histories
        ]
        return [vectors[name] for name in names if name not in self.history_columns], behaviours

    def _as_lists(self, ids: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ids in which the columns that share a table with a history are `(batch,)` or padded lists."""
        ids = dict(ids)
        for name in set(self._apart) - set(self.history_columns):
            ids[name] = padded_ids(ids[name]) if self.schema[name].is_list else ops.reshape(ids[name], (-1,))
        for columns in (history.columns for history in self.histories):
            ids |= zip(columns, recent_ids(columns, [ids[name] for name in columns], self.max_length), strict=True)
        return ids

    @staticmethod
    def _present(lists: list[Tensor]) -> Tensor:
        present = ops.not_equal(lists[0], 0)
        for ids in lists[1:]:
            present = ops.logical_or(present, ops.not_equal(ids, 0))
        return present

    def get_config(self) -> dict[str, Any]:
        pairs = [(history.columns, history.candidate) for history in self.histories]
        return {
            **super().get_config(),
            "histories": {
                name: other for names, others in pairs for name, other in zip(names, others, strict=True)
            },
            "aligned": [list(names) for names, _ in pairs if len(names) > 1],
            "max_length": self.max_length,
        }


def _side_by_side(vectors: list[Tensor]) -> Tensor:
    return vectors[0] if len(vectors) == 1 else ops.concatenate(vectors, axis=-1)
