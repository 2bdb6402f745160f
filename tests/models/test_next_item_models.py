"""What holds for every model of the next item: what it learns, its ranks, its files, odd rows."""

import keras
import numpy as np
import polars as pl
import pytest
import tensorflow as tf
from next_item_cases import ALL, COLUMNS, ITEM, ITEMS, MODELS, PLAIN, circle, frame_of, loader_of

import kerasrec as kr
from kerasrec.models.next_item.ranks import MISSED, target_ranks
from kerasrec.schema import Column, Schema, SchemaError, Tag


@pytest.fixture(params=list(MODELS))
def name(request):
    return request.param


def model_of(name, schema=PLAIN, eager=True, **more):
    """A compiled model; most tests need no graph."""
    keras.utils.set_random_seed(0)
    model = MODELS[name](schema, **more)
    model.compile(kr.optimizers.Adam(0.02), metrics=["hit_rate@1", "ndcg@10"], run_eagerly=eager)
    return model


def scores_of(model, frame, **more):
    schema = model.schema
    return np.concatenate([model(batch) for batch in loader_of(frame, schema, **more)])


@pytest.mark.parametrize(
    "name",
    ["SASRec", "BERT4Rec", *(pytest.param(name, marks=pytest.mark.nightly) for name in ("GRU4Rec", "HSTU"))],
)
def test_it_learns_what_comes_next_is_saved_and_loaded(name, tmp_path):
    train, valid = loader_of(circle(), PLAIN, 12, shuffle=True), loader_of(circle(seed=1), PLAIN, 12)
    model = model_of(name, eager=False, exclude_seen=False)
    before = model.evaluate(valid, return_dict=True, verbose=0)
    epochs, least = (60, 0.4) if name == "BERT4Rec" else (15, 0.95)  # it predicts a fifth of the items per step
    history = model.fit(train, validation_data=valid, validation_freq=epochs, epochs=epochs, verbose=0).history
    after = model.evaluate(valid, return_dict=True, verbose=0)
    assert after["hit_rate@1"] > least
    assert before["hit_rate@1"] < 0.2
    assert set(history) == {"loss", "val_loss", "val_hit_rate@1", "val_ndcg@10"}
    assert history["val_ndcg@10"][-1] == pytest.approx(after["ndcg@10"])

    model.save(tmp_path / "model.keras")
    copy = kr.load_model(tmp_path / "model.keras")
    assert copy.get_config() == model.get_config()
    assert copy.get_compile_config() == model.get_compile_config()
    np.testing.assert_allclose(scores_of(copy, circle()), scores_of(model, circle()), atol=1e-6)
    assert int(copy.optimizer.iterations) == int(model.optimizer.iterations)


def test_every_column_counts_and_no_later_event_does(name):
    model = model_of(name, ALL)
    model.set_weights([np.random.default_rng(0).normal(size=w.shape) * 0.5 for w in model.get_weights()])
    features = next(iter(loader_of(frame_of())))
    scores = model(features).numpy()
    assert scores.shape == (5, ITEMS)
    assert np.isneginf(scores[:, :3]).all()
    assert np.isfinite(scores[:, 3:]).all()
    for column, values in features.items():
        other = values.with_values(values.values[::-1]) if hasattr(values, "values") else values[::-1]
        assert not np.allclose(model({**features, column: other}), scores), column
    if name == "BERT4Rec":
        return  # which reads both sides of what it predicts
    states = model(model._training_batch(features)[0])
    changed = {name: with_other_last(values) for name, values in features.items()}
    np.testing.assert_array_equal(model(model._training_batch(changed)[0]), states)


def with_other_last(values):
    """A batch's list column of which the last element of each row is another one."""
    if not hasattr(values, "row_splits"):
        return values
    splits, flat = values.row_splits.numpy(), values.values.numpy()
    last = splits[1:][np.diff(splits) > 0] - 1
    flat[last] = (flat[last] + 1) % 7
    return values.with_values(flat)


def test_times_are_read_by_the_model_that_knows_them():
    time = Column("time", "int64", (Tag.CONTINUOUS, Tag.LIST, Tag.SEQUENCE, Tag.TIME), hotness=ITEM.hotness)
    schema, frame = Schema([ITEM, time]), frame_of()
    times = [np.cumsum(100 ** np.arange(len(items)) % 997) + 10**12 for items in frame["item id"]]
    frame = frame.with_columns(time=pl.Series(times, dtype=pl.List(pl.Int64)))
    assert model_of("SASRec", schema).schema.names == ["item id"]
    model = model_of("HSTU", schema)
    assert model.schema.names == ["item id", "time"]
    for _ in range(2):  # from 0 on a bias has a gradient, and then what it multiplies
        model.train_on_batch(next(iter(loader_of(frame, schema, 12))))
    assert np.count_nonzero(model.block_layers[0].times) > 3
    scores = scores_of(model, frame)
    np.testing.assert_allclose(scores_of(model, frame, lists="padded"), scores, atol=1e-6)
    later = frame.with_columns(pl.col("time") + 10**6)  # what counts is the time between events
    np.testing.assert_array_equal(scores_of(model, later), scores)
    with pytest.raises(SchemaError, match="'time' has the tag 'time', so it must be of integers.*got float32"):
        kr.models.HSTU(Schema([ITEM, time.evolve(dtype="float32")]))
    with pytest.raises(SchemaError, match="'time', 'at' may all be the events' times"):
        kr.models.HSTU(Schema([ITEM, time, time.evolve(name="at")]))


