"""Differences between ranks are reported by item, rank and value; `fit_cases.py` tests it on real ranks."""

import keras
import numpy as np

import kerasrec as kr
from kerasrec.parallel import comm
from kerasrec.parallel.fit import fingerprint, rank_check
from kerasrec.tables.variables import dense_weights


def differences(*values):
    """What is said of these values of ranks 0, 1, ..."""
    return list(rank_check._differences(list(values), ""))


def test_equal_values_differ_in_nothing():
    assert differences({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}) == []


def test_item_ranks_and_values_are_named():
    said = differences({"a": 1, "plan": {"item": {"rows": 10}}}, *2 * [{"a": 1, "plan": {"item": {"rows": 12}}}])
    assert said == ["plan.item.rows: 10 on rank 0, 12 on ranks 1, 2"]


def test_absent_items_and_lists_of_other_lengths():
    assert differences({"a": 1}, {}) == ["a: 1 on rank 0, (absent) on rank 1"]
    assert differences({"a": [1, 2]}, {"a": [1]}) == ["a: 2 of them on rank 0, 1 of them on rank 1"]
    assert differences([1, 2], [1, 3]) == ["[1]: 2 on rank 0, 3 on rank 1"]


def test_long_values_and_many_ranks_are_cut_short():
    (said,) = differences({"a": "x" * 300}, *20 * [{"a": "y" * 300}])
    assert len(said) < 250
    assert "and 12 more" in said


def test_one_rank_compares_nothing_and_needs_nothing(monkeypatch):
    monkeypatch.setattr(comm, "gather_objects", None)
    rank_check.check_same_on_ranks("fit", {"a": 1})
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")  # a foreign optimizer is welcome
    model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0, callbacks=[kr.parallel.Callback()])


def test_names_that_keras_numbers_are_no_difference():
    def model():
        layers = [
            keras.layers.Input((2,)),
            keras.layers.Dense(3, activation=keras.ops.tanh),
            keras.layers.Dense(1),
        ]
        model = keras.Sequential(layers)
        model.compile(kr.optimizers.Adam(0.1), lambda y, p: (y - p) ** 2, metrics=["mse", keras.metrics.AUC()])
        return model

    one, other = fingerprint.of_model(model()), fingerprint.of_model(model())
    assert one == other
    assert one["metrics"][0] == "mse"


def test_dense_weights_are_not_the_tables():
    item = kr.TableConfig("item", 10, 4)
    ids = {"item": keras.Input((), dtype="int32")}
    out = kr.layers.DistributedEmbedding({"item": kr.FeatureConfig("item", item)})(ids)
    model = keras.Model(ids, keras.layers.Dense(1)(out["item"]))
    assert [tuple(weight.shape) for weight in dense_weights(model)] == [(4, 1), (1,)]


def test_options_of_losses_are_compared():
    def said(*losses):
        return differences(*(fingerprint.of_loss(loss) for loss in losses))

    assert said(kr.losses.InBatchSoftmax(0.1), kr.losses.InBatchSoftmax(0.1)) == []
    (apart,) = said(kr.losses.InBatchSoftmax(0.1), kr.losses.InBatchSoftmax(0.2))
    assert apart.endswith("temperature: 0.1 on rank 0, 0.2 on rank 1")
    (apart,) = said({"y": keras.losses.BinaryCrossentropy()}, {"y": keras.losses.BinaryCrossentropy(True)})
    assert apart.startswith("y") and apart.endswith("from_logits: False on rank 0, True on rank 1")  # noqa: PT018
    assert said(kr.losses.GBCE(4, 0.5), kr.losses.SampledSoftmax(4)) != []
