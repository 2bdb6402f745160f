"""Workflow: turns raw columns into a model's columns, for files and inside a served model."""

from __future__ import annotations

import copy
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from kerasrec.etl import storage
from kerasrec.etl.dataset import Dataset
from kerasrec.etl.operator.graph import raw_inputs, topological_order
from kerasrec.etl.operator.operator import Columns, output_node
from kerasrec.etl.ops.categorify import Categorify
from kerasrec.etl.run import dask_cluster
from kerasrec.etl.run.column_expr import ColumnExpr, columns_read
from kerasrec.etl.run.evaluate import evaluate, raw_names
from kerasrec.etl.run.fit import describe, fit, folds_by_position, has_out_of_fold_values, levels, refuse_nulls
from kerasrec.etl.run.gather import Gather, gather
from kerasrec.etl.run.null_origin import null_origin
from kerasrec.etl.run.progress import bar
from kerasrec.etl.sources import polars_engine
from kerasrec.etl.sources.fingerprint import are_fitted, fingerprint
from kerasrec.etl.sources.scan import scan
from kerasrec.etl.sources.source import Source
from kerasrec.etl.sources.types import column_type, is_integer
from kerasrec.schema import Column, Schema, SchemaError, Tag
from kerasrec.tensor_names import signature

if TYPE_CHECKING:
    import tensorflow as tf