def test_only_the_last_events_are_read(name):
    model = model_of(name)  # max_length is 6
    frame = frame_of((12, 7))
    tail = frame.with_columns(pl.col("item id").list.tail(6))
    np.testing.assert_allclose(scores_of(model, frame), scores_of(model, tail), atol=1e-6)


def test_padded_lists_are_as_ragged_ones(name):
    model = model_of(name, ALL)
    ragged, padded = loader_of(frame_of()), loader_of(frame_of(), lists="padded")
    np.testing.assert_allclose(
        scores_of(model, frame_of()), scores_of(model, frame_of(), lists="padded"), atol=1e-6
    )
    for one, other in zip(model.evaluate(ragged, verbose=0), model.evaluate(padded, verbose=0), strict=True):
        assert one == pytest.approx(other, rel=1e-5)


def test_rows_of_a_batch_do_not_depend_on_each_other(name):
    model = model_of(name, ALL)
    together, alone = (scores_of(model, frame_of(), batch_size=size) for size in (12, 1))
    np.testing.assert_allclose(alone, together, atol=1e-5)


@pytest.mark.parametrize("exclude_seen", [True, False])
def test_evaluate_ranks_the_last_item_of_each_row(name, exclude_seen):
    frame = frame_of()
    model = model_of(name, ALL, exclude_seen=exclude_seen)
    found = model.evaluate(loader_of(frame), return_dict=True, verbose=0)
    lists = pl.col("item id", "größe", "price")
    history = frame.with_columns(lists.list.head(pl.col("item id").list.len().cast(pl.Int64) - 1))
    ranks, seen_before = [], 0
    for row, items in zip(scores_of(model, history), frame["item id"].to_list(), strict=True):
        if not items:
            continue  # it has no last item
        *seen, target = items
        seen_before += target in seen and target >= 3
        others = [i for i in range(3, ITEMS) if i != target and not (exclude_seen and i in seen)]
        ranks.append(sum(row[others] >= row[target]) if target >= 3 else ITEMS)
    ranks = np.array(ranks)
    assert found["hit_rate@1"] == pytest.approx(np.mean(ranks < 1))
    assert found["ndcg@10"] == pytest.approx(np.mean(np.where(ranks < 10, 1 / np.log2(ranks + 2), 0)))
    report = model.rank(loader_of(frame), at=(1, 10))
    assert report["hit_rate@1"] == pytest.approx(found["hit_rate@1"])
    assert report["ndcg@10"] == pytest.approx(found["ndcg@10"])
    assert (report.queries, report.queries_without_targets) == (len(ranks), 1)
    assert (report.candidates, report.exclude_seen) == (ITEMS - 3, exclude_seen)
    assert report.targets_out_of_reach == sum(ranks == ITEMS)
    assert report.targets_seen == (exclude_seen and seen_before)


def test_ranks_count_ties_and_scores_that_are_no_numbers_against_the_model():
    plain = [0, 0, 0, 3, 2, 2, 1, 0]
    queries = tf.constant([plain, plain, [9, 9, 9, 0, 0, 0, 0, 0], [0] * 8, plain, [np.nan] * 8], tf.float32)
    matrix, targets = tf.eye(8), np.array([5, 5, 3, 6, 1, 4])
    seen = tf.ragged.constant([[], [3, 4, 4, 5], [4, 5, 6, 7], [7], [], []], dtype=tf.int32)
    np.testing.assert_array_equal(target_ranks(queries, matrix, targets, 3, seen), [2, 0, 0, 3, MISSED, 5])
    np.testing.assert_array_equal(target_ranks(queries, matrix, targets, 3), [2, 2, 4, 4, MISSED, 5])


