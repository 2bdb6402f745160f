"""Loaders made of a loader: `take`, `map`; `peek`, and the hooks that Keras calls."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from device_engines import by_numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from loader_data import CARDINALITY, make_table, rows_of, threads, write

import kerasrec as kr
from kerasrec.data import Loader
from kerasrec.data.decode import arrow

ROWS = 1000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("views") / "data", make_table(ROWS), files=3)


def all_rows(batches):
    return [rows_of(*batch) for batch in batches]


# ---- take --------------------------------------------------------------------------------------------------
@settings(max_examples=40, deadline=None)
@given(
    batch_size=st.integers(3, 333),
    pool_rows=st.integers(1, 1200),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
    ranks=st.integers(1, 3),
    taken=st.integers(1, 30),
    data=st.data(),
)
def test_taken_are_the_first_batches_of_each_pass(
    folder, batch_size, pool_rows, shuffle, drop_last, ranks, taken, data
):
    how = {"shuffle": shuffle, "drop_last": drop_last, "pool_rows": pool_rows, "seed": 3}
    shares = [Loader(folder, batch_size, **how, rank=rank, ranks=ranks) for rank in range(ranks)]
    whole = shares[data.draw(st.integers(0, ranks - 1))]
    some = whole.take(taken)
    for _ in range(2):
        expected, found = all_rows(whole)[:taken], all_rows(some)
        assert found == expected
        assert len(some) == len(found) == min(taken, len(whole))
    assert (some.epoch, whole.epoch) == (2, 2)
    assert len(found[-1]) % batch_size == some.partial_batch_size
    sizes = {len(batch) for share in shares for batch in all_rows(share.take(taken))}
    assert (sizes == {batch_size}) == some._stream.split.full
    assert len({len(share.take(taken)) for share in shares}) == 1


def test_taken_of_taken_and_of_restored(folder):
    loader = Loader(folder, 100, shuffle=True)
    assert [len(loader.take(7).take(n)) for n in (3, 9)] == [3, 7]
    whole = all_rows(Loader(folder, 100, shuffle=True))
    next(iter(loader))
    state = loader.state()
    assert state["batches"] == 1
    loader.restore(state)
    assert all_rows(loader.take(3)) == whole[1:3]  # what is left of the first three
    assert loader.state() == state
    with pytest.raises(ValueError, match=r"take\(1\): the next pass continues at batch 1, as restored"):
        loader.take(1)
    with pytest.raises(ValueError, match="batches must be an integer >= 1; got 0"):
        loader.take(0)


def test_no_more_is_read_than_the_pools_of_what_is_taken(folder, monkeypatch):
    decoded, decode = [], arrow._decode
    monkeypatch.setattr(arrow, "_decode", lambda *a: decoded.append(decode(*a)) or decoded[-1])
    assert len(list(Loader(folder, 50, shuffle=True, pool_rows=100).take(2))) == 2
    assert 100 <= sum(table.num_rows for table in decoded) <= 400  # a pool and one ahead, of up to 200 rows
    assert not threads()


@pytest.mark.parametrize("as_data", [Loader.get_tf_dataset, Loader.tensorflow, lambda loader: loader])
def test_fit_takes_what_is_taken(folder, as_data):
    inputs = keras.Input((), name="age")
    model = keras.Model({"age": inputs}, keras.layers.Dense(1)(inputs[:, None]))
    model.compile("sgd", "mse")
    loader = Loader(folder, 64, columns=["age"])
    model.fit(as_data(loader.take(5)), epochs=2, verbose=0)
    assert int(model.optimizer.iterations) == 10
    assert model.predict(as_data(loader.take(16)), verbose=0).shape == (ROWS, 1)
    assert loader.epoch == 0


# ---- peek --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_peek_is_the_next_batch_and_no_pass(folder, shuffle):
    loader = Loader(folder, 64, shuffle=shuffle)
    first = rows_of(*loader.peek())
    assert first == rows_of(*loader.peek()) == rows_of(*next(iter(loader)))
    assert (loader.epoch, loader.state()["batches"]) == (1, 1)
    assert not threads()
    passing = iter(loader)
    second = rows_of(*next(passing))
    loader.peek()
    assert loader.state()["epoch"] == 1
    assert loader.state()["batches"] == 1
    loader.restore(loader.state())
    assert rows_of(*loader.peek()) == rows_of(*next(passing))
    assert shuffle == (second != first)


# ---- map ---------------------------------------------------------------------------------------------------
def more(features, target):
    """Another column, one changed in place, one less, another target, and weights."""
    features["age"] *= 2
    del features["user"]
    both = np.stack([features["age"], features["age"] + 1], axis=1)
    return {**features, "both": both.T.copy().T, "rows": features["row"] % 7}, target > 0.5, features["age"] ** 2


def assert_more(batch, expected):
    (features, target, weight), (originals, label) = batch, expected
    age = np.asarray(originals["age"]) * 2
    assert set(features) == {"row", "age", "tags", "both", "rows"}
    assert np.array_equal(features["age"], age)
    assert np.array_equal(features["both"], np.stack([age, age + 1], axis=1))
    assert np.array_equal(features["rows"], originals["row"] % 7)
    assert np.array_equal(target, label > 0.5)
    assert np.array_equal(weight, age**2)
    lists = [each["tags"] for each in (features, originals)]
    if isinstance(lists[0], tf.RaggedTensor):
        lists = [each.to_list() for each in lists]
    for one, other in zip(*lists, strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("lists", ["ragged", "padded", "offsets"])
@pytest.mark.parametrize("shuffle", [False, True])
def test_every_face_gives_what_a_function_makes(folder, lists, shuffle):
    arguments = {"batch_size": 96, "shuffle": shuffle, "lists": lists, "pool_rows": 300}
    expected, loader = list(Loader(folder, **arguments)), Loader(folder, **arguments)
    for as_data in (iter, Loader.get_tf_dataset, Loader.tensorflow):
        made = loader.map(more)
        batches = list(as_data(made))
        assert len(batches) == len(made) == len(expected)
        for batch, before in zip(batches, expected, strict=True):
            assert_more(batch, before)
        assert made.epoch == 1
    assert loader.epoch == 0
    assert_more(loader.map(more).peek(), expected[0])
    spec = loader.map(more).get_tf_dataset().element_spec
    assert spec[0]["both"] == tf.TensorSpec((None, 2), tf.float32)
    assert spec[1] == tf.TensorSpec((None, 1), tf.bool)
    assert len(list(loader.map(more).take(2).get_tf_dataset())) == 2
    assert len(list(loader.take(2).map(more))) == 2


def test_functions_follow_each_other(folder):
    loader = Loader(folder, 100, columns=["row"])
    twice = loader.map(lambda x, y: ({"row": x["row"] * 2}, y, x["row"])).map(
        lambda x, y, weight: ({"row": x["row"] + weight}, y)
    )
    for batches in (twice, twice.get_tf_dataset()):
        assert np.concatenate([np.asarray(x["row"]) for x, _ in batches]).tolist() == list(range(0, 3 * ROWS, 3))
    without = Loader(folder, 100, columns=["row"], targets=[]).map(lambda x: x["row"])
    assert [len(batch) for batch in without] == [len(batch) for batch in without.get_tf_dataset()] == [100] * 10


def test_a_function_may_leave_rows_out_and_make_lists(folder):
    """Negatives thinned out; a list column of the function's own, and one that it changes."""

    def thin(features, target):
        kept = (target[:, 0] == 1) | (features["row"] % 2 == 0)
        values, offsets = features["tags"]
        rows = np.repeat(np.arange(len(kept)), np.diff(offsets))
        keep = kept[rows]
        ends = np.concatenate([[0], np.cumsum(np.diff(offsets)[kept])])
        return {"row": features["row"][kept], "tags": (values[keep] + 1, ends)}, target[kept]

    expected = {row: [tag + 1 for tag in tags] for row, _, _, tags, y in _flat(folder) if y == 1 or row % 2 == 0}
    loader = Loader(folder, 100).map(thin)
    for batches in (loader, loader.get_tf_dataset(), loader.tensorflow()):
        found = {}
        for features, target in batches:
            assert len(target) == len(features["row"])
            found.update(zip(np.asarray(features["row"]).tolist(), features["tags"].to_list(), strict=True))
        assert found == expected
    assert 0 < len(expected) < ROWS


