"""A small schema of every kind of column, batches for it, and each model as users build it.

`MODELS` go through every test of models, `ZOO` through those of test_every_model, which take less time.
"""

import numpy as np

import kerasrec as kr
from kerasrec.schema import Column, Hotness, Schema, Tag

CAT, CONT, LIST, TARGET = Tag.CATEGORICAL, Tag.CONTINUOUS, Tag.LIST, Tag.TARGET
COLUMNS = {
    "user": Column("user", "int32", (CAT,), cardinality=30, embedding_dim=8, table="user"),
    "genres": Column("genres", "int32", (CAT, LIST), cardinality=12, table="genre", hotness=Hotness(0, 1.5, 3)),
    "favourite": Column("favourite", "int32", (CAT,), cardinality=12, table="genre"),
    "age": Column("age", "float32", (CONT,)),
    "price": Column("price", "float32", (CONT,)),
}
CLICKED = Column("clicked", "float32", (TARGET, Tag.BINARY))
RATING = Column("rating", "float32", (TARGET, Tag.REGRESSION))
BOUGHT = Column("bought", "float32", (TARGET, Tag.BINARY))  # never without a click
TARGETS = {"clicked": CLICKED, "rating": RATING, "bought": BOUGHT}

MODELS = {
    "DLRM": lambda schema, **more: kr.models.DLRM(schema, 8, [16, 8], [16], **more),
    "DCN": lambda schema, **more: kr.models.DCN(schema, deep_units=[16], **more),
    "DeepFM": lambda schema, **more: kr.models.DeepFM(schema, 8, deep_units=[16], **more),
    "WideAndDeep": lambda schema, **more: kr.models.WideAndDeep(schema, deep_units=[16], **more),
}


def crosses_of(schema):
    """A cross of all categorical columns where there are two or more."""
    names = schema.features.categorical.names
    return [names] if len(names) > 1 else []


ZOO = {
    "LR": lambda schema, **more: kr.models.LR(schema, **more),
    "NFM": lambda schema, **more: kr.models.NFM(schema, 8, deep_units=[16], **more),
    "PNN": lambda schema, **more: kr.models.PNN(schema, 8, deep_units=[16], **more),
    "xDeepFM": lambda schema, **more: kr.models.xDeepFM(schema, 8, [4, 3], [16], **more),
    "FwFM": lambda schema, **more: kr.models.FwFM(schema, 8, **more),
    "AutoInt": lambda schema, **more: kr.models.AutoInt(schema, 8, 2, 6, deep_units=[16], **more),
    "FM": lambda schema, **more: kr.models.FM(schema, 8, **more),
    "SharedBottom": lambda schema, **more: kr.models.SharedBottom(schema, 4, [16], [8], **more),
    "MMoE": lambda schema, **more: kr.models.MMoE(schema, 4, 3, [16, 8], [8], [4], **more),
    "PLE": lambda schema, **more: kr.models.PLE(schema, 4, 2, 2, 1, [16], [8], **more),
    "ESMM": lambda schema, **more: kr.models.ESMM(schema, 4, [16], **more),
    "DIN": lambda schema, **more: kr.models.DIN(schema, 4, 8, deep_units=[16], **more),
    "DIEN": lambda schema, **more: kr.models.DIEN(schema, 4, 0.1, 8, deep_units=[16], **more),
    "BST": lambda schema, **more: kr.models.BST(schema, 4, deep_units=[16], **more),
    "FiBiNET": lambda schema, **more: kr.models.FiBiNET(schema, 4, deep_units=[16], **more),
    "FinalMLP": lambda schema, **more: kr.models.FinalMLP(
        schema, None, [16], [8], 2, gate_columns=[schema.features.names[:1], schema.features.names[-2:]], **more
    ),
    "WideAndDeep crossed": lambda schema, **more: kr.models.WideAndDeep(
        schema, 4, [16], crosses=crosses_of(schema), cross_buckets=200, **more
    ),
    "DCN mixture": lambda schema, **more: kr.models.DCN(schema, 4, 2, 3, deep_units=[16], experts=2, **more),
    "MaskNet": lambda schema, **more: kr.models.MaskNet(schema, 4, "parallel", 2, 8, [16], **more),
    "GDCN": lambda schema, **more: kr.models.GDCN(schema, 4, 2, deep_units=[16], **more),
}

# The targets of models that need others than `clicked`, and the columns alone of which a model cannot be made.
TARGETS_OF: dict[str, tuple[Column, ...]] = {
    "MMoE": (CLICKED, RATING, BOUGHT),
    "PLE": (CLICKED, RATING),
    "ESMM": (CLICKED, BOUGHT),
}
NO_HISTORY = (("user",), ("age",), ("genres",), ("user", "age"), ("genres", "price", "age"), ("user", "favourite"))
UNDEFINED: dict[str, tuple[tuple[str, ...], ...]] = dict.fromkeys(("DIN", "DIEN", "BST"), NO_HISTORY)


def schema_of(*names, target=CLICKED):
    return Schema([*(COLUMNS[name] for name in names or COLUMNS), target])


def batch_of(rows, seed=0):
    """Features, empty lists among them, and a click that follows from user, favourite and age."""
    rng = np.random.default_rng(seed)
    genres = rng.integers(1, 12, (rows, 3)).astype("int32")
    genres[np.arange(3) >= rng.integers(0, 4, (rows, 1))] = 0
    x = {
        "user": rng.integers(0, 30, rows).astype("int32"),
        "genres": genres,
        "favourite": rng.integers(0, 12, rows).astype("int32"),
        "age": rng.normal(size=rows).astype("float32"),
        "price": rng.normal(size=rows).astype("float32"),
    }
    return x, labels_of(x)["clicked"]


def _logit(x):
    return np.where(x["user"] % 2, 2.0, -2.0) + np.where(x["favourite"] % 3, 1.0, -2.0) + 2 * x["age"]


def zoo_schema(name, *columns):
    """The schema for a model of `ZOO`."""
    return Schema([*(COLUMNS[column] for column in columns or COLUMNS), *TARGETS_OF.get(name, (CLICKED,))])


def labels_of(x):
    """The labels of every target, `(rows, 1)` each."""
    clicked = (_logit(x) > 0).astype("float32")
    bought = clicked * (x["user"] % 3 > 0)
    rating = 2 + x["price"] + x["user"] % 3
    labels = {"clicked": clicked, "rating": rating, "bought": bought}
    return {name: y.astype("float32")[:, None] for name, y in labels.items()}
