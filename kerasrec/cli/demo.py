"""`kerasrec demo`: the whole way on a click log whose best possible score is known."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import polars as pl
from rich.console import Console

from kerasrec import etl, models, optimizers, serving
from kerasrec.cli.errors import Refused
from kerasrec.cli.features import write_features
from kerasrec.cli.progress import Stages
from kerasrec.cli.report import calibration, learning_curve, table, write_summary
from kerasrec.cli.training import Trained, fit
from kerasrec.data.loader import Loader
from kerasrec.datasets.synthetic import ClickLog, click_log

BATCH = 2048
SERVED_ROWS = 20_000

# Runs in a process where Keras and kerasrec cannot be imported: the SavedModel needs TensorFlow alone.
SERVE = """
import sys
sys.modules.update(keras=None, kerasrec=None)
import numpy as np
import tensorflow as tf
folder, rows, answers = sys.argv[1:]
served = tf.saved_model.load(folder).signatures["serving_default"]
(answer,) = served(**np.load(rows, allow_pickle=True)).values()
np.save(answers, answer)
"""


def workflow() -> etl.Workflow:
    """The click log's features; ids seen less than 10 times share one."""
    ids = ["user", "item", "site", "device", "city", "category", "advertiser", "hour", "genres"]
    tails = ["price", "seconds", "past_clicks"] >> etl.FillMissing() >> etl.LogOp() >> etl.Normalize()
    age = ["age"] >> etl.FillMissing() >> etl.Normalize()
    return etl.Workflow((ids >> etl.Categorify(min_count=10)) + tails + age + (["clicked"] >> etl.Target()))


def run_demo(rows: int, epochs: int, out: Path, keep: Path | None, seed: int) -> dict[str, Any]:
    """Returns what it writes to `out/summary.json`."""
    if keep is not None and keep.exists():
        raise Refused(f"{keep} exists: --keep needs a new folder")
    if out.exists() and not out.is_dir():
        raise Refused(f"{out} is not a folder: --out needs one")
    console, started = Console(), time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="kerasrec-demo-") as scratch:
        work = keep or Path(scratch)
        log = click_log(work / "log", rows, seed=seed)
        with Stages(console) as stages:
            figures, trained, baseline = _street(log, work, epochs, seed, stages)
            with stages("plotting") as stage:
                bounds = {"auc": log.auc_bound, "logloss": log.logloss_bound}
                learning_curve(out / "learning_curve.png", trained.checks, "logloss", bounds, baseline)
                calibration(out / "calibration.png", trained.labels, trained.predictions, "clicked", binary=True)
                stage.say(f"{out}/learning_curve.png, calibration.png, summary.json")
    figures = {**figures, "rows": rows, "epochs": epochs, "seed": seed, "seconds": time.perf_counter() - started}
    write_summary(out / "summary.json", figures)
    _print(console, figures)
    return figures


def _street(
    log: ClickLog, work: Path, epochs: int, seed: int, stages: Stages
) -> tuple[dict[str, float], Trained, dict[str, float]]:
    with stages("bias-only baseline") as stage:
        bias = log.bias_baseline()
        stage.say(f"AUC {bias.auc:.4f}")
    features = workflow()
    etl_rate = write_features(features, log.train, log.valid, work / "features", stages)
    train = Loader(work / "features" / "train", batch_size=BATCH, shuffle=True, seed=seed)
    valid = Loader(work / "features" / "valid", batch_size=4 * BATCH)
    with stages("reading", total=train.num_rows) as reading:
        for _, target in train:
            reading.advance(len(target))

    keras.utils.set_random_seed(seed)
    model = models.DLRM(train.schema, embedding_dim=16, bottom_units=[64, 16], top_units=[128, 64])
    model.compile(optimizer=optimizers.Adagrad(0.05), loss="binary_crossentropy")
    with stages("training", total=epochs * train.num_rows) as stage:
        trained = fit(model, train, valid, epochs, stage)

    with stages("exporting") as stage:
        serving.export(model, work / "served", workflow=features)
        stage.say("a SavedModel of raw rows")
    with stages("serving raw rows") as stage:
        raw = pl.scan_parquet(log.valid).head(SERVED_ROWS).collect()
        difference = served_difference(model, features, raw, work)
        stage.say(f"{len(raw):,} rows without Keras, off by {difference:.1e} at most")
    figures = {
        **trained.scores,
        "auc_bound": log.auc_bound,
        "logloss_bound": log.logloss_bound,
        "auc_baseline": bias.auc,
        "logloss_baseline": bias.logloss,
        "etl_rows_per_s": etl_rate,
        "loader_rows_per_s": train.num_rows / reading.seconds,
        "train_rows_per_s": trained.rows_per_s,
        "served_max_abs_diff": difference,
    }
    return figures, trained, {"auc": bias.auc, "logloss": bias.logloss}


def served_difference(model: Any, features: etl.Workflow, raw: pl.DataFrame, work: Path) -> float:
    """The largest difference between what `work/served` answers to raw rows, in a process of its own, and
    `model.predict` of the transformed rows."""
    np.savez(work / "rows.npz", **serving.rows(raw, features))
    command = [sys.executable, "-c", SERVE, *(str(work / name) for name in ("served", "rows.npz", "answers.npy"))]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the SavedModel could not be served:\n{done.stderr}")
    features.transform(raw).to_parquet(work / "features" / "served")
    predicted = model.predict(Loader(work / "features" / "served", batch_size=SERVED_ROWS, targets=[]), verbose=0)
    return float(np.abs(np.load(work / "answers.npy") - predicted).max())


def _print(console: Console, figures: dict[str, Any]) -> None:
    f = figures
    quality = [
        (
            "AUC",
            f"{f['auc']:.4f}",
            f"{f['auc_bound']:.4f}",
            f"{f['auc'] - f['auc_bound']:+.4f}",
            f"{f['auc_baseline']:.4f}",
        ),
        (
            "log loss",
            f"{f['logloss']:.4f}",
            f"{f['logloss_bound']:.4f}",
            f"{f['logloss'] - f['logloss_bound']:+.4f}",
            f"{f['logloss_baseline']:.4f}",
        ),
    ]
    console.print()
    console.print(table("Held-out rows", quality, ("", "DLRM", "bound", "gap", "biases alone")))
    speed = [
        (name, f"{f[key]:,.0f}")
        for name, key in (
            ("ETL (fit, transform, write)", "etl_rows_per_s"),
            ("loader", "loader_rows_per_s"),
            ("training", "train_rows_per_s"),
        )
    ]
    console.print(table("Speed", speed, ("", "rows/s")))
    console.print(
        f"The bound is what the true click probabilities score. Served from raw rows, predictions differ by "
        f"{f['served_max_abs_diff']:.1e} at most. {f['seconds']:.0f} s in all."
    )
