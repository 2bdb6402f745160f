"""Keras's private names, one test each: a new release of Keras that lacks one fails here by that name."""

import ast
from pathlib import Path

import keras
import numpy as np
import pytest

from kerasrec import _keras

PACKAGE = Path(__file__).parent.parent / "kerasrec"
# Private names of others than Keras that the package uses knowingly.
NOT_OF_KERAS = {"_exit", "_current_frames", "_getframe", "_parent", "_replace"}

needs_tensorflow = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow's trainer")


def test_no_other_file_uses_a_private_name_of_keras():
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")}
    ours = {name for tree in trees.values() for name in defined_in(tree)}
    for path, tree in trees.items():
        if path.name == "_keras.py":
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom | ast.Import):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
                assert not any(name.startswith("keras.src") for name in names), f"{path}:{node.lineno}"
            if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
                assert node.attr in ours | NOT_OF_KERAS, f"{path}:{node.lineno} reads {node.attr}"


def defined_in(tree):
    """The names that a file defines, assigns or imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.alias):
            yield node.asname or node.name


def small_model(outputs=1):
    x = keras.Input((3,))
    answers = [keras.layers.Dense(1, name=f"answer_{n}")(x) for n in range(outputs)]
    return keras.Model(x, answers[0] if outputs == 1 else answers)


def arrays(outputs=1, rows=6):
    y = np.ones((rows, 1), "float32")
    return np.ones((rows, 3), "float32"), y if outputs == 1 else [y] * outputs


def test_symbolic_and_stateless_scopes_are_known():
    with keras.SymbolicScope():
        assert _keras.in_symbolic_build()
    with keras.StatelessScope():
        assert _keras.in_stateless_scope()
    assert not _keras.in_symbolic_build()
    assert not _keras.in_stateless_scope()


# ---- layers and models ---------------------------------------------------------------------------------------
def test_flatten_layers():
    inner = small_model()
    outer = keras.Sequential([keras.Input((3,)), inner])
    layers = _keras.layers_of(outer)
    assert inner in layers
    assert inner.get_layer("answer_0") in layers
    assert outer not in layers


def test_get_call_context_knows_the_model_that_is_called():
    seen = []

    class Asks(keras.layers.Layer):
        def call(self, x):
            seen.append(_keras.model_being_called(self))
            return x

    layer = Asks()
    model = keras.Sequential([keras.Sequential([layer])])
    x = np.ones((2, 3), "float32")
    model(x)  # builds it
    seen.clear()
    model(x)
    layer(x)
    assert seen == [model, None]


def test_value_of_a_variable_that_is_made_while_shapes_are_traced():
    seen = []

    class Own(keras.layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(name="kernel", shape=(3,))

        def call(self, x):
            seen.append(_keras.is_created(self.kernel))
            return x * self.kernel

    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.own = Own()

        def call(self, x):
            return self.own(x)

    model = Model()
    model(np.ones((2, 3), "float32"))
    assert seen == [False, True]


def test_value_of_a_variable_that_a_scope_has():
    """As in a step of JAX, where the trainer has taken the values away from the variables."""
    variable = keras.Variable(np.ones(3, "float32"))
    value = variable.value
    variable._value = None
    assert not _keras.is_created(variable)
    with keras.StatelessScope([(variable, value)]):
        assert _keras.is_created(variable)


def test_compile_metrics():
    model = small_model()
    assert _keras.compiled_metrics(model) == []
    auc = keras.metrics.AUC()
    model.compile("sgd", "mse", metrics=["mae"], weighted_metrics=[auc])
    assert _keras.compiled_metrics(model) == ["mae", auc]


@needs_tensorflow
def test_compile_loss_keeps_a_metric_for_each_output():
    """In traced steps Keras counts all batches the same; `LossByRows` counts them by their rows."""
    x, y = keras.ops.arange(6, dtype="float32")[:, None], np.zeros((6, 1), "float32")
    model = keras.Model(inputs := keras.Input((1,)), [inputs * 1.0, inputs * 2.0])
    model.compile("sgd", ["mae", "mae"], loss_weights=[1.0, 3.0])
    _keras.use_loss_by_rows(model)
    _keras.use_loss_by_rows(model)  # once is enough
    for _ in range(2):
        found = model.evaluate(x, [y, y], batch_size=4, return_dict=True, verbose=0)
        np.testing.assert_allclose(sorted(found.values()), [2.5, 5.0, 17.5], rtol=1e-6)


def test_build_nested_names_the_losses_of_outputs():
    """`LossByRows` gives them back names that TensorFlow would not take as a scope's."""

    class Two(keras.Model):
        def call(self, x):
            return {"größe": x * 1.0, "a b": x * 2.0, "c": x}

    model, y = Two(), np.zeros((6, 3), "float32")
    model.compile("sgd", {"größe": "mae", "a b": "mse"})
    _keras.use_loss_by_rows(model)
    found = model.evaluate(arrays()[0], {"größe": y, "a b": y, "c": y}, return_dict=True, verbose=0)
    assert found == {"loss": 5.0, "größe_loss": 1.0, "a b_loss": 4.0}


