"""`InBatchSoftmax` against TensorFlow Recommenders' `Retrieval` task, where that is installed."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest


@pytest.mark.skipif(
    find_spec("tensorflow_recommenders") is None, reason="tensorflow-recommenders is not installed"
)
def test_softmax_and_its_gradients_are_those_of_the_retrieval_task():
    """With temperatures, sampling probabilities, accidental hits and hard negatives, each with each."""
    script = Path(__file__).with_name("tfrs_losses.py")
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1"}
    printed = subprocess.run(
        [sys.executable, script], env=environment, check=True, capture_output=True, text=True, timeout=300
    ).stdout
    differences = json.loads(printed.splitlines()[-1])
    assert len(differences) == 36
    assert max(differences.values()) < 1e-6, differences
