"""ONNX files, run by onnxruntime in a process without TensorFlow, compared with the models."""

import subprocess
import sys

import keras
import model_cases
import next_item_cases
import numpy as np
import pytest
import retrieval_cases

import kerasrec as kr
from kerasrec.serving import onnx_model
from kerasrec.tensor_names import tensor_names

pytest.importorskip("tf2onnx")
pytest.importorskip("onnxruntime")

RUN = """
import pathlib, sys
import numpy as np, onnxruntime
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.onnx")):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for case in sorted(path.parent.glob(path.stem + ".*.npz")):
        arrays = dict(np.load(case))
        inputs = {i.name: arrays["in " + i.name] for i in session.get_inputs()}
        assert len(inputs) == sum(name.startswith("in ") for name in arrays), inputs
        outputs = dict(zip([o.name for o in session.get_outputs()], session.run(None, inputs)))
        expected = {name[4:]: a for name, a in arrays.items() if name.startswith("out ")}
        assert set(outputs) == set(expected), (outputs, expected)
        for name, output in outputs.items():
            np.testing.assert_allclose(output, expected[name], atol=1e-5, rtol=1e-5, err_msg=str(case))
assert "tensorflow" not in sys.modules
"""
ROWS = (0, 1, 11)
ZOO = {**model_cases.MODELS, **model_cases.ZOO}
QUICK = ("DIN",)


def check(folder):
    done = subprocess.run([sys.executable, "-c", RUN, str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def write_case(path, rows, features, outputs):
    """Write the inputs of padded features, and the outputs."""
    arrays = {}
    for name, values in features.items():
        if values.ndim == 1:
            arrays[f"in {name}"] = values
            continue
        filled = values != 0
        arrays[f"in {name}__values"] = values[filled]
        arrays[f"in {name}__offsets"] = np.cumsum([0, *filled.sum(axis=1)])
    arrays |= {f"out {name}": np.asarray(output) for name, output in outputs.items()}
    np.savez(path.with_suffix(f".{rows}.npz"), **arrays)


def write_lists(path, case, frame, outputs):
    """Write the inputs of transformed rows, and the outputs."""
    arrays = {}
    for name, names in tensor_names(next_item_cases.ALL).items():
        arrays[f"in {names.values}"] = frame[name].to_numpy()
        if names.offsets is not None:
            arrays[f"in {names.values}"] = frame[name].explode(empty_as_null=False).to_numpy()
            arrays[f"in {names.offsets}"] = np.cumsum([0, *frame[name].list.len()])
    arrays |= {f"out {name}": np.asarray(output) for name, output in outputs.items()}
    np.savez(path.with_suffix(f".{case}.npz"), **arrays)


def write_ranking_model(folder, name):
    model = ZOO[name](model_cases.zoo_schema(name))
    model(model_cases.batch_of(2)[0])
    path = kr.serving.onnx(model, folder / f"{name}.onnx")
    names = model.schema.targets.names
    for rows in ROWS:
        features, _ = model_cases.batch_of(rows, seed=rows)
        outputs = model(features, training=False) if rows else dict.fromkeys(names, np.zeros((0, 1)))
        outputs = outputs if isinstance(outputs, dict) else {names[0]: outputs}
        write_case(path, rows, features, outputs)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.nightly) for name in ZOO]
)
def test_onnxruntime_predicts_what_the_model_does(name, tmp_path):
    write_ranking_model(tmp_path, name)
    check(tmp_path)


@pytest.mark.parametrize("name", ["TwoTower", pytest.param("YoutubeDNN", marks=pytest.mark.nightly)])
def test_encoders_of_retrieval_models(name, tmp_path):
    model = retrieval_cases.RETRIEVAL[name]()
    features = retrieval_cases.pairs(5)
    model(features)
    sides = {"queries": (model.query_schema, model.encode_queries)}
    sides["candidates"] = (model.candidate_schema, model.encode_candidates)
    for encoder, (schema, encode) in sides.items():
        path = kr.serving.onnx(model, tmp_path / f"{encoder}.onnx", encoder=encoder)
        own = {column: features[column] for column in schema.names}
        write_case(path, 5, own, {"vector": encode(own)})
    check(tmp_path)


