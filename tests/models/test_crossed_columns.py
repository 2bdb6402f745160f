"""The crossed columns of WideAndDeep: what they memorise, with lists, several targets, hashed."""

import itertools

import keras
import numpy as np
import pytest
from formula_parts import X, check, dense, embedded, first_order, logit, spread
from formula_parts import continuous as numbers
from model_cases import CLICKED, RATING, schema_of

import kerasrec as kr
from kerasrec.schema import Column, Schema, SchemaError

CARDINALITIES = {"user": 30, "genres": 12, "favourite": 12}


def ids_of(row, column):
    ids = X[column][row]
    return [int(ids)] if X[column].ndim == 1 else [int(i) for i in ids if i]


def crossed(layer, names):
    """The sum of a cross's weights, for each row, where every combination has one."""
    table = np.float64(layer.tables.table("_x_".join(names) + "_cross"))
    out = np.zeros((len(X["user"]), table.shape[1]))
    for row in range(len(out)):
        combinations = list(itertools.product(*(ids_of(row, name) for name in names)))
        sizes = [CARDINALITIES[name] for name in names]
        numbers = [1 + np.ravel_multi_index(each, sizes) for each in combinations]
        out[row] = table[numbers].mean(0) if numbers else 0
    return out


def test_equals_its_formula():
    crosses = [["user", "favourite"], ["favourite", "genres"], ["genres", "user", "favourite"]]
    model = spread(kr.models.WideAndDeep(schema_of(), 4, [16, 8], crosses=crosses))
    deep = logit(model, dense(model.deep.get_weights(), np.column_stack([numbers(), *embedded(model.embeddings)])))
    check(model, first_order(model.wide) + sum(crossed(model.crosses, names) for names in crosses) + deep)


def test_of_several_targets_each_has_weights_of_its_own():
    schema = Schema([*schema_of(), RATING])
    one = spread(kr.models.WideAndDeep(schema, 4, [8], crosses=[["user", "favourite"]]))
    before = {name: np.asarray(y) for name, y in one(X).items()}
    table = one.crosses.tables.variables[0]
    assert table.shape[1] == 2
    table.assign(np.asarray(table) + np.array([0.0, 1.0]))  # the second target's
    after = one(X)
    np.testing.assert_allclose(after["rating"], before["rating"] + 1, atol=1e-5)
    np.testing.assert_allclose(after["clicked"], before["clicked"], atol=1e-6)


@pytest.mark.parametrize("buckets", [1_000_000, 400])
def test_the_wide_part_learns_an_effect_of_pairs_by_its_crosses_alone(buckets):
    """Clicked if city and genre are both even or both odd: neither says anything by itself."""
    rng = np.random.default_rng(0)
    x = {"city": rng.integers(0, 20, 4000), "genre": rng.integers(0, 30, 4000)}
    y = ((x["city"] + x["genre"]) % 2).astype("float32")
    columns = [Column(name, "int64", ("categorical",), cardinality=n) for name, n in (("city", 20), ("genre", 30))]
    aucs = []
    for crosses in ([], [["city", "genre"]]):
        keras.utils.set_random_seed(0)
        model = kr.models.WideAndDeep(
            Schema([*columns, CLICKED]), 4, [4], crosses=crosses, cross_buckets=buckets, seed=0
        )
        model.logit.set_weights([np.zeros_like(w) for w in model.logit.get_weights()])
        model.logit.trainable = model.deep.trainable = False  # the wide part alone
        model.compile(kr.optimizers.Adagrad(0.5))
        model.fit(x, y, batch_size=200, epochs=3, verbose=0)
        aucs.append(model.evaluate(x, y, batch_size=4000, return_dict=True, verbose=0)["auc"])
    assert aucs[0] < 0.6
    assert aucs[1] > (0.99 if buckets > 600 else 0.75)


def test_lists_are_combined_as_the_model_combines_them():
    lists = Column("tags", "int32", ("categorical", "list"), cardinality=5)
    schema = Schema([*schema_of(), lists])
    crosses = [["genres", "user"]]
    model = kr.models.WideAndDeep(schema_of(), crosses=crosses, combiner={"genre": "sum"})
    assert model.crosses.tables.features["genres_x_user"].table.combiner == "sum"
    with pytest.raises(SchemaError, match="the lists of one cross must have one combiner; got .*sum.*mean"):
        kr.models.WideAndDeep(schema, crosses=[["genres", "tags"]], combiner={"genre": "sum"})


def test_config_and_files_of_models_without_crosses():
    model = kr.models.WideAndDeep(schema_of(), 4, [8], crosses=[("user", "genres")], cross_buckets=100)
    copy = kr.models.WideAndDeep.from_config(model.get_config())
    assert copy.get_config() == model.get_config()
    assert copy.crosses.crossed_ids[0].cardinality == 101
    old = {k: v for k, v in kr.models.WideAndDeep(schema_of(), 4, [8]).get_config().items() if "cross" not in k}
    assert kr.models.WideAndDeep.from_config(old).crosses is None


def test_columns_of_any_name():
    names = ["x/y", "user id", "größe", "a.b"]
    columns = [Column(name, "int32", ("categorical",), cardinality=5) for name in names]
    model = kr.models.WideAndDeep(Schema([*columns, CLICKED]), 4, [4], crosses=[names])
    assert model(dict.fromkeys(names, np.arange(3))).shape == (3, 1)
    assert list(model.crosses.tables.features) == ["x/y_x_user id_x_größe_x_a.b"]


def test_bad_crosses_are_named():
    for crosses, message in [
        ("user", r"crosses must be a list of lists of columns, such as \[\['city', 'genre'\]\]; got 'user'"),
        (("user", "genres"), "crosses must be a list of lists of columns"),
        ([["user", "age"]], "no categorical column 'age' in the schema; available: user, genres, favourite"),
        ([["user"]], r"must name two or more different columns; got \['user'\]"),
        ([["user", "user"]], "must name two or more different columns"),
        ([["user", "genres"], ["genres", "user"]], r"\['genres', 'user'\] is given twice"),
    ]:
        with pytest.raises(ValueError, match=message):
            kr.models.WideAndDeep(schema_of(), crosses=crosses)
    with pytest.raises(ValueError, match="cross_buckets must be an integer >= 1; got 0"):
        kr.models.WideAndDeep(schema_of(), cross_buckets=0)
