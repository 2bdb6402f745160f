"""`fit` on any number of ranks, with the data that `write_data` writes."""

import json
import re
import sys
import warnings

import keras
import numpy as np
import polars as pl
import pytest
import tensorflow as tf

import kerasrec as kr
from kerasrec.datasets import metrics
from kerasrec.parallel import comm
from kerasrec.tables import variables

not_refused = []
USERS, ITEMS, TAGS = 40, 103, 31
BATCH = 32


# ---- data: files of unequal sizes, row groups too, and a last short batch ----------------------------------
def write_data(folder):
    columns = [
        kr.Column("user", "int64", tags=("categorical",), cardinality=USERS),
        kr.Column("item", "int64", tags=("categorical",), cardinality=ITEMS),
        kr.Column("tags", "int64", tags=("categorical", "list"), cardinality=TAGS),
        kr.Column("age", "float32", tags=("continuous",)),
        kr.Column("liked", "int8", tags=("target", "binary")),
        kr.Column("weight", "float32"),
    ]
    schema, rng = kr.Schema(columns), np.random.default_rng(0)
    for part, sizes in {"train": (301, 7, 150), "valid": (95, 30)}.items():
        (folder / part).mkdir()
        schema.save(folder / part)
        for number, rows in enumerate(sizes):
            weight = pl.Series("weight", (np.arange(rows) % 7 / 2).astype("float32"))
            frame = rows_of(rng, rows).with_columns(weight)
            frame.write_parquet(folder / part / f"{number}.parquet", row_group_size=60)


def rows_of(rng, rows):
    user, item = rng.integers(0, USERS, rows), np.minimum(rng.zipf(1.3, rows), ITEMS - 1)
    tags = [rng.integers(0, TAGS, n).tolist() for n in rng.integers(0, 4, rows)]
    age = rng.normal(size=rows).astype("float32")
    liked = (np.sin(user) + np.cos(item) + age + rng.normal(size=rows) > 0).astype("int8")
    types = {"user": pl.Int64, "item": pl.Int64, "tags": pl.List(pl.Int64), "age": pl.Float32, "liked": pl.Int8}
    return pl.DataFrame({"user": user, "item": item, "tags": tags, "age": age, "liked": liked}, schema=types)


FEATURES = ["user", "item", "tags", "age"]


def loaders(folder, **share):
    share = {"columns": FEATURES, **share}
    train = kr.Loader(folder / "train", batch_size=BATCH, shuffle=True, pool_rows=100, seed=3, **share)
    return train, kr.Loader(folder / "valid", batch_size=BATCH, **share)


# ---- models ------------------------------------------------------------------------------------------------
OPTIMIZERS = {
    "sgd": lambda: kr.optimizers.SGD(1.0),
    "adagrad": lambda: kr.optimizers.Adagrad(0.05, initial_accumulator_value=1e-4),
    "adam": lambda: kr.optimizers.Adam(0.01),
}


def seeded():
    keras.utils.set_random_seed(7 if comm.rank() == 0 else 100 + comm.rank())


def dlrm(folder, optimizer):
    seeded()
    schema = kr.Schema.load(folder / "train")
    model = kr.models.DLRM(schema, embedding_dim=6, bottom_units=[8, 6], top_units=[8])
    return compiled(model, optimizer, kr.metrics.GroupAUC("user", capacity=4096))


def by_target(folder):
    """Arguments of a loader with two targets, each of which weighs the other's rows."""
    schema = kr.Schema.load(folder / "train")
    score = kr.Column("weight", "float32", tags=("target", "regression"))
    schema = kr.Schema(score if column.name == "weight" else column for column in schema)
    return {"schema": schema, "sample_weight": {"liked": "weight", "weight": "liked"}}


def mmoe(folder, optimizer):
    """A model of two targets whose rows weigh differently."""
    seeded()
    model = kr.models.MMoE(by_target(folder)["schema"], 6, 2, [8], [4])
    weighted = {"liked": [keras.metrics.AUC(name="auc")], "weight": ["mae"]}
    model.compile(OPTIMIZERS[optimizer](), weighted_metrics=weighted, loss_weights={"weight": 0.5})
    return model


