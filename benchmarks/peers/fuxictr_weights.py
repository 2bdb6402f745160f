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


def pair_order(places: list[int]) -> list[int]:
    """The places of FuxiCTR's products, (1,2), (1,3), ..., (2,3), ..., among ours: (2,1), (3,1), (3,2), (4,1), ...

    Args:
        places: for each of FuxiCTR's vectors, its place among ours.
    """
    n = len(places)
    ours = {pair: k for k, pair in enumerate((i, j) for i in range(n) for j in range(i))}
    pairs = ((places[i], places[j]) for i in range(n) for j in range(i + 1, n))
    return [ours[max(pair), min(pair)] for pair in pairs]


def dlrm(model: Any) -> Weights:
    """FuxiCTR's vectors are the embeddings, then the bottom tower's; the top tower reads the latter last.

    Without continuous columns ours is one without `d`.
    """
    n, first = len(model.widths), model.top.get_weights()[0]
    if model.bottom is None:
        top, out = first[pair_order(list(range(n)))], {}
    else:
        width = model.embedding_dim
        top = np.concatenate([first[width:][pair_order([*range(1, n + 1), 0])], first[:width]])
        out = tower("bottom_mlp", model.bottom)
    return vectors(model) | out | tower("top_mlp", model.top, model.logit) | {"top_mlp.mlp.0.weight": top.T}


def pnn(model: Any) -> Weights:
    """The products come after the vectors."""
    first, width = model.deep.get_weights()[0], model.side_by_side_width
    products = first[width:][pair_order(list(range(len(model.widths))))]
    out = vectors(model) | tower("dnn", model.deep, model.logit)
    return out | {"dnn.mlp.0.weight": np.concatenate([first[:width], products]).T}


def xdeepfm(model: Any) -> Weights:
    """FuxiCTR has a last layer for each part, ours one for both."""
    kernel, bias = model.logit.get_weights()
    last, split = f"dnn.mlp.{2 * len(model.deep_units)}", sum(model.cin_units)
    out = {"cin.fc.weight": kernel[:split].T, "cin.fc.bias": bias}
    out |= {f"{last}.weight": kernel[split:].T, f"{last}.bias": 0 * bias}
    for i, (weight, shift) in enumerate(zip(model.cin.kernels, model.cin.biases, strict=True), 1):
        layer = f"cin.cin_layer.layer_{i}"
        out |= {f"{layer}.weight": np.array(weight).T[..., None], f"{layer}.bias": np.array(shift)}
    return vectors(model) | first_order(model.first_order, "lr_layer") | tower("dnn", model.deep) | out


def fwfm(model: Any) -> Weights:
    kernel, bias = model.logit.get_weights()
    pairs = np.array(model.pairs.kernel)[pair_order(list(range(model.field_count)))]
    out = {"linear_weight_layer.weight": kernel.T, "interaction_weight.weight": pairs.T}
    return vectors(model) | out | {"interaction_weight.bias": bias}


def autoint(model: Any) -> Weights:
    """FuxiCTR has a last layer for each part, ours one for both."""
    kernel, bias = model.logit.get_weights()
    last, split = f"dnn.mlp.{2 * len(model.deep_units)}", model.field_count * model.attention_units
    out = {"fc.weight": kernel[:split].T, "fc.bias": bias}
    out |= {f"{last}.weight": kernel[split:].T, f"{last}.bias": 0 * bias}
    for i, layer in enumerate(model.attention):
        parts = {"q": layer.query, "k": layer.key, "v": layer.value, "res": layer.residual}
        matrices = {name: np.array(matrix).T for name, matrix in parts.items() if matrix is not None}
        out |= {f"self_attention.{i}.W_{name}.weight": matrix for name, matrix in matrices.items()}
    return vectors(model) | tower("dnn", model.deep) | out


def masknet(model: Any) -> Weights:
    """Parallel blocks."""
    gamma, beta = (np.split(weight, len(model.widths)) for weight in model.normalization.get_weights())
    out = {f"emb_norm.{i}.weight": weight for i, weight in enumerate(gamma)}
    out |= {f"emb_norm.{i}.bias": weight for i, weight in enumerate(beta)}
    for i, block in enumerate(model.mask_blocks):
        prefix = f"mask_net.mask_blocks.{i}"
        scale, shift = block.normalization.get_weights()
        hidden = block.hidden.get_weights()[0].T
        out |= linear(f"{prefix}.mask_layer.0", block.squeeze) | linear(f"{prefix}.mask_layer.2", block.mask)
        out |= {f"{prefix}.hidden_layer.0.weight": hidden, f"{prefix}.hidden_layer.1.weight": scale}
        out[f"{prefix}.hidden_layer.1.bias"] = shift
    return vectors(model) | out | tower("mask_net.dnn", model.deep, model.logit)


