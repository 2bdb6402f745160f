"""One backend's part of the comparison: `KERAS_BACKEND=... python run.py OUT [REFERENCE]` fills the folder OUT.

Builds and trains every layer and model from equal weights on equal rows, and leaves what came out in
OUT/results.npz, how it ran in OUT/facts.json, and a model in OUT/model.keras. With REFERENCE, another backend's
OUT, the model is loaded from there and its predictions are among the results.
"""

import importlib
import json
import pkgutil
import sys
from pathlib import Path

import keras
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from keras import ops

import kerasrec as kr
from kerasrec import etl
from kerasrec.losses import full_softmax

sys.path.append(str(Path(__file__).parents[1] / "models"))
from model_cases import MODELS, ZOO, batch_of, labels_of, schema_of, zoo_schema
from next_item_cases import ALL, ITEMS, PLAIN, frame_of
from retrieval_cases import RETRIEVAL, pairs

ROWS, BATCH = 320, 32  # ten steps; one shape of batch, since each more is compiled by JAX
RATE = 0.2
OPTIMIZERS = {
    "SGD": {"momentum": 0.9},
    "Adagrad": {"initial_accumulator_value": 0.1},
    "Adam": {"epsilon": 1e-3},
    "AdamW": {"weight_decay": 0.01},
    "Ftrl": {"l1_regularization_strength": 0.001, "initial_accumulator_value": 0.1},
}
results: dict[str, np.ndarray] = {}
facts: dict = {"backend": keras.backend.backend(), "jit_compile": {}}


def main(out: Path, reference: Path | None) -> None:
    facts["not importable"] = not_importable()
    train("layers", all_layers(), *layer_rows())
    x, y = batch_of(ROWS)
    for name, make in MODELS.items():
        train(name, make(schema_of()), x, y)
    for name in ZOO:
        two_steps(name)
    for name in ("TwoTower", "MatrixFactorization l2", "YoutubeDNN"):
        two_steps_of_pairs(name)
    for name in NEXT_ITEM:
        two_steps_of_sequences(name)
    for name in ("Adagrad", "RowwiseAdagrad"):
        train(f"DLRM, kr {name}", MODELS["DLRM"](schema_of()), x, y, getattr(kr.optimizers, name)(RATE, 0.1))
    two = {"tables": kr.optimizers.Adagrad(RATE, 0.1), "dense": kr.optimizers.Adam(0.01, epsilon=1e-3)}
    try:
        train("DLRM, Multi", MODELS["DLRM"](schema_of()), x, y, kr.optimizers.Multi(two))
    except ValueError as error:
        facts["Multi"] = str(error)
    model = MODELS["DLRM"](schema_of())
    set_dense_weights(model)
    model.save(out / "model.keras")
    results["saved/predictions"] = predict(model, x)
    loaded = keras.models.load_model((reference or out) / "model.keras")
    results["loaded/predictions"] = predict(loaded, x)
    optimizers()
    pipeline(out)
    wide_integers(out)
    several(out)
    stray_ids()
    facts["tensorflow imported"] = "tensorflow" in sys.modules
    np.savez(out / "results.npz", **results)
    (out / "facts.json").write_text(json.dumps(facts))


TIME = kr.Column("time", "int64", ("continuous", "list", "sequence", "time"))
NEXT_ITEM = {
    "SASRec of described items": lambda: kr.models.SASRec(PLAIN, 8, 1, 2, 6, 0.0, items=described_items(), seed=1),
    "GRU4Rec": lambda: kr.models.GRU4Rec(ALL, 8, [10], 6, 0.0, seed=1),
    # Only the last event is blank, which is not drawn.
    "BERT4Rec": lambda: kr.models.BERT4Rec(PLAIN, 8, 1, 2, 7, 0.0, last_rate=1.0, seed=1),
    "HSTU with times": lambda: kr.models.HSTU(kr.Schema([*PLAIN, TIME]), 8, 1, 2, 6, 0.0, seed=1),
}


def described_items() -> kr.Loader:
    ids = np.arange(3, ITEMS, dtype="int32")
    frame = pl.DataFrame({"item id": ids, "kind": ids % 5, "price": np.sin(ids).astype("float32")})
    columns = (("item id", "int32", ITEMS), ("kind", "int32", 5), ("price", "float32", None))
    tags = {"int32": ("categorical",), "float32": ("continuous",)}
    return kr.Loader(frame, schema=kr.Schema(kr.Column(n, t, tags[t], cardinality=c) for n, t, c in columns))


