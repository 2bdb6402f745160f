"""`compile` of `kr.models`: what is left out follows from the task, and names are those of `kr.optimizers`."""

import warnings

import keras
import numpy as np
import pytest
from model_cases import RATING, batch_of, schema_of

import kerasrec as kr

X, Y = batch_of(60)


def model_of(*names, target=None, **more):
    schema = schema_of(*names) if target is None else schema_of(*names, target=target)
    return kr.models.WideAndDeep(schema, 4, deep_units=[8], **more)


@pytest.mark.parametrize(("target", "y", "metric", "loss"), [
    (None, Y, "auc", keras.losses.binary_crossentropy),
    (RATING, 3 * Y - 1, "rmse", keras.losses.mean_squared_error),
])  # fmt: skip
def test_without_arguments_loss_and_metric_are_those_of_the_task(target, y, metric, loss, tmp_path):
    model = model_of(target=target)
    model.compile()
    assert isinstance(model.optimizer, kr.optimizers.Adagrad)
    results = model.evaluate(X, y, return_dict=True, verbose=0)
    assert set(results) == {"loss", metric}
    predictions = model.predict(X, verbose=0)
    assert results["loss"] == pytest.approx(float(np.mean(loss(y, predictions))), rel=1e-4)
    if metric == "rmse":
        assert results["rmse"] == pytest.approx(np.sqrt(np.mean((predictions - y) ** 2)), rel=1e-4)
    model.fit(X, y, verbose=0)
    model.save(tmp_path / "model.keras")
    copy = kr.load_model(tmp_path / "model.keras")
    after = model.evaluate(X, y, return_dict=True, verbose=0)
    assert copy.evaluate(X, y, return_dict=True, verbose=0) == pytest.approx(after, rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"loss": "mse"}, {"loss"}),  # as in Keras: who names a loss names the metrics
        ({"metrics": []}, {"loss"}),
        ({"metrics": ["AUC", "rmse"]}, {"loss", "auc", "rmse"}),
        ({"metrics": {"clicked": "precision"}, "loss": {"clicked": "mae"}}, {"loss", "precision"}),
        ({"weighted_metrics": ["recall"]}, {"loss", "recall"}),
        ({"metrics": [keras.metrics.AUC(name="pr", curve="PR"), "accuracy"]}, {"loss", "pr", "accuracy"}),
    ],
)
def test_explicit_arguments_win(arguments, names):
    for _ in range(2):  # Keras would number the names of the second
        model = model_of()
        model.compile("sgd", **arguments)
        assert set(model.evaluate(X, Y, return_dict=True, verbose=0)) == names


def test_auc_by_name_is_kerass():
    model = model_of()
    model.compile(metrics=["auc"])
    auc = keras.metrics.AUC()
    auc.update_state(Y, model.predict(X, verbose=0))
    assert model.evaluate(X, Y, return_dict=True, verbose=0)["auc"] == pytest.approx(float(auc.result()), rel=1e-4)


@pytest.mark.parametrize("name", ["Adagrad", "Adam", "AdamW", "Ftrl", "RowwiseAdagrad", "SGD"])
def test_names_of_optimizers_are_ours(name, tmp_path):
    cls = getattr(kr.optimizers, name)
    model = model_of()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.compile(name.lower())
    assert type(model.optimizer) is type(kr.optimizers.get(name)) is cls
    assert model.optimizer.get_config() == {**cls().get_config(), "name": model.optimizer.name}
    multi = kr.optimizers.Multi({"tables": name, "dense": "adam"})
    assert type(multi["tables"]) is cls
    model.fit(X, Y, verbose=0)
    model.save(tmp_path / "model.keras")
    assert type(kr.load_model(tmp_path / "model.keras").optimizer) is cls


def test_an_optimizer_of_kerass_is_used_with_a_warning_where_there_are_tables():
    optimizer, model = keras.optimizers.Adam(0.05), model_of()
    model.compile(optimizer)
    assert model.optimizer is optimizer
    with pytest.warns(UserWarning, match=r"every row of every embedding table .*; use kr.optimizers.Adam, which"):
        model.fit(X, Y, verbose=0)
    own = kr.inputs(schema_of("user", "age"))
    own = keras.Model(own.inputs, keras.layers.Dense(1)(own.concatenated))
    own.compile("rmsprop", "mse")
    with pytest.warns(
        UserWarning, match=r"RMSprop of Keras updates .*; use one of kr.optimizers, which update only"
    ):
        own.fit({"user": X["user"], "age": X["age"]}, Y, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        numbers, half = model_of("age", "price"), model_of(dtype="mixed_float16")
        numbers.compile(keras.optimizers.Adam())
        half.compile(kr.optimizers.LossScaleOptimizer(kr.optimizers.Adam()))
        for each in (numbers, half):
            each.fit(X, Y, verbose=0)
    with pytest.raises(ValueError, match="no optimizer 'adamax2'; kr.optimizers has adagrad, adam, adamw, ftrl"):
        model_of().compile("adamax2")


def test_a_loss_or_metric_that_does_not_fit_is_refused_before_training():
    with pytest.raises(ValueError, match="loss 'bce' needs a target of 0 and 1, but 'rating'"):
        model_of(target=RATING).compile(loss="bce")
    with pytest.raises(ValueError, match="metrics: AUC needs a target of 0 and 1, but 'rating' is a regression"):
        model_of(target=RATING).compile(metrics=["auc"])
    with pytest.raises(ValueError, match="loss: no target 'click'; the model's targets: clicked; did you mean"):
        model_of().compile(loss={"click": "mse"})


def test_the_optimizer_that_compile_chooses_is_gentler_with_few_rows(tmp_path):
    x, y = batch_of(64)
    many = {name: np.repeat(column, 80, axis=0) for name, column in x.items()}, np.repeat(y, 80, axis=0)

    def rates(model):
        adagrad = model.optimizer
        return round(float(adagrad.learning_rate), 6), adagrad.dense_factor, adagrad.dense_accumulator

    few, usual = (0.02, 1.0, 0.003), (0.05, 0.4, 1e-5)
    model = kr.models.DCN(schema_of(), 4, 1, deep_units=[4])
    model.compile()
    model.fit(x, y, verbose=0)
    assert rates(model) == few
    begun = [v for v in model.optimizer.variables if v.shape == model.logit.bias.shape and "accumulator" in v.path]
    assert all((np.asarray(v) >= 0.003).all() for v in begun)
    assert begun
    model.fit(*many, batch_size=2048, verbose=0)
    assert rates(model) == few  # a training goes on as it began
    model.save(tmp_path / "model.keras")
    assert rates(kr.load_model(tmp_path / "model.keras")) == few
    for optimizer, data in ((None, many), (kr.optimizers.Adagrad(dense_factor=0.4), (x, y))):
        other = kr.models.DCN(schema_of(), 4, 1, deep_units=[4])
        other.compile(optimizer)
        other.fit(*data, batch_size=2048, verbose=0)
        assert rates(other) == usual
