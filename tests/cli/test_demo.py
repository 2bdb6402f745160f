"""The demo as `make demo` runs it: from nothing to a served model close to the best that can be."""

import json
import subprocess
import sys
import time

import pytest
from matplotlib.image import imread

KEYS = {
    "auc",
    "auc_bound",
    "logloss",
    "logloss_bound",
    "etl_rows_per_s",
    "loader_rows_per_s",
    "train_rows_per_s",
    "served_max_abs_diff",
}


@pytest.mark.slow
def test_demo_comes_within_a_hundredth_of_its_bound(tmp_path):
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "kerasrec", "demo"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert time.perf_counter() - started < 180
    report = tmp_path / "report"
    summary = json.loads((report / "summary.json").read_text())
    assert summary.keys() >= KEYS
    assert 0.75 <= summary["auc_bound"] <= 0.85
    assert summary["auc"] >= summary["auc_bound"] - 0.01
    assert summary["logloss"] <= summary["logloss_bound"] + 0.015
    assert summary["baseline_auc"] <= summary["auc_bound"] - 0.03
    assert summary["served_max_abs_diff"] <= 1e-6
    assert all(summary[key] > 1000 for key in KEYS if key.endswith("per_s"))
    for name in ("learning_curve.png", "calibration.png"):
        pixels = imread(report / name)[..., :3]
        assert (pixels < 0.9).any(axis=-1).mean() > 0.01, name
    for said in ("Held-out rows", f"{summary['auc']:.4f}", f"{summary['auc_bound']:.4f}", "rows/s"):
        assert said in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_demo_refuses_a_folder_to_keep_that_exists(tmp_path):
    command = [sys.executable, "-m", "kerasrec", "demo", "--keep", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"error: {tmp_path} exists: --keep needs a new folder"