def plain(optimizer, placement="column_wise", kind=kr.parallel.Model):
    """A functional model around the layer; the width of `item` cannot be halved."""
    seeded()
    item = kr.TableConfig("item", ITEMS, 5, "mean", "normal", placement=placement)
    user = kr.TableConfig("user", USERS, 4, "mean", "normal", placement="row_wise")
    features = {"item": kr.FeatureConfig("item", item), "user": kr.FeatureConfig("user", user)}
    layer = kr.layers.DistributedEmbedding(
        features, seed=3, plan=kr.parallel.plan_from_placements(features, comm.size())
    )
    ids = {name: keras.Input((), dtype="int64", name=name) for name in features}
    known = keras.layers.Flatten()(keras.layers.Embedding(USERS, 3)(keras.ops.expand_dims(ids["user"], 1)))
    x = keras.layers.Concatenate()([*layer(ids).values(), known])
    x = keras.layers.Dense(1, activation="sigmoid")(keras.layers.Dense(8, activation="tanh")(x))
    return compiled(kind(ids, x), optimizer)


def compiled(model, optimizer, *more):
    if optimizer in OPTIMIZERS:
        optimizer = OPTIMIZERS[optimizer]()
    metrics = [*more, keras.metrics.AUC(name="auc"), keras.metrics.BinaryAccuracy(name="accuracy"), "mse"]
    weighted = [keras.metrics.MeanSquaredError(name="weighted_mse"), kr.metrics.AUC("exact_auc", capacity=4096)]
    model.compile(optimizer, "binary_crossentropy", metrics=metrics, weighted_metrics=weighted)
    return model


def several(optimizer):
    """Two outputs, with weights for rows and for outputs, and metrics whose states are of many kinds."""
    body = plain(optimizer)
    hidden = body.layers[-2].output
    liked = keras.layers.Dense(1, activation="sigmoid", name="liked")(hidden)
    score = keras.layers.Dense(1, name="score")(hidden)
    model = kr.parallel.Model(body.input, {"liked": liked, "score": score})
    kinds = keras.metrics
    model.compile(
        optimizer=OPTIMIZERS[optimizer](),
        loss={"liked": "binary_crossentropy", "score": keras.losses.Huber()},
        loss_weights={"liked": 1.0, "score": 0.3},
        metrics={
            "liked": [
                kinds.AUC(curve="PR", name="pr"),
                kinds.Precision(name="precision"),
                kinds.F1Score("micro", 0.5),
            ],
            "score": [kinds.RootMeanSquaredError(name="rmse"), kinds.R2Score(name="r2")],
        },
        weighted_metrics={"liked": [kinds.AUC(name="auc")], "score": ["mae"]},
    )
    return model


def with_weights(batches):
    """The same batches for `several`."""
    for ids, target in batches:
        user, item = (ids[name].astype("float32")[:, None] for name in ("user", "item"))
        targets = {"liked": target, "score": np.sin(user) + np.cos(item)}
        yield ids, targets, {"liked": 0.2 + item[:, 0] % 3, "score": 0.1 + user[:, 0] % 2}


def arrays(rows=120):
    """Rows for the batches of `parts`."""
    frame = rows_of(np.random.default_rng(5), rows)
    ids = {name: frame[name].to_numpy() for name in ("user", "item")}
    return ids, frame["liked"].to_numpy().astype("float32")[:, None]


def unequal(ranks):
    """(batches, ranks): how many rows each rank has of each global batch."""
    return np.array([[5 + 3 * rank + batch for rank in range(ranks)] for batch in range(4)])


def parts(rank, ranks):
    """A rank's batches of `arrays`; all rows' with ranks in the place of rank None."""
    ids, target = arrays()
    first = 0
    for sizes in unequal(ranks):
        ends = first + np.cumsum([0, *sizes])
        start, stop = (ends[0], ends[-1]) if rank is None else ends[rank : rank + 2]
        yield {name: values[start:stop] for name, values in ids.items()}, target[start:stop]
        first = ends[-1]


def as_dataset(batches):
    batches = list(batches)
    signature = tf.nest.map_structure(lambda each: tf.TensorSpec((None, *each.shape[1:]), each.dtype), batches[0])
    dataset = tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=signature)
    return dataset.apply(tf.data.experimental.assert_cardinality(len(batches)))


