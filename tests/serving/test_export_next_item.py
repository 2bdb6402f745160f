"""A served next-item model: raw event lists in, the best raw items out."""

import numpy as np
import polars as pl
import pytest

import kerasrec as kr
from kerasrec import etl


@pytest.fixture(scope="module")
def raw():
    rng = np.random.default_rng(0)
    rows = [[f"i{j}" for j in rng.integers(0, 40, rng.integers(0, 12))] for _ in range(60)]
    return pl.DataFrame({"user id": range(60), "items": rows})


@pytest.fixture(scope="module")
def workflow(raw):
    return etl.Workflow(["items"] >> etl.Categorify() >> etl.AddTags(["item_id", "sequence"])).fit(raw)


@pytest.fixture(scope="module")
def model(raw, workflow):
    model = kr.models.SASRec(workflow.output_schema, embedding_dim=8, max_length=6, seed=1)
    model.compile()
    return model


def test_event_lists_get_the_items_that_predict_scores_best(raw, workflow, model, tmp_path, capfd):
    served = kr.serving.load(kr.serving.export(model, tmp_path / "served", workflow=workflow))
    assert "gradient" not in capfd.readouterr().err
    scores = model.predict(workflow.transform(raw), verbose=0)
    values = workflow.vocabulary("items")["value"].to_list()
    ids = {value: row + 1 for row, value in enumerate(values) if value is not None}
    order = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    has_events = raw["items"].list.len().to_numpy() > 0
    best = served.recommend(raw, k=5)
    np.testing.assert_array_equal(np.vectorize(ids.get)(best["ids"])[has_events], order[has_events])
    np.testing.assert_allclose(best["scores"], np.take_along_axis(scores, order, axis=1), atol=1e-6)
    for row, items in zip(served.recommend(raw, k=38, exclude=raw["items"])["ids"], raw["items"], strict=True):
        assert not set(row) & set(items)
    assert served.recommend([{"items": None}, {"items": ["never seen"]}], k=2)["ids"].shape == (2, 2)
    assert served.remove(["i3"]) == {"removed": 1}
    assert "i3" not in served.recommend(raw, k=50)["ids"]
    with pytest.raises(ValueError, match="rows of its table, not made of data"):
        served.update([{"items": ["i3"]}])


def test_an_index_of_its_items_recommends_and_ranks_the_same(raw, workflow, model):
    index = kr.retrieval.Index(model, workflow=workflow)
    rows = workflow.transform(raw)
    scores = model.predict(rows, verbose=0)
    transformed = kr.retrieval.Index(model)
    np.testing.assert_array_equal(transformed.ids, np.arange(3, scores.shape[1]))
    has_events = raw["items"].list.len().to_numpy() > 0
    best = transformed.recommend(rows, k=1)
    np.testing.assert_array_equal(best.ids[has_events, 0], scores.argmax(axis=1)[has_events])
    np.testing.assert_allclose(index.recommend(raw, k=4).scores[:, 0], scores.max(axis=1), atol=1e-6)
    for seen in (True, False):
        expected = model.rank(rows, at=(1, 5), exclude_seen=seen).to_dict()
        assert index.evaluate(raw, at=(1, 5), exclude_seen=seen).to_dict() == expected
        assert transformed.evaluate(rows, at=(1, 5), exclude_seen=seen).to_dict() == expected
    assert index.evaluate(raw, at=5).to_dict() == model.rank(rows, at=5).to_dict()
    with pytest.raises(TypeError, match="expected true or false; got DataFrame"):
        index.evaluate(raw, exclude_seen=raw)
    with pytest.raises(ValueError, match="user='user id' is not used"):
        index.evaluate(raw, user="user id")
    with pytest.raises(ValueError, match="the data has no rows"):
        index.evaluate(raw[:0])


def test_a_last_item_that_is_not_a_candidate_is_missed_and_counted(workflow, model):
    index = kr.retrieval.Index(model, workflow=workflow)
    report = index.evaluate(pl.DataFrame({"items": [["i1", "never seen"], ["i3", "i4"], None, ["i5"]]}), at=40)
    assert report["hit_rate@40"] == pytest.approx(2 / 3)
    assert "1 of 3 targets are not candidates: they count as missed" in repr(report)
    assert "1 more queries have no target" in repr(report)


def test_a_model_of_rows_of_candidates_is_exported_as_an_index(tmp_path):
    columns = [("user", ("user",)), ("item", ("item", "item_id")), ("genre", ("item",))]
    schema = kr.Schema(kr.Column(n, "int32", ("categorical", *tags), cardinality=9) for n, tags in columns)
    with pytest.raises(ValueError, match=r"of 'item', 'genre': make kr.retrieval.Index\(model, items\) of rows"):
        kr.serving.export(kr.models.TwoTower(schema, embedding_dim=4), tmp_path / "served")


def test_new_items_are_added_by_their_columns(raw, workflow, tmp_path):
    """A served index changes as an index does; raw ids of films have another name than the model's."""
    films = pl.DataFrame(
        {"film": [f"i{j}" for j in range(45)], "kind": [["a", "b", "c"][j % 3 :] for j in range(45)]}
    )
    vocabulary = workflow.vocabulary("items")["value"].drop_nulls()
    ids = ["film"] >> etl.Categorify(vocabs={"film": vocabulary}) >> etl.Rename(lambda name: "items")
    item_workflow = etl.Workflow(ids + (["kind"] >> etl.Categorify())).fit(films)
    with pytest.warns(UserWarning, match="5 rows of items are out of this vocabulary"):
        model = kr.models.GRU4Rec(workflow.output_schema, 8, 8, 6, items=item_workflow.transform(films), seed=1)
    index = kr.retrieval.Index(model, films[:-1], workflow=workflow, item_workflow=item_workflow)
    served = kr.serving.load(kr.serving.export(index, tmp_path / "served"))
    cold = pl.DataFrame({"items": [["i1", "i2", "i42"], ["i3", "i42"]]})  # out of the vocabulary of sequences
    histories = pl.DataFrame({"items": [["i1", "i2"], ["i3"]]})
    report, best = index.evaluate(cold, at=44), index.recommend(histories, k=44, exclude=histories["items"]).ids
    assert report.targets_out_of_reach == 0
    assert report["mrr@44"] == pytest.approx((1 / (1 + (best == "i42").argmax(axis=1))).mean())
    changes = films.with_columns(kind=pl.lit(["c"]))[[3, 44]]
    assert served.update(changes) == {"added": 1, "replaced": 1}
    index.update(changes)
    one, other = served.recommend(raw[:20], k=45), index.recommend(raw[:20], k=45)
    has_events = raw["items"][:20].list.len().to_numpy() > 0
    np.testing.assert_allclose(one["scores"], other.scores, atol=1e-6)
    assert (np.sort(one["ids"], axis=1) == np.sort(films["film"].to_numpy())).all()
    assert (one["ids"] == other.ids)[has_events].all()
    with pytest.raises(ValueError, match="pass the workflow that makes the columns of items as item_workflow"):
        kr.retrieval.Index(model, films, workflow=workflow)
    with pytest.raises(ValueError, match=r"item_workflow=... needs workflow=..."):
        kr.retrieval.Index(model, item_workflow=item_workflow)
