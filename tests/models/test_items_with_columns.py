"""Items that a next-item model knows by their columns: their vectors, and items that no one has seen yet."""

import keras
import numpy as np
import polars as pl
import pytest
from next_item_cases import ITEMS, MODELS, PLAIN, frame_of, loader_of

import kerasrec as kr
from kerasrec import etl
from kerasrec.schema import Column, Hotness, Schema, SchemaError, Tag

CAT, CONT, LIST = Tag.CATEGORICAL, Tag.CONTINUOUS, Tag.LIST
ID = Column("item id", "int32", (CAT, Tag.ITEM_ID), cardinality=ITEMS, table="item")
COLUMNS = Schema(
    [
        ID,
        Column("größe", "int32", (CAT,), cardinality=6),
        Column("a.b", "int32", (CAT, LIST), cardinality=5, hotness=Hotness(0, 1.0, 3)),
        Column("^x$", "float32", (CONT,)),
        Column("text", "float32", (CONT, LIST), hotness=Hotness(2, 2.0, 2)),
    ]
)
OPTIONS = {
    "tied": {},
    "untied": {"tied": False, "item_units": [7]},
    "without ids": {"embed_item_id": False},
    "untied, without ids": {"tied": False, "embed_item_id": False},
}


def items_frame(ids=range(3, ITEMS), seed=5):
    rng, n = np.random.default_rng(seed), len(ids)
    return pl.DataFrame(
        {
            "item id": pl.Series(ids, dtype=pl.Int32),
            "größe": pl.Series(rng.integers(0, 6, n), dtype=pl.Int32),
            "a.b": pl.Series([rng.integers(1, 5, k % 4) for k in range(n)], dtype=pl.List(pl.Int32)),
            "^x$": pl.Series(rng.normal(size=n), dtype=pl.Float32),
            "text": pl.Series(rng.normal(size=(n, 2)).astype("float32")).cast(pl.List(pl.Float32)),
        }
    )


def items_of(frame, schema=COLUMNS, batch_size=4, **more):
    return kr.Loader(frame, batch_size, schema=schema, **more)


def spread(model):
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(0.5 * rng.normal(size=weight.shape))
    return model


def described(model, frame):
    """What the tower makes of the rows of items, in float64."""
    tower = model.tower
    tables = {name: np.float64(tower.embeddings.table(f"{name} of items")) for name in ("größe", "a.b")}
    lists = [tables["a.b"][row].mean(0) if len(row) else np.zeros(model.embedding_dim) for row in frame["a.b"]]
    numbers = [np.float64(frame["^x$"])[:, None], np.float64(frame["text"].to_list())]
    x = np.hstack([*numbers, tables["größe"][frame["größe"].to_numpy()], lists])
    *hidden, (kernel, bias) = np.array_split(np.array(tower.mlp.get_weights(), object), len(model.item_units) + 1)
    for k, b in hidden:
        x = np.maximum(x @ np.float64(k) + np.float64(b), 0)
    return x @ np.float64(kernel) + np.float64(bias)


@pytest.mark.parametrize("options", OPTIONS)
def test_vectors_of_items_are_those_of_ids_plus_those_of_columns(options):
    model = spread(kr.models.SASRec(PLAIN, 8, 1, 2, 6, 0.0, items=items_of(items_frame()), **OPTIONS[options]))
    layer = model.items if model.tied else model.predicted
    (table,) = (config.table.name for config in layer.features.values())
    own, with_ids = np.float64(layer.table(table)), model.embed_item_id
    assert own.shape == (ITEMS if with_ids else 3, 8)
    expected = np.concatenate([own[:3], described(model, items_frame()) + (own[3:] if with_ids else 0)])
    np.testing.assert_allclose(model.item_vectors().all(), expected, atol=1e-5)
    ids = np.array([4, 2, 19, 4, 0])
    np.testing.assert_allclose(model.item_vectors().lookup(ids), expected[ids], atol=1e-5)
    np.testing.assert_allclose(model.encode_candidates({"item id": ids}), expected[ids], atol=1e-5)
    new = items_frame([2, 7, 2], seed=6)  # id 2 is of items out of vocabulary
    for lists in ("ragged", "padded"):
        (features,) = items_of(new, lists=lists)
        of_new = described(model, new) + (np.array([[0], [1], [0]]) * own[7] if with_ids else 0)
        np.testing.assert_allclose(model.encode_candidates(features), of_new, atol=1e-5)

    # A model whose tables have these vectors scores the same.
    plain = kr.models.SASRec(PLAIN, 8, 1, 2, 6, 0.0, tied=model.tied)
    tables = [expected] if model.tied else [model.items.table("item"), expected]
    dense = (
        model.positions.weights + [w for block in model.block_layers for w in block.weights] + model.norm.weights
    )
    plain.set_weights([*tables, *map(np.array, dense)])
    (features,) = loader_of(frame_of(), PLAIN, 12)
    np.testing.assert_allclose(model(features), plain(features), rtol=1e-4, atol=1e-4)