# ---- what a training leaves --------------------------------------------------------------------------------
def tables_of(model):
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, kr.layers.DistributedEmbedding)]
    return {f"table {t.table.name}": layer.table(t.table.name) for layer in layers for t in layer.plan.tables}


def dense_of(model):
    return np.concatenate([np.ravel(weight.numpy()) for weight in variables.dense_weights(model)])


def left_by(model, history):
    dense = dense_of(model)
    assert len(set(comm.gather_objects(dense.tobytes()))) == 1, "dense weights differ between ranks"
    logs = {f"log {name}": np.array(values) for name, values in history.items()}
    assert len(set(comm.gather_objects(json.dumps(history)))) == 1, "logs differ between ranks"
    return {"dense": dense, **tables_of(model), **logs}


class Settled(keras.callbacks.Callback):
    """Whether moving averages, which each rank has its own of, end an epoch as their mean."""

    def moving(self):
        return np.concatenate([np.ravel(weight.numpy()) for weight in variables.untrained_weights(self.model)])

    def on_train_batch_end(self, batch, logs=None):
        self.mine = self.moving()

    def on_epoch_end(self, epoch, logs=None):
        everyones = comm.gather_objects(self.mine)
        assert comm.size() == 1 or len({each.tobytes() for each in everyones}) > 1, "ranks have seen the same"
        np.testing.assert_allclose(self.moving(), np.mean(everyones, axis=0), rtol=1e-6)


class Batches(keras.callbacks.Callback):
    """Keeps the logs of every batch."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(logs["loss"])


# ---- cases: each returns arrays by name, which the test compares with one process's ------------------------
def case_loader(folder, work, optimizer, **weights):
    model, (train, valid) = dlrm(folder, optimizer), loaders(folder, **weights)
    batches = Batches()
    history = model.fit(train, validation_data=valid, epochs=2, callbacks=[batches], verbose=2).history
    found = left_by(model, history)
    evaluated = model.evaluate(loaders(folder, **weights)[1], return_dict=True)
    np.testing.assert_allclose([found[f"log val_{name}"][-1] for name in evaluated], list(evaluated.values()))
    predicted = np.concatenate(comm.gather_objects(model.predict(loaders(folder, **weights)[1])))
    check_exact(evaluated, predicted[:, 0], folder / "valid", bool(weights))
    return {**found, "batch losses": np.array(batches.seen), "predicted": predicted}


def check_exact(found, predicted, folder, weighted):
    """AUC and GroupAUC are those of all ranks' rows, whose predictions stand in the order of the files.

    `predict` rounds otherwise than `evaluate`: what lies as near together as that may be in either order.
    """
    rows = pl.concat([pl.read_parquet(file) for file in sorted(folder.glob("*.parquet"))])
    labels, users = rows["liked"].to_numpy(), rows["user"].to_numpy()
    weights = rows["weight"].to_numpy() if weighted else np.ones(len(rows))
    both = [of for user in set(users) if 0 < labels[of := users == user].mean() < 1]
    least, most = predicted - 5e-7 * labels, predicted + 5e-7 * labels
    aucs = [metrics.auc(labels, scores, weights) for scores in (least, most)]
    means = [
        np.average([metrics.auc(labels[of], scores[of]) for of in both], weights=[of.sum() for of in both])
        for scores in (least, most)
    ]
    assert aucs[0] - 1e-6 < found["exact_auc"] < aucs[1] + 1e-6, (aucs, found)
    assert means[0] - 1e-6 < found["gauc"] < means[1] + 1e-6, (means, found)
    assert max(aucs[1] - aucs[0], means[1] - means[0]) < 0.02


WEIGHTS = {"sample_weight": "weight"}


def case_weighted(folder, work, optimizer):
    """Rows weigh differently, and so do ranks' batches."""
    return case_loader(folder, work, optimizer, **WEIGHTS)


def case_by_target(folder, work, optimizer):
    """Rows weigh differently for each target."""
    model, (train, valid) = mmoe(folder, optimizer), loaders(folder, **by_target(folder))
    return left_by(model, model.fit(train, validation_data=valid, epochs=2, verbose=2).history)


