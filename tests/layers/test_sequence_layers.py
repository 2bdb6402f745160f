"""The layers that read histories: closed forms, gradients by finite differences, padding, shapes, configs."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrec as kr
from kerasrec.schema import Column, Schema, SchemaError, Tag

RNG = np.random.default_rng(0)
TARGET, HISTORY = RNG.normal(size=(5, 4)), RNG.normal(size=(5, 6, 4))
LENGTHS = np.array([6, 0, 1, 3, 4])
MASK = np.arange(6) >= 6 - LENGTHS[:, None]  # padded at the beginning
ATTENTION = RNG.random((5, 6))

LAYERS = {
    "attention": (lambda: kr.layers.TargetAttention([5, 3], dtype="float64"), (TARGET, HISTORY), "history_mask"),
    "softmax": (
        lambda: kr.layers.TargetAttention(5, "tanh", softmax=True, dtype="float64"),
        (TARGET, HISTORY),
        "history_mask",
    ),
    "dice": (lambda: kr.layers.Dice(dtype="float64"), (HISTORY,), "mask"),
    "augru": (lambda: kr.layers.AUGRU(3, dtype="float64"), (HISTORY, ATTENTION), "sequence_mask"),
    "evolution": (lambda: kr.layers.InterestEvolution(3, dtype="float64"), (TARGET, HISTORY), "history_mask"),
    "block": (lambda: kr.layers.TransformerBlock(2, 6, dtype="float64"), (HISTORY,), "mask"),
    "positions": (lambda: kr.layers.PositionEmbedding(8, 2, dtype="float64"), (HISTORY,), None),
}


@pytest.fixture(params=list(LAYERS))
def case(request):
    """A layer with random weights, its inputs, and the name of its mask."""
    make, inputs, mask = LAYERS[request.param]
    layer = make()
    layer.build(*(x.shape for x in inputs))
    rng = np.random.default_rng(1)
    layer.set_weights([rng.normal(size=w.shape) * 0.5 for w in layer.get_weights()])
    return layer, inputs, mask


def call(layer, inputs, mask, values=MASK):
    more = {"training": True} if isinstance(layer, kr.layers.Dice | kr.layers.TargetAttention) else {}
    return layer(*inputs, **({mask: values} if mask else {}), **more)


def test_gradients_by_finite_differences(case):
    layer, inputs, mask = case
    tensors = [tf.constant(x) for x in inputs]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        out = call(layer, tensors, mask)
        upstream = np.random.default_rng(2).normal(size=out.shape)
        value = tf.reduce_sum(out * upstream)
    variables = [v.value for v in layer.trainable_variables]
    gradients = tape.gradient(value, [*tensors, *variables])

    def total():
        return float(tf.reduce_sum(call(layer, tensors, mask) * upstream))

    for k, gradient in enumerate(gradients):
        direction = np.random.default_rng(3).normal(size=gradient.shape)
        sides = []
        for step in (1e-6, -1e-6):
            if k < len(tensors):
                kept = tensors[k]
                tensors[k] = kept + step * direction
                sides.append(total())
                tensors[k] = kept
            else:
                variable = variables[k - len(tensors)]
                variable.assign_add(step * direction)
                sides.append(total())
                variable.assign_sub(step * direction)
        numeric = (sides[0] - sides[1]) / 2e-6
        assert float(tf.reduce_sum(gradient * direction)) == pytest.approx(numeric, rel=1e-5, abs=1e-7)


def test_padding_has_no_effect_and_no_gradient(case):
    layer, inputs, mask = case
    if mask is None:
        pytest.skip("without a mask")
    padded = [np.where(MASK[..., None], x, 7.0) if x.ndim == 3 else x for x in inputs]
    shown = np.ones(()) if len(call(layer, inputs, mask).shape) == 2 else MASK[..., None]
    np.testing.assert_allclose(
        call(layer, padded, mask) * shown, call(layer, inputs, mask) * shown, rtol=1e-9, atol=1e-12
    )
    wider = [np.pad(x, [(0, 0), (2, 0), (0, 0)][: x.ndim]) if x.shape[1] == 6 else x for x in inputs]
    out = call(layer, wider, mask, np.pad(MASK, [(0, 0), (2, 0)]))
    out = out[:, 2:] if len(out.shape) == 3 else out
    np.testing.assert_allclose(out * shown, call(layer, inputs, mask) * shown, rtol=1e-9, atol=1e-12)


def test_config_and_shapes(case):
    layer, inputs, _ = case
    copy = type(layer).from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    symbols = [keras.Input(x.shape[1:]) for x in inputs]
    model = keras.Model(symbols, copy(*symbols))
    copy.set_weights(layer.get_weights())
    expected = layer(*inputs)
    assert model.output_shape[1:] == expected.shape[1:]
    np.testing.assert_allclose(model([np.float32(x) for x in inputs]), expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize(
    ("make", "shapes", "message"),
    [
        (lambda: kr.layers.TargetAttention(), [(2, 4), (2, 3, 5)], "target and history must have one width"),
        (lambda: kr.layers.TargetAttention(), [(2, 3, 4), (2, 3, 4)], r"target must have shape \(batch, dim\)"),
        (lambda: kr.layers.InterestEvolution(3), [(2, 4), (2, 4)], "history must have shape"),
        (lambda: kr.layers.AUGRU(3), [(2, 4), (2, 4)], r"sequence must have shape .* got \(2, 4\)"),
        (lambda: kr.layers.AUGRU(0), [], "units must be an integer >= 1; got 0"),
        (lambda: kr.layers.TransformerBlock(3), [(2, 5, 4)], "heads must divide the width .*, 4; got 3"),
        (lambda: kr.layers.PositionEmbedding(2, 4), [(2, 5, 4)], r"length <= max_length \(2\); got \(2, 5, 4\)"),
        (lambda: kr.layers.NextBehaviourLoss(weight=-1), [], "weight must be >= 0; got -1"),
        (lambda: kr.layers.Dice(momentum=1), [], r"momentum must be in \[0, 1\); got 1"),
    ],
)  # fmt: skip
def test_wrong_arguments_and_shapes_are_named(make, shapes, message):
    with pytest.raises(ValueError, match=message):
        make()(*(np.zeros(shape, "float32") for shape in shapes))


def test_attention_is_the_network_of_the_concatenated_vectors():
    layer = kr.layers.TargetAttention([5, 3], "tanh", dtype="float64")
    out = layer(TARGET, HISTORY, history_mask=MASK)
    t = np.repeat(TARGET[:, None], 6, axis=1)
    x = np.concatenate([t, HISTORY, t - HISTORY, t * HISTORY], axis=-1)
    x = np.tanh(x @ layer.kernel.numpy() + layer.bias.numpy())
    for dense in (*layer.hidden, layer.score):
        kernel, bias = dense.get_weights()
        x = x @ kernel + bias
        x = x if dense is layer.score else np.tanh(x)
    np.testing.assert_allclose(out, ((x[..., 0] * MASK)[..., None] * HISTORY).sum(1), rtol=1e-12)


def test_dice_is_keras_batch_normalization_in_a_sigmoid_and_is_right_after_one_batch():
    layer = kr.layers.Dice(dtype="float64")
    out = layer(HISTORY, mask=MASK, training=True)
    rows = HISTORY[MASK]
    p = 1 / (1 + np.exp(-(HISTORY - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-9)))
    np.testing.assert_allclose(out, p * HISTORY, rtol=1e-9)
    np.testing.assert_allclose(layer(HISTORY), out, rtol=1e-9)  # the averages of one batch are its own
    layer(HISTORY, mask=np.zeros_like(MASK), training=True)  # a batch of padding alone changes nothing
    np.testing.assert_allclose(layer(HISTORY), out, rtol=1e-9)
    assert np.isfinite(layer(HISTORY[:1, :1], training=True)).all()


def test_augru_with_full_attention_is_keras_gru():
    ours, theirs = kr.layers.AUGRU(3, dtype="float64"), keras.layers.GRU(3, dtype="float64")
    expected = theirs(HISTORY, mask=tf.constant(MASK))
    ours(HISTORY, ATTENTION)
    sign = np.repeat([-1.0, 1.0, 1.0], 3)  # Keras's gate says what is kept, ours what is new
    kernel, recurrent, (bias, recurrent_bias) = theirs.get_weights()
    candidate = np.split(recurrent_bias, 3)[2]
    bias = (bias + np.concatenate([recurrent_bias[:6], np.zeros(3)])) * sign
    ours.set_weights([kernel * sign, bias, recurrent * sign, candidate])
    np.testing.assert_allclose(ours(HISTORY, np.ones((5, 6)), sequence_mask=MASK), expected, rtol=1e-9)
    np.testing.assert_array_equal(ours(HISTORY, np.zeros((5, 6))), np.zeros((5, 3)))


def test_next_behaviour_loss_in_numpy_and_only_in_training():
    layer = kr.layers.NextBehaviourLoss([3], weight=0.5, dtype="float64")
    history = HISTORY.copy()
    history[4, 5] = history[3, 5]  # the same behaviour as in the row before: not a negative
    out = layer(HISTORY, history, history_mask=MASK)
    assert layer.losses == []
    np.testing.assert_array_equal(out, HISTORY)

    def score(h, e):
        (hidden, b), (last, c) = np.split(np.array(layer.get_weights(), object), 2)
        return (np.maximum(np.concatenate([h, e]) @ hidden + b, 0) @ last + c)[0]

    layer(HISTORY, history, history_mask=MASK, training=True)
    losses = []
    for i in range(5):
        for step in range(5):
            if MASK[i, step] and MASK[i, step + 1] and MASK[i - 1, step + 1] and (i, step) != (4, 4):
                good = score(HISTORY[i, step], history[i, step + 1])
                other = score(HISTORY[i, step], history[i - 1, step + 1])
                losses.append(np.log1p(np.exp(-good)) + np.log1p(np.exp(other)))
    assert losses
    np.testing.assert_allclose(layer.losses[0], 0.5 * np.mean(losses), rtol=1e-9)

    lonely = kr.layers.NextBehaviourLoss([3])
    lonely(HISTORY[:1], HISTORY[:1], training=True)
    assert float(lonely.losses[0]) == 0  # one row has no other to compare with


def test_a_functional_model_passes_the_mask_of_a_list_on():
    """What `kr.inputs` leaves apart goes through the layers, padded and ragged, with equal outputs."""
    cat = (Tag.CATEGORICAL,)
    schema = Schema(
        [
            Column("item", "int32", cat, cardinality=9, table="item"),
            Column("seen", "int32", (*cat, Tag.LIST), cardinality=9, table="item"),
        ]
    )
    x = kr.inputs(schema, 4, combiner={"item": None})
    history = kr.layers.TransformerBlock(2)(x.embeddings["seen"])
    vector = kr.layers.TargetAttention(8, activation="relu")(x.embeddings["item"], history)
    evolved = kr.layers.InterestEvolution(4)(
        x.embeddings["item"], keras.layers.GRU(4, return_sequences=True)(history)
    )
    model = keras.Model(x.inputs, keras.layers.Concatenate()([vector, evolved]))
    seen = np.array([[3, 4, 5], [6, 0, 0], [0, 0, 0]])
    ragged = tf.RaggedTensor.from_tensor(tf.constant(seen, tf.int32), padding=0)
    out = model({"item": tf.constant([3, 7, 8]), "seen": ragged})
    alone = model({"item": tf.constant([7]), "seen": tf.ragged.constant([[6]], dtype=tf.int32)})
    np.testing.assert_allclose(out[1:2], alone, atol=1e-6)
    np.testing.assert_array_equal(out[2], np.zeros(8))


CAT, LIST = (Tag.CATEGORICAL,), (Tag.CATEGORICAL, Tag.LIST)


def sequence_schema(**tables):
    """A schema of categorical columns by table; the names that begin with `seen` are lists."""
    columns = [
        Column(name, "int32", LIST if name.startswith("seen") else CAT, cardinality=9, table=table)
        for name, table in tables.items()
    ]
    return Schema([*columns, Column("y", "float32", (Tag.TARGET, Tag.BINARY))])


@pytest.mark.parametrize(
    ("tables", "arguments", "message"),
    [
        ({"item": "item"}, {}, "DIN needs a history: .* the schema's categorical columns: 'item'"),
        ({"item": "item", "seen": "other"}, {}, "DIN needs a history"),
        (
            {"item": "item", "first": "item", "seen": "item"},
            {},
            "'item', 'first' all share table 'item' with the history 'seen'.*histories={'seen': 'item'}",
        ),
        (
            {"item": "item", "seen": "item", "shop": "shop"},
            {"histories": {"seen": "shop"}},
            "different tables, 'item' and 'shop'",
        ),
        ({"item": "item", "seen": "item"}, {"histories": {"item": "seen"}}, "'item' is not a categorical list"),
        ({"item": "item", "seen": "item"}, {"aligned": [["seen", "x"]]}, "'x' is not a history; histories: seen"),
        ({"item": "item", "seen": "item"}, {"combiner": {"seen": "sum"}}, "'seen' is a history"),
        ({"item": "item", "seen": "item"}, {"max_length": 0}, "max_length must be an integer >= 1 or None; got 0"),
    ],
)  # fmt: skip
def test_schemas_that_do_not_say_what_is_compared(tables, arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        kr.models.DIN(sequence_schema(**tables), 4, **arguments)
    assert isinstance(error.value, SchemaError) == (not {"aligned", "combiner", "max_length"} & set(arguments))


def test_several_histories_alone_or_aligned_and_lists_that_are_none():
    tables = {"item": "item", "shop": "shop", "seen_items": "item", "seen_shops": "shop", "seen_other": "item"}
    schema = sequence_schema(**tables)
    pairs = {"seen_items": "item", "seen_shops": "shop"}
    model = kr.models.DIN(schema, 4, 8, deep_units=[8], histories=pairs, combiner={"seen_other": "sum"})
    assert [history.columns for history in model.histories] == [("seen_items",), ("seen_shops",)]
    x = {name: np.array([3, 4], "int32") for name in ("item", "shop")}
    lists = np.array([[3, 4, 0], [0, 0, 0]], "int32")
    x |= dict.fromkeys(("seen_items", "seen_shops", "seen_other"), lists)
    others, behaviours = model.embed_histories(model.inputs_of(x)[0])
    assert [each.history.shape for each in behaviours] == [(2, 3, 4), (2, 3, 4)]
    table = model.embeddings.table("item")
    np.testing.assert_allclose(others[2], [table[3] + table[4], np.zeros(4)], rtol=1e-6)

    aligned = kr.models.DIN(schema, 4, 8, deep_units=[8], histories=pairs, aligned=[["seen_shops", "seen_items"]])
    _, (behaviour,) = aligned.embed_histories(aligned.inputs_of(x)[0])
    tables = [aligned.embeddings.table(name) for name in ("shop", "item")]
    np.testing.assert_allclose(behaviour.target, np.concatenate([t[[3, 4]] for t in tables], axis=1))
    np.testing.assert_allclose(behaviour.history[0, 1:], np.concatenate([t[[3, 4]] for t in tables], axis=1))
    copy = kr.models.DIN.from_config(aligned.get_config())
    copy.set_weights(aligned.get_weights())
    np.testing.assert_allclose(copy(x), aligned(x))

    ragged = {**x, "seen_items": tf.ragged.constant([[3], []], dtype=tf.int32)}
    ragged["seen_shops"] = tf.ragged.constant([[3, 4], []], dtype=tf.int32)
    with pytest.raises(tf.errors.InvalidArgumentError, match="'seen_shops' and 'seen_items' differ in length"):
        aligned(ragged)


@pytest.mark.parametrize("make", [kr.models.DIN, kr.models.DIEN, kr.models.BST])
def test_a_column_may_have_a_name_that_no_layer_may(make):
    model = make(sequence_schema(**{"größe": "a.b", "seen it": "a.b"}), 4, deep_units=[8], max_length=2)
    x = {"größe": tf.constant([3, 4]), "seen it": tf.constant([[3, 4, 0], [0, 0, 0]])}
    traced = tf.function(lambda features: model(features, training=True), autograph=False)
    assert np.isfinite(traced(x)).all()
