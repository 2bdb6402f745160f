"""FiBiNET, GDCN, FinalMLP, MaskNet and DCN's mixture, recomputed from their weights in float64 NumPy."""

import itertools

import numpy as np
import pytest
from formula_parts import CATS, CONTS, X, check, continuous, dense, embedded, first_order, logit, spread
from model_cases import schema_of

import kerasrec as kr

SIGMOID = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731


def field_vectors(model):
    x, scaled = continuous(), np.float64(model.continuous_vectors.vectors)
    return np.stack([*embedded(model.embeddings), *(x[:, [j]] * scaled[j] for j in range(2))], axis=1)


def bilinear(layer, vectors, bilinear_type):
    kernel = np.float64(layer.kernel)
    pairs = []
    for p, (i, j) in enumerate(itertools.combinations(range(vectors.shape[1]), 2)):
        matrix = kernel[{"all": 0, "each": i, "interaction": p}[bilinear_type]]
        pairs.append((vectors[:, i] @ matrix) * vectors[:, j])
    return np.column_stack(pairs)


@pytest.mark.parametrize("excitation", ["relu", "sigmoid"])
@pytest.mark.parametrize("bilinear_type", ["all", "each", "interaction"])
def test_fibinet(bilinear_type, excitation):
    model = kr.models.FiBiNET(schema_of(), 4, bilinear_type, 2, [16, 8], excitation)
    v = field_vectors(spread(model, 0.7))
    squeeze, excite = (w.astype("float64") for w in model.importance.get_weights())
    assert squeeze.shape == (5, 2)
    a = np.maximum(v.mean(2) @ squeeze, 0) @ excite
    a = np.maximum(a, 0) if excitation == "relu" else SIGMOID(a)
    p = bilinear(model.bilinear_1, v, bilinear_type)
    q = bilinear(model.bilinear_2, v * a[:, :, None], bilinear_type)
    deep = dense(model.deep.get_weights(), np.column_stack([continuous(), p, q]))
    check(model, first_order(model.first_order) + logit(model, deep))


def test_fibinet_of_one_categorical_column_is_its_first_order():
    model = spread(kr.models.FiBiNET(schema_of("user"), 4))
    table, bias = np.float64(model.first_order.tables.table("user_linear")), np.float64(model.first_order.bias)
    np.testing.assert_allclose(model(X), SIGMOID(table[X["user"]] + bias), atol=2e-6)


@pytest.mark.parametrize("structure", ["parallel", "stacked"])
@pytest.mark.parametrize("columns", [(), CATS, CONTS])
def test_gdcn(structure, columns):
    model = spread(kr.models.GDCN(schema_of(*columns), 4, 2, [16, 8], structure), scale=0.4)
    parts = [] if columns == CATS else [continuous()]
    x0 = x = np.column_stack(parts if columns == CONTS else [*parts, *embedded(model.embeddings)])
    for layer in model.crosses:
        kernel, bias, gate = (np.float64(w) for w in (layer.kernel, layer.bias, layer.gate))
        x = x0 * (x @ kernel + bias) * SIGMOID(x @ gate) + x
    deep = dense(model.deep.get_weights(), x0 if structure == "parallel" else x)
    check(model, logit(model, np.column_stack([x, deep]) if structure == "parallel" else deep))


def fused(layer, a, b, heads):
    """The bilinear fusion, entry by entry."""
    total = a @ np.float64(layer.kernel_a) + b @ np.float64(layer.kernel_b) + np.float64(layer.bias)
    p, q = a.shape[1] // heads, b.shape[1] // heads
    forms = np.float64(layer.forms).reshape(heads, p, -1, q)
    for h, i, j in itertools.product(range(heads), range(p), range(q)):
        total += (a[:, h * p + i] * b[:, h * q + j])[:, None] * forms[h, i, :, j]
    return total


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("gate_columns", [None, ((), ()), ((), ("age",)), (("user", "price"), ("genres",))])
def test_final_mlp(gate_columns, heads):
    model = spread(kr.models.FinalMLP(schema_of(), 4, [16, 4], [8], heads, gate_columns, gate_units=[6]))
    e = np.column_stack([continuous(), *embedded(model.embeddings)])
    streams = [e, e]
    for i, columns in enumerate(gate_columns or ()):
        gate = model.gates[i]
        context = [X[name][:, None].astype("float64") for name in columns if name in CONTS]
        if set(columns) & set(CATS):
            known = tuple(name for name in CATS if name in columns)
            context += embedded(model.gate_embeddings[i], f"_gate_{i + 1}", known)
        g = np.float64(gate.gate) if not columns else None
        if columns:
            weights = gate.mlp.get_weights()
            g = dense(weights[2:], dense(weights[:2], np.column_stack(context)), relu=False)
        streams[i] = 2 * SIGMOID(g) * e
    a, b = dense(model.deep.get_weights(), streams[0]), dense(model.second.get_weights(), streams[1])
    check(model, fused(model.logit, a, b, heads))


