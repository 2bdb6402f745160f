"""ColumnSimilarity against dense matrices in NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from served_frames import served, transformed

from kerasrec import etl
from kerasrec.schema import SchemaError, Tag

IDS = [None, -1, 0, 1, 2**40]
FEATURES = ["p", "q", "r"]
SETS = st.lists(
    st.tuples(st.sampled_from(IDS), st.sampled_from(FEATURES), st.sampled_from([0.5, 1.0, -2.0])), max_size=10
)
ROW = st.tuples(st.sampled_from([*IDS, 7]), st.sampled_from([*IDS, 7]))


def long(entries: list[Any]) -> pl.DataFrame:
    return pl.DataFrame(entries, {"id": pl.Int64, "feature": pl.String, "weight": pl.Float64}, orient="row")


def lists(entries: list[Any]) -> pl.DataFrame:
    return long(entries).group_by("id").agg("feature", "weight")


def rows_of(rows: list[Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, {"a": pl.Int64, "b": pl.Int64}, orient="row")


def vectors(entries: list[Any], metric: str) -> dict[Any, Any]:
    ids = list(dict.fromkeys(id for id, _, _ in entries))
    dense, there = np.zeros((len(ids), 3)), np.zeros((len(ids), 3), bool)
    for id, feature, weight in entries:
        dense[ids.index(id), FEATURES.index(feature)] += weight
        there[ids.index(id), FEATURES.index(feature)] = True
    if metric == "tfidf":
        dense *= np.log(max(len(ids), 1) / np.maximum(there.sum(0), 1))
    if metric != "inner":
        norms = np.sqrt((dense**2).sum(1, keepdims=True))
        dense = np.divide(dense, norms, out=np.zeros_like(dense), where=norms > 0)
    return dict(zip(ids, dense, strict=True))


@given(
    left=SETS,
    right=st.none() | SETS,
    rows=st.lists(ROW, min_size=1, max_size=8),
    metric=st.sampled_from(["tfidf", "cosine", "inner"]),
    shape=st.sampled_from([long, lists]),
)
@settings(max_examples=25, deadline=None)
def test_against_dense(left: Any, right: Any, rows: list[Any], metric: str, shape: Any) -> None:
    op = etl.ColumnSimilarity(shape(left), None if right is None else shape(right), metric)
    workflow = etl.Workflow([["a", "b"], ["b", "b"]] >> op).fit(rows_of(rows))
    x, y = vectors(left, metric), vectors(left if right is None else right, metric)
    none = np.zeros(3)
    made = workflow.transform(rows_of(rows)).collect()
    assert made.columns == ["a_b_sim", "b_b_sim"]
    for name, pairs in (("a_b_sim", rows), ("b_b_sim", [(b, b) for _, b in rows])):
        expected = [x.get(a, none) @ y.get(b, none) for a, b in pairs]
        np.testing.assert_allclose(made[name].to_numpy(), expected, rtol=1e-6, atol=1e-7)


@given(left=SETS, right=st.none() | SETS, rows=st.lists(ROW, max_size=8))
@settings(max_examples=5, deadline=None)
def test_both_implementations_make_the_same(left: Any, right: Any, rows: list[Any]) -> None:
    pytest.importorskip("tensorflow")
    op = etl.ColumnSimilarity(lists(left), None if right is None else long(right), "cosine")
    workflow = etl.Workflow(["a", "b"] >> op).fit(rows_of([*rows, (None, None)]))
    data = rows_of([*rows, (0, 1), (1, 1)])
    assert_frame_equal(served(workflow, data), transformed(workflow, data), rel_tol=1e-6, abs_tol=1e-12)


def test_more_rows_than_are_compared_at_once() -> None:
    rng = np.random.default_rng(1)
    weights = rng.random((50, 20)) * (rng.random((50, 20)) < 0.3)
    ids, features = np.nonzero(weights)
    op = etl.ColumnSimilarity(
        pl.DataFrame({"id": ids, "topic": features, "w": weights[ids, features]}), metric="inner"
    )
    data = pl.DataFrame({"a": rng.integers(0, 50, 150_000), "b": rng.integers(0, 50, 150_000)})
    made = etl.Workflow(["a", "b"] >> op).fit(data).transform(data).collect()
    np.testing.assert_allclose(made["a_b_sim"], (weights @ weights.T)[data["a"], data["b"]], rtol=1e-6)


@pytest.mark.parametrize("metric", ["tfidf", "cosine", "inner"])
def test_sparse_matrices(metric: str) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    entries = [(0, "p", 1.0), (0, "q", 0.5), (1, "q", 2.0), (2, "r", 1.0), (2, "p", 3.0), (2, "p", 1.0)]
    at = ([id for id, _, _ in entries], [FEATURES.index(feature) for _, feature, _ in entries])
    matrix = sparse.coo_matrix(([weight for _, _, weight in entries], at), shape=(3, 3))
    data = rows_of([(a, b) for a in range(4) for b in range(4)])
    by_frame, by_matrix = (
        etl.Workflow(["a", "b"] >> etl.ColumnSimilarity(given, metric=metric)).fit(data).transform(data).collect()
        for given in (long(entries), matrix)
    )
    assert_frame_equal(by_frame, by_matrix, check_exact=True)


TOPICS = pl.DataFrame({"page": ["x", "y", "z"], "topic": [["art", "film"], ["film"], []]})
ROWS = pl.DataFrame({"page": ["x", "y", "z", "new"], "advert": ["y", "y", "x", "x"], "n": [1, 2, 3, 4]})


def test_files_save_and_load(tmp_path: Path) -> None:
    TOPICS.write_parquet(tmp_path / "topics.parquet")
    tagged = ["page", "advert"] >> etl.AddTags("item")
    op = etl.ColumnSimilarity(tmp_path / "topics.parquet", TOPICS, metric="cosine")
    workflow = etl.Workflow(tagged >> op).fit(ROWS)
    made = workflow.transform(ROWS).collect()
    np.testing.assert_allclose(made["page_advert_sim"], [0.5**0.5, 1, 0, 0], rtol=1e-6)
    assert Tag.ITEM in workflow.output_schema["page_advert_sim"].tags
    loaded = etl.Workflow.load(workflow.save(tmp_path / "w"))
    assert repr(loaded) == repr(workflow)
    assert_frame_equal(loaded.transform(ROWS).collect(), made)
    assert_frame_equal(loaded.fit(ROWS).transform(ROWS).collect(), made)
    assert loaded.transform(ROWS.head(0)).collect().is_empty()


def test_errors() -> None:
    weighted = pl.DataFrame({"id": [1, 2], "f": [[1, 2], [3]], "w": [[1.0, 2.0], [1.0, 2.0]]})
    for make, error, message in [
        (lambda: etl.ColumnSimilarity(TOPICS, metric="l2"), ValueError, "one of tfidf, cosine, inner; got 'l2'"),
        (lambda: etl.ColumnSimilarity(None), TypeError, "got NoneType"),
        (
            lambda: etl.ColumnSimilarity(TOPICS.select("page")),
            SchemaError,
            "expected columns id, feature",
        ),
        (
            lambda: etl.ColumnSimilarity(weighted),
            SchemaError,
            "id 2 has different numbers of",
        ),
        (
            lambda: etl.ColumnSimilarity(TOPICS, weighted.drop("w")),
            SchemaError,
            "different types, Int64, String",
        ),
        (lambda: etl.ColumnSimilarity(long([(1, "p", np.inf)])), SchemaError, "a weight of id 1 is inf"),
        (lambda: ["n"] >> etl.ColumnSimilarity(TOPICS), ValueError, r"\['n'\] is not a pair of"),
        (
            lambda: ["n"] >> etl.ColumnSimilarity(TOPICS, pairs=[["n", "m"]]),
            ValueError,
            r"'m'\] is not a pair",
        ),
        (
            lambda: etl.Workflow(["page", "n"] >> etl.ColumnSimilarity(TOPICS)).fit(ROWS),
            SchemaError,
            "'n' is int64, but 'id' of the features is string",
        ),
    ]:
        with pytest.raises(error, match=message):
            make()  # type: ignore[no-untyped-call]