@needs_tensorflow
def test_make_function_compiles_a_step():
    model = small_model()
    model.compile("sgd", "mse")
    model.train_function = _keras.step_function(model, lambda data: {"loss": keras.ops.sum(data[0])})
    assert model.train_on_batch(*arrays(), return_dict=True) == {"loss": 18.0}


def test_functional_init_arguments():
    x = keras.Input((3,))
    assert _keras.is_functional_call((x, x), {})
    assert _keras.is_functional_call((), {"inputs": x, "outputs": x, "name": "both"})
    assert not _keras.is_functional_call((), {"name": "neither"})
    assert isinstance(keras.Model(x, x * 2), _keras.Functional)


# ---- `fit` ---------------------------------------------------------------------------------------------------
def test_initial_epoch():
    class Skip(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            _keras.set_first_epoch(self.model, 2)

        def on_epoch_begin(self, epoch, logs=None):
            epochs.append(epoch)

    epochs, model = [], small_model()
    model.compile("sgd", "mse")
    model.fit(*arrays(), epochs=4, callbacks=[Skip()], verbose=0)
    assert epochs == [2, 3]


def test_eval_epoch_iterator_counts_the_validation_batches():
    class Ask(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            counts.append(_keras.validation_batches(self.model))

        def on_test_begin(self, logs=None):
            counts.append(_keras.validation_batches(self.model))

    counts, model = [], small_model()
    model.compile("sgd", "mse")
    model.fit(*arrays(), validation_data=arrays(rows=10), validation_batch_size=4, callbacks=[Ask()], verbose=0)
    model.evaluate(*arrays(), callbacks=[Ask()], verbose=0)
    assert counts == [None, 3, None]


class Batches(_keras.DataAdapter):
    """Two batches of arrays, which notes what Keras's call was given."""

    batch_size, has_partial_batch, partial_batch_size = 6, False, None

    def __init__(self):
        self.asked = []

    @property
    def num_batches(self):
        self.asked.append(_keras.fit_arguments())
        return 2

    def get_numpy_iterator(self):
        return iter([arrays(), arrays()])

    get_jax_iterator = get_numpy_iterator

    def get_tf_dataset(self):
        import tensorflow as tf

        return tf.data.Dataset.from_tensor_slices(arrays(rows=12)).batch(6)

    def get_torch_dataloader(self):
        return _keras.torch_dataloader(self)

    def on_epoch_begin(self):
        pass

    def on_epoch_end(self):
        pass


@needs_tensorflow
def test_data_adapter_is_taken_as_it_is():
    model, data = small_model(), Batches()
    model.compile("sgd", "mse")
    assert len(model.fit(data, epochs=2, verbose=0).history["loss"]) == 2
    assert model.predict(data, verbose=0).shape == (12, 1)


@needs_tensorflow
def test_epoch_iterator_asks_from_a_frame_that_has_the_arguments_of_fit():
    model, data, validation = small_model(), Batches(), Batches()
    model.compile("sgd", "mse")
    weight = np.ones(6)
    model.fit(
        data,
        sample_weight=weight,
        class_weight=None,
        batch_size=5,
        shuffle=False,
        validation_data=validation,
        validation_batch_size=4,
        verbose=0,
    )
    given, of_validation = data.asked[0], validation.asked[0]
    assert given.sample_weight is weight
    assert (given.y, given.class_weight, given.batch_size, given.shuffle) == (None, None, 5, False)
    assert not given.validation
    assert of_validation.validation
    assert of_validation.batch_size == 4
    data.asked.clear()
    model.evaluate(data, y=weight, batch_size=3, verbose=0)
    assert data.asked[0].y is weight
    assert data.asked[0].batch_size == 3
    assert data.num_batches == 2
    assert data.asked[-1] is None, "asked by nobody of Keras's"


def test_get_torch_dataloader():
    pytest.importorskip("torch")
    batches = list(_keras.torch_dataloader(Batches()))
    assert len(batches) == 2
    assert tuple(batches[0][0].shape) == (6, 3)


# ---- optimizers ----------------------------------------------------------------------------------------------
def test_all_reduce_sum_gradients_is_what_keras_calls():
    class Plain(keras.optimizers.SGD):
        def _all_reduce_sum_gradients(self, grads_and_vars):
            called.append(self)
            return super()._all_reduce_sum_gradients(grads_and_vars)

    pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("TensorFlow's optimizer")
    called, variable = [], keras.Variable(np.ones(2, "float32"))
    optimizer = Plain(0.5)
    optimizer.apply([np.ones(2, "float32")], [variable])
    assert called == [optimizer]
    pairs = [(np.ones(2), variable)]
    assert type("Ours", (_keras.NoReplicaSum, Plain), {})()._all_reduce_sum_gradients(pairs) is pairs
    assert called == [optimizer]


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("accumulator", keras.optimizers.Adagrad),
        ("accumulator", keras.optimizers.Ftrl),
        ("linear", keras.optimizers.Ftrl),
        ("momentum", keras.optimizers.Adam),
        ("velocity", keras.optimizers.AdamW),
        ("velocity_hat", lambda: keras.optimizers.Adam(amsgrad=True)),
    ],
)
def test_slot_lists_follow_get_variable_index(name, make):
    variables = [keras.Variable(np.ones(n, "float32")) for n in (2, 3)]
    optimizer = make()
    optimizer.build(variables)
    for variable in variables:
        place = _keras.variable_index(optimizer, variable)
        assert _keras.slot(optimizer, name, place).shape == variable.shape


