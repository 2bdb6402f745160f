"""Measure the effect of mixed_bfloat16 on AUC.

    python benchmarks/precision.py [--rows 1000000] [--seeds 3] [--policies float32 mixed_bfloat16]

A DLRM is trained on the synthetic click log of `kerasrec demo` (its features, its towers, Adagrad, one epoch) once
per dtype policy and seed. A seed sets the initial weights and the order of the rows, and is the same for all
policies; the log is always the same. Measured are AUC and log loss on the held-out rows.

Two runs that differ only in rounding drift apart like runs with different seeds, but less. So the report has each
seed's difference from float32, their mean with its standard error, and the spread of float32 over seeds. The bar
is on the mean: 0.0005 of AUC.

The last line is JSON: {"auc_difference": {policy: mean}, "bar": 0.0005, "runs": [...], ...}.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

import kerasrec as kr
from kerasrec.cli.demo import BATCH, workflow
from kerasrec.cli.feature_files import write_features
from kerasrec.cli.model_choice import choose_optimizer
from kerasrec.cli.scores import score
from kerasrec.datasets.synthetic import click_log

BAR = 0.0005
POLICIES = ["float32", "mixed_bfloat16"]
console = Console(stderr=True, highlight=False)


def train(folder, policy, seed, args):
    """One run's figures."""
    keras.backend.clear_session()
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(seed)
    rows = kr.Loader(folder / "train", batch_size=BATCH, shuffle=True, seed=seed)
    valid = kr.Loader(folder / "valid", batch_size=4 * BATCH)
    model = kr.models.DLRM(
        rows.schema, embedding_dim=args.width, bottom_units=[*args.bottom, args.width], top_units=args.top
    )
    model.compile(choose_optimizer("adagrad", 0.03)(args.epochs * len(rows)), loss="binary_crossentropy")
    started = time.process_time()
    model.fit(rows, epochs=args.epochs, verbose=0)
    seconds = time.process_time() - started
    labels = np.concatenate([target for _, target in valid])
    scores = score("binary", labels, model.predict(valid, verbose=0))
    console.print(f"{policy}, seed {seed}: AUC {scores['auc']:.5f}, {seconds:.0f} s of CPU")
    return {"policy": policy, "seed": seed, "cpu_s": seconds, **scores}


def differences(runs, policy, metric):
    """Each seed's figure under a policy less that under float32."""
    figures = {(run["policy"], run["seed"]): run[metric] for run in runs}
    return [figures[policy, seed] - figures["float32", seed] for name, seed in figures if name == policy]


def table(runs, policies, bound):
    seeds = sorted({run["seed"] for run in runs})
    out = Table("policy", "", *(f"seed {seed}" for seed in seeds), "mean", "±", title=f"AUC, at most {bound:.4f}")
    for policy in policies:
        own = [run["auc"] for run in runs if run["policy"] == policy]
        out.add_row(policy, "AUC", *(f"{auc:.5f}" for auc in own), f"{statistics.mean(own):.5f}", _error(own))
    for policy in policies[1:]:
        own = differences(runs, policy, "auc")
        out.add_row(
            policy, "less float32", *(f"{d:+.5f}" for d in own), f"{statistics.mean(own):+.5f}", _error(own)
        )
    Console(width=max(100, console.width)).print(out)


def _error(values):
    """The standard error of their mean."""
    return f"{statistics.stdev(values) / len(values) ** 0.5:.5f}" if len(values) > 1 else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the click log, held-out ones included")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--bottom", type=int, nargs="+", default=[64])
    parser.add_argument("--top", type=int, nargs="+", default=[128, 64])
    parser.add_argument("--policies", nargs="+", default=POLICIES, help="float32 first")
    args = parser.parse_args()
    if args.policies[0] != "float32":
        parser.error("the first policy must be float32, which the others are compared with")
    with tempfile.TemporaryDirectory() as scratch:
        log = click_log(Path(scratch) / "log", args.rows, valid_fraction=0.2, progress=False)
        folder = Path(scratch) / "features"
        write_features(workflow(), log.train, log.valid, folder, console)
        runs = [train(folder, policy, seed, args) for seed in range(args.seeds) for policy in args.policies]
    table(runs, args.policies, log.auc_bound)
    spread = (
        statistics.stdev([run["auc"] for run in runs if run["policy"] == "float32"]) if args.seeds > 1 else None
    )
    means = {
        metric: {policy: statistics.mean(differences(runs, policy, metric)) for policy in args.policies[1:]}
        for metric in ("auc", "logloss")
    }
    figures = {"auc_difference": means["auc"], "logloss_difference": means["logloss"], "bar": BAR}
    own = {key: getattr(args, key) for key in ("rows", "seeds", "epochs", "width", "bottom", "top")}
    print(
        json.dumps(
            {
                "benchmark": "precision",
                **own,
                **figures,
                "auc_spread": spread,
                "bound": log.auc_bound,
                "runs": runs,
            }
        )
    )


if __name__ == "__main__":
    main()