def two_steps_of_sequences(name) -> None:
    """The same of a next-item model, whose loss over all items is computed in blocks; and what it evaluates to."""
    x, model = padded(frame_of()), NEXT_ITEM[name]()
    x = {column: x[column] for column in model.schema.names}
    set_dense_weights(model)
    results[f"zoo {name}/before"] = outputs(model, x)[:, 3:]
    full_softmax.MOST_SCORES = 100
    model.compile(keras.optimizers.SGD(0.05), kr.losses.FullSoftmax())
    model.fit(x, batch_size=len(x["item id"]), epochs=2, shuffle=False, verbose=0)
    results[f"zoo {name}/loss"] = np.array(model.evaluate(x, batch_size=len(x["item id"]), verbose=0))
    facts["jit_compile"][name] = model.jit_compile
    results[f"zoo {name}/after"] = outputs(model, x)[:, 3:]


def padded(frame) -> dict[str, np.ndarray]:
    times = [10**9 + 50 ** (np.arange(n) % 6) for n in frame["item id"].list.len()]
    lists = {"time": times, **{name: frame[name].to_list() for name in ("item id", "größe", "price")}}
    dtypes = {"time": "int64", "price": "float32"}
    x = {name: frame[name].to_numpy() for name in ("^x$", "a.b", "favourite")}
    for name, rows in lists.items():
        x[name] = np.zeros((len(rows), 12), dtypes.get(name, "int32"))
        for values, row in zip(x[name], rows, strict=True):
            values[: len(row)] = row
    return x


def not_importable() -> list[str]:
    missing = []
    for module in pkgutil.walk_packages(kr.__path__, "kerasrec."):
        if not module.name.endswith("__main__"):
            try:
                importlib.import_module(module.name)
            except ImportError:
                missing.append(module.name)
    return missing


def train(case, model, x, y, optimizer=None) -> None:
    """Results: outputs before and after training, and each weight before and after."""
    set_dense_weights(model)
    results[f"{case}/before"] = predict(model, x)
    weights = {f"{i} {w.name}": w for i, w in enumerate(model.weights)}
    results.update({f"{case}/before: {name}": ops.convert_to_numpy(w) for name, w in weights.items()})
    loss = "binary_crossentropy" if not isinstance(y, dict) else "mse"
    model.compile(optimizer or keras.optimizers.Adagrad(RATE), loss=loss)
    history = model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0).history
    facts["jit_compile"][case] = model.jit_compile
    results[f"{case}/loss"] = np.array(history["loss"])
    results[f"{case}/after"] = predict(model, x)
    results.update({f"{case}/after: {name}": ops.convert_to_numpy(w) for name, w in weights.items()})


def two_steps(name) -> None:
    """Results of a model of `ZOO`: its outputs before and after two steps of SGD, which keeps rounding small."""
    x, schema = {column: values[:BATCH] for column, values in batch_of(ROWS)[0].items()}, zoo_schema(name)
    labels = labels_of(x)
    y = {target: labels[target] for target in schema.targets.names}
    model = ZOO[name](schema)
    set_dense_weights(model)
    results[f"zoo {name}/before"] = outputs(model, x)
    model.compile(keras.optimizers.SGD(0.05))
    model.fit(x, y if len(y) > 1 else y[schema.targets.names[0]], BATCH, epochs=2, shuffle=False, verbose=0)
    facts["jit_compile"][name] = model.jit_compile
    results[f"zoo {name}/after"] = outputs(model, x)


def two_steps_of_pairs(name) -> None:
    """The same of a retrieval model, with every option of the loss."""
    x, model = pairs(BATCH), RETRIEVAL[name](seed=1)
    set_dense_weights(model)
    results[f"zoo {name}/before"] = outputs(model, x)
    model.compile(keras.optimizers.SGD(0.05), kr.losses.InBatchSoftmax(0.2, hard_negatives=10, memory=50))
    model.fit(x, batch_size=BATCH, epochs=2, shuffle=False, verbose=0)
    facts["jit_compile"][name] = model.jit_compile
    results[f"zoo {name}/after"] = outputs(model, x)


def outputs(model, x) -> np.ndarray:
    y = model(x)
    return (
        np.stack([ops.convert_to_numpy(y[n]) for n in sorted(y)])
        if isinstance(y, dict)
        else ops.convert_to_numpy(y)
    )