EVENTS = {"mixed": next_item_cases.LENGTHS, "one": (12,), "empty": (0,), "two empty": (0, 0), "none": ()}


@pytest.mark.parametrize(
    "name",
    ["SASRec", *(pytest.param(name, marks=pytest.mark.nightly) for name in ("GRU4Rec", "HSTU", "BERT4Rec"))],
)
def test_encoders_of_next_item_models(name, tmp_path):
    """Scores are dot products of the two encoders' vectors; a row is longer than the model reads."""
    model = next_item_cases.MODELS[name](next_item_cases.ALL)
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.5, w.shape) for w in model.get_weights()])
    ids = np.arange(3, next_item_cases.ITEMS, dtype="int32")
    vectors = model.encode_candidates({"item id": ids})
    path = kr.serving.onnx(model, tmp_path / "candidates.onnx", encoder="candidates")
    write_case(path, len(ids), {"item id": ids}, {"vector": vectors})
    path = kr.serving.onnx(model, tmp_path / "queries.onnx", encoder="queries")
    for case, lengths in EVENTS.items():
        frame = next_item_cases.frame_of(lengths)
        queries = np.zeros((0, 8), "float32")
        if lengths:
            (batch,) = next_item_cases.loader_of(frame, batch_size=len(lengths))
            queries = model.encode_queries(batch)
            scores = model(batch)[:, 3:]
            np.testing.assert_allclose(queries @ np.transpose(vectors), scores, atol=1e-5, rtol=1e-5)
        write_lists(path, case, frame, {"vector": queries})
    check(tmp_path)


def test_a_functional_model_with_layers_of_its_user(tmp_path):
    table = kr.TableConfig("item", 9, 4, combiner="mean")
    inputs = {
        "item id": keras.Input((), dtype="int64", name="item_id"),
        "liked": keras.Input((3,), dtype="int64", name="liked"),
    }
    layer = kr.layers.DistributedEmbedding({name: kr.FeatureConfig(name, table) for name in inputs})
    vectors = layer(inputs)
    model = keras.Model(
        inputs, keras.layers.Dense(1, name="bought")(keras.ops.concatenate([*vectors.values()], 1))
    )
    path = kr.serving.onnx(model, tmp_path / "functional.onnx")
    liked = np.array([[1, 2, 3], [0, 0, 0], [4, 0, 0]])
    features = {"item id": np.array([1, 0, 8]), "liked": liked}
    write_case(path, 3, features, {"bought": model(features)})
    check(tmp_path)


def test_what_cannot_be_written_is_refused(tmp_path, monkeypatch):
    model = retrieval_cases.RETRIEVAL["MatrixFactorization"]()
    with pytest.raises(ValueError, match='pass encoder="queries" or encoder="candidates"; got None'):
        kr.serving.onnx(model, tmp_path / "x.onnx")
    ranking = ZOO["LR"](model_cases.zoo_schema("LR"))
    with pytest.raises(ValueError, match="is not a retrieval model; leave encoder out"):
        kr.serving.onnx(ranking, tmp_path / "x.onnx", encoder="queries")
    (tmp_path / "x.onnx").write_text("mine")
    with pytest.raises(FileExistsError):
        kr.serving.onnx(model, tmp_path / "x.onnx", encoder="queries")
    monkeypatch.setattr(onnx_model, "LARGEST", 100)
    with pytest.raises(ValueError, match="GiB of weights, and an ONNX file at most 2"):
        kr.serving.onnx(model, tmp_path / "y.onnx", encoder="queries")
    assert [file.name for file in tmp_path.iterdir()] == ["x.onnx"]
