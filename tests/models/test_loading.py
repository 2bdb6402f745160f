"""Saved models come back in a new process that has imported `kerasrec` and nothing of it."""

import importlib
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from model_cases import MODELS, batch_of, schema_of

import kerasrec as kr
from kerasrec.registration import MODULES, Deferred

OPTIMIZERS = {
    "SGD": lambda: kr.optimizers.SGD(0.1),
    "Adagrad": lambda: kr.optimizers.Adagrad(0.1),
    "Adam": lambda: kr.optimizers.Adam(0.1),
    "AdamW": lambda: kr.optimizers.AdamW(0.1),
    "Ftrl": lambda: kr.optimizers.Ftrl(0.1),
    "RowwiseAdagrad": lambda: kr.optimizers.RowwiseAdagrad(0.1),
    "Multi": lambda: kr.optimizers.Multi({"tables": kr.optimizers.Ftrl(0.1), "dense": kr.optimizers.Adam(0.1)}),
}


# What needs cuDF, JAX, PyTorch, or the module that Triton has for its models.
FOREIGN = ("decode.cudf", "frameworks.jax", "frameworks.torch", "triton.model")


def registered():
    """Every class of the package that is registered with Keras, by module and name."""
    for module in pkgutil.walk_packages(kr.__path__, "kerasrec."):
        if not module.name.endswith(("__main__", *FOREIGN)):
            importlib.import_module(module.name)
    classes = [c for key, c in keras.saving.get_custom_objects().items() if key.startswith("kerasrec>")]
    assert not any(isinstance(each, Deferred) for each in classes)
    return {(c.__module__, c.__name__) for c in classes}


def test_every_registered_class_is_deferred():
    assert registered() == {(f"kerasrec.{module}", name) for module, names in MODULES.items() for name in names}


def functional():
    """A model of Keras's own, of every layer."""
    config = kr.FeatureConfig("user", kr.TableConfig("user", 30, 4))
    inputs = {"user": keras.Input((), dtype="int32", name="user"), "age": keras.Input((1,), name="age")}
    user = kr.layers.DistributedEmbedding({"user": config})({"user": inputs["user"]})["user"]
    age = kr.layers.MLP([4])(kr.layers.ContinuousInputs(["age"])({"age": inputs["age"]}))
    both = [kr.layers.FeatureCross()(user), age]
    out = [kr.layers.DotInteraction()(both), kr.layers.FactorizationMachine()(both)]
    return keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(keras.layers.Concatenate()(out)))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    x, y = batch_of(40)
    np.savez(folder / "x.npz", **x)
    answers = {}
    networks = {name: (make(schema_of()), kr.optimizers.Adam(0.01)) for name, make in MODELS.items()}
    networks |= {f"with {name}": (MODELS["DCN"](schema_of()), make()) for name, make in OPTIMIZERS.items()}
    networks["functional"] = (functional(), kr.optimizers.Adagrad())
    for name, (model, optimizer) in networks.items():
        data = {key: x[key] for key in model.input} if name == "functional" else x
        model.compile(optimizer, loss="binary_crossentropy", run_eagerly=True)
        model.fit(data, y, verbose=0)
        model.save(folder / f"{name}.keras")
        answers[name] = model(data)
    return folder, answers


def load(order, folder):
    command = [sys.executable, Path(__file__).parent / "loaded.py", order, folder]
    env = {**os.environ, "PYTHONPATH": str(Path(kr.__file__).parents[1]), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    return {path.stem: np.load(path) for path in folder.glob("*.npy")}


def test_models_optimizers_and_layers_come_back_in_a_new_process(saved):
    folder, answers = saved
    found = load("kerasrec first", folder)
    assert found.keys() == answers.keys()
    for name, answer in answers.items():
        np.testing.assert_allclose(found[name], answer, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("order", ["keras first", "kr.load_model", "a part of kerasrec first"])
def test_in_whatever_order_packages_are_imported(saved, order, tmp_path):
    folder, answers = saved
    for name in ("x.npz", "DLRM.keras"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    np.testing.assert_allclose(load(order, tmp_path)["DLRM"], answers["DLRM"], atol=1e-6)


def test_keras_is_imported_as_without_us():
    """Its module has its own loader and nothing of ours stays among the finders."""
    script = (
        "import sys, kerasrec, kerasrec.etl, keras\n"
        "assert type(keras.__loader__).__name__ == 'SourceFileLoader' == type(keras.__spec__.loader).__name__\n"
        "assert not any('kerasrec' in type(finder).__module__ for finder in sys.meta_path)\n"
        "assert 'kerasrec.models' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