def set_dense_weights(model) -> None:
    """Equal everywhere. Tables keep their initial values, which must be equal without help."""
    rng = np.random.default_rng(7)
    for weight in model.trainable_weights:
        if not weight.name.startswith("tables_"):
            weight.assign(rng.normal(0, 0.3, weight.shape).astype("float32"))


def predict(model, x) -> np.ndarray:
    y = model.predict(x, batch_size=BATCH, verbose=0)
    return np.concatenate([y[name].reshape(ROWS, -1) for name in sorted(y)], 1) if isinstance(y, dict) else y


# ---- layers ------------------------------------------------------------------------------------------------
def all_layers() -> keras.Model:
    """A functional model in which every layer, and every form of lookup, has an output and a gradient."""
    item = {how: kr.TableConfig(f"item_{how}", 20, 8, combiner=how) for how in ("sum", "mean", "sqrtn", None)}
    features = {f"list_{how}": kr.FeatureConfig(f"list_{how}", table) for how, table in item.items()}
    features["item"] = kr.FeatureConfig("item", item["mean"])  # a table shared with list_mean
    features["wide"] = kr.FeatureConfig("wide", kr.TableConfig("wide", 50, 12, initializer="he_normal"))
    inputs = {
        name: keras.Input((5,) if name.startswith("list_") else (), dtype="int32", name=name) for name in features
    }
    inputs["wide"] = keras.Input((), dtype="int64", name="wide")
    inputs["dense"] = keras.Input((6,), name="dense")
    found = kr.layers.DistributedEmbedding(features, name="embedding")({name: inputs[name] for name in features})
    bottom = kr.layers.MLP([16, 8], final_activation="tanh", name="mlp")(inputs["dense"])
    vectors = [bottom, *(found[f"list_{how}"] for how in ("sum", "mean", "sqrtn")), found["item"]]
    cross = kr.layers.FeatureCross(name="cross")(bottom)
    outputs = {
        **found,
        "mlp": bottom,
        "dots": kr.layers.DotInteraction()(vectors),
        "dots_self": kr.layers.DotInteraction(self_interaction=True)(vectors),
        "cross": kr.layers.FeatureCross(projection_dim=3, name="low_rank")(bottom, cross),
        "fm": kr.layers.FactorizationMachine()(vectors),
    }
    # Named, so that Keras gives each its own loss and `predict` its own name.
    named = {k: keras.layers.Activation("linear", name=f"out_{k}")(v) for k, v in outputs.items()}
    return keras.Model(inputs, named)


def layer_rows():
    rng = np.random.default_rng(1)
    x = {}
    for how in ("sum", "mean", "sqrtn", None):
        ids = rng.integers(1, 20, (ROWS, 5))
        x[f"list_{how}"] = np.where(np.arange(5) < rng.integers(0, 6, (ROWS, 1)), ids, 0).astype("int32")
    x["item"] = rng.integers(0, 20, ROWS).astype("int32")
    x["wide"] = rng.integers(0, 50, ROWS)
    x["dense"] = rng.normal(size=(ROWS, 6)).astype("float32")
    sizes = {f"list_{how}": (8,) for how in ("sum", "mean", "sqrtn")}
    sizes |= {"list_None": (5, 8), "item": (8,), "wide": (12,), "mlp": (8,), "cross": (8,)}
    sizes |= {"dots": (10,), "dots_self": (15,), "fm": (1,)}
    return x, {name: rng.normal(size=(ROWS, *size)).astype("float32") for name, size in sizes.items()}


def stray_ids() -> None:
    """Row 3 of "small" would be row 0 of "other", with which it is stacked, and row -1 of "other" row 2 of it."""
    tables = {"small": kr.TableConfig("small", 3, 4), "other": kr.TableConfig("other", 9, 4)}
    layer = kr.layers.DistributedEmbedding({name: kr.FeatureConfig(name, table) for name, table in tables.items()})
    for case, (small, other) in {"above": (3, 0), "below": (0, -1), "inside": (2, 8)}.items():
        try:
            found = layer({"small": np.array([1, small]), "other": np.array([1, other])})
        except Exception as error:
            facts[f"stray id {case}"] = type(error).__name__
        else:
            nan = {
                name: np.isnan(ops.convert_to_numpy(vectors)).any(1).tolist() for name, vectors in found.items()
            }
            facts[f"stray id {case}"] = nan


