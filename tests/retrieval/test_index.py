"""The index of a model's candidates: compared with scores of all pairs, written out."""

import keras
import numpy as np
import pandas as pd
import polars as pl
import pytest
from small_retriever import SmallRetriever, fitted, raw_pairs

import kerasrec as kr
from kerasrec.retrieval import VectorScores, top_k_of
from kerasrec.retrieval.vector_files import write_vectors
from kerasrec.schema import Column, Schema, SchemaError

SIMILARITIES = ["dot", "cosine", "l2"]


@pytest.fixture(scope="module")
def raw():
    return raw_pairs()


@pytest.fixture(scope="module")
def workflow(raw):
    return fitted(raw)


@pytest.fixture(scope="module")
def rows(raw, workflow):
    return workflow.transform(raw).collect()


def items_of(frame):
    return frame.unique("item", maintain_order=True).select("item", "price")


def scores_of(model, queries, items):
    """Return the score of each row's query and each item, in float64."""
    features = {name: queries[name].to_numpy() for name in ("user",)}
    width = max(map(len, queries["history"]), default=0) + 1
    features["history"] = np.array([[*h, *[0] * (width - len(h))] for h in queries["history"]])
    q = np.asarray(keras.ops.convert_to_numpy(model.encode_queries(features)), np.float64)
    c = model.encode_candidates({name: items[name].to_numpy() for name in ("item", "price")})
    c = np.asarray(keras.ops.convert_to_numpy(c), np.float64)
    return -((q[:, None] - c[None]) ** 2).sum(-1) if model.similarity == "l2" else q @ c.T


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_the_best_items_of_each_row_are_recommended(rows, workflow, similarity):
    model, items = SmallRetriever(workflow.output_schema, similarity), items_of(rows)
    index = kr.retrieval.Index(model, items)
    exclude = [[3, 4, 99], []] * 100
    best = index.recommend(rows.select("user", "history"), 4, exclude=exclude)
    expected = scores_of(model, rows, items)
    expected[::2, np.isin(items["item"].to_numpy(), [3, 4])] = -np.inf
    order = np.argsort(-expected, axis=1, kind="stable")[:, :4]
    np.testing.assert_array_equal(best.ids, items["item"].to_numpy()[order])
    np.testing.assert_allclose(best.scores, np.take_along_axis(expected, order, axis=1), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("with_workflow", [False, True])
def test_evaluate_is_the_mean_over_users_of_sorted_lists(raw, rows, workflow, with_workflow):
    model = SmallRetriever(workflow.output_schema)
    valid, train = slice(100, 200), slice(0, 100)
    if with_workflow:
        index = kr.retrieval.Index(model, items_of(raw)[:25], workflow=workflow)
        report = index.evaluate(raw[valid], at=(1, 3), exclude_seen=raw[train])
    else:
        index = kr.retrieval.Index(model, items_of(rows)[:25])
        report = index.evaluate(rows[valid], at=(1, 3), exclude_seen=rows[train])
    items, scores = items_of(rows)[:25], scores_of(model, rows, items_of(rows)[:25])
    users, ids, names = rows["user"].to_numpy(), rows["item"].to_numpy(), items["item"].to_numpy()
    recalls, ndcgs, out_of_reach, targets_seen, recommended = [], [], 0, 0, set()
    for user in np.unique(users[valid]):
        row = scores[users == user][0].copy()
        targets = set(ids[valid][users[valid] == user])
        seen = set(ids[train][users[train] == user])
        row[np.isin(names, list(seen - targets))] = -np.inf
        reachable = set(names[row > -np.inf])
        targets_seen += len(seen & targets & reachable)
        best = [name for name in names[np.argsort(-row)][:3] if name in reachable]
        recommended |= set(best)
        out_of_reach += len(targets - reachable)
        gains = [1 / np.log2(i + 2) for i, name in enumerate(best) if name in targets]
        recalls.append(len(gains) / len(targets))
        ndcgs.append(sum(gains) / sum(1 / np.log2(i + 2) for i in range(min(3, len(targets)))))
    assert report["recall@3"] == pytest.approx(np.mean(recalls), abs=1e-12)
    assert report["ndcg@3"] == pytest.approx(np.mean(ndcgs), abs=1e-12)
    assert report["coverage@3"] == len(recommended) / 25
    assert report.standard_errors["recall@3"] == pytest.approx(np.std(recalls, ddof=1) / np.sqrt(len(recalls)))
    assert (report.queries, report.candidates, report.targets_out_of_reach) == (len(recalls), 25, out_of_reach)
    assert (report.exclude_seen, report.targets_seen) == (True, targets_seen)
    assert min(out_of_reach, targets_seen) > 5


def test_a_loader_with_further_columns_and_batches_gives_the_same(rows, workflow):
    model = SmallRetriever(workflow.output_schema)
    index = kr.retrieval.Index(
        model, kr.Loader(items_of(rows), 7, schema=workflow.output_schema, columns=["item", "price"])
    )
    loader = kr.Loader(rows, batch_size=23, schema=workflow.output_schema)
    expected = kr.retrieval.Index(model, items_of(rows)).evaluate(rows, at=5)
    assert index.evaluate(loader, at=5).to_dict() == pytest.approx(expected.to_dict())
    seen = index.evaluate(loader, at=5, exclude_seen=[loader, rows[:10]], user="user")
    assert seen.targets_seen == seen.targets  # all that a user has seen are her targets
    assert seen["recall@5"] == pytest.approx(expected["recall@5"])


def test_update_adds_and_replaces_and_remove_removes(raw, workflow):
    model = SmallRetriever(workflow.output_schema)
    items = items_of(raw)
    index = kr.retrieval.Index(model, items[:20], workflow=workflow)
    index.update(items[15:].with_columns(price=pl.col("price") + 1.0))
    index.remove(items["item"][:3].to_list())
    changed = pl.concat([items[3:15], items[15:].with_columns(price=pl.col("price") + 1.0)])
    expected = kr.retrieval.Index(model, changed, workflow=workflow)
    assert index.ids.tolist() == expected.ids.tolist()
    np.testing.assert_array_equal(index.vectors, expected.vectors)
    queries = raw.select("user", "history")
    np.testing.assert_array_equal(index.recommend(queries).ids, expected.recommend(queries).ids)
    with pytest.raises(ValueError, match="no candidate 'new', 'newer'; nothing was removed"):
        index.remove([items["item"][5], "new", "newer"])
    assert len(index) == len(expected)


def test_new_items_are_candidates_by_their_content_under_their_raw_ids(raw, workflow):
    model = SmallRetriever(workflow.output_schema, by_content=True)
    new = pl.DataFrame({"item": ["new1", "new2"], "price": [0.1, 1.7]})
    index = kr.retrieval.Index(model, pl.concat([items_of(raw), new]), workflow=workflow)
    assert index.ids[-2:].tolist() == ["new1", "new2"]
    report = index.evaluate(raw[:2].with_columns(item=pl.Series(["new1", "never seen"])), at=32)
    assert (report["hit_rate@32"], report.targets_out_of_reach) == (0.5, 1)
    with pytest.raises(ValueError, match=r"1 ids are in several rows, such as 2; .* workflow"):
        kr.retrieval.Index(model, workflow.transform(new, columns=["item", "price"]))


def test_a_model_of_ids_alone_has_its_vocabulary_for_candidates(raw):
    workflow = fitted(raw.drop("price").with_columns(price=0.0), history=False)
    schema = Schema(c for c in workflow.output_schema if c.name != "price")
    model = SmallRetriever(schema)
    assert kr.retrieval.Index(model).ids.tolist() == list(range(3, schema["item"].cardinality))
    with_raw = kr.retrieval.Index(model, workflow=workflow)
    assert sorted(with_raw.ids) == sorted(raw["item"].unique())
    with pytest.raises(ValueError, match="small makes a candidate's vector of 'item', 'price': make kr.ret"):
        kr.retrieval.Index(SmallRetriever(workflow.output_schema))


def test_an_index_is_saved_and_loaded(raw, workflow, tmp_path):
    model = SmallRetriever(workflow.output_schema)
    index = kr.retrieval.Index(model, items_of(raw), workflow=workflow)
    path = index.save(tmp_path / "größe [1]")
    loaded = kr.retrieval.Index.load(path, model, workflow=workflow)
    assert loaded.evaluate(raw, at=5).to_dict() == index.evaluate(raw, at=5).to_dict()
    with pytest.raises(FileExistsError):
        index.save(path)
    index.save(path, overwrite=True)
    with pytest.raises(ValueError, match="is of raw ids: pass workflow="):
        kr.retrieval.Index.load(path, model)
    with pytest.raises(ValueError, match="of another model: its similarity is 'dot', not 'l2'"):
        kr.retrieval.Index.load(path, SmallRetriever(workflow.output_schema, "l2"), workflow=workflow)
    with pytest.raises(FileNotFoundError, match="no index at"):
        kr.retrieval.Index.load(tmp_path, model, workflow=workflow)


def test_vectors_are_written_as_parquet_for_other_programs(raw, workflow, tmp_path):
    index = kr.retrieval.Index(SmallRetriever(workflow.output_schema), items_of(raw), workflow=workflow)
    path = index.write_item_vectors(tmp_path / "items.parquet")
    items = pl.read_parquet(path)
    assert items.schema == {"item": pl.String, "vector": pl.Array(pl.Float32, index.vectors.shape[1])}
    assert items["item"].to_list() == index.ids.tolist()
    np.testing.assert_array_equal(np.stack(pd.read_parquet(path)["vector"]), index.vectors)

    best = index.recommend(raw, 5)
    queries = pl.read_parquet(index.write_query_vectors(raw, tmp_path / "queries.parquet", key="user"))
    assert queries["user"].to_list() == raw["user"].to_list()
    scores = VectorScores(queries["vector"].to_numpy(), items["vector"].to_numpy(), index.model.similarity)
    np.testing.assert_array_equal(items["item"].to_numpy()[top_k_of(scores, 5).rows], best.ids)
    with pytest.raises(FileExistsError):
        index.write_item_vectors(path)
    with pytest.raises(ValueError, match="no vectors to write: the data has no rows"):
        index.write_query_vectors(raw[:0], tmp_path / "none.parquet", key="user")
    with pytest.raises(ValueError, match="the column of ids is named 'vector'"):
        write_vectors(tmp_path / "none.parquet", [(items["item"].alias("vector"), index.vectors)], 4, False)
    assert not (tmp_path / "none.parquet").exists()


def test_odd_rows_are_ranked_or_refused(raw, rows, workflow):
    model = SmallRetriever(workflow.output_schema)
    index = kr.retrieval.Index(model, items_of(raw), workflow=workflow)
    one = index.recommend([{"user": "nobody", "history": None}], k=50)
    assert one.ids.shape == (1, 50)
    assert one.ids[0, 30:].tolist() == [None] * 20
    assert (one.scores[0, 30:] == -np.inf).all()
    assert index.recommend(raw[:0].select("user", "history"), k=3).ids.shape == (0, 3)
    with pytest.raises(SchemaError, match="no column 'price'"):
        index.update(raw.select("item"))
    with pytest.raises(TypeError, match="raw rows"):
        index.recommend(kr.Loader(rows, schema=workflow.output_schema))
    with pytest.raises(TypeError, match="ids of this index are String; got Int64: 3"):
        index.remove([3])
    with pytest.raises(TypeError, match="expected a list of ids; got 'i1'"):
        index.remove("i1")
    with pytest.raises(TypeError, match="expected a list of ids for each row; got 'i1', 'i2'"):
        index.recommend(raw[:2], exclude=["i1", "i2"])
    with pytest.raises(ValueError, match="there is nothing to evaluate: the data has no rows"):
        index.evaluate(raw[:0])
    with pytest.raises(ValueError, match="row 1 has no item: 'item' is null"):
        index.evaluate(raw[:2].with_columns(item=pl.Series(["i1", None])))
    with pytest.raises(
        ValueError, match="2 ids are in several rows, such as 'i6', 'i14'; an index takes one row per item$"
    ):
        index.update(pl.concat([items_of(raw), items_of(raw)[:2]]))
    with pytest.raises(TypeError, match="model must be a retrieval model"):
        kr.retrieval.Index(kr.models.LR, items_of(raw))
    index.remove(index.ids.tolist())
    assert index.recommend(raw[:2].select("user", "history"), k=1).ids.tolist() == [[None], [None]]
    transformed = kr.retrieval.Index(model, items_of(rows))
    with pytest.raises(SchemaError, match="the loader has no column 'history'; available: user, item, price"):
        transformed.recommend(
            kr.Loader(rows.drop("history"), schema=workflow.output_schema.subset(["user", "item", "price"]))
        )


def test_columns_may_have_any_name(raw):
    names = {"user": "user id", "item": "größe/cm"}
    frame = raw.drop("history").rename(names)
    users = [names["user"]] >> kr.etl.Categorify() >> kr.etl.AddTags(["user", "user_id"])
    items = [names["item"]] >> kr.etl.Categorify() >> kr.etl.AddTags(["item", "item_id"])
    workflow = kr.etl.Workflow(users + items).fit(frame)
    schema = workflow.output_schema
    model = kr.models.TwoTower(schema, embedding_dim=4, query_units=[4], candidate_units=[4])
    index = kr.retrieval.Index(model, workflow=workflow)
    report = index.evaluate(frame, at=3, exclude_seen=frame[:20])
    transformed = kr.retrieval.Index(model)
    rows = workflow.transform(frame).collect()
    assert transformed.evaluate(rows, at=3, exclude_seen=rows[:20]).to_dict() == report.to_dict()


def test_raw_ids_of_hash_buckets_are_refused(raw):
    items = ["item"] >> kr.etl.Categorify(min_count=5, num_buckets=3) >> kr.etl.AddTags(["item", "item_id"])
    users = ["user"] >> kr.etl.Categorify() >> kr.etl.AddTags(["user"])
    workflow = kr.etl.Workflow(users + items).fit(raw)
    model = SmallRetriever(workflow.output_schema)
    with pytest.raises(ValueError, match="have no raw value: they stand for .* hash buckets"):
        kr.retrieval.Index(model, workflow=workflow)


def test_exclude_seen_needs_a_user():
    schema = Schema(
        [
            Column("user", "int32", ("categorical", "user"), cardinality=5),
            Column("item", "int32", ("categorical", "item"), cardinality=6),
        ]
    )
    rows = pl.DataFrame({"user": [3, 4, 4], "item": [3, 4, 5]}, schema={"user": pl.Int32, "item": pl.Int32})
    index = kr.retrieval.Index(SmallRetriever(schema))
    with pytest.raises(SchemaError, match="small reads none with the tag 'user_id'; pass user='column'"):
        index.evaluate(rows, exclude_seen=rows)
    assert index.evaluate(rows, exclude_seen=rows, user="user").targets_seen == 3