class Workflow:
    """A graph of operators that turns raw columns into features and targets.

    Every output column is categorical (ids), a target, or continuous. Ids and other integers keep their dtype, as
    they may be keys; floats, booleans and targets are output as float32, but computed in the raw column's
    precision.

    Args:
        columns: a node, as `>>` and `+` make them, or a list of nodes and names.

    Raises:
        ValueError: there are no columns; two outputs or two vocabularies have the same name.

    Example:

    >>> from kerasrec import etl
    >>> cats = ["user", "item"] >> etl.Categorify()
    >>> label = ["clicked"] >> etl.Target()
    >>> workflow = etl.Workflow(cats + label)
    >>> workflow.fit("raw/*.parquet").transform("raw/*.parquet").to_parquet("train/")
    """

    def __init__(self, columns: Columns):
        self._root = output_node(columns)
        ops = [(node.op, node.inputs) for node in topological_order(self._root) if node.op is not None]
        tables = Counter(table for op, inputs in ops for table in op.vocabularies(inputs))
        if duplicates := sorted(table for table, count in tables.items() if count > 1):
            raise ValueError(
                f"two vocabularies are named {', '.join(map(repr, duplicates))}; name one with "
                "Categorify(table=...), or pass columns that share a vocabulary to the same Categorify"
            )
        self._inputs: list[Column] | None = None
        self._fitted_on: list[str] | None = None
        self._module: tf.Module | None = None
        self._values: dict[tuple[bool, bool], list[ColumnExpr]] = {}

    # ---- learning and applying -------------------------------------------------------------------------------
    def fit(
        self,
        source: Any,
        *,
        client: Any = None,
        engine: str = "cpu",
        progress: bool = True,
        verify: bool = True,
    ) -> Workflow:
        """Learn vocabularies, means and other statistics (these fit in memory, rows need not); return `self`.

        Args:
            source: a path, a glob, a folder or a list of paths of Parquet or CSV files; a Polars (lazy or not),
                pandas or Arrow frame; a list of dicts, one per row; a dict of columns; a part of a split.
            client: a `distributed.Client`, on whose cluster to read the rows; the source must then be files that
                all workers see under the same path. The result is the same, up to the order of float additions.
            engine: "gpu" runs the queries that it supports on cuDF, Polars' GPU engine (docs/gpu).
            progress: whether to show a progress bar on a terminal.
            verify: whether to verify the page checksums of Parquet files that have them (docs/etl.md).

        Raises:
            SchemaError: a column is missing, has a dtype that its operator does not take, or nulls after all
                operators; a file cannot be read, is damaged, or changes while it is read; there are no rows. The
                message names the file and the column.
            FileNotFoundError: there is no such file.
            TypeError: `client` with a source that is not files.
            ImportError, RuntimeError: `engine="gpu"` without the extra `kerasrec[gpu]`, or without a GPU.
        """
        source = _on(engine, source, verify=verify).select(raw_names(self._root))
        self.__dict__.update(self._fit(source, client, progress).__dict__)
        return self

    def _fit(self, source: Source, client: Any, progress: bool) -> Workflow:
        """Return a fitted copy, so that a failed fit changes nothing."""
        gather_statistics: Gather = gather
        if client is not None:
            source, gather_statistics = dask_cluster.shared(source, client), dask_cluster.gather_on(client)
        root = copy.deepcopy(self._root)
        with bar("fit", len(levels(root)) + 1, "passes", show=progress) as advance:
            inputs = fit(root, source, advance, gather_statistics)
            raw = {column.name: ColumnExpr(column, source.clean(column)) for column in inputs}
            outputs = evaluate(root, raw, fitted=True)
            origin = partial(null_origin, root, raw, source, fitted=True)
            refuse_nulls(source, list(raw), outputs, origin, gather_statistics)
            for value in outputs:
                _finished(value.column)
            fitted = copy.copy(self)
            fitted._root, fitted._inputs, fitted._fitted_on = root, inputs, None
            fitted._module, fitted._values = None, {}
            if has_out_of_fold_values(root):
                fitted._fitted_on = fingerprint(source, list(fitted.input_schema.features))
            advance(1)
        return fitted

    def transform(
        self,
        source: Any,
        *,
        columns: Iterable[str] | None = None,
        targets: bool = True,
        fitted: bool | None = None,
        engine: str = "cpu",
        verify: bool = True,
    ) -> Dataset:
        """Return the source's rows as a model takes them, computed when they are collected or written.

        `TargetEncoding` has out-of-fold values for the rows used in fit. Those are recognised in whatever form
        they come (files, copies of them, a frame read from them), if all of them come in the same order. If the
        source is some of the files used in fit, an error is raised. Other parts of the rows, or the rows in
        another order, are taken for new ones: pass `fitted=True`.

        Args:
            source: as for `fit`; columns may have narrower dtypes than in fit.
            columns: outputs to compute, by name (else KeyError); the source needs only what they depend on.
            targets: False omits the targets, for rows to predict that have none. As in a served model, no row is
                then dropped (`Filter`, `DropNA`) or added (`NegativeSampling`).
            fitted: whether these rows were used in fit; by default, this is detected. True for a part of them, or
                for another order, needs a column of folds, `TargetEncoding(fold=...)`; False gives the rows the
                encodings of a served model.
            engine: as for `fit`; also for the dataset's `collect` and `to_parquet`.
            verify: as for `fit`.

        Raises:
            SchemaError: a column is missing or of another dtype; a file cannot be read; the source is some, but
                not all, of the files used in fit, or has further ones.
            ValueError: `fitted=True`, but folds depend on row positions, which have changed.
            ImportError, RuntimeError: the workflow is not fitted; or `engine="gpu"`, as `fit` does.
        """
        if isinstance(source, Dataset):
            raise TypeError("source is a Dataset, which is already transformed; pass raw rows")
        types = {column.name: column_type(column) for column in self.input_schema}
        source = _on(engine, source, types, verify=verify)
        if self._fitted_on is None:
            return self._transform(source, targets, False, columns)
        by_position = folds_by_position(self._outputs(fitted=True), self._outputs())
        same = are_fitted(source, list(self.input_schema.features), self._fitted_on, fitted, by_position)
        return self._transform(source, targets, same, columns)

    def _transform(self, source: Source, targets: bool, fitted: bool, only: Iterable[str] | None) -> Dataset:
        inputs = self.input_schema
        schema = self.output_schema if only is None else self.output_schema.subset(only)
        schema = schema if targets else schema.features
        outputs = self._outputs(served=not targets, fitted=fitted)
        needed = columns_read(value for value in outputs if value.column.name in schema)
        optional = inputs.targets.names if targets else ()
        names = [name for name in inputs.names if name in needed]
        source.require(names, optional=optional)
        source = source.select(names)
        raw = {
            column.name: ColumnExpr(column, source.clean(column) if column.name in needed else pl.lit(None))
            for column in self._fitted_inputs()
        }
        values = evaluate(self._root, raw, fitted=fitted, served=not targets)
        by_name = {value.column.name: value for value in values}
        origin = partial(null_origin, self._root, raw, fitted=fitted, served=not targets)
        return Dataset(schema, [by_name[name] for name in schema.names], source, origin)

    def fit_transform(
        self,
        source: Any,
        *,
        client: Any = None,
        engine: str = "cpu",
        progress: bool = True,
        verify: bool = True,
    ) -> Dataset:
        """Fit on a source and transform it; target encodings are out-of-fold."""
        source = _on(engine, source, verify=verify)
        fitted = self.fit(source, client=client, engine=engine, progress=progress, verify=verify)
        return fitted._transform(source, True, True, None)

    @property
    def fitted(self) -> bool:
        """Whether `fit` was called, or the workflow was loaded."""
        return self._inputs is not None

    # ---- schemas ---------------------------------------------------------------------------------------------
    @property
    def input_schema(self) -> Schema:
        """The raw columns as they were in fit; those that no feature depends on have the tag TARGET."""
        outputs = Schema(value.column for value in self._outputs())
        features = raw_inputs(self._root, outputs.features.names)
        return Schema(
            column if column.name in features else column.evolve(add_tags=[Tag.TARGET])
            for column in self._fitted_inputs()
        )

    @property
    def output_schema(self) -> Schema:
        """The columns that `transform` outputs."""
        return Schema(_finished(value.column) for value in self._outputs())

    def vocabulary(self, table: str) -> pl.DataFrame:
        """Return the values of an embedding table's ids: columns id, value and count, from ids 1 (null) and 2 (out
        of vocabulary) on.

        Raises:
            KeyError: no operator learned a vocabulary of that table.
        """
        self._fitted_inputs()
        available: list[str] = []
        for node in topological_order(self._root):
            tables = node.op.vocabularies(node.inputs) if node.op is not None else []
            if table in tables and isinstance(node.op, Categorify):
                return node.op.vocabulary(table)
            available += tables
        raise KeyError(f"no vocabulary {table!r}; available: {', '.join(available)}")

    def __repr__(self) -> str:
        state = "fitted" if self.fitted else "not fitted"
        return f"Workflow of {len(self._root.outputs)} columns, {state}\n{describe(self._root)}"

    # ---- TensorFlow ------------------------------------------------------------------------------------------
    def raw_columns(self, features: Iterable[str]) -> Schema:
        """Return the columns of `input_schema` that some features depend on."""
        needed = raw_inputs(self._root, features)
        return Schema(column for column in self._fitted_inputs() if column.name in needed)

    def raw_signature(self) -> dict[str, tuple[str, tuple[int | None, ...]]]:
        """Return the dtype ("int64", "string", ...) and shape of each tensor that `tensorflow` takes, by name.

        A column X is `X` (batch,); a list column is `X__values` (n,) and `X__offsets` (batch + 1,) int64; one that
        had nulls in fit also has `X__valid` bool, of the shape of the values. Targets are absent.
        """
        return signature(self.input_schema.features)

    def tensorflow(self, raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Compute the features of raw rows, given tensors named as in `raw_signature`.

        A feature X is `X` (batch,) in the dtype of `output_schema`, a list is `X__values` (n,) and `X__offsets`
        (batch + 1,). A null in a float feature becomes NaN; in an integer feature it is an error.
        """
        return self.tensorflow_module()(raw)

    def tensorflow_module(self, features: Schema | None = None) -> tf.Module:
        """Return a `tf.Module` that does what `tensorflow` does and tracks the vocabularies, for a SavedModel.

        Args:
            features: columns of `output_schema` to compute, possibly with other dtypes; the module then takes the
                tensors of `raw_columns(features.names)` and has nothing that they do not need.
        """
        from kerasrec.etl.run.serving_graph import WorkflowModule

        if features is not None:
            return WorkflowModule(self._root, list(self.raw_columns(features.names)), features)
        if self._module is None:
            features = self.output_schema.features
            self._module = WorkflowModule(self._root, list(self.raw_columns(features.names)), features)
        return self._module

    # ---- on disk ---------------------------------------------------------------------------------------------
    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write `workflow.json` and the vocabularies, as Parquet, into a new folder.

        Raises:
            FileExistsError: `folder` exists and `overwrite` is false, or it has other files.
            RuntimeError: the workflow is not fitted.
        """
        return storage.save(Path(folder), self._root, self._fitted_inputs(), self._fitted_on, overwrite=overwrite)

    @classmethod
    def load(cls, folder: str | os.PathLike[str], *, trust: bool | Collection[str] = False) -> Workflow:
        """Read a workflow that `save` wrote. No code from the files runs, except for what `trust` allows.

        Args:
            trust: names of modules whose functions `LambdaOp` may import and call, including their submodules;
                True for any module.

        Raises:
            FileNotFoundError: there is no workflow in `folder`.
            SchemaError: the workflow is invalid or of another version; a `LambdaOp` has a module that is not
                trusted; an expression calls a Python function or a plugin. The message names the file.
        """
        root, inputs, fitted_on = storage.load(Path(folder), trust)
        workflow = cls(root)
        workflow._root, workflow._inputs, workflow._fitted_on = root, inputs, fitted_on
        return workflow

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_module": None, "_values": {}}

    # ---- helpers ---------------------------------------------------------------------------------------------
    def _fitted_inputs(self) -> list[Column]:
        if self._inputs is None:
            raise RuntimeError("the workflow is not fitted; call fit(source) first")
        return self._inputs

    def _outputs(self, *, served: bool = False, fitted: bool = False) -> list[ColumnExpr]:
        """Return the outputs by raw column names; cached, as expressions of a large vocabulary take time to
        make."""
        key = served, fitted
        if key not in self._values:
            raw = {column.name: ColumnExpr(column, pl.col(column.name)) for column in self._fitted_inputs()}
            self._values[key] = evaluate(self._root, raw, served=served, fitted=fitted)
        return self._values[key]


def _on(engine: str, source: Any, types: Mapping[str, pl.DataType] | None = None, *, verify: bool) -> Source:
    polars_engine.check(engine)
    return replace(scan(source, types), engine=engine, verify=verify)


def _finished(column: Column) -> Column:
    """Describe an output column: ids and integers, which may be keys, keep their dtype; other numbers, targets and
    weights become float32."""
    if Tag.CATEGORICAL in column.tags:
        return column
    if column.dtype == "string":
        raise SchemaError(f"column {column.name!r} is still string after its operators; Categorify it")
    if column.dtype == "datetime":
        raise SchemaError(f"column {column.name!r} is still datetime after its operators; use TimeFeatures")
    is_feature = not {Tag.TARGET, Tag.WEIGHT} & set(column.tags)
    dtype = column.dtype if is_feature and is_integer(column.dtype) else "float32"
    return column.evolve(dtype=dtype, add_tags=[Tag.CONTINUOUS] * is_feature, nullable=False)
