"""The demo: from nothing to a served model close to the best that can be.

It takes a minute, so CI runs it once, as `make demo`, and names the folder with its output here.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

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


@pytest.fixture
def demo(tmp_path):
    """The report and the output of a demo: of the one that $KERASREC_DEMO names, or else of one run here."""
    if "KERASREC_DEMO" in os.environ:
        report = Path(os.environ["KERASREC_DEMO"])
        return report, (report / "output.txt").read_text(encoding="utf-8")
    done = subprocess.run([sys.executable, "-m", "kerasrec", "demo"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
    return tmp_path / "report", done.stdout


@pytest.mark.slow
def test_demo_comes_within_a_hundredth_of_its_bound(demo):
    report, output = demo
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
    page = (report / "index.html").read_text(encoding="utf-8")
    assert "The model is better than both baselines" in page
    assert "Importance of columns" in page
    for said in ("Held-out rows", f"{summary['auc']:.4f}", f"{summary['auc_bound']:.4f}", "rows/s"):
        assert said in output


@pytest.mark.slow
def test_a_small_demo_is_better_than_its_own_baseline(tmp_path):
    from kerasrec.cli.demo import run_demo

    summary = run_demo(rows=10_000, epochs=None, out=tmp_path, keep=None, seed=0)
    assert summary["auc"] > summary["baseline_auc"] + 0.02
    assert summary["logloss"] < summary["baseline_logloss"] - 0.005
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "The model is worse" not in page  # with 1,000 held-out rows it need not say that it is better


def test_passes_and_batches_follow_the_rows_and_are_as_before_at_the_default():
    from kerasrec.cli.demo import batch_size, default_epochs

    sizes = {
        rows: (batch_size(rows), default_epochs(rows)) for rows in (10_000, 30_000, 100_000, 300_000, 3_000_000)
    }
    assert list(sizes.values()) == [(64, 2), (64, 2), (256, 2), (1024, 1), (2048, 1)]


def test_demo_refuses_a_folder_to_keep_that_exists(tmp_path):
    command = [sys.executable, "-m", "kerasrec", "demo", "--keep", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"error: {tmp_path} exists; --keep needs a new folder"
