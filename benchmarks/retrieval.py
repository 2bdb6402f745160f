"""Reproduce published figures of candidate generation and next-item models, one JSON file per run.

    python benchmarks/retrieval.py run ml-1m sasrec --data data/ --out results/ --seeds 0 1 2
    python benchmarks/retrieval.py run beauty popularity item-knn ease ials sasrec --data data/ --out results/
    python benchmarks/retrieval.py run ncf ease ials mf neumf --data data/ --out results/
    python benchmarks/retrieval.py table --out results/

Data: MovieLens 1M as SASRec has it, S3-Rec's sets, and NCF's MovieLens 1M (`kr.datasets.next_item`,
`kr.datasets.ncf`), read from `--data`, or downloaded there.

Sequences: a user's last item tests, the one before validates, the others train; each is ranked among all items
that the user had not had. NCF: each user's item is ranked among the 99 given with it; ties count against the
model; in 156 of 6,040 rows the item is itself among the 99, where it counts once, as in NCF's own evaluation
("copy_counted" has the figures with the copy as a competitor, so that the item is second at best). To choose
settings there, one train item per user is held out with 99 drawn ones that she had not.

`retrieval_recipes.py` has the settings; `--set epochs=3` replaces one. A run is OUT/DATA_MODEL_seedN.json:
settings, versions, the log of each epoch, figures of the best epoch by NDCG@10 on the rows to validate. A file
that is finished is not run again. A training that was interrupted resumes at its last epoch.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import polars as pl
import retrieval_data
import scipy
import tensorflow as tf
from retrieval_data import Given
from retrieval_recipes import CLASS, PUBLISHED, RECIPES

import kerasrec as kr
from kerasrec.retrieval.baselines import EASE, Baseline, ImplicitALS, ItemKNN, Popularity

AT = (5, 10, 20, 100)
NCF = "ncf"
BASELINES: dict[str, type[Baseline]] = {
    "popularity": Popularity, "item-knn": ItemKNN, "ease": EASE, "ials": ImplicitALS,
}  # fmt: skip
DETERMINISTIC = ("popularity", "item-knn", "ease")
Settings = dict[str, Any]


def main() -> None:
    args = arguments()
    if args.command == "table":
        print(table(args.out))
        return
    args.out.mkdir(parents=True, exist_ok=True)
    for model, seed in itertools.product(args.models, args.seeds):
        run = Run(args.data_set, model, seed, args)
        if run.finished and not args.again:
            print(f"{run.path} is finished", flush=True)
            continue
        run.start()
        if model in BASELINES:
            fit_baseline(run)
        elif args.data_set == NCF:
            fit_pairs(run)
        else:
            fit_next_item(run)
        run.finish()
        print(summary(run.record), flush=True)


# ---- a run and its file --------------------------------------------------------------------------------------
class Run:
    """One model with one seed on one data set, and its JSON file."""

    def __init__(self, data_set: str, model: str, seed: int, args: argparse.Namespace):
        self.data_set, self.model, self.seed, self.args = data_set, model, seed, args
        suffix = "_valid" if args.split == "valid" else ""
        label = f"_{args.label}" if args.label else ""
        self.path = args.out / f"{data_set}_{model}{label}_seed{seed}{suffix}.json"
        self.checkpoints = self.path.with_suffix(".checkpoints")
        self.record: dict[str, Any] = json.loads(self.path.read_text()) if self.path.exists() else {}
        self.settings: Settings = RECIPES[model][data_set] | args.set

    @property
    def finished(self) -> bool:
        return bool(self.record.get("finished"))

    def start(self) -> None:
        """Begin, or go on with a training that has a checkpoint of the same settings."""
        if self.record.get("settings") != self.settings or self.finished:
            shutil.rmtree(self.checkpoints, ignore_errors=True)
            self.record = {}
        self.record |= {
            "data": self.data_set, "model": self.model, "seed": self.seed, "settings": self.settings,
            "split": self.args.split, "versions": VERSIONS,
            "cores": os.cpu_count(), "finished": False,
        }  # fmt: skip
        keras.utils.set_random_seed(self.seed)
        self.save()

    def finish(self) -> None:
        self.record["finished"] = True
        self.save()
        shutil.rmtree(self.checkpoints, ignore_errors=True)

    def save(self) -> None:
        aside = self.path.with_suffix(".tmp")
        aside.write_text(json.dumps(self.record, indent=1) + "\n")
        aside.replace(self.path)


VERSIONS = {module.__name__: module.__version__ for module in (kr, keras, np, pl, scipy, tf)}


class Log(keras.callbacks.Callback):
    """Writes the figures of each epoch to the run's file; a resumed training goes on with the list."""

    def __init__(self, run: Run, figures: Any = None):
        super().__init__()
        self.run, self.figures = run, figures
        self.epochs: list[dict[str, float]] = []

    def state(self) -> dict[str, Any]:
        return {"epochs": self.epochs}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.epochs = list(state["epochs"])

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        seconds = time.perf_counter() - self.began
        row = {"epoch": epoch + 1, "seconds": round(seconds, 2)} | {k: float(v) for k, v in (logs or {}).items()}
        if self.figures is not None:
            row |= self.figures()
        self.epochs = [*self.epochs[:epoch], row]
        self.run.record["epochs"] = self.epochs
        self.run.save()
        shown = "  ".join(f"{key} {value:.4f}" for key, value in row.items() if key not in ("epoch", "seconds"))
        print(f"{self.run.path.stem}: epoch {epoch + 1}, {seconds:.0f} s  {shown}", flush=True)


