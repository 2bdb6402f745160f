"""The weights of our models by the names that they have in FuxiCTR's, for `fuxictr_logits.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

Weights = dict[str, NDArray[Any]]


def table(name: str, layer: Any, prefix: str, suffix: str = "") -> Weights:
    return {f"{prefix}.embedding_layer.embedding_layers.{name}.weight": layer.table(name + suffix)}


def vectors(model: Any, prefix: str = "embedding_layer") -> Weights:
    """The tables, and the directions of continuous columns where the model has them as vectors."""
    schema = model.schema.features
    out = {k: v for c in schema.categorical for k, v in table(c.name, model.embeddings, prefix).items()}
    if model.continuous_vectors is not None:
        (directions,) = model.continuous_vectors.get_weights()
        for column, direction in zip(schema.continuous, directions, strict=True):
            out[f"{prefix}.embedding_layer.embedding_layers.{column.name}.weight"] = direction
    return out


def first_order(layer: Any, prefix: str, bias: bool = False) -> Weights:
    """The linear part; without `bias` FuxiCTR's has none, and ours is zero."""
    inner = f"{prefix}.embedding_layer"
    out = {
        k: v
        for c in layer.schema.features.categorical
        for k, v in table(c.name, layer.tables, inner, "_linear").items()
    }
    if layer.schema.features.continuous:
        for column, weight in zip(
            layer.schema.features.continuous, keras.ops.convert_to_numpy(layer.kernel), strict=True
        ):
            out[f"{inner}.embedding_layer.embedding_layers.{column.name}.weight"] = weight
    if bias:
        return {**out, f"{prefix}.bias": keras.ops.convert_to_numpy(layer.bias)}
    layer.bias.assign(keras.ops.zeros_like(layer.bias))
    return out


def tower(prefix: str, *layers: Any) -> Weights:
    """Dense layers, one after another, with an activation between: FuxiCTR's `MLP_Block`."""
    weights = [weight for layer in layers for weight in layer.get_weights()]
    out = {f"{prefix}.mlp.{2 * i}.weight": kernel.T for i, kernel in enumerate(weights[::2])}
    return out | {f"{prefix}.mlp.{2 * i}.bias": bias for i, bias in enumerate(weights[1::2])}


def linear(prefix: str, layer: Any) -> Weights:
    kernel, bias = layer.get_weights()
    return {f"{prefix}.weight": kernel.T, f"{prefix}.bias": bias}


def dlrm(model: Any) -> Weights:
    """FuxiCTR's vectors are the embeddings, then the bottom tower's; its products (1,2), (1,3), ..., (2,3), ...

    Without continuous columns ours is one without `d`.
    """
    n, bottom = len(model.widths), model.bottom is not None
    ours = {pair: k for k, pair in enumerate((i, j) for i in range(n + bottom) for j in range(i))}
    place = [i + 1 for i in range(n)] + [0] if bottom else list(range(n))  # theirs -> ours
    order = [
        ours[max(place[i], place[j]), min(place[i], place[j])]
        for i in range(n + bottom)
        for j in range(i + 1, n + bottom)
    ]
    first, *_ = model.top.get_weights()
    width = model.embedding_dim if bottom else 0
    top = np.concatenate([first[width:][order], first[:width]])
    out = vectors(model) | tower("top_mlp", model.top, model.logit) | {"top_mlp.mlp.0.weight": top.T}
    return out | tower("bottom_mlp", model.bottom) if bottom else out


def dcn(model: Any) -> Weights:
    crosses = [linear(f"crossnet.cross_layers.{i}", cross) for i, cross in enumerate(model.crosses)]
    merged = {name: value for cross in crosses for name, value in cross.items()}
    return vectors(model) | merged | tower("parallel_dnn", model.deep) | linear("fc", model.logit)


# Of our model: FuxiCTR's weights by their names.
WEIGHTS: dict[str, Callable[[Any], Weights]] = {
    "LR": lambda m: first_order(m.first_order, "lr_layer", bias=True),
    "FM": lambda m: vectors(m) | first_order(m.first_order, "fm.lr_layer", bias=True),
    "DLRM": dlrm,
    "WideAndDeep": lambda m: vectors(m) | first_order(m.wide, "lr_layer") | tower("dnn", m.deep, m.logit),
    "DeepFM": lambda m: (
        vectors(m) | first_order(m.first_order, "fm.lr_layer", True) | tower("mlp", m.deep, m.logit)
    ),
    "DCN": dcn,
}