def case_plain(folder, work, optimizer):
    model = plain(optimizer)
    data = as_dataset(parts(comm.rank(), comm.size()))
    history = model.fit(data, epochs=3, verbose=2).history
    path = work / f"plain_{optimizer}.keras"
    model.save(path)
    assert path.exists()
    again = keras.saving.load_model(path)  # every rank reads rank 0's file
    state, restored = {}, {}
    model.optimizer.save_own_variables(state)
    again.optimizer.save_own_variables(restored)
    assert state.keys() == restored.keys()
    for name in state:
        np.testing.assert_array_equal(state[name], restored[name])
    found = left_by(model, history)
    for name, values in tables_of(again).items():
        np.testing.assert_array_equal(values, found[name])
    cut_off(model, path)
    return found


def cut_off(model, path):
    """A save that fails when tables are written already leaves the file before it, and nothing else."""

    def full(store):
        raise OSError("no space left")

    before, there = path.read_bytes(), sorted(path.parent.iterdir())
    model.layers[-1].save_own_variables = full
    for save, name in ((model.save, path), (model.save_weights, path.with_name("new.weights.h5"))):
        with pytest.raises(OSError, match="no space left"):
            save(name)
    del model.layers[-1].save_own_variables
    assert path.read_bytes() == before
    if comm.rank() == 0:  # who alone writes
        assert sorted(path.parent.iterdir()) == there
    comm.barrier()


def case_several(folder, work, optimizer):
    model, data = several(optimizer), as_dataset(with_weights(parts(comm.rank(), comm.size())))
    history = model.fit(data, validation_data=data, epochs=2, verbose=2).history
    found = left_by(model, history)
    for when in ("log ", "log val_"):  # by rows: one process takes these over batches
        liked, score = (found.pop(f"{when}{output}_loss") for output in ("liked", "score"))
        np.testing.assert_allclose(liked + 0.3 * score, found[f"{when}loss"], rtol=1e-5)
    return found


def case_callbacks(folder, work, optimizer):
    model, (train, valid) = dlrm(folder, optimizer), loaders(folder)
    rates, best = [], str(work / "new" / "best.keras")
    callbacks = [
        keras.callbacks.EarlyStopping("val_loss", min_delta=0.003, restore_best_weights=True, verbose=1),
        keras.callbacks.ModelCheckpoint(best, "val_loss", save_best_only=True, verbose=1),
        keras.callbacks.ModelCheckpoint(str(work / "epoch{epoch}.weights.h5"), save_weights_only=True),
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.9, verbose=1),
        keras.callbacks.ReduceLROnPlateau("val_auc", mode="max", factor=0.5, patience=0, min_delta=0.1),
        keras.callbacks.CSVLogger(str(work / "log.csv")),
        keras.callbacks.TensorBoard(str(work / "board")),
        keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: rates.append(float(model.optimizer.learning_rate))),
    ]
    history = model.fit(train, validation_data=valid, epochs=12, callbacks=callbacks, verbose=2).history
    found = left_by(model, history)
    assert len(set(comm.gather_objects(len(rates)))) == 1
    return {**found, "rates": np.array(rates)}


def case_alike(folder, work, optimizer):
    """Moving averages follow each rank's rows, yet end as their mean; Keras's options for steps work."""
    model = plain(optimizer)
    out = keras.layers.Dense(1)(keras.layers.BatchNormalization()(model.layers[-2].output))
    model = compiled(kr.parallel.Model(model.input, out), optimizer)
    model.compile(optimizer=kr.optimizers.SGD(0.1), loss="mse", metrics=["mse"], steps_per_execution=2)
    data = as_dataset(parts(comm.rank(), comm.size()))
    callbacks = [Settled()]
    history = model.fit(data, validation_data=data, epochs=2, callbacks=callbacks, verbose=2).history
    left_by(model, history)
    assert np.abs(model.non_trainable_weights[0].numpy()).max() > 0
    np.testing.assert_allclose(history["loss"], history["mse"], rtol=1e-5)
    eager = plain("sgd")
    eager.compile(optimizer=kr.optimizers.SGD(0.1), loss="mse", run_eagerly=True)
    history = eager.fit(data, epochs=1, verbose=2).history
    return left_by(eager, history)