# ---- optimizers ----------------------------------------------------------------------------------------------
def optimizers() -> None:
    """Keras's and ours on dense gradients, three steps; in a training they are above and below."""
    for name, options in OPTIMIZERS.items():
        for side, package in {"keras": keras.optimizers, "kr": kr.optimizers}.items():
            rng = np.random.default_rng(3)
            optimizer = getattr(package, name)(0.05, **options)
            weights = [keras.Variable(rng.normal(size=shape).astype("float32")) for shape in [(6, 4), (4,)]]
            for _ in range(3):
                gradients = [ops.convert_to_tensor(rng.normal(size=w.shape).astype("float32")) for w in weights]
                optimizer.apply(gradients, weights)
            flat = [ops.convert_to_numpy(w).ravel() for w in weights]
            results[f"optimizer {name}/{side}"] = np.concatenate(flat)


# ---- raw rows to predictions ---------------------------------------------------------------------------------
def pipeline(out: Path) -> None:
    """Features, loader (padded lists, a short last batch), model, as the README has them."""
    x, y = batch_of(ROWS)
    genres = [[f"g{i}" for i in row if i] for row in x["genres"]]
    raw = pl.DataFrame({"user": x["user"], "genres": genres, "age": x["age"], "clicked": y[:, 0]})[
        :-20
    ]  # a short last batch
    raw.write_parquet(out / "raw.parquet")
    columns = (["user", "genres"] >> etl.Categorify()) + (["age"] >> etl.Normalize())
    workflow = etl.Workflow(columns + (["clicked"] >> etl.Target()))
    workflow.fit(out / "raw.parquet", progress=False)
    workflow.transform(out / "raw.parquet").to_parquet(out / "data")
    try:
        kr.Loader(out / "data", lists="ragged")
    except ValueError as error:
        facts["ragged lists"] = str(error)
    if keras.backend.backend() == "torch":
        torch_data_loader(out / "data")
    if keras.backend.backend() != "tensorflow":
        tensors("tensors", out / "data")
    loader = kr.Loader(out / "data", batch_size=BATCH, lists="padded")
    model = kr.models.DeepFM(loader.schema, 8, deep_units=[16])
    set_dense_weights(model)
    model.compile(kr.optimizers.Adagrad(0.05, 0.1), "binary_crossentropy", metrics=[keras.metrics.AUC(name="auc")])
    history = model.fit(loader, validation_data=loader, epochs=2, verbose=0).history
    results.update({f"pipeline/{name}": np.array(values) for name, values in history.items()})
    results["pipeline/predictions"] = model.predict(loader, verbose=0)
    results["pipeline/genres"] = np.concatenate([np.asarray(features["genres"]) for features, _ in loader])
    shuffled = kr.Loader(out / "data", batch_size=BATCH, lists="padded", shuffle=True)
    results["pipeline/shuffled"] = np.array(model.fit(shuffled, epochs=3, verbose=0).history["loss"])
    facts["jit_compile"]["pipeline"] = model.jit_compile


def wide_integers(out: Path) -> None:
    """A column of integers that leaves a workflow as it is: within 32 bits, and beyond."""
    facts["wide integers"] = []
    for value in (2**31 - 1, 2**31):
        raw = pl.DataFrame({"user": ["a", "b"] * 4, "key": [value, 1] * 4, "clicked": [0, 1] * 4})
        workflow = etl.Workflow((["user"] >> etl.Categorify()) + ["key"] + (["clicked"] >> etl.Target()))
        workflow.fit_transform(raw, progress=False).to_parquet(out / f"key {value}", progress=False)
        loader = kr.Loader(out / f"key {value}", batch_size=8)
        model = kr.models.DCN(loader.schema, 4, deep_units=[4])
        model.compile(kr.optimizers.Adagrad(0.05), "binary_crossentropy")
        try:
            model.fit(loader, verbose=0)
            facts["wide integers"].append("")
        except ValueError as error:
            facts["wide integers"].append(str(error))


def tensors(fact: str, data: Path, **more) -> None:
    """`Loader.torch` and `Loader.jax`: how their batches differ from the loader's, and which lie elsewhere."""
    kinds = {"torch": lambda loader: loader.torch(), "jax": lambda loader: loader.jax()}
    found = facts[fact] = {name: {"differ": [], "copied": [], "lengths": []} for name in kinds}
    for name, batches_of in kinds.items():
        for lists in ("padded", "offsets"):
            for shuffle in (False, True):
                arguments = {
                    "batch_size": BATCH,
                    "shuffle": shuffle,
                    "lists": lists,
                    "rank": 1,
                    "ranks": 2,
                    **more,
                }
                loader, expected = kr.Loader(data, **arguments), kr.Loader(data, **arguments)
                addresses = remember_addresses(loader)
                for epoch in range(2):
                    found[name]["lengths"].append([len(batches_of(loader)), len(expected)])
                    for step, (batch, arrays) in enumerate(zip(batches_of(loader), expected, strict=True)):
                        case = f"{lists}, shuffle {shuffle}, epoch {epoch}, batch {step}"
                        compare(batch, arrays, addresses, found[name], case)


