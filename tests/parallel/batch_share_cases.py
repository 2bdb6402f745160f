"""Ways to write a step, each with ranks' unequal batches, for `test_batch_share.py`."""

import gc

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrec as kr
from kerasrec.parallel import comm

ITEMS = 23
SIZES = np.array([[5, 2], [3, 7], [1, 6], [8, 8], [2, 9], [4, 1]])  # (batches, ranks)


def batches():
    """This rank's; all rows where there is one rank."""
    rng = np.random.default_rng(0)
    for sizes in SIZES:
        ids, x = rng.integers(0, ITEMS, sizes.sum()), rng.normal(size=(sizes.sum(), 3)).astype("float32")
        y = (np.sin(ids)[:, None] + x[:, :1]).astype("float32")
        first, last = (0, sizes.sum()) if comm.size() == 1 else np.cumsum([0, *sizes])[comm.rank() :][:2]
        yield tuple(tf.constant(each[first:last]) for each in (ids, x, y))


class Model(kr.parallel.Model):
    def __init__(self, tables=True, dropout=0.0):
        super().__init__()
        keras.utils.set_random_seed(5)
        item = kr.TableConfig("item", ITEMS, 4, initializer="normal", placement="row_wise")
        features = {"item": kr.FeatureConfig("item", item)}
        plan = kr.parallel.plan_from_placements(features, comm.size())
        self.tables = kr.layers.DistributedEmbedding(features, plan=plan) if tables else None
        self.dense = keras.layers.Dense(1)
        self.call((tf.zeros(1, tf.int64), tf.zeros((1, 3))))
        self.built = True

    def call(self, inputs, training=False):
        ids, x = inputs
        vectors = [] if self.tables is None else [self.tables({"item": ids}, training=training)["item"]]
        return self.dense(tf.concat([x, *vectors], axis=1))

    def found(self):
        table = {} if self.tables is None else {"table": self.tables.table("item")}
        return {**table, "dense": np.concatenate([v.numpy().ravel() for v in self.dense.weights])}


def loss_of(model, batch):
    ids, x, y = batch
    return tf.reduce_mean((model((ids, x), training=True) - y) ** 2)


def gradients(model, batch, weight=1.0):
    with tf.GradientTape() as tape:
        loss = weight * loss_of(model, batch)
    return tape.gradient(loss, model.trainable_variables)


def update(model, optimizer, batch):
    optimizer.apply(gradients(model, batch), model.trainable_variables)


