"""A loader goes on at the exact batch: the rest of a pass is what a pass never interrupted would have given."""

import gc
import json
import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loader_data import make_table, rows_of, write

from kerasrec.data import Loader
from kerasrec.data.decode import arrow

ROWS = 1000
FEATURES = ["user", "age"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("resume") / "data", make_table(ROWS), files=3)


def through_json(state):
    return json.loads(json.dumps(state))


@settings(max_examples=40, deadline=None)
@given(
    batch_size=st.integers(3, 400),
    pool_rows=st.integers(1, 1200),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
    lists=st.sampled_from(["ragged", "padded"]),
    ranks=st.integers(1, 2),
    epoch=st.integers(0, 2),
    data=st.data(),
)
def test_the_rest_is_what_it_would_have_been(
    folder, batch_size, pool_rows, shuffle, drop_last, lists, ranks, epoch, data
):
    how = {"shuffle": shuffle, "drop_last": drop_last, "lists": lists, "pool_rows": pool_rows, "seed": 3}
    make = lambda: Loader(folder, batch_size, **how, rank=ranks - 1, ranks=ranks)  # noqa: E731
    whole = make()
    whole.epoch = epoch
    first, second = ([rows_of(*batch) for batch in whole] for _ in range(2))
    cut = data.draw(st.integers(0, len(whole)))
    stopped = make()
    stopped.epoch = epoch
    for _, _batch in zip(range(cut), stopped, strict=False):
        pass
    resumed = make()
    resumed.restore(through_json(stopped.state()))
    expected = first[cut:] if cut < len(whole) else second
    assert [rows_of(*batch) for batch in resumed] == expected
    assert resumed.state()["batches"] == 0
    if cut < len(whole):
        assert [rows_of(*batch) for batch in resumed] == second


def test_a_pass_is_stopped_twice(folder):
    make = lambda: Loader(folder, 90, shuffle=True, pool_rows=250)  # noqa: E731
    whole = [rows_of(*batch) for batch in make()]
    got, state = [], make().state()
    for taken in (2, 3, 4):
        loader = make()
        loader.restore(state)
        got += [rows_of(*batch) for _, batch in zip(range(taken), loader, strict=False)]
        state = loader.state()
    assert got == whole[:9]
    assert (state["epoch"], state["batches"]) == (0, 9)


def test_what_was_used_up_is_not_decoded(folder, monkeypatch):
    loader = Loader(folder, 100, shuffle=True, pool_rows=100)
    assert len(list(zip(range(7), loader, strict=False))) == 7
    state, read = loader.state(), []
    fresh = Loader(folder, 100, shuffle=True, pool_rows=100)
    real = arrow.read
    engine = fresh._stream.engine
    monkeypatch.setattr(
        engine,
        "read",
        lambda groups, *how: read.extend(group.rows for group in groups) or real(groups, *how),
        raising=False,
    )
    fresh.restore(state)
    assert sum(len(target) for _, target in fresh) == 300
    assert 300 <= sum(read) < 500


def test_the_number_of_ranks_changes_between_epochs_only(folder):
    loader = Loader(folder, 100, rank=0, ranks=2)
    passing = iter(loader)
    next(passing)
    with pytest.raises(ValueError, match="ranks=2 in the middle of an epoch, this loader has ranks=3"):
        Loader(folder, 100, rank=0, ranks=3).restore(loader.state())
    list(passing)
    other = Loader(folder, 100, rank=0, ranks=3)
    other.restore(loader.state())
    assert other.epoch == 1


@pytest.mark.parametrize(
    "other", [{"seed": 1}, {"shuffle": False}, {"batch_size": 50}, {"pool_rows": 99}, {"drop_last": True}]
)
def test_states_of_other_loaders_are_refused(folder, other):
    how = {"batch_size": 100, "shuffle": True, "seed": 0, "pool_rows": 100, "drop_last": False}
    state = Loader(folder, **how).state()
    (name,) = other
    with pytest.raises(ValueError, match=f"{name}={how[name]!r}; this one has {name}={other[name]!r}"):
        Loader(folder, **(how | other)).restore(state)


