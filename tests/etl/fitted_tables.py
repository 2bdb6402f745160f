"""What the tests of both implementations share: an operator on some columns, run by Polars and by TensorFlow."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from hypothesis import strategies as st
from tensorflow_runs import run

from kerasrec.etl import Operator, Workflow
from kerasrec.etl.run.column_expr import ColumnExpr
from kerasrec.etl.run.evaluate import evaluate
from kerasrec.etl.run.fit import fit
from kerasrec.etl.sources.scan import scan
from kerasrec.etl.sources.types import is_float, to_polars
from kerasrec.schema import Column, Schema

WORDS = st.text(alphabet="ab\n\x00é ", max_size=2)
Values = dict[str, list[Any]]  # of each column
SPECIAL_FLOATS = st.sampled_from([0.0, 1.5, -2.5, float("nan")])
ELEMENTS: dict[str, st.SearchStrategy[Any]] = {
    "string": WORDS,
    "bool": st.booleans(),
    "int8": st.integers(-128, 127),
    "int32": st.one_of(st.integers(-4, 4), st.integers(-(2**31), 2**31 - 1)),
    "int64": st.one_of(st.integers(-4, 4), st.integers(-(2**63), 2**63 - 1)),
    "uint64": st.one_of(st.integers(0, 4), st.integers(0, 2**64 - 1)),
    # TensorFlow takes numbers too small for a full mantissa (below 2.2e-308 in float64) for 0.
    "float32": st.one_of(SPECIAL_FLOATS, st.floats(-1e6, 1e6, width=32, allow_subnormal=False)),
    "float64": st.one_of(SPECIAL_FLOATS, st.floats(-1e9, 1e9, allow_subnormal=False)),
}


def columns(dtype: str, *, min_size: int = 0) -> st.SearchStrategy[list[Any]]:
    """Values of a scalar column, nulls among them."""
    return st.lists(st.none() | ELEMENTS[dtype], min_size=min_size, max_size=8)


def list_columns(dtype: str, *, min_size: int = 0) -> st.SearchStrategy[list[Any]]:
    """Values of a list column: null lists, empty ones, null elements."""
    return st.lists(st.none() | columns(dtype), min_size=min_size, max_size=6)


class FittedTable:
    """A workflow of one operator for each column, fitted on equally many values of each, as `Workflow` fits it,
    but nothing is cast or refused at the end."""

    def __init__(self, ops: dict[str, Operator], values: Values, types: dict[str, pl.DataType]):
        self.types = types
        nodes = [[name] >> op for name, op in ops.items()]
        self.root = sum(nodes[1:], nodes[0])
        self.inputs = fit(self.root, scan(self.frame(values)), lambda done: None)
        self.outputs = [value.column for value in evaluate(self.root, self._raw(values))]

    def frame(self, values: Values) -> pl.DataFrame:
        return pl.DataFrame(
            {name: pl.Series(values[name], dtype=dtype, strict=False) for name, dtype in self.types.items()}
        )

    def _raw(self, values: Values) -> dict[str, ColumnExpr]:
        source = scan(self.frame(values))
        return {column.name: ColumnExpr(column, source.clean(column)) for column in self.inputs}

    def polars(self, values: Values) -> pl.DataFrame:
        made = evaluate(self.root, self._raw(values))
        expressions = [value.expr.alias(value.column.name) for value in made]
        return self.frame(values).lazy().select(expressions).collect(engine="streaming")

    def tensorflow(self, values: Values) -> Values:
        from kerasrec.etl.run.serving_graph import WorkflowModule

        raw = {key: tensor for column in self.inputs for key, tensor in wire(values[column.name], column).items()}
        tensors = run(WorkflowModule(self.root, self.inputs, Schema(self.outputs)), raw)
        return {column.name: rows_of(tensors, column) for column in self.outputs}


class Fitted:
    """The same of a single column."""

    def __init__(self, op: Operator, values: list[Any], dtype: str, is_list: bool):
        self._table = FittedTable({"x": op}, {"x": values}, {"x": polars_type(dtype, is_list)})
        self.inputs, self.outputs = self._table.inputs, self._table.outputs

    def polars(self, values: list[Any]) -> pl.Series:
        return self._table.polars({"x": values}).to_series()

    def tensorflow(self, values: list[Any]) -> list[Any]:
        (rows,) = self._table.tensorflow({"x": values}).values()
        return rows


def polars_type(dtype: str, is_list: bool) -> pl.DataType:
    return pl.List(to_polars(dtype)) if is_list else to_polars(dtype)


def rows_of(tensors: dict[str, Any], column: Column) -> list[Any]:
    """A column's rows as Python's numbers or lists of them."""
    if not column.is_list:
        return tensors[column.name].tolist()
    offsets = tensors[f"{column.name}__offsets"]
    return [tensors[f"{column.name}__values"][a:b].tolist() for a, b in itertools.pairwise(offsets)]


def wire(values: list[Any], column: Column) -> dict[str, Any]:
    """One raw column as the tensors that the wire contract in docs describes, made in plain Python."""
    import tensorflow as tf

    rows = [value or [] for value in values] if column.is_list else [[value] for value in values]
    flat = [element for row in rows for element in row]
    blank = {"string": "", "bool": False}.get(column.dtype, 0)
    array = [blank if element is None else element for element in flat]
    if column.dtype == "string":
        tensor = tf.constant([word.encode() for word in array], tf.string, shape=(len(array),))
    elif column.dtype == "datetime":
        epoch = datetime(1970, 1, 1)
        array = [(each - epoch) // timedelta(microseconds=1) if each else 0 for each in array]
        tensor = tf.constant(array, tf.int64, shape=(len(array),))
    else:
        tensor = tf.constant(np.array(array, column.dtype))
    raw = {f"{column.name}__values" if column.is_list else column.name: tensor}
    if column.nullable:
        raw[f"{column.name}__valid"] = tf.constant([element is not None for element in flat], tf.bool)
    if column.is_list:
        raw[f"{column.name}__offsets"] = tf.constant(np.cumsum([0, *map(len, rows)]), tf.int64)
    return raw


def same(expected: pl.Series, got: list[Any], ulps: int = 0) -> None:
    """Assert that both implementations made the same values. A null is NaN in TensorFlow; in other types than
    floats, which never leave a workflow with nulls, anything may stand there."""
    assert len(expected) == len(got)
    flat = expected.explode() if isinstance(expected.dtype, pl.List) else expected
    if isinstance(expected.dtype, pl.List):
        assert [len(row) for row in expected] == [len(row) for row in got]
        flat = expected.filter(expected.list.len() > 0).explode()
        got = [element for row in got for element in row]
    if flat.dtype.is_float():
        name = "float32" if flat.dtype == pl.Float32 else "float64"
        a, b = flat.fill_null(float("nan")).to_numpy(), np.array(got, name)
        limits = np.finfo(name)  # TensorFlow takes numbers too small to be normal for 0
        np.testing.assert_allclose(b, a, rtol=ulps * float(limits.eps), atol=float(limits.tiny))
    else:
        got = [value.decode() if isinstance(value, bytes) else value for value in got]
        known = [pair for pair in zip(flat.to_list(), got, strict=True) if pair[0] is not None]
        assert [a for a, _ in known] == [b for _, b in known]


def is_null(value: Any, dtype: str) -> bool:
    return value is None or (is_float(dtype) and value != value)


def run_both(
    root: Any, names: Sequence[str], kinds: Sequence[str], seen: list[Any], rows: list[Any]
) -> tuple[Workflow, pl.DataFrame, dict[str, Any]]:
    """A workflow over several scalar columns fitted on rows (tuples), and what both make of other rows."""
    schema = {name: to_polars(kind) for name, kind in zip(names, kinds, strict=True)}

    def frame(rows: list[Any]) -> pl.DataFrame:
        columns = list(zip(*rows, strict=True)) or [()] * len(names)
        data = zip(schema.items(), columns, strict=True)
        return pl.DataFrame([pl.Series(name, column, dtype=dtype, strict=False) for (name, dtype), column in data])

    workflow = Workflow(root).fit(frame(seen))
    raw: dict[str, Any] = {}
    given = frame(rows)
    for column in workflow.input_schema.features:
        raw |= wire(given[column.name].to_list(), column)
    return workflow, workflow.transform(given).collect(), run(workflow.tensorflow_module(), raw)
