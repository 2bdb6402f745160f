"""`kerasrec demo`: the whole pipeline on a click log whose best possible score is known."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.console import Console

from kerasrec import etl, models, optimizers, serving
from kerasrec.cli.baselines import BIASES_ONLY, score_baselines
from kerasrec.cli.errors import CommandError
from kerasrec.cli.feature_files import rows_per_s, write_features
from kerasrec.cli.importance import permutation_importance
from kerasrec.cli.model_choice import OptimizerChoice
from kerasrec.cli.plots import write_summary
from kerasrec.cli.progress import stage
from kerasrec.cli.report import write_report
from kerasrec.cli.run_report import Baseline, Check, RunReport, TargetReport
from kerasrec.cli.scores import score
from kerasrec.cli.segments import find_segments
from kerasrec.cli.text_table import METRIC_NAMES, table
from kerasrec.cli.training import fit_model, predict, read_labels
from kerasrec.data.loader import Loader
from kerasrec.datasets.synthetic import ClickLog, click_log
from kerasrec.files import globs
from kerasrec.serving.rows import check_path

SERVED_ROWS = 20_000
PATIENCE = 4  # checks, of four per epoch, without improvement
SEGMENTS = ["device", "city", "category", "hour", "genres", "age", "price", "seconds", "past_clicks"]
RATES = {"fit, transform, write": "etl_rows_per_s", "read": "loader_rows_per_s", "train": "train_rows_per_s"}

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


def batch_size(rows: int) -> int:
    """Return a batch size for a click log of `rows` rows: a power of two, for at least a few hundred steps."""
    return 1 << min(11, max(6, (rows // 256).bit_length() - 1))


def default_epochs(rows: int) -> int:
    """Return as many passes as a DLRM takes to be best on held-out rows; later ones would overfit."""
    return 1 if rows >= 200_000 else 2


def run_demo(rows: int, epochs: int | None, out: Path, keep: Path | None, seed: int) -> dict[str, Any]:
    """Run the demo; return what it writes to `out/summary.json`."""
    if keep is not None and keep.exists():
        raise CommandError(f"{keep} exists; --keep needs a new folder")
    if keep is not None:
        check_path(keep)
    if out.exists() and not out.is_dir():
        raise CommandError(f"{out} is not a folder; --out needs one")
    out.mkdir(parents=True, exist_ok=True)  # fails now rather than at the end
    epochs = epochs or default_epochs(rows)
    console, started = Console(), time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="kerasrec-demo-") as scratch:
        work = keep or Path(scratch)
        log = click_log(work / "log", rows, seed=seed)
        run = _run_pipeline(log, work, epochs, seed, console)
        with stage(console, "reporting"):
            command = f"kerasrec demo --rows {rows} --epochs {epochs} --seed {seed}"
            write_report(out, _report(log, work, run, command))
    figures = {**run.figures, "rows": rows, "epochs": epochs, "seed": seed}
    figures["seconds"] = time.perf_counter() - started
    write_summary(out / "summary.json", figures)
    _print_figures(console, figures, out)
    return figures


@dataclass(frozen=True)
class _Run:
    """What the pipeline leaves: the model with its best weights, and how well it predicts the held-out rows."""

    model: Any
    checks: Sequence[Check]
    labels: NDArray[Any]
    predictions: NDArray[Any]
    baselines: dict[str, Baseline]
    figures: dict[str, Any]


def _run_pipeline(log: ClickLog, work: Path, epochs: int, seed: int, console: Console) -> _Run:
    from kerasrec.serving.saved_model import check  # needs TensorFlow, which importing this module does not

    features = workflow()
    etl_rate = write_features(features, log.train, log.valid, work / "features", console)
    with stage(console, "biases only") as fitting_biases:
        baselines = score_baselines(work / "features" / "train", work / "features" / "valid")["clicked"]
        biases = baselines[BIASES_ONLY].scores
        fitting_biases.show(f"AUC {biases['auc']:.4f}")
    batch = batch_size(sum(split.rows for split in log.splits.values()))
    train = Loader(work / "features" / "train", batch_size=batch, shuffle=True, seed=seed)
    valid = Loader(work / "features" / "valid", batch_size=8192)
    with stage(console, "reading", total=train.num_rows) as reading:
        for _, target in train:
            reading.advance(len(target))

    keras.utils.set_random_seed(seed)
    model = models.DLRM(train.schema, embedding_dim=16, bottom_units=[64, 16], top_units=[128, 64])
    model.compile(OptimizerChoice(optimizers.Adagrad, 0.05)(epochs * len(train)))
    check(model, features)
    with stage(console, "training", total=epochs * train.num_rows) as training:
        fitted = fit_model(model, train, valid, epochs, PATIENCE, training, {"clicked": "binary"})
    labels = read_labels(work / "features" / "valid")[0]["clicked"]
    predictions = predict(model, work / "features" / "valid", ["clicked"])["clicked"]
    difference = _serve(model, features, log, work, console)
    figures = {
        **score("binary", labels, predictions),
        "auc_bound": log.auc_bound,
        "logloss_bound": log.logloss_bound,
        "baseline_auc": biases["auc"],
        "baseline_logloss": biases["logloss"],
        "etl_rows_per_s": etl_rate,
        "loader_rows_per_s": rows_per_s(train.num_rows, reading.seconds),
        "train_rows_per_s": fitted.rows_per_s,
        "served_max_abs_diff": difference,
    }
    return _Run(model, fitted.checks["clicked"], labels, predictions, baselines, figures)


def _serve(model: Any, features: etl.Workflow, log: ClickLog, work: Path, console: Console) -> float:
    """Export the model to `work/served`, and return how much its answers differ from the model's."""
    with stage(console, "exporting") as exporting:
        serving.export(model, work / "served", workflow=features)
        exporting.show("a SavedModel that takes raw rows")
    with stage(console, "serving raw rows") as scoring:
        raw = pl.scan_parquet(globs.files(Path(log.valid)), glob=False).head(SERVED_ROWS).collect()
        difference = served_difference(model, features, raw, work)
        scoring.show(f"{len(raw):,} rows, differing by at most {difference:.1e}")
    return difference