def test_a_share_of_items_is_trained_without_their_own_vectors():
    keras.utils.set_random_seed(3)
    model = spread(kr.models.SASRec(PLAIN, 8, items=items_of(items_frame()), id_dropout=0.25))
    own, tower = np.float64(model.items.table("item"))[3:], described(model, items_frame())
    shares = []
    for _ in range(40):
        for found in (model.item_vectors(True).all()[3:], model.item_vectors(True).lookup(np.arange(3, ITEMS))):
            left_out = np.isclose(found, tower, atol=1e-5).all(axis=1)
            np.testing.assert_allclose(found, np.where(left_out[:, None], tower, tower + own / 0.75), atol=1e-5)
            shares.append(left_out.mean())
    assert abs(np.mean(shares) - 0.25) < 0.06  # four standard errors


SAMPLED = [kr.losses.SampledSoftmax(4, shared=True), kr.losses.GBCE(4)]


@pytest.mark.parametrize(
    ("name", "loss"),
    [*((name, kr.losses.FullSoftmax()) for name in MODELS), *(("SASRec", loss) for loss in SAMPLED)],
)
def test_every_weight_learns(name, loss):
    model = spread(MODELS[name](PLAIN, items=items_of(items_frame()), item_units=[6]))
    before = [np.array(weight) for weight in model.weights]
    model.compile(kr.optimizers.SGD(0.1), loss=loss, run_eagerly=True)
    model.train_on_batch(next(iter(loader_of(frame_of(), PLAIN, 12))))
    for weight, old in zip(model.weights, before, strict=True):
        changed = not np.array_equal(weight, old)
        assert changed == weight.trainable or "seed" in weight.path or "norm" in weight.path, weight.path


def test_the_loss_over_all_items_reaches_columns_as_automatic_differentiation_does():
    import tensorflow as tf

    model = spread(kr.models.SASRec(PLAIN, 8, items=items_of(items_frame())))
    queries, positives = tf.random.stateless_normal((9, 8), [1, 2]), np.arange(3, 12)
    loss, seed, gradients = kr.losses.FullSoftmax(), keras.random.SeedGenerator(0), []
    weights = [weight.value for weight in model.tower.trainable_weights]
    for total in (loss.weighted_sum, lambda *args: tf.reduce_sum(loss.per_example(*args))):
        with tf.GradientTape() as tape:
            value = total(queries, positives, model.item_vectors(True), seed)
        gradients.append([tf.convert_to_tensor(each) for each in tape.gradient(value, weights)])
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_it_is_saved_and_loaded_with_the_columns(tmp_path, policy):
    model = spread(MODELS["GRU4Rec"](PLAIN, items=items_of(items_frame()), id_dropout=0.1, dtype=policy))
    model.compile(kr.optimizers.Adam(0.01), run_eagerly=True)
    (features,) = loader_of(frame_of(), PLAIN, 12)
    model.train_on_batch(features)
    model.save(tmp_path / "model.keras")
    copy = kr.load_model(tmp_path / "model.keras")
    assert copy.get_config() == model.get_config()
    np.testing.assert_array_equal(copy.item_vectors().all(), model.item_vectors().all())
    np.testing.assert_array_equal(copy(features), model(features))


