"""`Retriever`: what an `Index` needs of a model; and the vectors and ids of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

import keras
import numpy as np
import polars as pl

from kerasrec.data.loader import Loader
from kerasrec.data.open import Data
from kerasrec.etl.run.progress import bar
from kerasrec.etl.sources.scan import scan
from kerasrec.retrieval.scores import Similarity
from kerasrec.schema import Schema, SchemaError
from kerasrec.typing import Tensor

if TYPE_CHECKING:
    from kerasrec.etl.workflow import Workflow

# Rows with the columns of queries or candidates: a loader, or what it or `Workflow.transform` takes.
Rows: TypeAlias = Loader | Data
Features: TypeAlias = Mapping[str, Any]
Encode: TypeAlias = Callable[[Features], Tensor]


@runtime_checkable
class Retriever(Protocol):
    """A model that makes a vector of a query and one of a candidate, as those of `kr.models` do.

    Attributes:
        name: for messages.
        similarity: by which the two vectors are compared: "dot", "cosine" or "l2".
        item_id: the column that names a candidate.
        first_id: the first id of one, as `etl.Categorify` numbers them.
        query_schema: the columns that `encode_queries` reads.
        candidate_schema: the columns that `encode_candidates` reads.
    """

    name: str

    @property
    def similarity(self) -> Similarity: ...

    @property
    def item_id(self) -> str: ...

    @property
    def first_id(self) -> int: ...

    @property
    def query_schema(self) -> Schema: ...

    @property
    def candidate_schema(self) -> Schema: ...

    def encode_queries(self, features: Features) -> Tensor:
        """Return the vectors of a batch of queries, (batch, dim) floats."""
        ...

    def encode_candidates(self, features: Features) -> Tensor:
        """Return the vectors of a batch of candidates, (batch, dim) floats."""
        ...


@runtime_checkable
class SequenceRetriever(Retriever, Protocol):
    """A retriever whose queries are sequences of items, and whose candidates are the items that may come next.

    Attributes:
        exclude_seen: whether it leaves out the items of a sequence.
    """

    exclude_seen: bool

    def encode_histories(self, features: Features) -> Tensor:
        """Return the vectors of sequences without their last item, (batch, dim) floats."""
        ...


def predicts_next(model: Retriever) -> bool:
    """Return whether a model's candidates are the items of the sequences that are its queries."""
    queries = model.query_schema
    return model.item_id in queries and queries[model.item_id].is_list


@dataclass(frozen=True)
class Encoded:
    """Rows as vectors, with the columns that name them.

    Attributes:
        vectors: (rows, dim) float32.
        keys: one column per key.
    """

    vectors: np.ndarray
    keys: pl.DataFrame


