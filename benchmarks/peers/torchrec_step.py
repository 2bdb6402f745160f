"""A worker of `train_step.py`: the kernel that TorchRec trains with on a CPU, in a PyTorch loop of its own.

Runs in `.venv-torchrec` (see setup.sh). As in TorchRec the tables' update is fused into their backward pass. The
dense network is ordinary PyTorch with PyTorch's fused optimizer; its pairs are taken by `index_select`, which is
faster than the indexing that TorchRec has there (20 ms of CPU a step against 31).
"""

import itertools

import numpy as np
import torch
from fbgemm_gpu.split_table_batched_embeddings_ops_common import EmbeddingLocation, PoolingMode
from fbgemm_gpu.split_table_batched_embeddings_ops_training import (
    ComputeDevice,
    OptimType,
    SplitTableBatchedEmbeddingBagsCodegen,
)
from shared import ACCUMULATOR, BOTTOM, DENSE, EPSILON, FEATURES, LEARNING_RATE, TOP, batches, now, serve

KINDS = {
    "adagrad": OptimType.EXACT_ADAGRAD,
    "rowwise_adagrad": OptimType.EXACT_ROWWISE_ADAGRAD,
    "sgd": OptimType.EXACT_SGD,
}


def mlp(*widths):
    layers = itertools.chain.from_iterable(
        (torch.nn.Linear(a, b), torch.nn.ReLU()) for a, b in itertools.pairwise(widths)
    )
    return torch.nn.Sequential(*layers)


class DLRM(torch.nn.Module):
    def __init__(self, case):
        super().__init__()
        self.tables = SplitTableBatchedEmbeddingBagsCodegen(
            [(case.vocabulary, case.width, EmbeddingLocation.HOST, ComputeDevice.CPU)] * FEATURES,
            optimizer=KINDS[case.optimizer],
            learning_rate=LEARNING_RATE,
            eps=EPSILON,
            pooling_mode=PoolingMode.MEAN if case.hotness > 1 else PoolingMode.SUM,
        )
        for index, table in enumerate(self.tables.split_embedding_weights()):
            table.fill_(case.initial_value(index))
        if case.optimizer != "sgd":
            for state, *_ in self.tables.split_optimizer_states():
                state.fill_(ACCUMULATOR)
        self.bottom = mlp(DENSE, *BOTTOM, case.width)
        row, column = torch.tril_indices(FEATURES + 1, FEATURES + 1, offset=-1)
        self.pairs = row * (FEATURES + 1) + column
        self.top = mlp(case.width + len(self.pairs), *TOP)
        self.logit = torch.nn.Linear(TOP[-1], 1)
        for layer in (m for m in self.modules() if isinstance(m, torch.nn.Linear)):  # as Keras begins
            torch.nn.init.xavier_uniform_(layer.weight)
            torch.nn.init.zeros_(layer.bias)

    def dense_parameters(self):
        return [p for part in (self.bottom, self.top, self.logit) for p in part.parameters()]

    def forward(self, dense, ids, offsets):
        x = self.bottom(dense)
        embedded = self.tables(ids, offsets).view(len(x), FEATURES, -1)
        vectors = torch.cat([x[:, None], embedded.to(x.dtype)], 1)
        gram = torch.bmm(vectors, vectors.transpose(1, 2))
        return self.logit(self.top(torch.cat([x, gram.flatten(1).index_select(1, self.pairs)], 1)))


def prepare(case):
    torch.manual_seed(0)
    model = DLRM(case)
    kinds = {
        "sgd": lambda parameters: torch.optim.SGD(parameters, LEARNING_RATE, fused=True),
        "adagrad": lambda parameters: torch.optim.Adagrad(
            parameters, LEARNING_RATE, initial_accumulator_value=ACCUMULATOR, eps=EPSILON, fused=True
        ),
    }
    optimizer = kinds["sgd" if case.optimizer == "sgd" else "adagrad"](model.dense_parameters())
    offsets = torch.arange(FEATURES * case.batch + 1) * case.hotness
    batch_list = [
        tuple(map(torch.from_numpy, (dense, ids.reshape(-1).astype(np.int64), target)))
        for dense, ids, target in batches(case)
    ]

    def step(dense, ids, target):
        with torch.autocast("cpu", torch.bfloat16, enabled=case.policy == "mixed_bfloat16"):
            logit = model(dense, ids, offsets)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logit.float(), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    def steps(n):
        times, losses = [now()], []
        for batch in itertools.islice(itertools.cycle(batch_list), n):
            losses.append(step(*batch))
            times.append(now())
        wall, cpu = np.diff(times, axis=0).T.tolist()
        return wall, cpu, (np.cumsum(losses) / np.arange(1, n + 1)).tolist()

    return steps


serve(prepare)