def _flat(folder):
    return [row for batch in Loader(folder, 300) for row in rows_of(*batch)]


@pytest.mark.parametrize("engine", [Loader, by_numpy])
def test_models_fit_what_a_function_makes(folder, engine):
    """As with the loader that has the weights in a column: `fit`, `evaluate` and `predict` of `kr.models`."""
    weigh = lambda x, y: (x, y, (1 + x["age"] ** 2).astype("float32"))  # noqa: E731
    loader = engine(folder, 64, lists="padded", columns=["user", "age", "tags"]).map(weigh)
    model = kr.models.DLRM(loader.schema, embedding_dim=4, bottom_units=[4], top_units=[4])
    model.compile(kr.optimizers.Adagrad(0.1), "binary_crossentropy")
    model.fit(loader, epochs=2, verbose=0)
    p = model.predict(loader, verbose=0)[:, 0].astype("float64")
    table = make_table(ROWS)
    right = np.where(table["clicked"].to_numpy() == 1, p, 1 - p)
    loss = -((1 + table["age"].to_numpy() ** 2) * np.log(right)).mean()
    assert model.evaluate(loader, verbose=0) == pytest.approx(loss, rel=1e-5)
    assert loader.schema["user"].cardinality == CARDINALITY


def test_what_a_function_may_not_return(folder):
    loader = Loader(folder, 100)

    def nothing(features, target):
        pass

    with pytest.raises(TypeError, match=r"map\(nothing\) must return features, .*; got NoneType"):
        list(loader.map(nothing))
    with pytest.raises(TypeError, match=r"got int"):
        list(loader.map(lambda x, y: ({**x, "one": 1}, y)))
    with pytest.raises(TypeError, match=r"map takes a function of \(features, target\); got 'age'"):
        loader.map("age")
    with pytest.raises(ZeroDivisionError):
        list(loader.map(lambda x, y: 1 / 0))
    assert not threads()

    def fickle(features, target):
        return (features if features["row"][0] == 0 else {"row": features["row"]}), target

    with pytest.raises((ValueError, tf.errors.OpError), match="structure"):
        list(loader.map(fickle).get_tf_dataset())
    assert not threads()