# ---- baselines -----------------------------------------------------------------------------------------------
def fit_baseline(run: Run) -> None:
    """Search the settings on the rows to validate, and test the best."""
    if run.data_set == NCF:
        rows = {part: retrieval_data.given(run.args.data, valid=part == "valid") for part in ("valid", "test")}
        trains = {part: of_part.histories() for part, of_part in rows.items()}
    else:
        folders = retrieval_data.sequences(run.data_set, run.args.data, run.args.out)
        trains = dict.fromkeys(("valid", "test"), folders["train"])

    def figures(model: Baseline, part: str) -> dict[str, Any]:
        if run.data_set == NCF:
            return rows[part].report(baseline_scores(model, rows[part]))
        return dict(model.rank(folders[part], AT).to_dict())

    tried = run.record.setdefault("tried", [])
    for settings in grid(run):
        if all(other["settings"] != settings for other in tried):
            began = time.perf_counter()
            model = BASELINES[run.model](**settings).fit(trains["valid"])
            valid = figures(model, "valid")
            seconds = round(time.perf_counter() - began, 2)
            tried.append({"settings": settings, "seconds": seconds, "valid": valid})
            run.save()
            print(f"{run.path.stem}: {settings} {seconds:.0f} s  ndcg@10 {valid['ndcg@10']:.4f}", flush=True)
    best = max(tried, key=lambda other: other["valid"]["ndcg@10"])
    began = time.perf_counter()
    model = BASELINES[run.model](**best["settings"]).fit(trains["test"])
    run.record |= {
        "best": best,
        "fit_seconds": round(time.perf_counter() - began, 2),
        "test": figures(model, "test"),
    }


def grid(run: Run) -> Iterator[Settings]:
    """Yield each combination of the settings that are lists."""
    seed = {"seed": run.seed, "progress": False} if run.model == "ials" else {}
    values = [value if isinstance(value, list) else [value] for value in run.settings.values()]
    for combination in itertools.product(*values):
        yield dict(zip(run.settings, combination, strict=True)) | seed


def baseline_scores(model: Baseline, rows: Given) -> np.ndarray:
    users = rows.histories().matrix()
    blocks = [
        np.take_along_axis(model.scores(users[rows.users[at : at + 512]]), rows.items[at : at + 512], axis=1)
        for at in range(0, len(rows.users), 512)
    ]
    return np.concatenate(blocks)