def test_an_item_out_of_vocabulary_is_missed_however_few_items_there_are():
    schema = Schema([ITEM.evolve(cardinality=5)])
    model = model_of("SASRec", schema)
    for rows, share in ([[3, 2], [2]], 0), ([[3, 2], [3, 4]], 0.5):
        lists = pl.DataFrame({"item id": pl.Series(rows, dtype=pl.List(pl.Int32))})
        found = model.evaluate(loader_of(lists, schema), return_dict=True, verbose=0)
        report = model.rank(loader_of(lists, schema), at=10)
        assert report["hit_rate@10"] == share
        assert report["ndcg@10"] == pytest.approx(found["ndcg@10"])
        assert (found["loss"] > 0) == (share > 0)


@pytest.mark.parametrize("optimizer", ["Adam", "Adagrad", "SGD"])
@pytest.mark.filterwarnings("ignore:.*of Keras updates every row")
def test_a_tied_table_is_trained_as_keras_would(optimizer):
    """Its gradient adds up that of events, which is of some rows, and of all items, which is of all rows."""
    batch = next(iter(loader_of(frame_of(), PLAIN, 12)))
    tables = []
    for module in (kr.optimizers, keras.optimizers):
        model = model_of("SASRec")
        more = {"initial_accumulator_value": 0.1} if optimizer == "Adagrad" else {}
        model.compile(getattr(module, optimizer)(0.01, **more), run_eagerly=True)
        for _ in range(3):
            model.train_on_batch(batch)
        tables.append(model.items.table("item"))
    np.testing.assert_allclose(*tables, atol=2e-5)


def test_rows_without_a_following_item_change_nothing(name):
    model = model_of(name)
    before = model.get_weights()
    rows = (0, 1, 1) if name != "BERT4Rec" else (0, 0)  # which predicts the item of a single event, too
    logs = model.train_on_batch(next(iter(loader_of(frame_of(rows), PLAIN))), return_dict=True)
    assert logs["loss"] == 0
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert scores_of(model, frame_of((0, 1, 1))).shape == (3, ITEMS)


def test_schemas_that_leave_open_what_the_items_are():
    user = Column("user", "int32", (Tag.CATEGORICAL,), cardinality=9)
    untagged = ITEM.evolve(tags=(Tag.CATEGORICAL, Tag.LIST))
    other = Column("other", "int32", (Tag.CATEGORICAL, Tag.LIST), cardinality=9)
    for schema, message in [
        (Schema([user]), "needs a list column of item ids in the order of time"),
        (
            Schema([untagged, other]),
            "'item id', 'other' may all be",
        ),
        (Schema([ITEM, other]), "the list column 'other' is not tagged 'sequence'"),
    ]:
        with pytest.raises(SchemaError, match=message):
            kr.models.SASRec(schema)


def test_arguments_that_do_not_fit():
    with pytest.raises(ValueError, match="heads must divide the width, 8; got 3"):
        kr.models.SASRec(PLAIN, 8, heads=3)
    model = kr.models.SASRec(PLAIN, 8)
    for arguments, message in [
        ({"loss": "mse"}, r"loss must be one of kr.losses over items, .* got 'mse'"),
        ({"metrics": ["auc"]}, "metrics: 'auc' is not a metric of ranks; expected ndcg@k"),
        ({"metrics": "ndcg@10"}, "metrics must be a list of names"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.compile(**arguments)
    model.compile()
    assert isinstance(model.loss, kr.losses.FullSoftmax)
    many = kr.models.SASRec(Schema([ITEM.evolve(cardinality=100_001)]), 2)
    many.compile()
    assert isinstance(many.loss, kr.losses.SampledSoftmax)
    target = Column("clicked", "float32", (Tag.TARGET, Tag.BINARY))
    frame = circle().with_columns(clicked=pl.lit(1.0))
    with pytest.raises(SchemaError, match="leave them out with targets="):
        model.fit(kr.Loader(frame, 5, schema=Schema([ITEM, target])))
    with pytest.raises(TypeError, match=r"rank got a DataFrame; pass workflow.transform\(frame\)"):
        model.rank(frame)
    with pytest.raises(ValueError, match="without targets and weights"):
        model.train_on_batch(next(iter(loader_of(circle(), PLAIN))), np.ones((5, 1)))


def test_columns_of_a_batch_that_do_not_fit():
    model = model_of("SASRec", ALL)
    features = next(iter(loader_of(frame_of())))
    for changed, message in [
        ({"price": features["price"][:, :-1]}, "lists of 'price' and 'item id' differ in length within a row"),
        ({"price": tf.zeros((5, 3))}, "lists of 'price' and 'item id' differ in length"),
        ({"item id": tf.zeros(5, tf.int32)}, r"'item id' must be padded ids \(batch, length\) or a ragged tensor"),
    ]:
        with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match=message):
            model({**features, **changed})
    del features["a.b"]
    with pytest.raises(ValueError, match=r"no column 'a.b' in the batch"):
        model(features)
    assert set(COLUMNS) > set(features)