# ---- Keras's hooks -----------------------------------------------------------------------------------------
def test_on_epoch_end_is_called_as_of_keras_own_data(folder):
    calls = {"ours": [], "tensorflow": [], "keras": []}

    class Ours(Loader):
        said = "ours"

        def on_epoch_begin(self):
            calls[self.said].append("begin")

        def on_epoch_end(self):
            calls[self.said].append("end")

    class Theirs(keras.utils.PyDataset):
        def __len__(self):
            return 10

        def __getitem__(self, index):
            return {"age": np.zeros(100, "float32")}, np.zeros((100, 1), "float32")

        def on_epoch_begin(self):
            calls["keras"].append("begin")

        def on_epoch_end(self):
            calls["keras"].append("end")

    inputs = keras.Input((), name="age")
    model = keras.Model({"age": inputs}, keras.layers.Dense(1)(inputs[:, None]))
    model.compile("sgd", "mse")
    loader = Ours(folder, 100, columns=["age"])
    model.fit(loader, epochs=3, verbose=0)
    loader.said = "tensorflow"
    model.fit(loader.tensorflow(), epochs=3, verbose=0)
    model.fit(Theirs(), epochs=3, verbose=0)
    assert calls["ours"] == calls["tensorflow"] == calls["keras"]
    assert calls["ours"].count("begin") == 3
    assert loader.epoch == 6
