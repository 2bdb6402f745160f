"""Every model learns from its start, on few columns as on many, with its defaults and the README's optimizer."""

import keras
import numpy as np
import pytest

import kerasrec as kr
from kerasrec.datasets.metrics import auc
from kerasrec.schema import Column, Hotness, Schema, Tag

ROWS, IDS = 4096, 40
CAT, CONT, LIST = Tag.CATEGORICAL, Tag.CONTINUOUS, Tag.LIST
CLICKED = Column("clicked", "float32", (Tag.TARGET, Tag.BINARY))
MODELS = (kr.models.DLRM, kr.models.DCN, kr.models.DeepFM, kr.models.WideAndDeep)
COLUMNS = {
    "one categorical": ["user"],
    "one continuous": ["age"],
    "two categorical": ["user", "item"],
    "a categorical and a continuous": ["user", "age"],
    "a list": ["tags"],
    "many": ["user", "item", "tags", "age", *(f"c{i}" for i in range(12))],
}


def column(name):
    if name == "age":
        return Column(name, "float32", (CONT,))
    if name == "tags":
        return Column(name, "int32", (CAT, LIST), cardinality=IDS, hotness=Hotness(1, 2, 3))
    return Column(name, "int32", (CAT,), cardinality=IDS)


def rows_of(names, rng):
    """Columns, and clicks that follow from the known sum of an effect of each value of a column."""
    x, logit = {}, np.zeros(ROWS)
    for name in names:
        effect = rng.choice([-2.0, 2.0], IDS)
        if name == "age":
            x[name] = rng.normal(size=ROWS).astype("float32")
            logit += 2 * x[name]
        elif name == "tags":
            ids = rng.integers(1, IDS, (ROWS, 3))
            ids[:, 1:] *= rng.random((ROWS, 2)) < 0.5
            x[name] = ids.astype("int32")
            logit += (effect[ids] * (ids > 0)).sum(1) / np.sqrt((ids > 0).sum(1))
        else:
            x[name] = rng.integers(0, IDS, ROWS).astype("int32")
            logit += effect[x[name]]
    logit /= np.sqrt(len(names))
    return x, (rng.random(ROWS) < 1 / (1 + np.exp(-logit))).astype("float32"), logit


@pytest.mark.parametrize("columns", COLUMNS)
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_reaches_most_of_what_can_be_known(model, columns):
    """Most of the AUC above chance that the true probabilities have, after five passes over 4,096 rows."""
    names = COLUMNS[columns]
    x, y, logit = rows_of(names, np.random.default_rng(0))
    keras.utils.set_random_seed(0)
    network = model(Schema([*map(column, names), CLICKED]))
    network.compile(kr.optimizers.Adagrad(), loss="binary_crossentropy")
    network.fit(x, y, batch_size=128, epochs=5, verbose=0)
    reached, bound = auc(y, network.predict(x, batch_size=ROWS, verbose=0)[:, 0]), auc(y, logit)
    assert reached - 0.5 > 0.9 * (bound - 0.5)