# ---- next-item models ----------------------------------------------------------------------------------------
def fit_next_item(run: Run) -> None:
    """Train until NDCG@10 on the rows to validate gets no better, and test the best epoch."""
    settings = dict(run.settings)
    batch, rate, epochs, patience = (settings.pop(key) for key in ("batch", "rate", "epochs", "patience"))
    epsilon = settings.pop("epsilon", 1e-7)
    loss = loss_of(settings)
    folders = retrieval_data.sequences(run.data_set, run.args.data, run.args.out)
    train = retrieval_data.loader(folders["train"], batch, run.seed)
    valid, test = (retrieval_data.loader(folders[part], 512) for part in ("valid", "test"))
    model = getattr(kr.models, CLASS[run.model])(train.schema, seed=run.seed, **settings)
    model.compile(optimizer=kr.optimizers.Adam(rate, epsilon=epsilon), loss=loss)
    stopping = keras.callbacks.EarlyStopping(
        "val_ndcg@10", patience=patience, mode="max", restore_best_weights=True, start_from_epoch=0
    )
    callbacks = [Log(run), stopping, kr.callbacks.Checkpoint(run.checkpoints)]
    model.fit(train, epochs=epochs, validation_data=valid, callbacks=callbacks, verbose=0)
    log = run.record["epochs"]
    run.record["best_epoch"] = max(log, key=lambda row: row["val_ndcg@10"])["epoch"]
    run.record["stopped_early"] = len(log) < epochs
    for part, rows in (("valid", valid), ("test", test)):
        run.record[part] = model.rank(rows, AT, exclude_seen=True).to_dict()
    run.record["test_with_seen"] = model.rank(test, AT, exclude_seen=False).to_dict()


def loss_of(settings: Settings) -> Any:
    """Return the loss that the settings name, and take its arguments out of them."""
    loss = getattr(kr.losses, settings.pop("loss"))
    return loss(**{key: settings.pop(key) for key in ("negatives", "t", "shared", "offset") if key in settings})


# ---- models of pairs, NCF's protocol -------------------------------------------------------------------------
def fit_pairs(run: Run) -> None:
    """Train for the recipe's number of epochs, then rank each user's item among the given ones.

    With `--split valid` these are held out of the train rows, to choose settings. Each epoch's figures are in the
    log: others publish their best epoch on the rows to test, which `best_epoch_on_test` has, beside the last one.
    """
    settings = dict(run.settings)
    batch, rate, epochs = (settings.pop(key) for key in ("batch", "rate", "epochs"))
    optimizer = getattr(kr.optimizers, settings.pop("optimizer"))
    penalty, stddev = settings.pop("penalty", None), settings.pop("stddev", None)
    if optimizer is kr.optimizers.SGD:
        # Rendle's steps are of one pair or negative: of its own loss, and of penalty / 2 times the squares of its
        # vectors. Ours are of means: of the losses of a pair, and of the squares of all vectors in a batch.
        n = settings["negatives"]
        rate, penalty = rate * batch * n, penalty * (1 + n) / (2 * n)
    if penalty is not None:
        settings["embeddings_regularizer"] = keras.regularizers.L2(penalty)
    if stddev is not None:
        settings["embeddings_initializer"] = keras.initializers.RandomNormal(stddev=stddev)
    valid = run.args.split == "valid"
    rows = retrieval_data.given(run.args.data, valid=valid)
    folder, workflow = retrieval_data.pairs(rows, run.args.out / "data" / NCF, valid=valid)
    users, items = retrieval_data.encoded(workflow, rows)
    train = retrieval_data.loader(folder, batch, run.seed)
    rows_of_epoch: Any = train
    if CLASS[run.model] == "NeuMF":
        loss, scores_of = "binary_crossentropy", scores_of_pairs
        negatives = settings.pop("negatives")
        known = retrieval_data.loader(folder, 2**16)
        draw = kr.data.DrawNegatives(train.schema, "item", negatives, run.seed, user="user", known=known)
        rows_of_epoch = train.map(draw)
    else:
        loss, scores_of = loss_of(settings), scores_of_vectors
    model = getattr(kr.models, CLASS[run.model])(train.schema, seed=run.seed, **settings)
    model.compile(optimizer=optimizer(rate), loss=loss)

    def figures() -> dict[str, Any]:
        return rows.report(scores_of(model, users, items))

    def each_epoch() -> dict[str, float]:
        report = figures()
        return {f"{run.args.split}_{key}": report[key] for key in ("hit_rate@10", "ndcg@10")}

    callbacks = [Log(run, each_epoch), kr.callbacks.Checkpoint(run.checkpoints)]
    model.fit(rows_of_epoch, epochs=epochs, callbacks=callbacks, verbose=0)
    run.record[run.args.split] = figures()
    if not valid:
        run.record["best_epoch_on_test"] = max(run.record["epochs"], key=lambda row: row["test_hit_rate@10"])