def test_states_of_other_data_are_refused(folder, tmp_path):
    state = Loader(folder, 100).state()
    fewer = write(tmp_path / "fewer", make_table(ROWS - 1), files=3)
    with pytest.raises(ValueError, match="rows=1000; this one has rows=999"):
        Loader(fewer, 100).restore(state)
    pieces = write(tmp_path / "pieces", make_table(ROWS), files=3, row_group_rows=99)
    with pytest.raises(ValueError, match="data="):
        Loader(pieces, 100).restore(state)
    with pytest.raises(ValueError, match="it has no 'version'"):
        Loader(folder, 100).restore({})


def test_a_state_has_a_version(folder):
    loader = Loader(folder, 100)
    state = loader.state()
    assert state["version"] == 1
    with pytest.raises(ValueError, match="the state has version=2; this kerasrec reads version 1"):
        loader.restore({**state, "version": 2})


@pytest.mark.parametrize("batches_of", [iter, Loader.get_tf_dataset])
def test_an_epoch_set_after_restore_is_whole(folder, batches_of):
    """What `restore` leaves out, it leaves out of its own epoch; and a pass of any other ends it."""
    make = lambda: Loader(folder, 100, shuffle=True)  # noqa: E731
    loader, whole = make(), make()
    epochs = [[rows_of(*batch) for batch in whole] for _ in range(3)]
    loader.epoch = 1
    passing = iter(loader)
    for _ in range(4):
        next(passing)
    state = loader.state()
    assert (state["epoch"], state["batches"]) == (1, 4)
    for epoch in (0, 2):
        loader.restore(state)
        loader.epoch = epoch
        assert loader.state()["batches"] == 0
        assert [rows_of(*batch) for batch in batches_of(loader)] == epochs[epoch]
        loader.epoch = 1
        assert [rows_of(*batch) for batch in batches_of(loader)] == epochs[1]
    loader.restore(state)
    loader.epoch = 1  # where it is
    assert [rows_of(*batch) for batch in batches_of(loader)] == epochs[1][4:]


def model():
    keras.utils.set_random_seed(1)
    inputs = {"user": keras.Input((), dtype="int32", name="user"), "age": keras.Input((), name="age")}
    joined = keras.layers.Concatenate()([keras.layers.Embedding(50, 4)(inputs["user"]), inputs["age"][:, None]])
    made = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(joined))
    made.compile("adam", "binary_crossentropy")
    return made


class StopAt(keras.callbacks.Callback):
    """Saves model and loader after some batch, and ends the training a few batches later, as a failure would."""

    def __init__(self, loader, batch, folder):
        super().__init__()
        self.loader, self.batch, self.folder = loader, batch, Path(folder)

    def on_train_batch_end(self, batch, logs=None):
        if self.loader.epoch == 2 and batch == self.batch:
            self.model.save(self.folder / "model.keras")
            (self.folder / "loader.json").write_text(json.dumps(self.loader.state(batch + 1)))
        if self.loader.epoch == 2 and batch == self.batch + 2:
            self.model.stop_training = True


@pytest.mark.parametrize("size", [100, 64])  # batches that come out even, and not
def test_training_that_was_interrupted_ends_as_if_it_had_not_been(folder, size):
    make = lambda: Loader(folder, size, shuffle=True, columns=FEATURES, pool_rows=300)  # noqa: E731
    whole = model()
    whole.fit(make(), epochs=3, verbose=0)
    with tempfile.TemporaryDirectory() as place:
        train = make()
        model().fit(train, epochs=3, verbose=0, callbacks=[StopAt(train, 4, place)])
        resumed = keras.models.load_model(Path(place) / "model.keras")
        train = make()
        state = json.loads((Path(place) / "loader.json").read_text())
        train.restore(state)
        epoch, left = state["epoch"], len(train) - state["batches"]
        resumed.fit(train, initial_epoch=epoch, epochs=epoch + 1, steps_per_epoch=left, verbose=0)
        resumed.fit(train, initial_epoch=epoch + 1, epochs=3, verbose=0)
    assert int(resumed.optimizer.iterations) == int(whole.optimizer.iterations) == 3 * len(train)
    for ours, theirs in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        assert np.array_equal(ours, theirs)
    gc.collect()  # with the model that was stopped goes the pass that it had open


def test_batches_of_no_pass(folder):
    loader = Loader(folder, 100)
    with pytest.raises(ValueError, match="no pass has been started yet"):
        loader.state(1)
    next(iter(loader))
    with pytest.raises(ValueError, match="at most 10, the batches of the pass; got 11"):
        loader.state(11)
    assert loader.state(10)["epoch"] == 1
