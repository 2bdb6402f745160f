"""Checkpoints of tables: what is saved under one stacking is restored under another, whole or not at all."""

import json

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

import kerasrec as kr
from kerasrec.tables import row_io
from kerasrec.tables.initializers import initial_values
from kerasrec.tables.variables import TableVariable, table_variables

ROWS = {"item": 10, "user": 7, "wide/one": 5}
WIDTHS = {"item": 4, "user": 4, "wide/one": 8}
IDS = {"item": np.array([1, 9, 1]), "user": np.array([6, 0, 0]), "wide/one": np.array([2, 4, 3])}
OPTIMIZERS = {
    "sgd": lambda: kr.optimizers.SGD(0.1),
    "momentum": lambda: kr.optimizers.SGD(0.1, momentum=0.9),
    "adagrad": lambda: kr.optimizers.Adagrad(0.1),
    "rowwise": lambda: kr.optimizers.RowwiseAdagrad(0.1),
    "adam": lambda: kr.optimizers.Adam(0.1, amsgrad=True),
    "ftrl": lambda: kr.optimizers.Ftrl(0.1),
    "multi": lambda: kr.optimizers.Multi(
        {"tables": kr.optimizers.RowwiseAdagrad(0.1), "dense": kr.optimizers.Adam(0.1)}
    ),
}


@pytest.fixture(autouse=True, scope="module")
def small_blocks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_io, "BLOCK_BYTES", 64)
        yield


class Model(keras.Model):
    """Tables stacked in the order of `names`, under weights that do not train."""

    def __init__(self, names, seed=0, own=None, sizes=ROWS):
        super().__init__()
        configs = {
            name: kr.TableConfig(name, sizes[name], WIDTHS[name], optimizer=own if name == "user" else None)
            for name in names
        }
        self.tables = kr.layers.DistributedEmbedding(
            {name: kr.FeatureConfig(name, table) for name, table in configs.items()}, seed=seed
        )
        self.inner = keras.layers.Dense(1, kernel_initializer="ones", trainable=False)

    def call(self, ids):
        out = self.tables(ids)
        return self.inner(keras.ops.concatenate([out[name] for name in sorted(out)], axis=-1))


def built(names=tuple(ROWS), optimizer=None, **options):
    model = Model(names, **options)
    if optimizer is not None:
        model.compile(optimizer, loss="mse", run_eagerly=True)
    model({name: IDS[name] for name in names})
    return model


def train(model, steps):
    for step in range(steps):
        model.train_on_batch(IDS, np.array([[1.0], [step], [2.0]]))


def state(model):
    """Every table's values and slots by name, gathered from the stacks in plain NumPy."""
    found = {}
    for variable in table_variables(model):
        optimizer = getattr(model, "optimizer", None)
        slots = optimizer.table_slots(variable) if optimizer and optimizer.built else {}
        for key, whole in {"": variable, **slots}.items():
            first = 0
            for table in variable.stack.tables:
                name = f"{table.name}/{key}" if key else table.name
                found[name] = np.array(whole)[first : first + table.vocabulary_size]
                first += table.vocabulary_size
    return found


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(other[name], values, err_msg=name)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("own", [None, "rowwise"])
def test_training_goes_on_under_another_stacking(tmp_path, name, own):
    def new(names, seed):
        return built(names, OPTIMIZERS[name](), own=own and OPTIMIZERS[own](), seed=seed)

    first, second = new(tuple(ROWS), 0), new(("wide/one", "user", "item"), 5)
    train(first, 3)
    kr.save_tables(first, tmp_path / "tables")
    kr.restore_tables(second, tmp_path / "tables")
    assert_equal(state(first), state(second))
    second.optimizer.iterations.assign(first.optimizer.iterations)  # Adam's bias correction counts steps
    for model in (first, second):
        train(model, 2)
    for key, values in state(first).items():
        np.testing.assert_allclose(state(second)[key], values, atol=1e-6, err_msg=key)


def test_files_are_safetensors_by_table(tmp_path):
    model = built(optimizer=kr.optimizers.Adam(0.1))
    train(model, 2)
    kr.save_tables(model, tmp_path / "tables")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tables"]
    facts = json.loads((tmp_path / "tables" / "manifest.json").read_text())
    (file,) = facts["tables"]["wide/one"]["files"]
    assert file["file"] == f"save-{facts['save']}/wide%2Fone.safetensors"
    assert facts["tables"]["wide/one"] == {
        "files": [file],
        "optimizer": "Adam",
        "arrays": {
            f"wide/one{slot}": {"shape": [5, 8], "dtype": "float32"} for slot in ("", "/momentum", "/velocity")
        },
    }
    read = {}
    for name in ROWS:
        read |= load_file(tmp_path / "tables" / facts["tables"][name]["files"][0]["file"])
    assert_equal(state(model), read)