def traced(function):
    """Once, for batches of any size."""
    specs = [tf.TensorSpec((None,), tf.int64), tf.TensorSpec((None, 3)), tf.TensorSpec((None, 1))]
    return tf.function(function, autograph=False, input_signature=specs * (function.__code__.co_argcount // 3))


def made(**options):
    model, optimizer = Model(**options), kr.optimizers.SGD(0.3)
    optimizer.build(model.trainable_variables)
    return model, optimizer, list(batches())


# ---- loops of one's own --------------------------------------------------------------------------------------
def case_eager():
    model, optimizer, data = made()
    for batch in data:
        update(model, optimizer, batch)
    return model.found()


def case_two_updates_in_one_function():
    model, optimizer, data = made()

    @traced
    def run(a, b, c, d, e, f):
        update(model, optimizer, (a, b, c))
        update(model, optimizer, (d, e, f))

    for first, second in zip(data[::2], data[1::2], strict=True):
        run(*first, *second)
    return model.found()


def case_gradients_in_a_function_update_outside():
    model, optimizer, data = made()
    run = traced(lambda a, b, c: gradients(model, (a, b, c)))
    for batch in data:
        optimizer.apply(run(*batch), model.trainable_variables)
    return model.found()


def case_model_in_a_function_of_its_own():
    model, optimizer, data = made()
    loss = traced(lambda a, b, c: loss_of(model, (a, b, c)))

    @traced
    def run(a, b, c):
        with tf.GradientTape() as tape:
            value = loss(a, b, c)
        optimizer.apply(tape.gradient(value, model.trainable_variables), model.trainable_variables)

    for batch in data:
        run(*batch)
    return model.found()


def case_loop_in_a_function():
    model, optimizer, data = made()
    parts = [tf.ragged.stack([batch[k] for batch in data]) for k in range(3)]

    @tf.function(autograph=False)
    def run():
        def body(number):
            ids, x, y = (part[number] for part in parts)
            update(model, optimizer, (ids, tf.reshape(x.to_tensor(), (-1, 3)), tf.reshape(y.to_tensor(), (-1, 1))))
            return number + 1

        tf.while_loop(lambda number: number < len(data), body, [0], parallel_iterations=1)

    run()
    return model.found()


def case_forward_alone_tells_nothing():
    model, optimizer, data = made()
    for batch, other in zip(data, reversed(data), strict=True):
        model(other[:2], training=True)
        update(model, optimizer, batch)
    return model.found()


def case_without_lookups():
    """After a step with lookups, of which nothing must be left."""
    model, optimizer, data = made()
    plain, its, _ = made(tables=False)
    run = traced(lambda a, b, c: in_step(plain, its, (a, b, c)))
    for batch, other in zip(data, reversed(data), strict=True):
        update(model, optimizer, other)
        if comm.size() > 1:
            for step in (update, tf.function(update, autograph=False)):
                with pytest.raises(RuntimeError, match="is unknown.*with kr.parallel.step"):
                    step(plain, its, batch)
        with kr.parallel.step(len(batch[0])):
            update(plain, its, batch)
        run(*batch)
    return {**model.found(), **{f"plain {name}": values for name, values in plain.found().items()}}


def in_step(model, optimizer, batch):
    with kr.parallel.step(tf.shape(batch[0])[0]):
        update(model, optimizer, batch)


def accumulated(model, optimizer, several):
    """One update by several batches, the mean over all of their rows."""
    rows = [tf.cast(tf.shape(batch[0])[0], tf.float32) for batch in several]
    sums = None
    for count, batch in zip(rows, several, strict=True):
        found = gradients(model, batch, count / sum(rows))
        sums = found if sums is None else [added(a, b) for a, b in zip(sums, found, strict=True)]
    optimizer.apply(sums, model.trainable_variables)


def added(a, b):
    if isinstance(a, tf.IndexedSlices):
        both = [tf.concat([getattr(each, k) for each in (a, b)], 0) for k in ("values", "indices")]
        return tf.IndexedSlices(*both, a.dense_shape)
    return a + b


def case_accumulation():
    model, optimizer, data = made()

    def in_step(a, b, c, d, e, f):
        with kr.parallel.step(tf.shape(a)[0] + tf.shape(d)[0]):
            accumulated(model, optimizer, [(a, b, c), (d, e, f)])

    run = traced(in_step)
    for first, second in zip(data[::2], data[1::2], strict=True):
        in_step(*first, *second)
        run(*first, *second)
    return model.found()


def case_accumulation_of_equal_shares_and_unequal_ones():
    model, optimizer, data = made()
    alike = [data[0], data[0]]

    def of_two(a, b, c, d, e, f):
        accumulated(model, optimizer, [(a, b, c), (d, e, f)])

    run = traced(of_two)
    for step in (of_two, run):
        step(*alike[0], *alike[1])
        before = model.found()
        if comm.size() > 1:
            with pytest.raises(
                (RuntimeError, tf.errors.InvalidArgumentError), match="gradients of several batches"
            ):
                step(*data[1], *data[2])
            for name, values in model.found().items():
                np.testing.assert_array_equal(values, before[name])
        step(*alike[0], *alike[1])  # nothing is left of what was refused
    return model.found()


def case_two_models_in_turn():
    one, optimizer, data = made()
    two, other, _ = made()
    for batch, another in zip(data, reversed(data), strict=True):
        first, second = gradients(one, batch), gradients(two, another)
        optimizer.apply(first, one.trainable_variables)
        other.apply(second, two.trainable_variables)
    return {**one.found(), **{f"two {name}": values for name, values in two.found().items()}}


def case_two_optimizers():
    """The dense part's has no table by which it knows the batch, but its gradients are of the same graph."""
    model, tables, data = made()
    dense = kr.optimizers.SGD(0.2)
    dense.build(model.dense.trainable_variables)

    def run(a, b, c, dense_first):
        of_table, *others = gradients(model, (a, b, c))
        if dense_first:
            dense.apply(others, model.dense.trainable_variables)
        tables.apply([of_table], model.tables.trainable_variables)
        if not dense_first:
            dense.apply(others, model.dense.trainable_variables)

    for step in (traced(lambda a, b, c: run(a, b, c, True)), traced(lambda a, b, c: run(a, b, c, False))):
        for batch in data:
            step(*batch)
    if comm.size() > 1:
        with pytest.raises(RuntimeError, match="is unknown"):
            run(*data[0], True)
    return model.found()


# ---- Keras's loop --------------------------------------------------------------------------------------------
def dataset(data):
    specs = ((tf.TensorSpec((None,), tf.int64), tf.TensorSpec((None, 3))), tf.TensorSpec((None, 1)))
    made = tf.data.Dataset.from_generator(lambda: (((a, b), c) for a, b, c in data), output_signature=specs)
    return made.apply(tf.data.experimental.assert_cardinality(len(data)))


def fitted(kind=Model, optimizer=None, tables=True, **compiled):
    model = kind(tables)
    model.compile(optimizer or kr.optimizers.SGD(0.3), "mse", **compiled)
    history = model.fit(dataset(list(batches())), epochs=2, verbose=0)
    return {**model.found(), "loss": np.array(history.history["loss"])}


def case_fit():
    return fitted()


def case_fit_eagerly():
    return fitted(run_eagerly=True)


def case_fit_several_steps_at_once():
    return fitted(steps_per_execution=3)


def case_fit_without_tables():
    return fitted(tables=False, steps_per_execution=2)


def case_fit_accumulating():
    """Keras's own accumulation, of the dense part."""
    dense = kr.optimizers.SGD(0.3, gradient_accumulation_steps=2)
    return fitted(optimizer=kr.optimizers.Multi({"tables": kr.optimizers.SGD(0.2), "dense": dense}))


def case_train_on_batch():
    model, optimizer, data = made()
    model.compile(optimizer, "mse")
    for a, b, c in data:
        model.train_on_batch((a, b), c)
    return model.found()


class InHalves(Model):
    """A batch's rows in two updates: two micro-batches in one traced step."""

    def train_step(self, data):
        (ids, x), y = data
        half = tf.shape(ids)[0] // 2
        for part in (slice(None, half), slice(half, None)):
            update(self, self.optimizer, (ids[part], x[part], y[part]))
        return {"loss": loss_of(self, (ids, x, y))}


def case_fit_in_halves_is_refused():
    if comm.size() > 1:
        for eagerly in (False, True):
            with pytest.raises((RuntimeError, tf.errors.InvalidArgumentError), match="fewer rows are looked up"):
                fitted(InHalves, run_eagerly=eagerly)
    return {}


def case_step_outside_of_the_function_is_refused():
    model, optimizer, data = made()
    run = traced(lambda a, b, c: update(model, optimizer, (a, b, c)))
    if comm.size() > 1:
        with pytest.raises(RuntimeError, match="Put it inside"), kr.parallel.step(3):
            run(*data[0])
    return {}


def case_nothing_is_kept():
    """What was trained is freed, with all that its steps knew: a graph that is kept keeps the tables it reads."""

    def kept():
        keras.backend.clear_session()
        gc.collect()
        return sum(type(each).__name__ in ("Model", "FuncGraph") for each in gc.get_objects())

    before = kept()
    for case in (case_eager, case_two_updates_in_one_function, case_fit, case_fit_without_tables):
        case()
    assert kept() == before
    return {}


CASES = {name.removeprefix("case_"): case for name, case in globals().items() if name.startswith("case_")}


def run():
    """Run every case, and return by name what each leaves."""
    results = {name: case() for name, case in CASES.items()}
    for name, result in results.items():
        dense = result.get("dense", np.zeros(1))
        assert len(set(comm.gather_objects(dense.tobytes()))) == 1, f"{name}: dense weights differ between ranks"
    return results
