"""The schema: what is written is read back, and what is broken is refused by name."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasrec.schema import DTYPES, Column, Hotness, Schema, SchemaError, Tag, suggest_embedding_dim

hotness = st.builds(Hotness, min=st.integers(0, 9), mean=st.floats(0, 1e6), max=st.integers(0, 10**6))
columns = st.builds(
    Column,
    name=st.text(min_size=1, max_size=12),
    dtype=st.sampled_from(DTYPES),
    tags=st.lists(st.sampled_from(list(Tag)), max_size=4).map(tuple),
    cardinality=st.none() | st.integers(1, 2**40),
    embedding_dim=st.none() | st.integers(1, 512),
    table=st.none() | st.text(min_size=1, max_size=8),
    hotness=st.none() | hotness,
    nullable=st.booleans(),
    lookup_cdf=st.none() | st.lists(st.floats(0, 1), min_size=1, max_size=9).map(sorted).map(tuple),
)
schemas = st.lists(columns, max_size=6, unique_by=lambda column: column.name).map(Schema)


@given(schemas)
def test_json_round_trip(schema):
    assert Schema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema


def test_file_round_trip(tmp_path):
    schema = Schema([Column("é\n", "string", nullable=True), Column("age", "float32", (Tag.CONTINUOUS,))])
    assert schema.save(tmp_path / "train") == tmp_path / "train" / "schema.json"
    assert Schema.load(tmp_path / "train") == schema
    Schema([]).save(tmp_path / "train")
    assert len(Schema.load(tmp_path / "train")) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not readable as JSON"),
        ("[]", "no 'kerasrec_schema' version"),
        ('{"kerasrec_schema": 99, "columns": []}', "version 99"),
        ('{"kerasrec_schema": 1}', "'columns' must be a list"),
        ('{"kerasrec_schema": 1, "columns": [{"name": "a"}]}', "'a': missing fields"),
        ('{"kerasrec_schema": 1, "columns": [{"name": "a", "dtype": "float8"}]}', "'a': unknown dtype 'float8'"),
        (
            '{"kerasrec_schema": 1, "columns": [{"name": "a", "dtype": "int32", "tags": ["categoricl"]}]}',
            "'a': unknown tag 'categoricl'; did you mean 'categorical'",
        ),
        ('{"kerasrec_schema": 1, "columns": [{"name": "a", "dtype": "int32", "tag": []}]}', "unknown fields"),
        (
            '{"kerasrec_schema": 1, "columns": [{"name": "a", "dtype": "int32", "cardinality": "9"}]}',
            "must be int",
        ),
        ('{"kerasrec_schema": 1, "columns": [{"name": "a", "dtype": "int32", "cardinality": 0}]}', "integer >= 1"),
        ('{"kerasrec_schema": 1, "columns": [{"name": "a", "dtype": "int32", "hotness": {"min": 1}}]}', "hotness"),
        ('{"kerasrec_schema": 1, "columns": [{"name": "a", "dtype": "int8", "head": [0.5, 0.4]}]}', "increasing"),
        ('{"kerasrec_schema": 1, "columns": [{"name": "a", "dtype": "int8", "head": ["x"]}]}', "increasing"),
        (
            '{"kerasrec_schema": 1, "columns": [{"name": "a", "dtype": "int8"}, {"name": "a", "dtype": "int8"}]}',
            "two columns are named 'a'",
        ),
    ],
)
def test_broken_file_is_named(tmp_path, text, message):
    (tmp_path / "schema.json").write_text(text)
    with pytest.raises(SchemaError, match=message) as caught:
        Schema.load(tmp_path)
    assert "schema.json" in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no schema at"):
        Schema.load(tmp_path)


def test_selection():
    schema = Schema(
        [
            Column("user", "int32", (Tag.CATEGORICAL, Tag.USER), cardinality=9),
            Column("genres", "int32", (Tag.CATEGORICAL, Tag.LIST), cardinality=9),
            Column("age", "float32", (Tag.CONTINUOUS, Tag.USER)),
            Column("clicked", "float32", (Tag.TARGET, Tag.BINARY)),
        ]
    )
    assert schema.categorical.names == ["user", "genres"]
    assert schema.select(Tag.CATEGORICAL, Tag.USER).names == ["user"]
    assert schema.features.names == ["user", "genres", "age"]
    assert schema.targets.names == ["clicked"]
    assert schema.subset(["age", "user"]).names == ["age", "user"]
    assert "genres" in repr(schema)
    with pytest.raises(KeyError, match="no column 'agee'; available: user"):
        schema["agee"]


def test_suggested_width_grows_within_bounds():
    widths = [suggest_embedding_dim(n) for n in (1, 10, 1000, 10**5, 10**7)]
    assert widths == sorted(widths)
    assert widths[0] == 8
    assert widths[-1] == 512
    assert all(width % 8 == 0 for width in widths)