def dcn(model: Any) -> Weights:
    crosses = [linear(f"crossnet.cross_layers.{i}", cross) for i, cross in enumerate(model.crosses)]
    merged = {name: value for cross in crosses for name, value in cross.items()}
    return vectors(model) | merged | tower("parallel_dnn", model.deep) | linear("fc", model.logit)


def dcn_mixture(model: Any) -> Weights:
    """FuxiCTR's layers share their gates; ours, which each have their own, are made equal."""
    out = vectors(model) | tower("parallel_dnn", model.deep) | linear("fc", model.logit)
    first = model.crosses[0].gate
    out |= {f"crossnet.gating.{k}.weight": gate[None] for k, gate in enumerate(np.array(first).T)}
    for i, cross in enumerate(model.crosses):
        cross.gate.assign(first)
        down, core, up, bias, _ = cross.get_weights()
        out |= {f"crossnet.V_list.{i}": down, f"crossnet.C_list.{i}": core.transpose(0, 2, 1)}
        out |= {f"crossnet.U_list.{i}": up.transpose(0, 2, 1), f"crossnet.bias.{i}": bias[:, None]}
    return out


def fibinet(model: Any) -> Weights:
    squeeze, excite = model.importance.get_weights()
    gates = {"senet_layer.excitation.0.weight": squeeze.T, "senet_layer.excitation.2.weight": excite.T}
    layers = {1: model.bilinear_1, 2: model.bilinear_2}
    bilinear = {f"bilinear_interaction{i}.bilinear_W": layer.get_weights()[0] for i, layer in layers.items()}
    return (
        vectors(model)
        | first_order(model.first_order, "lr_layer")
        | gates
        | bilinear
        | tower("dnn", model.deep, model.logit)
    )


def final_mlp(model: Any) -> Weights:
    """The gates read tables of their own."""
    by_a, by_b, bias, forms = model.logit.get_weights()
    fusion = {"w_x.weight": by_a.T, "w_x.bias": bias, "w_y.weight": by_b.T, "w_y.bias": 0 * bias, "w_xy": forms}
    out = {f"fusion_module.{name}": weight for name, weight in fusion.items()}
    for k, (gate, tables) in enumerate(zip(model.gates, model.gate_embeddings, strict=True), 1):
        for name in tables.features:
            out |= table(name, tables, f"fs_module.fs{k}_ctx_emb", f"_gate_{k}")
        out |= tower(f"fs_module.fs{k}_gate", gate.mlp)
    return vectors(model) | out | tower("mlp1", model.deep) | tower("mlp2", model.second)


def gdcn(model: Any) -> Weights:
    out = vectors(model) | tower("dnn", model.deep) | linear("fc", model.logit)
    for i, cross in enumerate(model.crosses):
        kernel, bias, gate = cross.get_weights()
        out |= {f"cross_net.w.{i}.weight": kernel.T, f"cross_net.b.{i}": bias, f"cross_net.wg.{i}.weight": gate.T}
    return out


def din(model: Any) -> Weights:
    """Histories look up the candidate's table; the attention's network is one hidden layer with Dice."""
    (attention,) = model.attentions
    prefix = "attention_layers.attention_layer.mlp"
    out = {f"{prefix}.0.weight": np.array(attention.kernel).T, f"{prefix}.0.bias": np.array(attention.bias)}
    out |= {f"{prefix}.1.alpha": np.array(attention.activations[0].alpha)} | linear(f"{prefix}.2", attention.score)
    return tables_of_scalars(model) | out | tower("dnn", model.deep, model.logit)


def dien(model: Any) -> Weights:
    """PyTorch's gates come in another order than Keras's: reset, update, candidate."""
    (gru,), (evolution,) = model.extractions, model.evolutions
    kernel, recurrent, bias = gru.get_weights()

    def gates(weight: NDArray[Any]) -> NDArray[Any]:
        update, reset, candidate = np.split(weight, 3, axis=-1)
        return np.concatenate([reset, update, candidate], axis=-1).T

    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    weights = map(gates, (kernel, recurrent, *bias))
    out = {f"extraction_modules.0.{name}": weight for name, weight in zip(names, weights, strict=True)}
    augru, cell = evolution.augru, "evolving_modules.0.gru_cell"
    hidden_bias = np.concatenate([np.zeros(2 * augru.units), np.array(augru.steps.cell.candidate_bias)])
    return (
        tables_of_scalars(model)
        | out
        | tower("dnn", model.deep, model.logit)
        | {
            "attention_modules.0.W_kernel": np.array(evolution.kernel),
            f"{cell}.x2h.weight": np.array(augru.kernel).T,
            f"{cell}.x2h.bias": np.array(augru.bias),
            f"{cell}.h2h.weight": np.array(augru.steps.cell.recurrent_kernel).T,
            f"{cell}.h2h.bias": hidden_bias,
        }
    )