def scores_of_vectors(model: Any, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Return the score of each of a user's items, (rows, 1 + given), of a model that makes vectors of both."""
    queries = np.asarray(model.encode_queries({"user": users}))
    candidates = np.asarray(model.encode_candidates({"item": np.arange(items.max() + 1)}))
    return np.einsum("nd,nkd->nk", queries, candidates[items])


def scores_of_pairs(model: Any, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Return the same of a model that reads a user and an item together."""
    blocks = []
    for at in range(0, len(users), 256):
        block = items[at : at + 256]
        own = np.repeat(users[at : at + 256], block.shape[1])
        blocks.append(np.asarray(model({"user": own, "item": block.ravel()})).reshape(block.shape))
    return np.concatenate(blocks)


# ---- the table -----------------------------------------------------------------------------------------------
def summary(record: Mapping[str, Any]) -> str:
    figures = record.get("test") or record["valid"]
    names = ("hit_rate@10", "ndcg@10")
    shown = "  ".join(f"{name} {figures[name]:.4f} ± {figures[f'{name}_se']:.4f}" for name in names)
    return f"{record['data']} {record['model']} seed {record['seed']}: {shown}"


def table(out: Path) -> str:
    """Return a Markdown table of the finished runs, a line per data set and model.

    A figure is the mean over seeds with its standard error; of one seed, with the standard error over users.
    """
    runs = [json.loads(path.read_text()) for path in sorted(out.glob("*.json"))]
    finished = [run for run in runs if run["finished"] and "test" in run]
    lines = [
        "| data | model | seeds | HR@10 | NDCG@10 | published | best epoch |",
        "|---|---|---|---|---|---|---|",
    ]
    keys = sorted({(run["data"], run["model"]) for run in finished})
    for data, model in sorted(keys, key=lambda key: (key[0], list(RECIPES).index(key[1]))):
        own = sorted((run for run in finished if (run["data"], run["model"]) == (data, model)), key=_seed)
        hit_rate, ndcg = (_mean([run["test"] for run in own], name) for name in ("hit_rate@10", "ndcg@10"))
        published = PUBLISHED.get((data, model), {}).get("published", ())
        figures = " / ".join("-" if value is None else f"{value:.4f}" for value in published)
        epochs = ", ".join(str(run["best_epoch"]) for run in own if "best_epoch" in run)
        seeds = "-" if model in DETERMINISTIC else ", ".join(str(run["seed"]) for run in own)
        lines.append(f"| {data} | {model} | {seeds} | {hit_rate} | {ndcg} | {figures} | {epochs} |")
    return "\n".join(lines)


def _seed(run: Mapping[str, Any]) -> int:
    return int(run["seed"])


def _mean(reports: list[Mapping[str, Any]], name: str) -> str:
    values = [report[name] for report in reports]
    error = np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else reports[0][f"{name}_se"]
    return f"{np.mean(values):.4f} ± {error:.4f}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run models on a data set")
    run.add_argument("data_set", choices=sorted({name for by_data in RECIPES.values() for name in by_data}))
    run.add_argument("models", nargs="+", choices=list(RECIPES), metavar="model", help=", ".join(RECIPES))
    run.add_argument("--data", type=Path, default=Path("data"), help="where the files are, or are downloaded to")
    run.add_argument("--seeds", type=int, nargs="+", default=[0])
    run.add_argument("--set", type=setting, action="append", default=[], metavar="NAME=JSON")
    run.add_argument("--label", help="of other settings, for the names of their files")
    run.add_argument(
        "--split", choices=["test", "valid"], default="test", help="valid: of ncf, to choose settings"
    )
    run.add_argument("--again", action="store_true", help="also run what is finished")
    shown = commands.add_parser("table", help="print the table of finished runs")
    for command in (run, shown):
        command.add_argument("--out", type=Path, default=Path("results"), help="the folder of the runs' files")
    args = parser.parse_args()
    if args.command == "run":
        args.set = dict(args.set)
        if args.set and not args.label:
            parser.error("--set needs --label, which names the files of these settings")
        if absent := [model for model in args.models if args.data_set not in RECIPES[model]]:
            parser.error(f"no recipe of {', '.join(absent)} on {args.data_set}")
        if args.split == "valid" and args.data_set != NCF:
            parser.error("--split valid is for ncf; other data sets validate in each run")
    return args


def setting(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected NAME=JSON, such as epochs=3; got {text!r}") from None


if __name__ == "__main__":
    main()
