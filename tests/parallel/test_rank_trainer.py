"""`kr.parallel.Model` and what it does on several ranks, of which this process pretends to be one.

Collectives are then those of one rank; real ranks train in `fit_cases.py`.
"""

import subprocess
import sys
import threading

import keras
import numpy as np
import pytest

import kerasrec as kr
from kerasrec.parallel import comm
from kerasrec.parallel.fit.model import FunctionalModel


class Towers(kr.parallel.Model):
    def __init__(self, units=3, **kwargs):
        super().__init__(**kwargs)
        self.hidden, self.last = keras.layers.Dense(units), keras.layers.Dense(1)

    def call(self, x):
        return self.last(self.hidden(x))


class FunctionalTowers(kr.parallel.Model):
    """A functional model by its own constructor, as Keras allows."""

    def __init__(self, units):
        x = keras.Input((2,))
        super().__init__(inputs=x, outputs=keras.layers.Dense(units)(x))


def functional(kind=kr.parallel.Model, **kwargs):
    x = keras.Input((2,))
    return kind(x, keras.layers.Dense(1)(x), **kwargs)


X, Y = np.ones((6, 2), "float32"), np.ones((6, 1), "float32")


@pytest.fixture
def two_ranks(monkeypatch):
    monkeypatch.setattr(comm, "size", lambda: 2)


def compiled(model, optimizer=None, loss="mse", **options):
    model.compile(optimizer or kr.optimizers.SGD(0.1), loss, **options)
    return model


# ---- what it is ----------------------------------------------------------------------------------------------
def test_functional_models_leave_the_class_to_subclasses():
    model = functional(name="small")
    assert isinstance(model, FunctionalModel)
    assert isinstance(model, kr.parallel.Model)
    assert model.name == "small"
    assert FunctionalTowers(2)(X).shape == (6, 2)
    assert isinstance(FunctionalTowers(2), FunctionalModel)
    assert Towers()(X).shape == (6, 1)
    assert not isinstance(Towers(), FunctionalModel)
    assert not issubclass(kr.parallel.Model, FunctionalModel)
    column = kr.Column("user", "int64", tags=("categorical",), cardinality=5)
    target = kr.Column("liked", "int8", tags=("target", "binary"))
    dcn = kr.models.DCN(kr.Schema([column, target]), 4, deep_units=[4])
    assert dcn({"user": np.array([1, 2])}).shape == (2, 1)


def test_it_is_fitted_saved_and_loaded_as_any_model(tmp_path):
    model = compiled(functional())
    model.fit(X, Y, verbose=0)
    model.save(tmp_path / "model.keras")
    script = (
        "import keras, numpy as np, kerasrec as kr; "
        f"model = keras.saving.load_model({str(tmp_path / 'model.keras')!r}); "
        "assert isinstance(model, kr.parallel.Model) and model.compiled; "
        "print(model.predict(np.ones((1, 2)), verbose=0).item())"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) == pytest.approx(model.predict(X[:1], verbose=0).item(), rel=1e-6)


def test_a_killed_save_leaves_the_file_before_it(tmp_path, monkeypatch):
    model, path = functional(), tmp_path / "model.weights.h5"
    model.save_weights(path)
    before = path.read_bytes()

    def full(store):
        raise OSError("no space left")

    monkeypatch.setattr(model.layers[-1], "save_own_variables", full)
    with pytest.raises(OSError, match="no space left"):
        model.save_weights(path)
    assert path.read_bytes() == before


# ---- on several ranks ----------------------------------------------------------------------------------------
@pytest.mark.usefixtures("two_ranks")
def test_a_model_of_keras_is_refused_with_the_remedy():
    model = compiled(functional(keras.Model))
    with pytest.raises(ValueError, match=r"Build it as kr.parallel.Model\(inputs, outputs\)"):
        model.fit(X, Y, callbacks=[kr.parallel.Callback()], verbose=0)


@pytest.mark.usefixtures("two_ranks")
def test_a_step_and_its_metrics_are_those_of_one_rank_and_nothing_is_patched():
    alone, model = compiled(Towers(), metrics=["mae"]), compiled(Towers(), metrics=["mae"])
    for each in (alone, model):
        each(X)
    model.set_weights(alone.get_weights())
    before = set(vars(model))
    history = model.fit(X, Y, batch_size=4, epochs=2, validation_data=(X, Y), verbose=0).history
    comm_free = keras.Sequential([alone])
    comm_free.compile(keras.optimizers.SGD(0.1), "mse", metrics=["mae"])
    expected = keras.Model.fit(comm_free, X, Y, batch_size=4, epochs=2, validation_data=(X, Y), verbose=0).history
    assert history.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(history[name], values, rtol=1e-5)
    assert not {name for name in set(vars(model)) - before if callable(getattr(type(model), name, None))}


@pytest.mark.usefixtures("two_ranks")
def test_our_callback_comes_first_and_ranks_other_than_0_leave_out_what_writes(tmp_path, monkeypatch):
    seen = []

    class Look(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            seen.append("look")

    class Ours(kr.parallel.Callback):
        def on_train_begin(self, logs=None):
            seen.append("ours")
            super().on_train_begin(logs)

    monkeypatch.setattr(comm, "rank", lambda: 1)
    monkeypatch.setattr(keras.utils, "disable_interactive_logging", lambda: seen.append("quiet"))
    log = keras.callbacks.CSVLogger(str(tmp_path / "log.csv"))
    compiled(Towers()).fit(X, Y, callbacks=[Look(), log, Ours()], verbose=0)
    assert seen == ["quiet", "ours", "look"]
    assert not (tmp_path / "log.csv").exists()


@pytest.mark.usefixtures("two_ranks")
def test_an_error_in_fit_ends_the_watch():
    class Wrong(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            assert watchdogs()
            raise ArithmeticError

    def watchdogs():
        return [thread for thread in threading.enumerate() if thread.name == "kerasrec-watchdog"]

    with pytest.raises(ArithmeticError):
        compiled(Towers()).fit(X, Y, callbacks=[Wrong(), kr.parallel.Callback(step_limit=0.2)], verbose=0)
    for thread in watchdogs():
        thread.join(5)
    assert not watchdogs()


@pytest.mark.usefixtures("two_ranks")
@pytest.mark.parametrize(
    ("callback", "said"),
    [
        (lambda path: keras.callbacks.BackupAndRestore(path), "use ModelCheckpoint"),
        (lambda path: keras.callbacks.TensorBoard(path, embeddings_freq=1), "use ModelCheckpoint"),
        (lambda path: keras.callbacks.ModelCheckpoint(path + "/{epoch}/model.keras"), "make its folders at once"),
    ],
)
def test_callbacks_that_cannot_work_are_refused(callback, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        compiled(Towers()).fit(X, Y, callbacks=[callback(str(tmp_path))], verbose=0)
