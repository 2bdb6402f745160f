"""Workflow: from raw columns to a model's columns, learned once, applied to files and inside a served model."""

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
from kerasrec.etl.operator.graph import in_order, raw_of
from kerasrec.etl.operator.operator import Columns, as_node
from kerasrec.etl.run import dask_cluster
from kerasrec.etl.run import fit as graphs
from kerasrec.etl.run.column_expr import Value, reads
from kerasrec.etl.run.null_origin import null_origin
from kerasrec.etl.run.progress import bar
from kerasrec.etl.sources import polars_engine
from kerasrec.etl.sources.fingerprint import are_fitted, fingerprint
from kerasrec.etl.sources.scan import scan
from kerasrec.etl.sources.source import Source
from kerasrec.etl.sources.types import ROW, column_type, is_integer
from kerasrec.schema import Column, Schema, SchemaError, Tag
from kerasrec.tensor_names import signature

if TYPE_CHECKING:
    import tensorflow as tf


class Workflow:
    """A graph of operators that turns raw columns into features and targets.

    Every output column is categorical (ids), a target, or continuous. Ids and other integers keep their type, as
    they may be keys; floats, booleans and targets come out as float32, computed in the raw column's own precision
    until then. Sources are anything that `fit` lists.

    Args:
        columns: a node, as `>>` and `+` make them, or a list of nodes and names.

    Raises:
        ValueError: two outputs of one name, or two vocabularies of one name.

    Example:

    >>> from kerasrec import etl
    >>> cats = ["user", "item"] >> etl.Categorify()
    >>> label = ["clicked"] >> etl.Target()
    >>> workflow = etl.Workflow(cats + label)
    >>> workflow.fit("raw/*.parquet").transform("raw/*.parquet").to_parquet("train/")
    """

    def __init__(self, columns: Columns):
        self._root = as_node(columns)
        made = [name for node in in_order(self._root) if node.op for name in node.op.vocabularies(node.inputs)]
        twice = sorted(name for name, count in Counter(made).items() if count > 1)
        if twice:
            raise ValueError(
                f"two vocabularies are named {', '.join(map(repr, twice))}; name one with Categorify(table=...), "
                "or put the columns that share one under the same Categorify"
            )
        self._inputs: list[Column] | None = None
        self._fitted_on: list[str] | None = None
        self._module: tf.Module | None = None
        self._values: dict[tuple[bool, bool], list[Value]] = {}

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
        """Learn vocabularies, means and the like. Memory holds those, and never all rows.

        Args:
            source: a path, a glob, a folder or a list of paths of Parquet or CSV files; an Arrow table; a pandas
                frame; a Polars frame, lazy or not; a part that `SplitByTime` or `SplitLeaveOneOut` made.
            client: a `distributed.Client`, on whose cluster the rows are read; the source must then be files that
                all workers see, under the same path. What is learned is the same, up to the order in which floats
                are added up.
            engine: "gpu" has cuDF, Polars' GPU engine, compute the queries that it takes (docs/gpu).
            progress: whether a terminal shows a progress bar.
            verify: whether pages of Parquet files that have checksums are compared with them (docs/etl.md).

        Returns:
            The workflow itself.

        Raises:
            SchemaError: a column that is missing, of a type its operator does not take, or still null after its
                operators; a file that cannot be read, is damaged or changes while it is read, no rows at all. The
                message names file and column.
            FileNotFoundError: no such file.
            TypeError: a source that is not files, with `client`.
            ImportError, RuntimeError: `engine="gpu"` without the extra `kerasrec[gpu]`, or without a GPU.
        """
        source = _on(engine, source, verify=verify).select(graphs.raw_names(self._root))
        gathering = None
        if client is not None:
            source, gathering = dask_cluster.shared(source, client), dask_cluster.gatherer(client)
        root = copy.deepcopy(self._root)  # so that a failed fit changes nothing
        with bar("fit", len(graphs.levels(root)) + 1, "passes", show=progress) as advance:
            inputs = graphs.fit(root, source, advance, gathering)
            raw = {column.name: Value(column, source.clean(column)) for column in inputs}
            made = graphs.evaluate(root, raw, fitted=True)
            graphs.refuse_nulls(
                source, list(raw), made, gathering, partial(null_origin, root, raw, source, fitted=True)
            )
            for value in made:
                _finished(value.column)
            fitted = copy.copy(self)
            fitted._root, fitted._inputs, fitted._fitted_on = root, inputs, None
            fitted._module, fitted._values = None, {}
            if graphs.tells_rows_apart(root):
                fitted._fitted_on = fingerprint(source, list(fitted.input_schema.features))
            advance(1)
        self.__dict__.update(fitted.__dict__)
        return self

    def transform(
        self,
        source: Any,
        *,
        targets: bool = True,
        fitted: bool | None = None,
        engine: str = "cpu",
        verify: bool = True,
    ) -> Dataset:
        """The source's rows as the model takes them; nothing is computed before they are collected or written.

        `TargetEncoding` has other values for the rows that were fitted, which must not see their own targets. They
        are recognised, in whatever form they come (files, copies of them, a frame that was read from them), if all
        of them come in their order. Some of the fitted files are refused. Other parts of the fitted rows, or those
        rows in another order, cannot be told from new ones: say `fitted=True`.

        Args:
            source: as for `fit`; columns may have a narrower type than those that were fitted.
            targets: false leaves the targets out, for rows that are to be scored and hold none. As in a served
                model, no row is dropped then (`Filter`, `DropNA`) and none is added (`NegativeSampling`).
            fitted: whether these are rows that were fitted; by default that is found out. True for parts of
                them, or another order, needs a column that deals the folds, `TargetEncoding(fold=...)`; false
                gives fitted rows what a served model would.
            engine: as for `fit`; it also computes the dataset's `collect` and `to_parquet`.
            verify: as for `fit`.

        Raises:
            SchemaError: a missing column or one of another type; a file that cannot be read; fitted files among
                others.
            ValueError: `fitted=True`, but folds go by the positions of rows, and those have changed.
            RuntimeError: the workflow is not fitted.
            ImportError, RuntimeError: `engine="gpu"`, as `fit` does.
        """
        if isinstance(source, Dataset):
            raise TypeError("these rows are transformed already")
        inputs = self.input_schema
        types = {column.name: column_type(column) for column in inputs}
        source = _on(engine, source, types, verify=verify)
        if self._fitted_on is None:
            return self._transform(source, targets, fitted=False)
        by_position = any(ROW in value.expr.meta.root_names() for value in self._outputs(fitted=True))
        same = are_fitted(source, list(self.input_schema.features), self._fitted_on, fitted, by_position)
        return self._transform(source, targets, fitted=same)

    def _transform(self, source: Source, targets: bool, fitted: bool) -> Dataset:
        inputs = self.input_schema
        wanted = self.output_schema if targets else self.output_schema.features
        made = self._outputs(served=not targets, fitted=fitted)
        needed = reads(value for value in made if value.column.name in wanted)
        optional = inputs.targets.names if targets else ()
        names = [name for name in inputs.names if name in needed]
        source.require(names, optional=optional)
        source = source.select(names)
        raw = {
            column.name: Value(column, source.clean(column) if column.name in needed else pl.lit(None))
            for column in self._fitted_inputs()
        }
        values = graphs.evaluate(self._root, raw, fitted=fitted, served=not targets)
        by_name = {value.column.name: value for value in values}
        origin = partial(null_origin, self._root, raw, fitted=fitted, served=not targets)
        return Dataset(wanted, [by_name[name] for name in wanted.names], source, origin)

    def fit_transform(
        self,
        source: Any,
        *,
        client: Any = None,
        engine: str = "cpu",
        progress: bool = True,
        verify: bool = True,
    ) -> Dataset:
        """`fit`, then `transform`, of the same source."""
        source = _on(engine, source, verify=verify)
        fitted = self.fit(source, client=client, engine=engine, progress=progress, verify=verify)
        return fitted._transform(source, targets=True, fitted=True)

    # ---- facts -----------------------------------------------------------------------------------------------
    @property
    def input_schema(self) -> Schema:
        """The raw columns as they were when fitted; those that no feature is made from are tagged TARGET."""
        made = Schema(value.column for value in self._outputs())
        features = raw_of(self._root, made.features.names)
        return Schema(
            column if column.name in features else column.evolve(add_tags=[Tag.TARGET])
            for column in self._fitted_inputs()
        )

    @property
    def output_schema(self) -> Schema:
        """The columns that `transform` makes."""
        return Schema(_finished(value.column) for value in self._outputs())

    def vocabulary(self, table: str) -> pl.DataFrame:
        """What the ids of an embedding table stand for: columns id, value, count, from id 1 (null) and 2
        (values that are not in the vocabulary) on.

        Raises:
            KeyError: no operator made such a table.
        """
        self._fitted_inputs()
        there: list[str] = []
        for node in in_order(self._root):
            names = node.op.vocabularies(node.inputs) if node.op is not None else []
            if table in names and table in node.op.frames:  # type: ignore[union-attr]
                return node.op.vocabulary(table)  # type: ignore[union-attr]
            there += names
        raise KeyError(f"no vocabulary {table!r}; available: {', '.join(there)}")

    def __repr__(self) -> str:
        rows = [("output", "operators", "raw columns"), *graphs.describe(self._root)]
        widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
        state = "fitted" if self._inputs is not None else "not fitted"
        lines = (" <- ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
        return f"Workflow of {len(self._root.outputs)} columns, {state}\n" + "\n".join(lines)

    # ---- TensorFlow ------------------------------------------------------------------------------------------
    def raw_columns(self, features: Iterable[str]) -> Schema:
        """Those of `input_schema` that some features are made from."""
        needed = raw_of(self._root, features)
        return Schema(column for column in self._fitted_inputs() if column.name in needed)

    def raw_signature(self) -> dict[str, tuple[str, tuple[int | None, ...]]]:
        """The tensors that `tensorflow` takes: dtype ("int64", "string", ...) and shape by name.

        A column X is `X` (batch,); a list column `X__values` (n,) and `X__offsets` (batch + 1,) int64; one that
        held nulls when fitted comes with `X__valid` bool, of the values' shape. Targets are absent.
        """
        return signature(self.input_schema.features)

    def tensorflow(self, raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The features of raw rows, on tensors named as in `raw_signature`.

        A feature X is `X` (batch,) in the dtype of `output_schema`, a list `X__values` (n,) and `X__offsets`
        (batch + 1,). What would be null in a float feature is NaN; in an integer one it is an error.
        """
        return self.tensorflow_module()(raw)

    def tensorflow_module(self, features: Schema | None = None) -> tf.Module:
        """A `tf.Module` that does what `tensorflow` does and tracks the vocabularies, for a SavedModel.

        Args:
            features: the columns of `output_schema` that are to be made, perhaps of other types; the module then
                takes the tensors of `raw_columns(features.names)` and holds nothing that those do not need.
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
            FileExistsError: `folder` exists and `overwrite` is false, or it holds other files.
            RuntimeError: the workflow is not fitted.
        """
        return storage.save(Path(folder), self._root, self._fitted_inputs(), self._fitted_on, overwrite=overwrite)

    @classmethod
    def load(cls, folder: str | os.PathLike[str], *, trust: bool | Collection[str] = False) -> Workflow:
        """Read what `save` wrote. It runs no code of the file's, whoever wrote that, but for what `trust` allows.

        Args:
            trust: names of modules whose functions `LambdaOp` may import and call, those of their submodules too;
                true for any module.

        Raises:
            FileNotFoundError: there is no workflow in `folder`.
            SchemaError: one that is broken or of another version; a `LambdaOp` whose module is not trusted; an
                expression that calls a Python function or a plugin. The message names the file.
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
            raise RuntimeError("the workflow is not fitted yet: call fit(source) first")
        return self._inputs

    def _outputs(self, *, served: bool = False, fitted: bool = False) -> list[Value]:
        """Kept, as a large vocabulary costs some time whenever an expression of it is made."""
        key = served, fitted
        if key not in self._values:
            raw = {column.name: Value(column, pl.col(column.name)) for column in self._fitted_inputs()}
            self._values[key] = graphs.evaluate(self._root, raw, served=served, fitted=fitted)
        return self._values[key]


def _on(engine: str, source: Any, types: Mapping[str, pl.DataType] | None = None, *, verify: bool) -> Source:
    polars_engine.check(engine)
    return replace(scan(source, types), engine=engine, verify=verify)


def _finished(column: Column) -> Column:
    """An output column as it leaves the workflow: ids and integers as they are, since an integer may be a key; any
    other number as float32, and so targets and weights."""
    if Tag.CATEGORICAL in column.tags:
        return column
    if column.dtype == "string":
        raise SchemaError(f"column {column.name!r} still holds strings after its operators; Categorify it")
    if column.dtype == "datetime":
        raise SchemaError(f"column {column.name!r} still holds dates after its operators; take its TimeFeatures")
    tags = () if Tag.TARGET in column.tags else (Tag.CONTINUOUS,)
    exact = is_integer(column.dtype) and not {Tag.TARGET, Tag.WEIGHT} & set(column.tags)
    return column.evolve(dtype=column.dtype if exact else "float32", add_tags=tags, nullable=False)
