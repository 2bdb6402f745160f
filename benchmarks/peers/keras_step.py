"""A worker of `train_step.py`: kerasrec, plain Keras, keras-rs and the floor, each inside `model.fit`."""

import functools
import os

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import keras_rs
import numpy as np
import tensorflow as tf
from keras import ops
from shared import ACCUMULATOR, BOTTOM, DENSE, EPSILON, FEATURES, LEARNING_RATE, TOP, batches, now, serve

import kerasrec as kr

NAMES = [f"c{i}" for i in range(FEATURES)]


def kerasrec_vectors(case, ids):
    features = {
        name: kr.FeatureConfig(
            name, kr.TableConfig(name, case.vocabulary, case.width, initializer=initial(case, name))
        )
        for name in NAMES
    }
    return kr.layers.DistributedEmbedding(features)(ids)


def keras_vectors(case, ids):
    embedded = {
        name: keras.layers.Embedding(case.vocabulary, case.width, initial(case, name))(ids[name]) for name in NAMES
    }
    return (
        embedded if case.hotness == 1 else {name: ops.mean(vectors, axis=1) for name, vectors in embedded.items()}
    )


def keras_rs_vectors(case, ids):
    shape = tuple(ids[NAMES[0]].shape)
    features = {
        name: keras_rs.layers.FeatureConfig(
            name,
            keras_rs.layers.TableConfig(
                name, case.vocabulary, case.width, initial(case, name), combiner="mean", placement="default_device"
            ),
            shape,
            (shape[0], case.width),
        )
        for name in NAMES
    }
    return keras_rs.layers.DistributedEmbedding(features)(ids)


def initial(case, name):
    return keras.initializers.Constant(case.initial_value(NAMES.index(name)))


VECTORS = {"kerasrec": kerasrec_vectors, "keras": keras_vectors, "keras_rs": keras_rs_vectors}


def dlrm(case):
    """One dense network for all systems; what differs is where the vectors come from."""
    dense = keras.Input((DENSE,), name="dense")
    if case.system == "floor":
        inputs = {name: keras.Input((case.width,), name=name) for name in NAMES}
        vectors = inputs
    else:
        shape = () if case.hotness == 1 else (case.hotness,)
        inputs = {name: keras.Input(shape, name=name, dtype="int32") for name in NAMES}
        vectors = VECTORS[case.system](case, inputs)
    bottom = kr.layers.MLP([*BOTTOM, case.width])(dense)
    pairs = kr.layers.DotInteraction()([bottom, *(vectors[name] for name in NAMES)])
    top = kr.layers.MLP(TOP)(keras.layers.Concatenate()([bottom, pairs]))
    probability = keras.layers.Dense(1, activation="sigmoid", dtype="float32")(top)
    return keras.Model({"dense": dense, **inputs}, probability)


def optimizer(case):
    library = keras.optimizers if case.system in ("keras", "keras_rs") else kr.optimizers
    name = {
        "adagrad": "Adagrad",
        "rowwise_adagrad": "RowwiseAdagrad",
        "adam": "Adam",
        "sgd": "SGD",
        "ftrl": "Ftrl",
    }
    options = {"initial_accumulator_value": ACCUMULATOR, "epsilon": EPSILON} if "adagrad" in case.optimizer else {}
    return getattr(library, name[case.optimizer])(LEARNING_RATE, **options)


def feed(case):
    """The batches round and round, with nothing copied: each element is a tensor that is there already.

    The size of a batch is unknown to the graph, as it is where the last batch of a pass is shorter.
    """
    rng = np.random.default_rng(1)
    batch_list = []
    for dense, ids, target in batches(case):
        columns = ids[..., 0] if case.hotness == 1 else ids
        if case.system == "floor":
            columns = rng.uniform(-0.05, 0.05, (FEATURES, case.batch, case.width)).astype("float32")
        batch_list.append(({"dense": dense, **dict(zip(NAMES, columns, strict=True))}, target))
    data = functools.reduce(tf.data.Dataset.concatenate, map(tf.data.Dataset.from_tensors, batch_list)).repeat()

    def forget_size(tensor):
        return tf.raw_ops.PlaceholderWithDefault(input=tensor, shape=[None, *tensor.shape[1:]])

    return data.map(lambda *batch: tf.nest.map_structure(forget_size, batch)).prefetch(2)


class Steps(keras.callbacks.Callback):
    """What each step took, from the end of the one before it: all of `fit`'s own work is in it."""

    def on_train_begin(self, logs=None):
        self.times, self.losses = [now()], []

    def on_train_batch_end(self, batch, logs=None):
        self.times.append(now())
        self.losses.append(float(logs["loss"]))


def prepare(case):
    keras.config.set_dtype_policy(case.policy)
    keras.utils.set_random_seed(0)
    model = dlrm(case)
    model.compile(optimizer(case), loss="binary_crossentropy", jit_compile=False)
    data = feed(case)

    def steps(n):
        seen = Steps()
        model.fit(data, steps_per_epoch=n, epochs=1, verbose=0, callbacks=[seen])
        wall, cpu = np.diff(seen.times, axis=0).T.tolist()
        return wall, cpu, seen.losses

    return steps


serve(prepare)
