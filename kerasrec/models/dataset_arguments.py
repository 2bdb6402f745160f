"""Datasets as the data of `fit`, `evaluate` and `predict`: each is computed in memory and becomes a loader."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import keras
import polars as pl
import pyarrow as pa

from kerasrec.data.loader import Loader
from kerasrec.data.weights import SampleWeight
from kerasrec.etl.dataset import Dataset
from kerasrec.schema import Schema, SchemaError


@dataclass(frozen=True)
class DatasetLoaders:
    """Makes loaders of datasets, of the columns and targets that a model reads.

    Args:
        schema: the model's.
        targets: the targets to yield; none for `predict`.
    """

    schema: Schema
    targets: Sequence[str]

    def for_fit(self, arguments: dict[str, Any], seed: int) -> dict[str, Any]:
        """Return the arguments of `fit` with loaders in the place of datasets.

        A loader takes over `batch_size`, `shuffle`, which is true by default as in Keras, `validation_batch_size`,
        `validation_split` and `sample_weight`, which Keras's `fit` would ignore or refuse.
        """
        arguments = dict(arguments)
        data, weight = arguments["x"], None
        if isinstance(data, Dataset):
            weight = weight_column(arguments.pop("sample_weight", None))
            rows, share = data.collect(), arguments.pop("validation_split", 0.0)
            if share:
                if not 0 < share < 1 or arguments.get("validation_data") is not None:
                    raise ValueError(
                        f"validation_split must be in [0, 1), and 0 beside validation_data; got {share}"
                    )
                kept = int(len(rows) * (1 - share))
                size = arguments.pop("validation_batch_size", None)
                arguments["validation_data"] = self.loader(rows[kept:], data.schema, size, sample_weight=weight)
                rows = rows[:kept]
            size, shuffle = arguments.pop("batch_size", None), arguments.pop("shuffle", True)
            arguments["x"] = self.loader(rows, data.schema, size, bool(shuffle), seed, weight)
        refuse_frames("fit", data)
        validation = arguments.get("validation_data")
        if isinstance(validation, Dataset):
            size = arguments.pop("validation_batch_size", None)
            rows = validation.collect()
            arguments["validation_data"] = self.loader(rows, validation.schema, size, sample_weight=weight)
        refuse_frames("fit", validation)
        return arguments

    def loader(
        self,
        rows: pl.DataFrame,
        schema: Schema,
        batch_size: int | None = None,
        shuffle: bool = False,
        seed: int = 0,
        sample_weight: SampleWeight = None,
    ) -> Loader:
        """Return a loader of a dataset's rows. Raises `SchemaError` if it lacks a target, or all features."""
        missing = [name for name in self.targets if name not in schema.targets.names]
        if missing:
            raise SchemaError(
                f"the dataset has no target {missing[0]!r}, which the model is trained on; its targets: "
                f"{', '.join(schema.targets.names) or 'none'}. transform(..., targets=False) leaves them out"
            )
        names = self.schema.features.names
        if not any(name in schema for name in names):
            raise SchemaError(
                f"the dataset has none of the columns that the model reads, {', '.join(map(repr, names))}; "
                f"available: {', '.join(map(repr, schema.names)) or 'none'}"
            )
        return Loader(
            rows,
            batch_size,
            shuffle,
            seed,
            schema=schema,
            lists="ragged" if keras.backend.backend() == "tensorflow" else "padded",
            columns=[name for name in names if name in schema],
            targets=list(self.targets),
            sample_weight=sample_weight if self.targets else False,
        )


def weight_column(sample_weight: Any) -> SampleWeight:
    """Return the `sample_weight` of `fit` or `evaluate` for a dataset. Raises `TypeError` for other types."""
    is_columns = isinstance(sample_weight, Mapping) and all(isinstance(v, str) for v in sample_weight.values())
    if sample_weight is None or sample_weight is False or isinstance(sample_weight, str) or is_columns:
        return cast(SampleWeight, sample_weight)
    raise TypeError(
        "sample_weight: for a dataset pass the name of a column with the weights, a dict by target of such names, "
        f"or False for none; got {type(sample_weight).__name__}"
    )


def by_name(method: Callable[..., Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
    """Return the arguments of a call of a method of Keras's by their names, without `self`."""
    arguments = inspect.signature(method).bind(*args, **kwargs).arguments
    del arguments["self"]
    return arguments | arguments.pop("kwargs", {})


def refuse_frames(method: str, data: Any) -> None:
    """Raise `TypeError` for a frame, rows as dicts or a path: a model does not know what the columns are."""
    is_pandas = type(data).__module__.partition(".")[0] == "pandas"
    is_rows = isinstance(data, list) and bool(data) and isinstance(data[0], dict)
    if is_pandas or is_rows or isinstance(data, pl.DataFrame | pl.LazyFrame | pa.Table):
        raise TypeError(
            f"{method} got a {type(data).__name__}; pass workflow.transform(frame) for raw rows, or "
            "kr.Loader(frame, schema=workflow.output_schema) for transformed ones"
        )
    if isinstance(data, str | os.PathLike):
        raise TypeError(f"{method} got the path {os.fspath(data)!r}; pass kr.Loader({os.fspath(data)!r})")
