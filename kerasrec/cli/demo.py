"""`kerasrec demo`: the whole pipeline on a click log whose best possible score is known."""

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

from kerasrec import etl, models, serving
from kerasrec.cli.errors import CommandError
from kerasrec.cli.feature_files import rows_per_s, write_features
from kerasrec.cli.fit import Trained, fit, make_optimizer
from kerasrec.cli.plots import write_summary
from kerasrec.cli.progress import stage
from kerasrec.cli.report import write_report
from kerasrec.cli.run_report import RunReport, TargetReport
from kerasrec.cli.text_table import METRIC_NAMES, table
from kerasrec.data.loader import Loader
from kerasrec.datasets.synthetic import ClickLog, click_log
from kerasrec.files import globs
from kerasrec.serving.rows import check_path

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
(answer,) = served(**np.load(rows)).values()
np.save(answers, answer)
"""


def workflow() -> etl.Workflow:
    """Return the workflow for the click log; ids that occur fewer than 10 times share one."""
    ids = ["user", "item", "site", "device", "city", "category", "advertiser", "hour", "genres"]
    heavy_tailed = ["price", "seconds", "past_clicks"] >> etl.FillMissing() >> etl.LogOp() >> etl.Normalize()
    age = ["age"] >> etl.FillMissing() >> etl.Normalize()
    return etl.Workflow((ids >> etl.Categorify(min_count=10)) + heavy_tailed + age + (["clicked"] >> etl.Target()))


def run_demo(rows: int, epochs: int, out: Path, keep: Path | None, seed: int) -> dict[str, Any]:
    """Run the demo; return what it writes to `out/summary.json`."""
    if keep is not None and keep.exists():
        raise CommandError(f"{keep} exists; --keep needs a new folder")
    if keep is not None:
        check_path(keep)
    if out.exists() and not out.is_dir():
        raise CommandError(f"{out} is not a folder; --out needs one")
    out.mkdir(parents=True, exist_ok=True)  # fails now rather than at the end
    console, started = Console(), time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="kerasrec-demo-") as scratch:
        work = keep or Path(scratch)
        log = click_log(work / "log", rows, seed=seed)
        figures, trained = _run_pipeline(log, work, epochs, seed, console)
    with stage(console, "plotting"):
        bounds = {"auc": log.auc_bound, "logloss": log.logloss_bound}
        target = TargetReport(
            "clicked", "binary", trained.labels, trained.predictions, trained.checks, trained.scores, {}, bounds
        )
        write_report(out, RunReport("DLRM", [target], {"rows": rows}, title="Demo"))
    figures = {**figures, "rows": rows, "epochs": epochs, "seed": seed, "seconds": time.perf_counter() - started}
    write_summary(out / "summary.json", figures)
    _print_figures(console, figures)
    return figures


def _run_pipeline(
    log: ClickLog, work: Path, epochs: int, seed: int, console: Console
) -> tuple[dict[str, float | None], Trained]:
    from kerasrec.serving.saved_model import check  # needs TensorFlow, which importing this module does not

    with stage(console, "biases alone") as fitting_biases:
        bias = log.bias_baseline()
        fitting_biases.show(f"AUC {bias.auc:.4f}")
    features = workflow()
    etl_rate = write_features(features, log.train, log.valid, work / "features", console)
    train = Loader(work / "features" / "train", batch_size=BATCH, shuffle=True, seed=seed)
    valid = Loader(work / "features" / "valid", batch_size=4 * BATCH)
    with stage(console, "reading", total=train.num_rows) as reading:
        for _, target in train:
            reading.advance(len(target))

    keras.utils.set_random_seed(seed)
    model = models.DLRM(train.schema, embedding_dim=16, bottom_units=[64, 16], top_units=[128, 64])
    model.compile(optimizer=make_optimizer(0.05, epochs * len(train)), loss="binary_crossentropy")
    check(model, features)
    with stage(console, "training", total=epochs * train.num_rows) as training:
        trained = fit(model, train, valid, epochs, training)

    with stage(console, "exporting") as exporting:
        serving.export(model, work / "served", workflow=features)
        exporting.show("a SavedModel that takes raw rows")
    with stage(console, "serving raw rows") as scoring:
        raw = pl.scan_parquet(globs.files(Path(log.valid)), glob=False).head(SERVED_ROWS).collect()
        difference = served_difference(model, features, raw, work)
        scoring.show(f"{len(raw):,} rows, differing by at most {difference:.1e}")
    figures: dict[str, float | None] = {
        **trained.scores,
        "auc_bound": log.auc_bound,
        "logloss_bound": log.logloss_bound,
        "baseline_auc": bias.auc,
        "baseline_logloss": bias.logloss,
        "etl_rows_per_s": etl_rate,
        "loader_rows_per_s": rows_per_s(train.num_rows, reading.seconds),
        "train_rows_per_s": trained.rows_per_s,
        "served_max_abs_diff": difference,
    }
    return figures, trained


def served_difference(model: Any, features: etl.Workflow, raw: pl.DataFrame, work: Path) -> float:
    """Return the largest difference between what `work/served` predicts for raw rows, in another process, and what
    `model.predict` returns for the transformed rows."""
    # Strings become bytes of one length: NumPy would pickle objects, which a server should not load.
    inputs = serving.rows(raw, work / "served").items()
    wire: dict[str, Any] = {name: x.astype(bytes) if x.dtype == object else x for name, x in inputs}
    np.savez(work / "rows.npz", **wire)
    command = [sys.executable, "-c", SERVE, *(str(work / name) for name in ("served", "rows.npz", "answers.npy"))]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"cannot serve the SavedModel:\n{done.stderr}")
    features.transform(raw).to_parquet(work / "features" / "served")
    predicted = model.predict(Loader(work / "features" / "served", batch_size=SERVED_ROWS, targets=[]), verbose=0)
    return float(np.abs(np.load(work / "answers.npy") - predicted).max())


def _print_figures(console: Console, figures: dict[str, Any]) -> None:
    numbers = ("DLRM", "bound", "gap", "biases alone")
    quality = []
    for metric in ("auc", "logloss"):
        reached, bound, biases = (figures[key] for key in (metric, f"{metric}_bound", f"baseline_{metric}"))
        quality.append(
            (METRIC_NAMES[metric], f"{reached:.4f}", f"{bound:.4f}", f"{reached - bound:+.4f}", f"{biases:.4f}")
        )
    console.print()
    console.print(table("Held-out rows", quality, ("", *numbers), right=numbers))
    console.print()
    rates = {"fit, transform, write": "etl_rows_per_s", "read": "loader_rows_per_s", "train": "train_rows_per_s"}
    speed = [(name, f"{figures[key]:,.0f}") for name, key in rates.items() if figures[key] is not None]
    console.print(table("Speed", speed, ("", "rows/s"), right=["rows/s"]))
    console.print()
    console.print(
        "The bound is the score of the true click probabilities. Predictions served from raw rows without Keras "
        f"differ by at most {figures['served_max_abs_diff']:.1e}. It took {figures['seconds']:.0f} s.",
        highlight=False,
    )
