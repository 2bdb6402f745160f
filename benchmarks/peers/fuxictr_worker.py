"""A worker of `quality.py` and `fuxictr_logits.py`: trains FuxiCTR's models, or computes with given weights.

Runs in `.venv-fuxictr` (see setup.sh). It answers each line of JSON, {"do": name of a function below,
**arguments}, with a line of JSON. A data set is a folder with FuxiCTR's `feature_map.json` and a NumPy archive
of columns per split.
"""

import json
import logging
import math
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch.dataloaders.npz_dataloader import NpzDataLoader
from fuxictr.pytorch.torch_utils import seed_everything
from fuxictr_models import model_class, source


class MemoryBatches:
    """Batches of a split from tensors in memory: cheaper than FuxiCTR's own loaders, so that steps are timed."""

    def __init__(self, feature_map, path, batch_size, shuffle=False):
        with np.load(path) as columns:
            self.columns = {
                name: torch.from_numpy(columns[name]) for name in [*feature_map.features, *feature_map.labels]
            }
        self.rows, self.batch_size, self.shuffle = len(self.columns[feature_map.labels[0]]), batch_size, shuffle

    def __len__(self):
        return math.ceil(self.rows / self.batch_size)

    def __iter__(self):
        order = torch.randperm(self.rows) if self.shuffle else torch.arange(self.rows)
        for rows in order.split(self.batch_size):
            yield {name: column.index_select(0, rows) for name, column in self.columns.items()}


LOADERS = {"memory": MemoryBatches, "npz": NpzDataLoader}
_opened = {}  # the training and test batches of the last data set


def batches(folder, loader, batch_size):
    """The feature map of a data set, its training batches and its test batches."""
    key = (folder, loader, batch_size)
    if key not in _opened:
        _opened.clear()
        feature_map = FeatureMap(Path(folder).name, folder)
        feature_map.load(str(Path(folder) / "feature_map.json"), {})
        own = {} if loader == "memory" else {"num_workers": torch.get_num_threads()}
        path = str(Path(folder) / "train.npz")
        train = LOADERS[loader](feature_map, path, batch_size=batch_size, shuffle=True, **own)
        test = MemoryBatches(feature_map, Path(folder) / "test.npz", 16_384)
        _opened[key] = feature_map, train, test
    return _opened[key]


def build(name, feature_map, arguments, task="binary_classification", optimizer="adam", learning_rate=1e-3):
    feature_map.default_emb_dim = arguments.get("embedding_dim")
    own = {"verbose": 0, "metrics": [], "model_root": "", "gpu": -1}
    losses = {"binary_classification": "binary_crossentropy", "regression": "mse_loss"}
    return model_class(name)(
        feature_map, task=task, optimizer=optimizer, loss=losses[task], learning_rate=learning_rate,
        **own, **arguments,
    )  # fmt: skip


def available(models):
    """Return for each model where its class is from: the zoo, the wheel, or the wheel's layers; or None."""
    return {name: source(name) for name in models}


def cpu_seconds():
    """Return those of this process, and of a loader's that have ended."""
    return sum(os.times()[:4])


def fit(
    model, arguments, folder, loader, batch_size, epochs, seed, optimizer, learning_rate, accumulators, scores
):
    """Train a new model with FuxiCTR's own `train_epoch`; write the test rows' predictions to the file `scores`.

    Args:
        accumulators: what Adagrad's begin with, for tables and for other weights.
    """
    seed_everything(seed)
    feature_map, train, test = batches(folder, loader, batch_size)
    net = build(model, feature_map, arguments, optimizer=optimizer, learning_rate=learning_rate)
    if optimizer == "Adagrad":
        tables = {id(module.weight) for module in net.modules() if isinstance(module, torch.nn.Embedding)}
        for parameter, state in net.optimizer.state.items():
            state["sum"].fill_(accumulators[id(parameter) not in tables])
    # What `BaseModel.fit` sets before its first epoch, without the validation that would choose an epoch.
    net._max_gradient_norm, net._total_steps, net._stop_training, net._eval_steps = 10.0, 0, False, math.inf
    wall, cpu = time.perf_counter(), cpu_seconds()
    for _ in range(epochs):
        net.train_epoch(train)
    taken = {"seconds": time.perf_counter() - wall, "cpu_seconds": cpu_seconds() - cpu}
    np.save(scores, net.predict(test))
    return {**taken, "parameters": sum(p.numel() for p in net.parameters() if p.requires_grad)}


def warm_up(**arguments):
    """Train for a few steps, so that what comes once is not timed."""
    feature_map, train, _ = batches(*(arguments[key] for key in ("folder", "loader", "batch_size")))
    net = build(arguments["model"], feature_map, arguments["arguments"], optimizer=arguments["optimizer"])
    net._max_gradient_norm = 10.0
    net.train()
    for _, batch in zip(range(5), train, strict=False):
        net.train_step(batch)
    return {}


def logits(model, arguments, folder, weights, out):
    """Compute a model's logits of the test rows with the weights in the archive `weights`; write them to `out`.

    Returns:
        The names of weights that the model lacks, and of its own that are not in the archive: both must be empty.
    """
    feature_map, _, test = batches(folder, "memory", 1024)
    net = build(model, feature_map, arguments, task="regression")
    own = {name: value for name, value in net.named_parameters() if value.requires_grad}
    with np.load(weights) as given, torch.no_grad():
        for name in own.keys() & set(given):
            own[name].copy_(torch.from_numpy(given[name]).reshape(own[name].shape))
        for module in net.modules():
            if isinstance(module, torch.nn.Embedding) and module.padding_idx is not None:
                module.weight[module.padding_idx] = 0  # as it stays in training
        differ = {"unknown": sorted(set(given) - own.keys()), "missing": sorted(own.keys() - set(given))}
        net.eval()
        (batch,) = test
        answer = net.forward(batch)
    np.savez(out, **{key: value.numpy() for key, value in answer.items() if key.endswith("_pred")})
    return differ


def main():
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(int(sys.argv[1]))
    answers, sys.stdout = sys.stdout, sys.stderr  # what FuxiCTR prints is no answer
    do = {function.__name__: function for function in (available, fit, warm_up, logits)}
    print(json.dumps({}), file=answers, flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(do[order.pop("do")](**order)), file=answers, flush=True)


if __name__ == "__main__":
    main()