def case_refused(folder, work, optimizer):
    """Refusals, each on every rank and before anything was trained; on one rank there is nothing to refuse."""
    if comm.size() == 1:
        return {}
    rank = comm.rank()
    data = as_dataset(parts(rank, comm.size()))
    of_keras = "knows nothing of the other .* ranks. Build it as kr.parallel.Model"
    refused(of_keras, lambda: plain("sgd", kind=keras.Model).fit(data))
    refused(of_keras, lambda: plain("sgd", kind=keras.Model).fit(data, callbacks=[kr.parallel.Callback()]))
    foreign = "would drift apart. Use one of kr.optimizers"
    refused(foreign, lambda: plain(keras.optimizers.Adam()).fit(data))
    refused(foreign, lambda: plain(keras.optimizers.SGD()).evaluate(data))
    refused(foreign, lambda: dlrm(folder, keras.optimizers.SGD()).fit(loaders(folder)[0]))
    scaled = keras.optimizers.LossScaleOptimizer(kr.optimizers.SGD(0.1))
    refused("mixed_bfloat16", lambda: plain(scaled).fit(data))
    for reduction in ("sum", "mean_with_sample_weight", None):
        refused(
            rf"BinaryCrossentropy\(reduction={reduction!r}\), which .* ranks cannot combine",
            lambda how=reduction: with_loss(how).fit(data),
        )
    listed = keras.callbacks.CallbackList([keras.callbacks.EarlyStopping("loss")])
    refused("pass callbacks as a list", lambda: plain("sgd").fit(data, callbacks=listed))
    board = keras.callbacks.TensorBoard(str(work / "refused"), embeddings_freq=1)
    refused("use ModelCheckpoint", lambda: plain("sgd").fit(data, callbacks=[board]))
    backup = keras.callbacks.BackupAndRestore(str(work / "refused"))
    refused("use ModelCheckpoint", lambda: plain("sgd").fit(data, callbacks=[backup]))
    folders = keras.callbacks.ModelCheckpoint(str(work / "{epoch}" / "model.keras"))
    refused("make its folders at once", lambda: plain("sgd").fit(data, callbacks=[folders]))
    refused("compute it from sums", lambda: with_metric(Largest("only_first_replica")).fit(data))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with_metric(Largest("sum")).fit(data)
    assert any("metric 'largest' (Largest) is not Keras's" in str(each.message) for each in told)
    refused("would hold only this rank's rows", lambda: fitted().save(work / "old.h5"))

    # what differs between ranks
    main = sys.modules["__main__"]
    script = main.__file__
    main.__file__ = __file__ if rank else script
    differs = r"code.script: \w{8} on rank 0, \w{8} on ranks? 1"
    refused(differs, lambda: dlrm(folder, "sgd").fit(loaders(folder)[0]))
    refused(differs, lambda: plain("sgd").evaluate(data))
    main.__file__ = script
    mine = loaders(folder)[0]
    mine.epoch = rank
    refused(r"data.epoch: 0 on rank 0, 1 on rank 1", lambda: dlrm(folder, "sgd").fit(mine))
    small = kr.Loader(folder / "train", batch_size=BATCH + rank)
    unlike = kr.Loader(folder / "train", batch_size=BATCH, sample_weight="weight" if rank else None)
    refused("data.sample_weight: None on rank 0, weight on ranks? 1", lambda: dlrm(folder, "sgd").fit(unlike))
    refused(rf"data.batch_size: {BATCH} on rank 0, {BATCH + 1} on rank 1", lambda: dlrm(folder, "sgd").fit(small))
    other_data(folder)
    fewer = as_dataset([*parts(rank, comm.size())][rank:])
    refused("batches: 4 on rank 0, 3 on rank 1", lambda: plain("sgd").fit(fewer))
    refused("batches: 4 on rank 0, 3 on rank 1", lambda: plain("sgd").evaluate(fewer))
    refused(
        "start of validation:.*\n.*batches: 4 on rank 0, 3 on rank 1",
        lambda: plain("sgd").fit(data, validation_data=fewer),
    )
    slow = kr.optimizers.SGD(0.1 + rank)
    refused("optimizer.config.learning_rate: 0.1", lambda: plain(slow).fit(data))
    wide = lambda: plain("sgd", "row_wise" if rank else "column_wise")  # noqa: E731
    refused(r"embeddings\[0\].plan.item.placement", lambda: wide().fit(data))
    schema = kr.Schema(
        [
            kr.Column("user", "int64", tags=("categorical",), cardinality=USERS + rank),
            kr.Column("liked", "int8", tags=("target", "binary")),
        ]
    )
    other = compiled(kr.models.DeepFM(schema, embedding_dim=4, deep_units=[4]), "sgd")
    refused("schema.user.cardinality: 40 on rank 0, 41 on rank 1", lambda: other.fit(data))
    deep = compiled(kr.models.DCN(kr.Schema.load(folder / "train"), 4, deep_units=[4 + rank]), "sgd")
    refused(r"config.units.*: 4 on rank 0, 5 on rank 1|weights", lambda: deep.fit(loaders(folder)[0]))
    assert not not_refused, not_refused
    return {}