@pytest.mark.parametrize("structure", ["parallel", "stacked"])
def test_dcn_as_a_mixture_of_experts(structure):
    model = spread(kr.models.DCN(schema_of(), 4, 2, None, [16, 8], structure, experts=3), scale=0.4)
    x0 = x = np.column_stack([continuous(), *embedded(model.embeddings)])
    for layer in model.crosses:
        down, core, up, bias, gate = (w.astype("float64") for w in layer.get_weights())
        assert down.shape == (3, 14, 3)
        p = np.exp(x @ gate)
        p /= p.sum(1, keepdims=True)
        experts = [x0 * (np.tanh(np.tanh(x @ down[e]) @ core[e]) @ up[e] + bias) for e in range(3)]
        x = sum(p[:, [e]] * experts[e] for e in range(3)) + x
    deep = dense(model.deep.get_weights(), x0 if structure == "parallel" else x)
    check(model, logit(model, np.column_stack([x, deep]) if structure == "parallel" else deep))


def test_one_expert_is_the_dcn_of_earlier_configurations():
    model = kr.models.DCN(schema_of(), 4, 2, 3, [8])
    config = model.get_config()
    del config["experts"]
    assert [type(layer) for layer in kr.models.DCN.from_config(config).crosses] == [kr.layers.FeatureCross] * 2


def normalized(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


def mask_block(layer, v, h):
    w1, b1 = (w.astype("float64") for w in layer.squeeze.get_weights())
    w2, b2 = (w.astype("float64") for w in layer.mask.get_weights())
    gamma, beta = (w.astype("float64") for w in layer.normalization.get_weights())
    mask = np.maximum(v @ w1 + b1, 0) @ w2 + b2
    return np.maximum(gamma * normalized((mask * h) @ np.float64(layer.hidden.kernel)) + beta, 0)


@pytest.mark.parametrize("columns", [(), CATS, CONTS])
@pytest.mark.parametrize("structure", ["parallel", "serial"])
def test_masknet(structure, columns):
    model = spread(kr.models.MaskNet(schema_of(*columns), 4, structure, 2, 5, [16, 12], 0.5), scale=1)
    x = [] if columns == CATS else [continuous()]
    v = h = np.column_stack(x) if columns == CONTS else np.column_stack([*x, *embedded(model.embeddings)])
    if columns != CONTS:
        gamma, beta = (w.astype("float64") for w in model.normalization.get_weights())
        vectors = np.stack(embedded(model.embeddings), axis=1)
        h = np.column_stack([*x, gamma * normalized(vectors).reshape(len(v), -1) + beta])
    assert model.mask_blocks[0].squeeze.units == v.shape[1] // 2
    if structure == "parallel":
        h = dense(model.deep.get_weights(), np.column_stack([mask_block(b, v, h) for b in model.mask_blocks]))
    else:
        for block in model.mask_blocks:
            h = mask_block(block, v, h)
    check(model, logit(model, h))


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="structure must be 'parallel' or 'stacked'; got 'serial'"):
        kr.models.GDCN(schema_of(), structure="serial")
    with pytest.raises(ValueError, match="cross_layers must be an integer >= 1; got 0"):
        kr.models.GDCN(schema_of(), cross_layers=0)
    with pytest.raises(ValueError, match=r"bilinear_type must be one of .*; got 'x'"):
        kr.models.FiBiNET(schema_of(), bilinear_type="x")
    with pytest.raises(ValueError, match="reduction_ratio must be > 0; got 0"):
        kr.models.FiBiNET(schema_of(), reduction_ratio=0)
    for given, message in [
        (["user"], r"gate_columns must be two lists of columns, .* or None; got \['user'\]"),
        (["user", "item"], "gate_columns must be two lists of columns"),
        ([["usr"], []], "gate_columns: no column 'usr' among the model's inputs; available: user, genres, fav"),
        ([["user", "user"], []], "gate_columns names a column twice"),
    ]:
        with pytest.raises(ValueError, match=message):
            kr.models.FinalMLP(schema_of(), gate_columns=given)
    with pytest.raises(ValueError, match="the width of b must be a multiple of heads, 4; got 6"):
        kr.models.FinalMLP(schema_of(), deep_units=[8], second_units=[6], fusion_heads=4)
    with pytest.raises(ValueError, match="experts must be an integer >= 1; got 0"):
        kr.models.DCN(schema_of(), experts=0)
    with pytest.raises(ValueError, match="structure must be 'parallel' or 'serial'; got 'stacked'"):
        kr.models.MaskNet(schema_of(), structure="stacked")
    with pytest.raises(ValueError, match="embedding_dim must be an integer; got None"):
        kr.models.MaskNet(schema_of(), None)
    with pytest.raises(ValueError, match="embedding_dim must be an integer, since fields interact; got None"):
        kr.models.FiBiNET(schema_of(), None)