def several(out: Path) -> None:
    """Two targets, weights, an embedding and halves from files, and what a function makes of them, into `fit`."""
    rng, data = np.random.default_rng(2), out / "several"
    data.mkdir()
    vectors = pa.array(rng.normal(size=3 * ROWS).astype("float32"))
    columns = {
        "half": pa.array(rng.normal(size=ROWS).astype("float16")),
        "vector": pa.FixedSizeListArray.from_arrays(vectors, 3),
        "clicked": pa.array(rng.integers(0, 2, ROWS).astype(bool)),
        "stars": pa.array(rng.integers(1, 6, ROWS).astype("int8")),
        "w": pa.array(rng.integers(0, 4, ROWS).astype("int16")),
    }
    pq.write_table(pa.table(columns), data / "part.parquet", row_group_size=100)
    tags = {"half": (), "vector": ("list",), "clicked": ("target",), "stars": ("target",), "w": ()}
    dtypes = dict(zip(tags, ("float16", "float32", "bool", "int8", "int16"), strict=True))
    kr.Schema(kr.Column(name, dtypes[name], tags[name]) for name in tags).save(data)
    if keras.backend.backend() != "tensorflow":
        tensors("tensors of several", data, sample_weight="w")
    inputs = {name: keras.Input(shape, name=name) for name, shape in {"half": (), "vector": (3,)}.items()}
    x = keras.layers.Concatenate()([inputs["half"][:, None], inputs["vector"]])
    outputs = {
        "clicked": keras.layers.Dense(1, "sigmoid", name="clicked")(x),
        "stars": keras.layers.Dense(1, name="stars")(x),
    }
    model = keras.Model(inputs, outputs)
    set_dense_weights(model)
    model.compile(keras.optimizers.SGD(0.01), {"clicked": "binary_crossentropy", "stars": "mse"})
    loader = kr.Loader(data, BATCH, sample_weight="w").map(
        lambda x, y, w: ({**x, "half": x["half"].astype("float32") + 1}, y, w / 2)
    )
    history = model.fit(loader, epochs=1, verbose=0).history
    results.update({f"several/{name}": np.array(values) for name, values in history.items()})
    results.update({f"several/{name}": y for name, y in model.predict(loader.take(10), verbose=0).items()})


def torch_data_loader(data: Path) -> None:
    from torch.utils.data import DataLoader

    batches = kr.Loader(data, BATCH, lists="padded").torch()
    facts["DataLoader"] = [len(target) for _, target in DataLoader(batches, batch_size=None)]
    try:
        next(iter(DataLoader(batches, batch_size=None, num_workers=1)))
    except RuntimeError as error:
        facts["workers"] = str(error)


def remember_addresses(loader) -> set[int]:
    """Where the columns of the batches to come start, in the loader's own blocks; filled by and by."""
    addresses, gather = set(), loader._stream.engine.gather

    def gather_and_remember(*args):
        batch = gather(*args)
        addresses.update(row.ctypes.data for block in batch.blocks.values() for row in block)
        for column in [*batch.lists.values(), *batch.vectors.values()]:
            parts = [column] if isinstance(column, np.ndarray) else [column.values, column.offsets]
            addresses.update(part.ctypes.data for part in parts)
        return batch

    loader._stream.engine.gather = gather_and_remember
    return addresses


def compare(batch, arrays, addresses, found, case) -> None:
    flat = keras.tree.flatten_with_path(batch)
    for (path, tensor), (_, array) in zip(flat, keras.tree.flatten_with_path(arrays), strict=True):
        if not np.array_equal(np.asarray(tensor), array) or tuple(tensor.shape) != array.shape:
            found["differ"].append(f"{path}: {case}")
        at = tensor.data_ptr() if hasattr(tensor, "data_ptr") else tensor.unsafe_buffer_pointer()
        if at not in addresses:
            found["copied"].append(f"{path}: {case}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
