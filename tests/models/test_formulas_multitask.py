"""The models for several targets, recomputed from their weights in float64 NumPy."""

import numpy as np
import polars as pl
import pytest
from formula_parts import X, continuous, dense, embedded, spread
from model_cases import BOUGHT, CLICKED, COLUMNS, RATING

import kerasrec as kr
from kerasrec.schema import Schema, SchemaError

TARGETS = (CLICKED, RATING, BOUGHT)


def schema_of(*targets):
    return Schema([*COLUMNS.values(), *targets])


def inputs(model):
    return np.column_stack([continuous(), *embedded(model.embeddings)])


def stack(layer, i, x):
    """The output of stack `i` of a `ParallelMLP`."""
    kernels = [np.float64(kernel)[i] for kernel in layer.kernels]
    biases = [np.float64(bias)[i, 0] for bias in layer.biases]
    linear = layer.final_activation != "same"
    last = len(kernels) - 1
    for number, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
        x = dense([kernel, bias], x, relu=not (linear and number == last))
    return x


def softmax(z):
    z = np.exp(z - z.max(axis=1, keepdims=True))
    return z / z.sum(axis=1, keepdims=True)


def mixed(gate, outputs):
    return sum(gate[:, [i]] * output for i, output in enumerate(outputs))


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def logits(model, by_target):
    return [stack(model.logit, k, stack(model.towers, k, x))[:, 0] for k, x in enumerate(by_target)]


def check(model, expected):
    """The logits are the outputs of a copy that regresses."""
    targets = model.targets
    config = {**model.get_config(), "task": dict.fromkeys(targets, "regression")}
    numbers = type(model).from_config(config)
    numbers.set_weights(model.get_weights())
    for k, (target, probability) in enumerate(model(X).items()):
        assert expected[k].std() > 0.1  # the rows' answers differ
        np.testing.assert_allclose(numbers(X)[target][:, 0], expected[k], rtol=1e-5, atol=1e-5)
        if model.tasks[target] == "binary":
            np.testing.assert_allclose(probability[:, 0], sigmoid(expected[k]), atol=2e-6)
    assert np.abs(expected[0] - expected[-1]).mean() > 0.1


def test_shared_bottom():
    model = spread(kr.models.SharedBottom(schema_of(*TARGETS), 4, [16, 8], [6]), 0.6)
    shared = dense(model.bottom.get_weights(), inputs(model))
    check(model, logits(model, [shared] * 3))


@pytest.mark.parametrize("gate_units", [[], [5]])
def test_mmoe(gate_units):
    model = spread(kr.models.MMoE(schema_of(*TARGETS), 4, 3, [16, 8], [6], gate_units))
    x, mixture = inputs(model), model.mixture
    experts = [stack(mixture.expert_stacks, i, x) for i in range(3)]
    check(model, logits(model, [mixed(softmax(stack(mixture.gates, k, x)), experts) for k in range(3)]))


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_ple(levels):
    """Two own experts for each of three targets and one shared; the shared gate mixes all seven."""
    model = spread(kr.models.PLE(schema_of(*TARGETS), 4, levels, 2, 1, [10, 8], [6], [5]), 0.5 + 0.1 * levels)
    tasks, shared = [inputs(model)] * 3, inputs(model)
    for level in model.levels:
        own = [[stack(level.own, 2 * k + i, tasks[k]) for i in range(2)] for k in range(3)]
        common = stack(level.shared, 0, shared)
        gates = [softmax(stack(level.gates, k, tasks[k])) for k in range(3)]
        if level is not model.levels[-1]:
            gate = softmax(stack(level.shared_gate, 0, shared))
            shared = mixed(gate, [*own[0], *own[1], *own[2], common])
        tasks = [mixed(gates[k], [*own[k], common]) for k in range(3)]
    assert model.levels[-1].shared_gate is None
    check(model, logits(model, tasks))


@pytest.mark.parametrize("roles", [{}, {"click": "bought"}, {"conversion": "bought"}, {"click": "clicked"}])
def test_esmm(roles):
    model = spread(kr.models.ESMM(schema_of(CLICKED, BOUGHT), 4, [8], **roles))
    click, conversion = ("bought", "clicked") if roles.get("click") == "bought" else ("clicked", "bought")
    assert (model.click, model.conversion) == (click, conversion)
    pctr, pcvr = map(sigmoid, logits(model, [inputs(model)] * 2))
    outputs = model(X)
    assert list(outputs) == ["clicked", "bought"]
    np.testing.assert_allclose(outputs[click][:, 0], pctr, atol=2e-6)
    np.testing.assert_allclose(outputs[conversion][:, 0], pctr * pcvr, atol=2e-6)
    np.testing.assert_allclose(outputs[conversion] / outputs[click], pcvr[:, None], rtol=1e-4, atol=1e-5)