def _report(log: ClickLog, work: Path, run: _Run, command: str) -> RunReport:
    """Return what the page says: figures, importance of the columns, and segments of the held-out rows."""
    raw = pl.scan_parquet(globs.files(Path(log.valid)), glob=False).select(SEGMENTS).collect()
    target = TargetReport(
        "clicked",
        "binary",
        run.labels,
        run.predictions,
        run.checks,
        {metric: run.figures[metric] for metric in ("auc", "logloss")},
        run.baselines,
        {"auc": log.auc_bound, "logloss": log.logloss_bound},
        importance=permutation_importance(run.model, work / "features" / "valid", repeats=3, max_rows=10_000)[
            "clicked"
        ],
        segments=find_segments(
            raw, "binary", run.labels, run.predictions, categorical=("city", "category", "hour")
        ),
    )
    rates = {name: run.figures[key] for name, key in RATES.items() if run.figures[key] is not None}
    rows = {"training": log.splits["train"].rows, "held out": log.splits["valid"].rows}
    return RunReport(
        "DLRM",
        [target],
        rows,
        rates=rates,
        command=command,
        title="Demo: DLRM",
    )


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


def _print_figures(console: Console, figures: dict[str, Any], out: Path) -> None:
    numbers = ("DLRM", "bound", "gap", "biases only")
    quality = []
    for metric in ("auc", "logloss"):
        reached, bound, biases = (figures[key] for key in (metric, f"{metric}_bound", f"baseline_{metric}"))
        quality.append(
            (METRIC_NAMES[metric], f"{reached:.4f}", f"{bound:.4f}", f"{reached - bound:+.4f}", f"{biases:.4f}")
        )
    console.print()
    console.print(table("Held-out rows", quality, ("", *numbers), right=numbers))
    console.print()
    speed = [(name, f"{figures[key]:,.0f}") for name, key in RATES.items() if figures[key] is not None]
    console.print(table("Speed", speed, ("", "rows/s"), right=["rows/s"]))
    console.print()
    console.print(
        "The bound is the score of the true click probabilities. Predictions served from raw rows without Keras "
        f"differ by at most {figures['served_max_abs_diff']:.1e}. It took {figures['seconds']:.0f} s.",
        highlight=False,
    )
    console.print(f"Open {out / 'index.html'} for curves, calibration, importance and segments.", highlight=False)