def test_tables_of_items_that_do_not_fit():
    frame = items_frame()
    for items, error, message in [
        (frame, TypeError, "items must be a kr.Loader, or a dataset as workflow.transform.* got DataFrame"),
        (items_of(frame.rename({"item id": "film"}), Schema([ID.evolve(name="film")])), SchemaError, "'item id'"),
        (items_of(frame, Schema([ID.evolve(cardinality=21)])), SchemaError, "has 21 ids in items, but 20 in the"),
        (items_of(frame, Schema([ID])), SchemaError, "no categorical or continuous column beside 'item id'"),
        (items_of(pl.concat([frame, frame[3:4]])), ValueError, "several rows with the id 6 in 'item id'"),
        (items_of(frame, rank=0, ranks=2), ValueError, "make the loader with rank=0, ranks=1"),
    ]:
        with pytest.raises(error, match=message):
            kr.models.SASRec(PLAIN, 8, items=items)
    with pytest.raises(ValueError, match="item_units, embed_item_id and id_dropout are for items with columns"):
        kr.models.SASRec(PLAIN, 8, embed_item_id=False)
    with pytest.warns(
        UserWarning, match="2 items of the vocabulary .* have no row.*1 rows of items are out of"
    ) as said:
        model = kr.models.SASRec(PLAIN, 8, items=items_of(items_frame([2, *range(4, ITEMS - 1)])))
    assert said[0].filename == __file__
    assert not np.array(model.tower.columns(None)["text"])[[2, 3, ITEMS - 1]].any()


# ---- items that no one has seen yet --------------------------------------------------------------------------
KINDS, OF_A_KIND, NEW = 5, 8, 3  # kinds of films, films of a kind that were seen, and that were not


def sessions(rows, length=8, seed=0):
    """Kinds, and films of which each is of the kind after that of the last one, and otherwise drawn."""
    rng = np.random.default_rng(seed)
    kinds = (rng.integers(0, KINDS, (rows, 1)) + np.arange(length)) % KINDS
    films = np.char.add(np.char.add("f", kinds.astype(str)), rng.integers(0, OF_A_KIND, kinds.shape).astype(str))
    return kinds, pl.DataFrame({"film": films.tolist()})


@pytest.fixture(scope="module")
def cinema():
    """Two workflows with one vocabulary of films, that of sequences and that of films; films seen and new."""
    _, rows = sessions(300)
    workflow = etl.Workflow(["film"] >> etl.Categorify() >> etl.AddTags(["item_id", "sequence"])).fit(rows)
    films = [{"film": f"f{k}{n}", "kind": f"kind {k}"} for k in range(KINDS) for n in range(OF_A_KIND)]
    new = [{"film": f"n{k}{n}", "kind": f"kind {k}"} for k in range(KINDS) for n in range(NEW)]
    vocabulary = workflow.vocabulary("film")["value"].drop_nulls()
    film = ["film"] >> etl.Categorify(vocabs={"film": vocabulary})
    item_workflow = etl.Workflow(film + (["kind"] >> etl.Categorify())).fit(pl.DataFrame(films))
    return rows, workflow, item_workflow, pl.DataFrame(films), pl.DataFrame(new)


@pytest.mark.parametrize("options", [{"embed_item_id": False}, None], ids=str)
def test_new_items_are_recommended_by_their_columns_alone(cinema, options):
    keras.utils.set_random_seed(0)
    rows, workflow, item_workflow, films, new = cinema
    options = {} if options is None else {"items": item_workflow.transform(films), **options}
    model = kr.models.SASRec(workflow.output_schema, 16, 1, 1, 10, 0.0, exclude_seen=False, **options)
    model.compile(kr.optimizers.Adam(0.03), run_eagerly=True)
    model.fit(workflow.transform(rows), batch_size=60, epochs=5, verbose=0)

    index = kr.retrieval.Index(model, films, workflow=workflow, item_workflow=item_workflow)
    kinds, rows = sessions(100, seed=1)
    history = rows.select(pl.col("film").list.head(7))
    first = index.recommend(history, k=OF_A_KIND).ids
    assert (np.strings.slice(first.astype(str), 1, 2) == kinds[:, -1:].astype(str)).mean() > 0.9
    index.update(new)
    best = index.recommend(history, k=OF_A_KIND + NEW).ids.astype(str)
    hits = [
        sum(f"n{kind}{n}" in row for n in range(NEW)) / NEW for kind, row in zip(kinds[:, -1], best, strict=True)
    ]
    if options:
        assert np.mean(hits) > 0.9
    else:  # by ids alone all new items have one vector
        assert len(np.unique(index.vectors[-len(new) :], axis=0)) == 1
        assert np.mean(hits) < 0.4