def test_esmm_needs_a_click_and_a_conversion():
    for targets in [(CLICKED,), (CLICKED, RATING), TARGETS]:
        with pytest.raises(SchemaError, match=r"needs two binary targets, a click and a conversion; got clicked"):
            kr.models.ESMM(schema_of(*targets))
    with pytest.raises(ValueError, match="click: no target 'clickd'.*did you mean 'clicked'"):
        kr.models.ESMM(schema_of(CLICKED, BOUGHT), click="clickd")
    with pytest.raises(ValueError, match="click and conversion must be two targets; got 'bought' for both"):
        kr.models.ESMM(schema_of(CLICKED, BOUGHT), click="bought", conversion="bought")


def test_esmm_refuses_conversions_without_a_click():
    frame = pl.DataFrame({"age": [1.0, 2.0, 3.0], "clicked": [1.0, 0.0, 1.0], "bought": [1.0, 0.0, 0.0]})
    schema = Schema([COLUMNS["age"].evolve(dtype="float64"), CLICKED, BOUGHT])
    loader = kr.Loader(frame, 2, schema=schema)
    model = kr.models.ESMM(schema, deep_units=[2])
    model.compile()
    model.fit(loader, verbose=0)
    swapped = kr.models.ESMM(schema, deep_units=[2], click="bought")
    swapped.compile()
    swapped.evaluate(loader.map(lambda x, y: (x, {**y, "bought": y["clicked"]})), verbose=0)
    turned = kr.Loader(frame[::-1], 2, schema=schema)
    message = (
        r"1 of the first 2 rows of the training data have a conversion \('clicked'\) without a click \('bought'\)"
    )
    with pytest.raises(ValueError, match=f"{message}.*swapped, pass click='clicked'"):
        swapped.fit(turned, verbose=0)
    predictions = swapped.predict(turned, verbose=0)
    assert (predictions["clicked"] <= predictions["bought"]).all()


def test_esmm_refuses_conversions_without_a_click_in_any_batch():
    frame = pl.DataFrame({"age": [1.0, 2.0, 3.0], "clicked": [1.0, 0.0, 0.0], "bought": [1.0, 0.0, 1.0]})
    schema = Schema([COLUMNS["age"].evolve(dtype="float64"), CLICKED, BOUGHT])
    model = kr.models.ESMM(schema, deep_units=[2])
    model.compile()
    x, y = {"age": np.float32([1, 2, 3])}, {name: np.float32(frame[name]) for name in ("clicked", "bought")}
    for data, targets in ((kr.Loader(frame, 2, schema=schema), None), (x, y)):
        with pytest.raises(ValueError, match="1 of the rows of this epoch have a conversion"):
            model.fit(data, targets, verbose=0)
        with pytest.raises(ValueError, match="1 of the rows of this epoch have a conversion"):
            model.evaluate(data, targets, verbose=0)
    right = model.fit(x, {**y, "bought": y["clicked"]}, verbose=0)  # counted anew in each epoch
    assert set(right.history) == {"loss", "clicked_loss", "bought_loss", "clicked_auc", "bought_auc"}


def test_arguments_are_checked():
    for arguments, message in [
        ({"experts": 0}, "experts must be an integer >= 1; got 0"),
        ({"expert_units": []}, r"expert_units must be an integer or a list of integers >= 1; got \[\]"),
        ({"tower_units": [0]}, r"tower_units must be an integer or a list of integers >= 1; got \[0\]"),
        ({"gate_units": [0]}, r"gate_units must be an integer or a list of integers >= 1; got \[0\]"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\); got 1.0"),
    ]:
        with pytest.raises(ValueError, match=message):
            kr.models.MMoE(schema_of(CLICKED), **arguments)
    for arguments in ({"levels": 0}, {"own_experts": 0}, {"shared_experts": 1.5}):
        with pytest.raises(ValueError, match=f"{next(iter(arguments))} must be an integer >= 1; got"):
            kr.models.PLE(schema_of(CLICKED), **arguments)