@settings(max_examples=10, deadline=None)
@given(sizes=st.fixed_dictionaries({name: st.integers(1, 40) for name in ROWS}), order=st.permutations(list(ROWS)))
def test_any_sizes_and_order(tmp_path_factory, sizes, order):
    path = tmp_path_factory.mktemp("sizes") / "tables"
    first, second = Model(ROWS, sizes=sizes), Model(order, sizes=sizes, seed=1)
    for model in (first, second):
        model.tables.build()
    kr.save_tables(first, path)
    kr.restore_tables(second, path)
    assert_equal(state(first), state(second))


def test_tables_alone(tmp_path):
    """Nothing to restore into an uncompiled model's optimizer, nothing saved by one that was never trained."""
    trained = built(optimizer=kr.optimizers.Adagrad(0.1))
    train(trained, 1)
    kr.save_tables(trained, tmp_path / "trained")
    served = built(("user",), seed=3)
    kr.restore_tables(served, tmp_path / "trained")
    np.testing.assert_array_equal(served.tables.table("user"), trained.tables.table("user"))
    kr.save_tables(built(seed=4), tmp_path / "fresh")
    before = state(trained)
    kr.restore_tables(trained, tmp_path / "fresh")
    after = state(trained)
    np.testing.assert_array_equal(after["item"], initial_values(kr.TableConfig("item", 10, 4), 4))
    np.testing.assert_array_equal(after["item/accumulator"], before["item/accumulator"])


def test_other_optimizer(tmp_path):
    first = built(optimizer=kr.optimizers.Adagrad(0.1))
    train(first, 1)
    kr.save_tables(first, tmp_path / "tables")
    second = built(optimizer=kr.optimizers.Adam(0.1), seed=1)
    before = state(second)
    with pytest.raises(
        ValueError, match=r"'item' .* state of Adagrad, .*accumulator.* Adam keeps .*optimizer=False"
    ):
        kr.restore_tables(second, tmp_path / "tables")
    np.testing.assert_array_equal(second.tables.table("item"), before["item"])
    kr.restore_tables(second, tmp_path / "tables", optimizer=False)
    np.testing.assert_array_equal(second.tables.table("item"), first.tables.table("item"))
    rowwise = built(optimizer=kr.optimizers.RowwiseAdagrad(0.1))
    with pytest.raises(ValueError, match=r"RowwiseAdagrad keeps \{'item/accumulator': \(10, 1\)\}"):
        kr.restore_tables(rowwise, tmp_path / "tables")
    keras_own = built(optimizer=keras.optimizers.Adagrad(0.1))
    with pytest.raises(ValueError, match=r"state of Adagrad cannot .* kr.optimizers, or pass optimizer=False"):
        kr.save_tables(keras_own, tmp_path / "other")
    kr.save_tables(keras_own, tmp_path / "other", optimizer=False)


def test_restore_checks_all_before_it_changes_any(tmp_path):
    kr.save_tables(built(("item", "user")), tmp_path / "tables")
    model = built(seed=1)
    before = state(model)
    with pytest.raises(ValueError, match=r"no table 'wide/one' in .*; available: item, user"):
        kr.restore_tables(model, tmp_path / "tables")
    model = built(("item", "user"), seed=1, sizes={**ROWS, "user": 8})
    with pytest.raises(ValueError, match=r"table 'user' is \(7, 4\) in .*, but \(8, 4\) in the model"):
        kr.restore_tables(model, tmp_path / "tables")
    np.testing.assert_array_equal(model.tables.table("item"), before["item"])
    (file,) = tmp_path.glob("tables/save-*/user.safetensors")
    whole = file.read_bytes()
    model = built(("item", "user"), seed=1)
    for size in (len(whole) - 1, 100, 8, 3, 0):
        file.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"user.safetensors is damaged or cut short"):
            kr.restore_tables(model, tmp_path / "tables")
    for place in (len(whole) - 1, 100, 8, 3, 0):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ValueError, match=r"user.safetensors is damaged"):
            kr.restore_tables(model, tmp_path / "tables")
    kr.save_tables(built(("item", "user")), tmp_path / "others")
    (other,) = tmp_path.glob("others/save-*/user.safetensors")
    file.write_bytes(other.read_bytes())
    with pytest.raises(ValueError, match=r"user.safetensors is of another save: expected"):
        kr.restore_tables(model, tmp_path / "tables")
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"user.safetensors"):
        kr.restore_tables(model, tmp_path / "tables")
    np.testing.assert_array_equal(model.tables.table("item"), before["item"])


def test_what_stands_there(tmp_path):
    model, path = built(), tmp_path / "tables"
    with pytest.raises(FileNotFoundError, match="is not a checkpoint: there is no"):
        kr.restore_tables(model, path)
    kr.save_tables(model, path)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        kr.save_tables(model, path)
    kr.save_tables(built(seed=1), path, overwrite=True)
    kr.restore_tables(model, path)
    assert_equal(state(model), state(built(seed=1)))
    assert len(list(path.iterdir())) == 2  # the first save's files are gone
    facts = json.loads((path / "manifest.json").read_text())
    for content, message in (
        (json.dumps({**facts, "format": 2}), "has format 2, but kerasrec .* reads format 1"),
        ("{}", "is not a checkpoint's manifest"),
        ("[1", "is not a checkpoint's manifest"),
    ):
        (path / "manifest.json").write_text(content)
        with pytest.raises(ValueError, match=message):
            kr.restore_tables(model, path)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="exists and is not a checkpoint"):
        kr.save_tables(model, tmp_path / "own", overwrite=True)


