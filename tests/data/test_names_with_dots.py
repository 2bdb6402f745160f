"""Columns whose dotted names are also paths of nested ones: each is read, checked and counted as itself."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from device_engines import by_numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from range_server import serve

from kerasrec import etl
from kerasrec.data import Loader
from kerasrec.parquet.row_groups import leaf_positions
from kerasrec.schema import Column, Hotness, Schema

IDS = [[1, 4], [], [2]]
LIST = pa.array(IDS, pa.list_(pa.int64()))
COUNT = pa.array([90, 0, 91])  # no ids of `tags`
STRUCT = pa.array([{"id": 90, "more": [{"id": None}]}, None, {"id": -1}])
TAGS = Schema([Column("tags", "int64", ("categorical", "list"), cardinality=5, hotness=Hotness(0, 1, 2))])
USER = Schema([Column("user.id", "int64", ("categorical",), cardinality=5)])


def written(path, table, schema, **how):
    pq.write_table(pa.table(table), path / "part.parquet", row_group_size=2, **how)
    schema.save(path)
    return path


@pytest.mark.parametrize("loader", [Loader, by_numpy])
@pytest.mark.parametrize("other", ["tags.count", "tags.list", "tags.list.element", "tags.x.y"])
@pytest.mark.parametrize("first", [True, False])
def test_a_list_beside_a_column_with_its_prefix(tmp_path, loader, other, first):
    columns = {other: COUNT, "tags": LIST}
    columns = columns if first else dict(reversed(columns.items()))
    data = loader(written(tmp_path, columns, TAGS), 3, lists="offsets")
    assert next(iter(data._stream.batches())).lists["tags"].values.tolist() == [1, 4, 2]
    columns["tags"] = pa.array([[1, 4], [], [99]])
    with pytest.raises(ValueError, match="'tags': id 99"):
        loader(written(tmp_path, columns, TAGS), 3)
    columns[other] = LIST  # whose statistics are those of ids, where `tags` has none
    path = written(tmp_path, columns, TAGS, write_statistics=[other])
    with pytest.raises(ValueError, match="'tags': id 99"):
        list(loader(path, 3, lists="offsets")._stream.batches())


@pytest.mark.parametrize("first", [True, False])
def test_a_column_beside_a_struct_with_a_field_of_its_name(tmp_path, first):
    columns = {"user": STRUCT, "user.id": pa.array([1, 4, 2])}
    columns = columns if first else dict(reversed(columns.items()))
    batch = next(iter(Loader(written(tmp_path, columns, USER), 3)))
    assert batch["user.id"].tolist() == [1, 4, 2]
    columns["user.id"] = pa.array([1, 4, 99])
    with pytest.raises(ValueError, match=r"'user\.id': id 99"):
        Loader(written(tmp_path, columns, USER), 3)
    columns["user.id"] = pa.array([1, None, 2])
    with pytest.raises(ValueError, match=r"'user\.id' has 1 null"):
        Loader(written(tmp_path, columns, USER), 3)


def test_such_columns_at_an_address(tmp_path):
    table = {"user": STRUCT, "user.id": pa.array([1, 4, 2]), "tags.count": COUNT, "tags": LIST}
    table |= {"filler": pa.array(np.random.default_rng(0).integers(0, 2**62, 3))}
    written(tmp_path, table, Schema([*USER, *TAGS]))
    with serve(tmp_path) as server:
        features = next(iter(Loader(f"{server.url}/part.parquet", 3, lists="offsets")))
    assert features["user.id"].tolist() == [1, 4, 2]
    assert features["tags"][0].tolist() == [1, 4, 2]


def test_fit_counts_the_nulls_of_the_column_itself(tmp_path):
    columns = {"user": STRUCT, "user.id": pa.array([1, 4, 2]), "tags.count": pa.array([None, 1, 2]), "tags": LIST}
    path = written(tmp_path, columns, USER) / "part.parquet"
    workflow = etl.Workflow((["user.id"] >> etl.Categorify()) + (["tags.count"] >> etl.FillMissing()))
    inputs = workflow.fit(path).input_schema
    assert not inputs["user.id"].nullable
    assert inputs["tags.count"].nullable
    columns["user.id"] = pa.array([1, None, 2])
    path = written(tmp_path, columns, USER) / "part.parquet"
    assert workflow.fit(path).input_schema["user.id"].nullable


KINDS = st.recursive(
    st.sampled_from([pa.int32(), pa.string(), pa.null(), pa.dictionary(pa.int8(), pa.string()), pa.uuid()]),
    lambda kinds: st.one_of(
        kinds.map(pa.list_),
        kinds.map(pa.list_view),
        kinds.map(lambda kind: pa.list_(kind, 2)),
        kinds.map(lambda kind: pa.map_(pa.string(), kind)),
        st.lists(kinds, min_size=1, max_size=3).map(lambda some: pa.struct([*zip("abc", some, strict=False)])),
    ),
    max_leaves=4,
)


@settings(max_examples=50, deadline=None)
@given(st.lists(KINDS, min_size=1, max_size=4), st.booleans())
def test_leaves_are_those_of_the_column(kinds, store_schema):
    sink = pa.BufferOutputStream()
    schema = pa.schema([(f"c{number}", kind) for number, kind in enumerate(kinds)])
    pq.ParquetWriter(sink, schema, store_schema=store_schema).close()
    footer = pq.read_metadata(pa.BufferReader(sink.getvalue()))
    paths = [footer.schema.column(place).path.partition(".")[0] for place in range(footer.num_columns)]
    found = {name: [paths[place] for place in places] for name, places in leaf_positions(footer).items()}
    assert found == {name: [name] * paths.count(name) for name in schema.names}