def bst(model: Any) -> Weights:
    (positions,), ((block,),) = model.positions, model.transformers
    prefix = "transformer_encoders.0"
    out = {f"{prefix}.position_emb": positions.get_weights()[0]}
    prefix = f"{prefix}.transformer_blocks.0"
    weights = block.attention.get_weights()  # of query, key, value: (dim, heads, dim / heads) and its bias
    dim = weights[0].shape[0]
    kernels, biases = ([w.reshape(-1, dim) for w in weights[i:6:2]] for i in (0, 1))
    out[f"{prefix}.attention.in_proj_weight"] = np.concatenate([kernel.T for kernel in kernels])
    out[f"{prefix}.attention.in_proj_bias"] = np.concatenate(biases, axis=None)
    out[f"{prefix}.attention.out_proj.weight"] = weights[6].reshape(dim, dim).T
    out[f"{prefix}.attention.out_proj.bias"] = weights[7]
    for i, norm in enumerate(block.norms, 1):
        gamma, beta = norm.get_weights()
        out |= {f"{prefix}.layer_norm{i}.weight": gamma, f"{prefix}.layer_norm{i}.bias": beta}
    out |= linear(f"{prefix}.ffn.0", block.expand) | linear(f"{prefix}.ffn.2", block.contract)
    return (
        tables_of_scalars(model, "embedding_layer.embedding_layers") | out | tower("dnn", model.deep, model.logit)
    )


def tables_of_scalars(model: Any, prefix: str = "embedding_layer.embedding_layer.embedding_layers") -> Weights:
    columns = [column for column in model.schema.features.categorical if not column.is_list]
    return {f"{prefix}.{column.name}.weight": model.embeddings.table(column.name) for column in columns}


def stacks(prefix: str, *layers: Any) -> Weights:
    """`ParallelMLP`s one after another: each weight of theirs is a stack over experts, tasks or gates."""
    kernels = [np.array(w) for layer in layers for w in layer.kernels]
    biases = [np.array(w) for layer in layers for w in layer.biases]
    out = {}
    for i, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
        for k in range(len(kernel)):
            out |= {f"{prefix}.{k}.mlp.{2 * i}.weight": kernel[k].T, f"{prefix}.{k}.mlp.{2 * i}.bias": bias[k, 0]}
    return out


def ple(model: Any) -> Weights:
    """FuxiCTR's last level mixes the shared experts too and drops the result: any weights of that gate will do."""
    (level,) = model.levels
    own, out = level.own_experts, vectors(model) | stacks("tower", model.towers, model.logit)
    for name, weight in stacks("own", level.own).items():
        _, k, rest = name.split(".", 2)
        out[f"cgc_layers.0.specific_experts.{int(k) // own}.{int(k) % own}.{rest}"] = weight
    out |= stacks("cgc_layers.0.shared_experts", level.shared) | stacks("cgc_layers.0.gate", level.gates)
    width = np.array(level.shared.kernels[0]).shape[1]
    unused = f"cgc_layers.0.gate.{level.tasks}.mlp.0"
    return out | {
        f"{unused}.weight": np.zeros((level.shared_experts, width)),
        f"{unused}.bias": np.zeros(level.shared_experts),
    }


# By label: of our model, FuxiCTR's weights by their names.
WEIGHTS: dict[str, Callable[[Any], Weights]] = {
    "LR": lambda m: first_order(m.first_order, "lr_layer", bias=True),
    "FM": lambda m: vectors(m) | first_order(m.first_order, "fm.lr_layer", bias=True),
    "DLRM": dlrm,
    "WideAndDeep": lambda m: vectors(m) | first_order(m.wide, "lr_layer") | tower("dnn", m.deep, m.logit),
    "DeepFM": lambda m: (
        vectors(m) | first_order(m.first_order, "fm.lr_layer", True) | tower("mlp", m.deep, m.logit)
    ),
    "DCN": dcn,
    "DCN mixture": dcn_mixture,
    "xDeepFM": xdeepfm,
    "PNN": pnn,
    "NFM": lambda m: vectors(m) | first_order(m.first_order, "lr_layer") | tower("dnn", m.deep, m.logit),
    "FwFM": fwfm,
    "AutoInt": autoint,
    "FiBiNET": fibinet,
    "MaskNet": masknet,
    "FinalMLP": final_mlp,
    "GDCN": gdcn,
    "DIN": din,
    "DIEN": dien,
    "BST": bst,
    "SharedBottom": lambda m: vectors(m) | tower("bottom", m.bottom) | stacks("tower", m.towers, m.logit),
    "MMoE": lambda m: (
        vectors(m)
        | stacks("mmoe_layer.experts", m.mixture.expert_stacks)
        | stacks("mmoe_layer.gate", m.mixture.gates)
        | stacks("tower", m.towers, m.logit)
    ),
    "PLE": ple,
}
