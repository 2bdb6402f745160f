"""JAX and PyTorch against TensorFlow: one script under each backend, equal weights, equal rows, equal results.

TensorFlow runs in this environment, the others in .venv-backends, which has no TensorFlow (`make test-backends`).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from run import OPTIMIZERS

ROOT = Path(__file__).parents[2]
OTHERS = ROOT / ".venv-backends"
MODELS = ["DLRM", "DCN", "DeepFM", "WideAndDeep"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (OTHERS / ".installed").exists(), reason="make test-backends makes .venv-backends"),
]


class Run:
    """`run.py` under a backend, at work until `finished`."""

    def __init__(self, backend, out, *reference):
        python = sys.executable if backend == "tensorflow" else OTHERS / "bin/python"
        self.backend, self.folder = backend, out
        self.process = subprocess.Popen(
            [python, Path(__file__).with_name("run.py"), out, *reference],
            env={**os.environ, "KERAS_BACKEND": backend},
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finished(self):
        _, errors = self.process.communicate()
        assert self.process.returncode == 0, errors
        self.facts = json.loads((self.folder / "facts.json").read_text())
        self.results = dict(np.load(self.folder / "results.npz"))
        assert self.facts["backend"] == self.backend
        return self

    def __getitem__(self, name):
        return self.results[name]


@pytest.fixture(scope="session")
def tensorflow(tmp_path_factory):
    return Run("tensorflow", tmp_path_factory.mktemp("tensorflow")).finished()


@pytest.fixture(scope="session")
def others(tensorflow, tmp_path_factory):
    """JAX and PyTorch, side by side."""
    runs = [Run(backend, tmp_path_factory.mktemp(backend), tensorflow.folder) for backend in ("jax", "torch")]
    return {run.backend: run.finished() for run in runs}


@pytest.fixture(scope="session", params=["jax", "torch"])
def other(request, others):
    return others[request.param]


def assert_agree(mine, theirs):
    assert np.isfinite(theirs).all()
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", ["layers", *MODELS, "DLRM, kr Adagrad", "DLRM, kr RowwiseAdagrad", "DLRM, Multi"])
def test_outputs_and_weights_agree_before_and_after_training(tensorflow, other, case):
    if case == "DLRM, Multi" and other.facts["backend"] == "jax":
        assert "need the TensorFlow or PyTorch backend; on JAX" in other.facts["Multi"]
        return
    names = [name for name in tensorflow.results if name.startswith(f"{case}/")]
    assert names == [name for name in other.results if name.startswith(f"{case}/")]
    for name in names:
        assert_agree(other[name], tensorflow[name])
    weights = [name for name in names if "/after: " in name]
    assert len(weights) > 5
    for name in weights:  # else equal weights would say nothing about gradients and updates
        assert np.abs(other[name] - other[name.replace("after", "before")]).max() > 1e-3, name


def test_every_model_of_the_zoo_agrees_before_and_after_two_steps(tensorflow, other):
    cases = [case for case in tensorflow.results if case.startswith("zoo ") and case.endswith("/before")]
    assert len(cases) > 15
    assert cases == [case for case in other.results if case.startswith("zoo ") and case.endswith("/before")]
    for case in cases:
        after = case.replace("/before", "/after")
        np.testing.assert_allclose(other[case], tensorflow[case], rtol=0, atol=1e-5, err_msg=case)
        np.testing.assert_allclose(other[after], tensorflow[after], rtol=0, atol=1e-5, err_msg=after)
        assert np.abs(tensorflow[after] - tensorflow[case]).max() > 1e-4, case
    for case in (name for name in tensorflow.results if name.startswith("zoo ") and name.endswith("/loss")):
        np.testing.assert_allclose(other[case], tensorflow[case], rtol=1e-5, atol=1e-5, err_msg=case)


def test_features_loader_and_model_agree(tensorflow, other):
    names = [name for name in tensorflow.results if name.startswith("pipeline/")]
    assert {"pipeline/auc", "pipeline/val_loss", "pipeline/predictions", "pipeline/shuffled"} < set(names)
    for name in names:
        assert_agree(other[name], tensorflow[name])
    assert tensorflow.facts["wide integers"] == ["", ""]
    within, beyond = other.facts["wide integers"]
    assert within == ""
    assert ("column 'key': 2147483648 is out of range for int32" in beyond) == (other.facts["backend"] == "jax")
    assert 'pass lists="padded" for column \'genres\', or lists="offsets"' in other.facts["ragged lists"]
    assert (other["pipeline/genres"] == 0).any()
    assert other["pipeline/loss"][1] < other["pipeline/loss"][0]


def test_tensors_are_the_loaders_batches_on_the_same_memory(other):
    """Copied are, by PyTorch, elements of lists read in file order, which are a part of what was decoded; by JAX,
    elements and offsets of lists, and what starts at no multiple of 64 bytes, in the last batch of 22 rows."""
    found = other.facts["tensors"]
    assert found.keys() == {"torch", "jax"}
    for kind in found.values():
        assert kind["differ"] == []
        assert kind["lengths"] == [[5, 5]] * 8
    assert {
        case
        for case in found["torch"]["copied"]
        if not case.startswith("(0, 'genres', 0): offsets, shuffle False")
    } == set()
    assert {case for case in found["jax"]["copied"] if "'genres', " not in case and "batch 4" not in case} == set()


def test_targets_weights_and_embeddings(tensorflow, other):
    """As tensors, and through `fit` after a function on the host: the same loss as under TensorFlow."""
    found = other.facts["tensors of several"]
    for kind in found.values():
        assert kind["differ"] == []
        assert kind["lengths"] == [[5, 5]] * 8
    assert found["torch"]["copied"] == []
    assert {case.rpartition(" ")[2] for case in found["jax"]["copied"]} <= {"4"}  # the short one
    names = [name for name in tensorflow.results if name.startswith("several/")]
    assert {"several/loss", "several/clicked_loss", "several/stars"} <= set(names)
    for name in names:
        assert_agree(other[name], tensorflow[name])


def test_a_torch_data_loader_takes_the_tensors(other):
    if other.facts["backend"] == "torch":
        assert other.facts["DataLoader"] == [32] * 9 + [12]
        assert "pass num_workers=0" in other.facts["workers"]


def test_a_model_file_of_tensorflow_is_loaded(tensorflow, other):
    assert_agree(other["loaded/predictions"], tensorflow["saved/predictions"])


def test_our_optimizers_are_kerass_where_gradients_are_dense(tensorflow, other):
    for run in (tensorflow, other):
        for name in OPTIMIZERS:
            assert_agree(run[f"optimizer {name}/kr"], run[f"optimizer {name}/keras"])
            assert_agree(run[f"optimizer {name}/kr"], tensorflow[f"optimizer {name}/keras"])
    for name in [name for name in other.results if name.startswith("DLRM/after")]:
        assert_agree(other[name.replace("DLRM", "DLRM, kr Adagrad")], other[name])


def test_tensorflow_is_not_needed(other):
    """Only its own features need it: a workflow's TensorFlow implementation, the exchange, the SavedModel."""
    assert not other.facts["tensorflow imported"]
    assert other.facts["not importable"] == [
        "kerasrec.data.frameworks.tf_dataset",
        "kerasrec.etl.run.serving_graph",
        "kerasrec.layers.embedding.exchanged_lookup",
        "kerasrec.layers.sequence.packed_rows",
        "kerasrec.losses.tiled_softmax",
        "kerasrec.parallel.comm.alltoall_vectors",
        "kerasrec.parallel.comm.batch_share",
        "kerasrec.parallel.comm.gather_rows",
        "kerasrec.parallel.comm.message_parts",
        "kerasrec.parallel.exchange.exchange",
        "kerasrec.parallel.exchange.packing",
        "kerasrec.parallel.exchange.replicas",
        "kerasrec.parallel.exchange.stacks",
        "kerasrec.serving.candidates",
        "kerasrec.serving.column_rows",
        "kerasrec.serving.grouped_call",
        "kerasrec.serving.index_model",
        "kerasrec.serving.layer_candidates",
        "kerasrec.serving.onnx_model",
        "kerasrec.serving.recommender.diversity",
        "kerasrec.serving.recommender.export",
        "kerasrec.serving.recommender.graph",
        "kerasrec.serving.recommender.recommender",
        "kerasrec.serving.recommender.stages",
        "kerasrec.serving.saved_model",
        "kerasrec.serving.session_call",
        "kerasrec.serving.signatures",
        "kerasrec.serving.triton.model",  # for Triton's own module
        "kerasrec.serving.write",
        "kerasrec.tables.distinct_rows",
    ]


def test_jax_compiles_and_tensorflow_does_without_xla(tensorflow, other):
    assert set(tensorflow.facts["jit_compile"].values()) == {False}
    if other.facts["backend"] == "jax":
        assert set(other.facts["jit_compile"].values()) == {True}


def test_a_stray_id_reads_no_other_table(tensorflow, other):
    """PyTorch raises; JAX, whose compiled code cannot, gives NaN for that id alone. (A loader refuses it.)"""
    first, second = [False, True], [False, False]
    nan = {"above": {"small": first, "other": second}, "below": {"small": second, "other": first}}
    for case in ("above", "below"):
        assert tensorflow.facts[f"stray id {case}"] == "InvalidArgumentError"
        expected = nan[case] if other.facts["backend"] == "jax" else "IndexError"
        assert other.facts[f"stray id {case}"] == expected
    for run in (tensorflow, other):
        assert run.facts["stray id inside"] == {"small": second, "other": second}
