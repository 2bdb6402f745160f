"""What networks take from a schema and from a batch."""

import json

import numpy as np
import pytest
import tensorflow as tf

import kerasrec as kr
from kerasrec.layers.inputs import ContinuousInputs, ids_of
from kerasrec.schema import Column, Hotness, Schema, SchemaError, Tag
from kerasrec.tables.from_schema import embedding_features

CAT, CONT, LIST = Tag.CATEGORICAL, Tag.CONTINUOUS, Tag.LIST
USER = Column("user", "int32", (CAT,), cardinality=50, embedding_dim=16, table="user")
GENRES = Column("genres", "int32", (CAT, LIST), cardinality=20, table="genre", hotness=Hotness(0, 1.5, 4))
FAVOURITE = Column("favourite", "int32", (CAT,), cardinality=20, table="genre")
AGE = Column("age", "float32", (CONT,))
PRICE = Column("price", "float32", (CONT,))
LABEL = Column("label", "float32", (Tag.TARGET, Tag.BINARY))
SCHEMA = Schema([USER, AGE, GENRES, FAVOURITE, PRICE, LABEL])


def test_features_come_from_the_schema():
    features = embedding_features(SCHEMA)
    assert list(features) == ["user", "genres", "favourite"]
    assert features["user"].table == kr.TableConfig("user", 50, 16)
    assert features["genres"].table == features["favourite"].table
    assert features["genres"].table.embedding_dim == 16  # 1.6 * 20 ** 0.56 = 8.6, up to a multiple of 8
    assert {f.table.embedding_dim for f in embedding_features(SCHEMA, 4).values()} == {4}
    linear = embedding_features(SCHEMA, 1, initializer="zeros", table_suffix="_linear")
    assert [f.table.name for f in linear.values()] == ["user_linear", "genre_linear", "genre_linear"]


def test_targets_and_untagged_columns_are_not_features():
    target = Column("bought", "int32", (CAT, Tag.TARGET), cardinality=5)
    assert list(embedding_features(Schema([USER, target, Column("row", "int64")]))) == ["user"]


@pytest.mark.parametrize(
    ("changes", "embedding_dim"), [({"cardinality": 21}, 8), ({"embedding_dim": 8}, None)], ids=["rows", "width"]
)
def test_conflicting_columns_of_one_table(changes, embedding_dim):
    schema = Schema([GENRES, FAVOURITE.evolve(**changes)])
    with pytest.raises(SchemaError, match="columns 'genres' and 'favourite' share table 'genre'"):
        embedding_features(schema, embedding_dim)


def test_columns_that_hold_no_ids():
    with pytest.raises(SchemaError, match="'city' is categorical but of string"):
        embedding_features(Schema([Column("city", "string", (CAT,), cardinality=5)]))
    with pytest.raises(SchemaError, match="'city' is categorical but has no cardinality"):
        embedding_features(Schema([Column("city", "int32", (CAT,))]))
    with pytest.raises(ValueError, match="embedding_dim must be an integer >= 1; got"):
        embedding_features(SCHEMA, 0)


def test_continuous_columns_side_by_side_in_the_schemas_order():
    layer = ContinuousInputs.of(SCHEMA)
    batch = {"price": np.array([[1], [2]]), "age": np.array([0.5, 1e-9]), "user": np.array(["a", "b"])}
    np.testing.assert_array_equal(layer(batch), np.array([[0.5, 1], [1e-9, 2]], "float32"))
    assert layer(batch).dtype == tf.float32
    assert layer.compute_output_shape({"age": (None,), "price": (None,)}) == (None, 2)
    copy = ContinuousInputs.from_config(layer.get_config())
    np.testing.assert_array_equal(copy(batch), layer(batch))
    assert ContinuousInputs.of(Schema([USER, LABEL])) is None


def test_bad_continuous_columns_are_named():
    layer = ContinuousInputs.of(SCHEMA)
    with pytest.raises(ValueError, match="no column 'price' in the batch; available: age"):
        layer({"age": np.ones(2)})
    with pytest.raises(ValueError, match=r"continuous column 'age' must have shape \(batch,\); got \(2, 3\)"):
        layer({"age": np.ones((2, 3)), "price": np.ones(2)})
    with pytest.raises(SchemaError, match="'clicks' is a continuous list column"):
        ContinuousInputs.of(Schema([Column("clicks", "float32", (CONT, LIST))]))


def test_ids_of_a_batch():
    batch = {"user": np.array([1, 2]), "genres": np.array([[3], [0]]), "favourite": np.array([[1], [2]])}
    ids = ids_of(SCHEMA, {**batch, "extra": np.array(["x", "y"])})
    assert list(ids) == ["user", "genres", "favourite"]
    # A list of hotness 1 keeps 0 as padding, which a one-hot column of shape (batch, 1) would not.
    layer = kr.layers.DistributedEmbedding(embedding_features(SCHEMA, 4))
    np.testing.assert_array_equal(layer(ids)["genres"][1], np.zeros(4))


def test_bad_ids_are_named():
    good = {"user": np.array([1, 2]), "genres": np.array([[3, 4], [0, 0]]), "favourite": np.array([1, 2])}
    with pytest.raises(ValueError, match="no column 'user' in the batch; available: favourite, genres"):
        ids_of(SCHEMA, {name: good[name] for name in ("genres", "favourite")})
    with pytest.raises(ValueError, match="'genres' is a list column"):
        ids_of(SCHEMA, {**good, "genres": np.array([3, 4])})
    with pytest.raises(ValueError, match="'user' is not a list column"):
        ids_of(SCHEMA, {**good, "user": np.array([[1, 2], [3, 4]])})
    with pytest.raises(ValueError, match="must be a dict of columns by name; got list"):
        ids_of(SCHEMA, [np.array([1, 2])])


def test_features_know_hotness_and_frequencies():
    """What the ETL counted reaches the plan; tables that differ in it alone are one."""
    hot = Hotness(0, 2.5, 9)
    columns = [
        Column("u", "int32", (CAT,), cardinality=5, table="user", lookup_cdf=(0.0, 0.5, 0.75, 1.0)),
        Column("v", "int32", (CAT, Tag.LIST), cardinality=5, table="user", hotness=hot),
    ]
    features = embedding_features(Schema(columns), 4)
    assert [feature.hotness for feature in features.values()] == [1.0, 2.5]
    assert features["u"].table is features["v"].table
    assert features["u"].table.lookup_cdf == (0.0, 0.5, 0.75, 1.0)
    layer = kr.layers.DistributedEmbedding(features)
    again = kr.layers.DistributedEmbedding.from_config(json.loads(json.dumps(layer.get_config())))
    assert again.features == features
    assert again.features["v"].table.lookup_cdf == (0.0, 0.5, 0.75, 1.0)