@dataclass(frozen=True)
class RowReader:
    """Reads rows for a model: transformed ones, or raw ones that a workflow transforms.

    Args:
        model: whose columns are read.
        workflow: given, all rows are raw, and so are ids.
    """

    model: Retriever
    workflow: Workflow | None = None

    def key(self, feature: str) -> str:
        """Return the column whose values name what the model's column `feature` names.

        Raises:
            SchemaError: it is computed from several raw columns.
        """
        if self.workflow is None:
            return feature
        raw = self.workflow.raw_columns([feature])
        if len(raw) != 1:
            raise SchemaError(
                f"{feature!r} is made of the raw columns {', '.join(map(repr, raw.names))}; an index needs one "
                "raw column that names an item or a user"
            )
        return raw.names[0]

    def encode(self, data: Rows, schema: Schema, keys: Sequence[str], encode: Encode, title: str) -> Encoded:
        """Return the vectors of rows, with some columns."""
        vectors, columns = [], []
        for features, values in self.batches(data, schema, keys, title):
            vectors.append(to_numpy(encode(features)))
            columns.append(values)
        if not vectors:
            return Encoded(np.empty((0, 0), np.float32), pl.DataFrame(schema=dict.fromkeys(keys, pl.Int64)))
        return Encoded(np.concatenate(vectors), pl.concat(columns))

    def keys(self, data: Rows, keys: Sequence[str]) -> pl.DataFrame:
        """Return some columns of rows."""
        if self.workflow is not None:
            return self._raw(data, keys)
        return pl.concat(values for _, values in self.batches(data, Schema(), keys, "read"))

    def batches(
        self, data: Rows, schema: Schema, keys: Sequence[str], title: str
    ) -> Iterator[tuple[Features, pl.DataFrame]]:
        """Yield batches of the columns of `schema`, with those of `keys`."""
        raw = None
        if self.workflow is not None:
            raw = self._raw(data, list(dict.fromkeys([*self.workflow.raw_columns(schema.names).names, *keys])))
            data = self.workflow.transform(raw, targets=False, columns=schema.names)
        if isinstance(rows := data if raw is None else raw, pl.DataFrame) and not len(rows):
            return
        loader = self._loader(data, schema, () if raw is not None else keys)
        start = 0
        with bar(title, len(loader), "batches") as advance:
            for batch in loader:
                features = batch if isinstance(batch, Mapping) else batch[0]
                stop = start + _row_count(features)
                yield features, columns_of(features, keys) if raw is None else raw.select(keys)[start:stop]
                start = stop
                advance(1)

    def _raw(self, data: Rows, names: Sequence[str]) -> pl.DataFrame:
        """Return raw columns as they were in fit."""
        assert self.workflow is not None
        if isinstance(data, Loader):
            raise TypeError("this index has a workflow, so it takes raw rows (files or a frame); got a kr.Loader")
        types = self.workflow.input_schema
        source = scan(data).select(list(names))
        with source.explain_errors():
            columns = [source.clean(types[name]).alias(name) for name in names]
            return source.collect(source.lazy().select(columns))

    def _loader(self, data: Rows, schema: Schema, keys: Sequence[str]) -> Loader:
        names = list(dict.fromkeys([*schema.names, *keys]))
        if not isinstance(data, Loader):
            read = (*self.model.query_schema, *self.model.candidate_schema, *schema)
            known = Schema({column.name: column for column in read}.values())
            of_frame = isinstance(data, pl.DataFrame | pl.LazyFrame | Mapping)
            lists: Literal["ragged", "padded"] = "ragged" if keras.backend.backend() == "tensorflow" else "padded"
            given = known.subset([name for name in names if name in known]) if of_frame else None
            return Loader(data, lists=lists, schema=given, columns=names, targets=[], rank=0, ranks=1)
        if missing := [name for name in names if name not in data.schema]:
            available = ", ".join(data.schema.names)
            raise SchemaError(f"the loader has no column {', '.join(map(repr, missing))}; available: {available}")
        if data.ranks > 1 or data.drop_last:
            raise ValueError(
                "an index needs all rows in one process; make the loader with rank=0, ranks=1 and drop_last=False"
            )
        return data


def _row_count(features: Features) -> int:
    column = next(iter(features.values()))
    return len(column[1]) - 1 if isinstance(column, tuple) else int(column.shape[0])


def columns_of(features: Features, names: Sequence[str]) -> pl.DataFrame:
    """Return columns of a batch as a frame: lists without the padding at their ends.

    They are copied, since a loader uses a batch's memory again.
    """
    return pl.DataFrame({name: _values(features[name]) for name in names})


def _values(column: Any) -> np.ndarray | pl.Series:
    if isinstance(column, tuple) or hasattr(column, "row_splits"):
        values, offsets = column if isinstance(column, tuple) else (column.values, column.row_splits)
        values, offsets = to_numpy(values), to_numpy(offsets)
        return pl.Series([values[start:stop] for start, stop in pairwise(offsets)])
    array = to_numpy(column)
    if array.ndim == 1 or array.shape[1] == 1:
        return array.reshape(-1).copy()
    lengths = np.where((array == 0).all(axis=1), 0, array.shape[1] - (array[:, ::-1] != 0).argmax(axis=1))
    return pl.Series([row[:length] for row, length in zip(array, lengths, strict=True)])


def to_numpy(tensor: Any) -> np.ndarray:
    """Return a tensor of any backend as a NumPy array."""
    return tensor if isinstance(tensor, np.ndarray) else np.asarray(keras.ops.convert_to_numpy(tensor))