class Largest(keras.metrics.Metric):
    """No sum."""

    def __init__(self, aggregation):
        super().__init__(name="largest")
        self.value = self.add_variable((), "zeros", aggregation=aggregation)

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.value.assign(keras.ops.maximum(self.value, keras.ops.max(y_pred)))

    def result(self):
        return self.value.value


def with_metric(metric):
    model = plain("sgd")
    model.compile(optimizer=kr.optimizers.SGD(0.1), loss="mse", metrics=[metric])
    return model


def with_loss(reduction):
    model = plain("sgd")
    model.compile(kr.optimizers.SGD(0.1), keras.losses.BinaryCrossentropy(reduction=reduction))
    return model


def fitted():
    model = plain("sgd")
    model.fit(as_dataset(parts(comm.rank(), comm.size())))
    return model


def other_data(folder):
    """As many rows, in files of the same names and sizes of row groups, but others on one rank."""
    mine = folder / f"of {comm.rank() == 1}"
    if comm.rank() < 2:
        mine.mkdir()
        for part in ("0", "1"):
            seed = 1 if part == "1" and comm.rank() == 1 else 0
            rows_of(np.random.default_rng(seed), 64).write_parquet(mine / f"{part}.parquet")
        kr.Schema.load(folder / "train").subset([*FEATURES, "liked"]).save(mine)
    comm.barrier()
    model, data, shared = dlrm(folder, "sgd"), kr.Loader(mine, batch_size=BATCH), loaders(folder)[0]
    told = r"64 rows in [\d,]+ bytes \(\w+\)"
    said = rf"files\.1\.parquet: {told} on ranks? 0.*, {told} on rank 1$"
    refused(said, lambda: model.fit(data))
    refused(f"validation {said}".replace("files", "data.files"), lambda: model.fit(shared, validation_data=data))
    refused(said, lambda: model.evaluate(data))
    refused(said, lambda: model.predict(data))
    alone = kr.Loader(mine, batch_size=BATCH, rank=0, ranks=1)  # each rank has data of its own
    assert model.predict(alone, verbose=0).shape == (128, 1)


def refused(said, run):
    """Whether every rank refuses, in these words."""
    told = "nothing"
    try:
        run()
    except (ValueError, FileExistsError, kr.parallel.RanksDiffer) as error:
        told = str(error)
    everyones = comm.gather_objects(told)
    if not all(re.search(said, each) for each in everyones):
        not_refused.append((said, everyones))


CASES = {
    "loader adagrad": (case_loader, "adagrad"),
    "weighted sgd": (case_weighted, "sgd"),
    "by target": (case_by_target, "adagrad"),
    "plain sgd": (case_plain, "sgd"),
    "plain adam": (case_plain, "adam"),
    "several": (case_several, "sgd"),
    "callbacks": (case_callbacks, "adagrad"),
    "alike": (case_alike, "sgd"),
    "refused": (case_refused, ""),
}
# What is special to them is in "weighted sgd", "several", "callbacks" and "plain adam" as well.
NIGHTLY = ("loader adagrad", "by target", "plain sgd")


def names_of(ranks):
    """The cases for a number of ranks."""
    return [name for name in CASES if ranks > 2 or name not in NIGHTLY]


def run(folder):
    """Run the cases; rank 0 writes the arrays of each."""
    work = folder / f"on_{comm.size()}"
    work.mkdir(exist_ok=True)
    for name in names_of(comm.size()):
        case, optimizer = CASES[name]
        arrays = case(folder, work, optimizer)
        if comm.rank() == 0:
            np.savez(work / f"{name}.npz", **arrays)
        print(f"case {name}: done", flush=True)
