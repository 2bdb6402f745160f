"""What a model that several ranks train must be compiled with; each refusal names the remedy."""

from __future__ import annotations

import keras

from kerasrec.parallel import comm
from kerasrec.parallel.fit.steps import RankSteps


def check_trainer(model: keras.Model) -> None:
    """Raise `ValueError` where several ranks cannot train a compiled model as one; on one rank do nothing."""
    if comm.size() == 1:
        return
    of = f"model {model.name!r}"
    if not isinstance(model, RankSteps):
        raise ValueError(
            f"{of} is a keras.{type(model).__name__ if type(model).__module__.startswith('keras') else 'Model'}, "
            f"whose fit knows nothing of the other {comm.size() - 1} ranks. Build it as kr.parallel.Model(inputs, "
            "outputs), or derive its class from kr.parallel.Model instead of keras.Model"
        )
    check_optimizer(getattr(model, "optimizer", None), of)
    check_loss(getattr(model, "loss", None), of)


def check_optimizer(optimizer: keras.optimizers.Optimizer | None, of: str) -> None:
    """Raise `ValueError` for an optimizer that would let ranks drift apart."""
    if comm.size() == 1 or optimizer is None or getattr(optimizer, "averages_over_ranks", False):
        return
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        raise ValueError(
            f"{of}: mixed_float16 scales the loss by what one rank's gradients overflow, so {comm.size()} ranks "
            "would drift apart; use mixed_bfloat16, or compile(auto_scale_loss=False)"
        )
    raise ValueError(
        f"{of} is compiled with {type(optimizer).__module__}.{type(optimizer).__name__}, which knows nothing of "
        f"ranks: each of the {comm.size()} would train on its own gradients and their weights would drift apart. "
        "Use one of kr.optimizers (SGD, Adagrad, RowwiseAdagrad, Adam, AdamW, Ftrl, Multi), which average them"
    )


def check_loss(loss: object, of: str) -> None:
    """Raise `ValueError` for a loss that is not a mean over rows: only such means add up to the global one."""
    if comm.size() == 1:
        return
    for one in keras.tree.flatten(loss):
        reduction = one.reduction if isinstance(one, keras.losses.Loss) else "mean"
        if reduction not in ("mean", "sum_over_batch_size"):
            raise ValueError(
                f"{of} is compiled with {type(one).__name__}(reduction={reduction!r}), which {comm.size()} ranks "
                "cannot combine: they weigh their losses and gradients by rows. Use the default reduction, whose "
                "weighted losses are divided by the number of rows"
            )
