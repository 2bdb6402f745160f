"""Options for a model's tables and towers take effect, and are saved."""

import keras
import numpy as np
import pytest
from keras.src.saving.serialization_lib import ObjectSharingScope
from model_cases import MODELS, batch_of, schema_of

import kerasrec as kr
from kerasrec.models.options import Options
from kerasrec.schema import Column, Hotness, Schema, SchemaError, Tag
from kerasrec.tables import TableConfig

X, Y = batch_of(64)
OPTIONS = {
    "combiner": {"genres": "sqrtn"},
    "embeddings_initializer": {"user": keras.initializers.RandomNormal(stddev=0.3), "genre": "ones"},
    "embeddings_regularizer": keras.regularizers.L2(0.01),
    "activation": "tanh",
    "kernel_initializer": "he_normal",
    "kernel_regularizer": "l2",
    "seed": 7,
}


def test_options_are_saved(make, tmp_path):
    model = make(schema_of(), **OPTIONS)
    model.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras")
    assert copy.get_config() == model.get_config()
    np.testing.assert_array_equal(copy(X), model(X))
    again = type(model).from_config(model.get_config())
    for table in ("user", "genre"):
        np.testing.assert_array_equal(again.embeddings.table(table), model.embeddings.table(table))


def test_options_made_while_a_model_is_loaded_are_the_same():
    """Objects that only live while they are serialized have addresses in common."""
    kept = [Options(**{name: value for name, value in OPTIONS.items() if name != "seed"}) for _ in range(2)]
    with ObjectSharingScope():
        kept += [Options(**kept[0].config()) for _ in range(20)]
        tables = [TableConfig("t", 3, 2, regularizer="l2", optimizer="sgd") for _ in range(20)]
    assert all(options == kept[0] for options in kept)
    assert all(table == tables[0] for table in tables)
    assert "shared_object_id" not in f"{kept}{tables}"


DIVISORS = {"sum": np.ones_like, "mean": np.asarray, "sqrtn": np.sqrt}


@pytest.mark.parametrize("combiner", DIVISORS)
def test_combiner(make, combiner):
    model = make(schema_of(), combiner={"genre": combiner})
    table, ids = model.embeddings.table("genre"), X["genres"]
    count = (ids > 0).sum(1, keepdims=True)
    sums = (table[ids] * (ids > 0)[..., None]).sum(1)
    expected = np.divide(
        sums, DIVISORS[combiner](count.astype("float64")), where=count > 0, out=np.zeros_like(sums)
    )
    found = model.embeddings({name: X[name] for name in ("user", "genres", "favourite")})["genres"]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_initializers_by_table(make):
    model = make(schema_of(), **OPTIONS)
    assert (model.embeddings.table("genre") == 1).all()
    assert 0.25 < model.embeddings.table("user").std() < 0.35


def test_embeddings_regularizer_is_the_mean_penalty_per_row():
    """Against the loss without it, in closed form; evaluation leaves it out."""
    plain, model = (
        MODELS["DCN"](schema_of(), embeddings_regularizer=r) for r in (None, keras.regularizers.L2(0.5))
    )
    model.set_weights(plain.get_weights())
    penalty = 0.0
    for vectors in model.embeddings({name: X[name] for name in ("user", "genres", "favourite")}).values():
        penalty += 0.5 * (np.asarray(vectors, "float64") ** 2).sum() / 64
    losses = []
    for network in (plain, model):
        network.compile(kr.optimizers.SGD(0.0), loss="binary_crossentropy")
        losses.append(network.fit(X, Y, batch_size=64, verbose=0).history["loss"][0])
        losses.append(network.evaluate(X, Y, verbose=0))
    assert losses[2] == pytest.approx(losses[0] + penalty, rel=1e-5)
    assert losses[1] == pytest.approx(losses[3], rel=1e-6) == pytest.approx(losses[0], rel=1e-6)


def test_an_integer_is_the_width_of_one_layer():
    assert kr.models.DCN(schema_of(), deep_units=8).deep_units == (8,)
    assert kr.models.DLRM(schema_of(), 4, bottom_units=4, top_units=np.int64(8)).top_units == (8,)
    assert kr.layers.MLP(8).units == (8,)
    for units in ("64", 0, 1.5, [8, True], [], None):
        with pytest.raises(ValueError, match="units must be an integer or a list of integers >= 1; got"):
            kr.models.WideAndDeep(schema_of(), deep_units=units)


def test_bad_options():
    with pytest.raises(ValueError, match="combiner must be one of .*; got 'max'"):
        kr.models.DCN(schema_of(), combiner={"genres": "max"})
    with pytest.raises(ValueError, match="combiner: no column or table 'genre_s' in the schema; available:"):
        kr.models.DCN(schema_of(), combiner={"genre_s": "sum"})
    with pytest.raises(ValueError, match="seed must be an integer >= 0; got -1"):
        kr.models.DCN(schema_of(), seed=-1)
    lists = [
        Column(name, "int32", (Tag.CATEGORICAL, Tag.LIST), cardinality=9, table="t", hotness=Hotness(0, 1.5, 3))
        for name in ("seen", "bought")
    ]
    schema = Schema([*lists, schema_of()["clicked"]])
    with pytest.raises(SchemaError, match="'seen' and 'bought' share table 't', but differ in combiner"):
        kr.models.DCN(schema, combiner={"seen": "sum", "bought": "mean"})


# ---- seeds ---------------------------------------------------------------------------------------------------
def table_of(**more):
    return kr.models.DCN(schema_of(), 4, **more).embeddings.table("user")


def test_tables_follow_set_random_seed():
    keras.utils.set_random_seed(1)
    one, given = table_of(), table_of(seed=5)
    keras.utils.set_random_seed(2)
    two = table_of()
    np.testing.assert_array_equal(table_of(seed=5), given)
    keras.utils.set_random_seed(1)
    np.testing.assert_array_equal(table_of(), one)
    assert not np.array_equal(one, two)
    keras.utils.set_random_seed(2)
    config = kr.models.DCN(schema_of(), 4).get_config()
    keras.utils.set_random_seed(3)
    np.testing.assert_array_equal(kr.models.DCN.from_config(config).embeddings.table("user"), two)