def test_models_that_cannot_be_saved(tmp_path):
    with pytest.raises(ValueError, match="has no tables"):
        kr.save_tables(Model(("item",)), tmp_path / "tables")
    ids = keras.Input((), dtype="int32", name="item")
    feature = {"item": kr.FeatureConfig("item", kr.TableConfig("item", 10, 4))}
    twice = [kr.layers.DistributedEmbedding(feature, seed=seed)({"item": ids})["item"] for seed in range(2)]
    with pytest.raises(ValueError, match="two layers of .* have a table 'item'"):
        kr.save_tables(keras.Model({"item": ids}, twice), tmp_path / "tables")
    assert not list(tmp_path.iterdir())


def whole_model(optimizer, seed=0, units=1, names=tuple(ROWS), own=None):
    """With all that `kr.parallel.save` keeps: moving means, a seed, weights of the dense part."""
    keras.utils.set_random_seed(seed)
    ids = {name: keras.Input((), dtype="int32", name=name.replace("/", "_")) for name in ROWS}
    features = {
        name: kr.FeatureConfig(
            name, kr.TableConfig(name, ROWS[name], WIDTHS[name], optimizer=own if name == "user" else None)
        )
        for name in names
    }
    vectors = kr.layers.DistributedEmbedding(features, seed=seed)(ids)
    x = keras.layers.Concatenate()([vectors[name] for name in sorted(vectors)])
    x = keras.layers.BatchNormalization()(keras.layers.Dropout(0.5, seed=seed)(x))
    model = keras.Model(ids, keras.layers.Dense(units)(x))
    model.compile(optimizer, loss="mse")
    return model


@pytest.mark.parametrize("name", ["adam", "ftrl", "multi", "scaled"])
def test_all_goes_on_as_if_never_interrupted(tmp_path, name):
    def new(seed):
        scaled = keras.optimizers.LossScaleOptimizer(kr.optimizers.Adam(0.1), initial_scale=8.0)
        return whole_model(scaled if name == "scaled" else OPTIMIZERS[name](), seed)

    first, second = new(0), new(5)
    train(first, 3)
    kr.parallel.save(first, tmp_path / "all")
    with pytest.warns(
        DeprecationWarning, match=r"kr.parallel.restore\(path, model\) is kr.parallel.restore\(model, path"
    ):
        kr.parallel.restore(tmp_path / "all", second)
    for model in (first, second):
        train(model, 2)
    for one, other in zip(first.variables, second.variables, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=one.path)
    for one, other in zip(first.optimizer.variables, second.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=one.path)
    tables = whole_model(OPTIMIZERS["adam"](), seed=6)
    kr.restore_tables(tables, tmp_path / "all", optimizer=False)
    kr.save_tables(tables, tmp_path / "tables")
    with pytest.raises(ValueError, match="has tables alone; read it with kr.restore_tables"):
        kr.parallel.restore(first, tmp_path / "tables")


def test_each_optimizer_gets_its_own_learning_rate_back(tmp_path):
    """Whichever of their tables comes first."""

    def new(names, *rates):
        tables, dense, own = map(kr.optimizers.Adagrad, rates)
        return whole_model(kr.optimizers.Multi({"tables": tables, "dense": dense}), names=names, own=own)

    first, second = new(tuple(ROWS), 0.1, 0.2, 0.3), new(("user", "wide/one", "item"), 0.4, 0.5, 0.6)
    train(first, 1)
    kr.parallel.save(first, tmp_path / "all")
    kr.parallel.restore(second, tmp_path / "all")
    rates = {
        variable.stack.tables[0].name if isinstance(variable, TableVariable) else "dense": round(
            float(second.optimizer.optimizer_of(variable).learning_rate), 3
        )
        for variable in second.trainable_variables
    }
    assert rates == {"item": 0.1, "wide/one": 0.1, "user": 0.3, "dense": 0.2}


def test_another_dense_part_is_refused(tmp_path):
    model = whole_model(kr.optimizers.Adam(0.1))
    train(model, 1)
    kr.parallel.save(model, tmp_path / "all")
    other = whole_model(kr.optimizers.Adam(0.1), seed=1, units=2)
    before = other.get_weights()
    with pytest.raises(
        ValueError, match=r"weights/\d+ \(.*kernel\) is \(16, 1\) in .*, but \(16, 2\) in the model"
    ):
        kr.parallel.restore(other, tmp_path / "all")
    with pytest.raises(ValueError, match=r"has 6 dense weights, but .* has 2"):
        kr.parallel.restore(built(optimizer=kr.optimizers.Adam(0.1)), tmp_path / "all")
    for one, values in zip(other.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, values)