def test_trainable_variables_of_an_optimizer():
    variables = [keras.Variable(np.ones(n, "float32")) for n in (2, 3)]
    optimizer = keras.optimizers.SGD()
    optimizer.build(variables)
    found = _keras.optimized_variables(optimizer)
    assert [a is b for a, b in zip(found, variables, strict=True)] == [True, True]


def test_variables_of_a_loss_scale_optimizer_are_its_own():
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam())
    optimizer.build([keras.Variable(np.ones(2, "float32"))])
    own = _keras.own_variables(optimizer)
    assert {id(variable) for variable in own} >= {id(optimizer.step_counter), id(optimizer.dynamic_scale)}
    assert not {id(variable) for variable in own} & {id(v) for v in optimizer.inner_optimizer.variables}


def test_learning_rate_variable():
    assert _keras.learning_rate_variable(keras.optimizers.SGD(0.25)).numpy() == 0.25
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)
    assert _keras.learning_rate_variable(keras.optimizers.SGD(schedule)) is None


def test_use_weight_decay():
    kernel, bias = (keras.Variable(np.ones(2, "float32"), name=name) for name in ("kernel", "bias"))
    optimizer = keras.optimizers.AdamW()
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    assert _keras.decays(optimizer, kernel)
    assert not _keras.decays(optimizer, bias)


# ---- callbacks and random numbers ----------------------------------------------------------------------------
def test_model_checkpoint_counts_batches():
    callback = keras.callbacks.ModelCheckpoint("unused.keras", save_freq=100)
    model = small_model()
    model.compile("sgd", "mse")
    model.fit(*arrays(), batch_size=2, callbacks=[callback], verbose=0)
    seen, last = (getattr(callback, name) for name in _keras.MODEL_CHECKPOINT_COUNTS)
    assert (seen, last) == (3, 2)


def test_get_random_seed():
    keras.utils.set_random_seed(31)
    assert _keras.random_seed() == 31


def test_global_seed_generator():
    keras.utils.set_random_seed(31)
    made = _keras.make_default_generator()
    assert _keras.default_generator() is made
    before = np.array(made.state)
    keras.random.uniform((2,))
    assert not np.array_equal(before, np.array(made.state)), "keras.random draws from another"
