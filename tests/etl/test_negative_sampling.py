"""NegativeSampling: what is drawn and what never is, against plain Python; how often, against exact chances."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from kerasrec import etl
from kerasrec.etl.lookup.weighted_sampling import WeightedSampler
from kerasrec.etl.run import gather
from kerasrec.etl.run.column_expr import ColumnExpr, select
from kerasrec.etl.run.evaluate import evaluate
from kerasrec.etl.run.fit import fit
from kerasrec.etl.sources.scan import scan
from kerasrec.schema import SchemaError, Tag

SCHEMA = {"user": pl.Int8, "item": pl.String, "price": pl.Int64, "hour": pl.Int64, "clicked": pl.Int8}
ROW = st.tuples(
    st.none() | st.integers(0, 2),
    st.none() | st.sampled_from("abcde"),
    st.integers(0, 9),
    st.integers(0, 23),
    st.none() | st.integers(0, 2),
)


def frame(rows: list[Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


class Sampler:
    """The operator fitted on some rows, as a workflow fits it; nothing is cast or refused at the end."""

    def __init__(self, op: etl.NegativeSampling, data: pl.DataFrame):
        self.root = data.columns >> op
        self.inputs = fit(self.root, scan(data), lambda done: None)

    def __call__(self, data: pl.DataFrame) -> pl.DataFrame:
        source = scan(data)
        raw = {column.name: ColumnExpr(column, source.clean(column)) for column in self.inputs}
        return select(source.lazy(), evaluate(self.root, raw)).collect(engine="streaming")


def check(got: pl.DataFrame, rows: list[Any], fitted: list[Any], by: bool, label: bool, n: int) -> None:
    """Walk through the rows beside those that they were made of."""

    def positive(row: Any) -> bool:
        return not label or (row[4] or 0) > 0

    prices = {row[1]: row[2] for row in reversed(fitted) if row[1] is not None}
    left = got.iter_rows(named=True)
    for row in rows:
        own = dict(zip(SCHEMA, row, strict=True)) | ({} if label else {"clicked": 1})
        assert next(left) == own
        never = {row[1]}
        if by and row[0] is not None:
            never |= {other[1] for other in [*fitted, *rows] if other[0] == row[0] and positive(other)}
        for _ in range(n if positive(row) and set(prices) - never else 0):
            drawn = next(left)
            assert drawn["item"] in set(prices) - never
            assert drawn == {**own, "item": drawn["item"], "price": prices[drawn["item"]], "clicked": 0}
    assert next(left, None) is None


@given(
    fitted=st.lists(ROW, max_size=8),
    rows=st.lists(ROW, max_size=8),
    by=st.booleans(),
    label=st.booleans(),
    popularity=st.sampled_from([0, 1, 0.75]),
)
@settings(max_examples=25, deadline=None)
def test_rows_and_their_negatives(
    fitted: list[Any], rows: list[Any], by: bool, label: bool, popularity: float
) -> None:
    fitted = [*fitted, *((9, word, 5, 5, 1) for word in "ab")]
    op = etl.NegativeSampling("item", 2, "price", "user" if by else (), popularity, "clicked")
    if label and popularity:  # what nobody clicked is never drawn: those rows say so of themselves
        fitted = [row for row in fitted if (row[4] or 0) > 0]
    names = list(SCHEMA) if label else list(SCHEMA)[:-1]
    sampler = Sampler(op, frame(fitted).select(names))
    for some in (rows, fitted):
        check(sampler(frame(some).select(names)), some, fitted, by, label, 2)


def test_draws_have_their_chances() -> None:
    weights = np.array([5, 0, 1, 3, 1, 10])
    draws = WeightedSampler(weights, np.array([0, 3, 1, 2, 3, 4, 5]))
    hashes = np.random.default_rng(0).integers(0, 2**64, 40_000, dtype=np.uint64)
    for begin, end, never in ((0, 0, []), (0, 2, [0, 3]), (2, 7, [1, 2, 3, 4, 5]), (6, 7, [5])):
        begins, ends = np.full(len(hashes), begin), np.full(len(hashes), end)
        chances = np.where(np.isin(np.arange(6), never), 0, weights) / np.delete(weights, never).sum()
        shares = np.bincount(draws.draw(hashes, begins, ends), minlength=6) / len(hashes)
        assert (shares[chances == 0] == 0).all()
        np.testing.assert_allclose(shares, chances, atol=4 * 0.5 / np.sqrt(len(hashes)))
    begins, ends = draws.single(np.array([0, 5, -1]))
    assert draws.remaining(begins, ends).tolist() == [15, 10, 20]


def test_popularity_counts_positives() -> None:
    words = np.repeat(["a", "b", "c", "d"], [1, 10, 100, 1000]).tolist()
    data = pl.DataFrame({"item": words + ["e"] * 50, "clicked": [1] * 1111 + [0] * 50})
    for popularity in (0.0, 1.0, 0.5):
        sampler = Sampler(etl.NegativeSampling("item", 20, popularity=popularity, target="clicked"), data)
        got = sampler(data.filter(item="d").head(300)).filter(clicked=0)["item"]
        chances = np.array([1, 10, 100, 0, 0 if popularity else 1]) ** popularity
        chances[3:] = (0, 0 if popularity else 1)
        shares = [(got == word).mean() for word in "abcde"]
        np.testing.assert_allclose(shares, chances / chances.sum(), atol=4 * 0.5 / np.sqrt(len(got)))


def events(rows: int = 200) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "user": rng.integers(0, 20, rows),
            "item": [None if i == 0 else f"i{i}" for i in rng.integers(0, 30, rows)],
            "hour": rng.integers(0, 24, rows),
        }
    )


def workflow(**settings: Any) -> etl.Workflow:
    """Ids in front, a statistic and a filter behind."""
    rows = (["user", "item"] >> etl.Categorify()) + ["hour"] >> etl.NegativeSampling("item", 3, **settings)
    rows = rows >> etl.Filter(pl.col("hour") > 2)
    return etl.Workflow(rows["user", "item"] + (rows["hour"] >> etl.Normalize()) + rows["target"])


@pytest.mark.parametrize("by", [(), "user"])
def test_draws_do_not_depend_on_batches(by: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "BATCH_ROWS", 17)
    data = events()
    (tmp_path / "raw").mkdir()
    data.head(101).write_parquet(tmp_path / "raw" / "a.parquet", row_group_size=10)
    data.slice(101).write_parquet(tmp_path / "raw" / "b.parquet")
    data.write_csv(tmp_path / "a.csv")
    work = workflow(by=by).fit(data)
    whole = work.transform(data).collect()
    for source in (tmp_path / "raw", tmp_path / "a.csv", data.lazy()):
        assert_frame_equal(workflow(by=by).fit(source).transform(source).collect(), whole, rel_tol=1e-6)
    kept = (data["hour"] > 2).sum()
    assert len(whole) == 4 * kept
    assert whole["target"].to_list() == [1.0, 0.0, 0.0, 0.0] * kept
    negatives = whole.filter(target=0)
    assert negatives["item"].min() == 3  # neither null nor unknown
    if by:
        assert not set(negatives["user", "item"].rows()) & set(whole.filter(target=1)["user", "item"].rows())
    else:
        parts = [
            replace(work.transform(tmp_path / "raw"), source=part) for part in scan(tmp_path / "raw").parts(9)
        ]
        assert_frame_equal(pl.concat([part.collect() for part in parts]), whole)

    work.save(tmp_path / "w")
    loaded = etl.Workflow.load(tmp_path / "w")
    loaded.transform(tmp_path / "raw").to_parquet(tmp_path / "out", row_group_rows=7)
    assert_frame_equal(pl.read_parquet(tmp_path / "out" / "*.parquet"), whole)
    others = workflow(by=by, seed=1).fit(data).transform(data).collect()
    assert (others["item"] != whole["item"]).sum() > len(whole) // 2


def test_rows_that_are_scored_pass() -> None:
    data = events()
    work = workflow(by="user").fit(data)
    assert work.output_schema.targets.names == ["target"]
    assert set(work.output_schema["target"].tags) == {Tag.TARGET, Tag.BINARY}
    assert work.transform(data, targets=False).collect().shape == (200, 3)
    assert work.transform(data.clear()).collect().shape == (0, 4)
    with pytest.raises(SchemaError, match="no column 'user'"):
        only = ["user", "item", "hour"] >> etl.NegativeSampling("item", by="user")
        etl.Workflow(only["hour"]).fit(data).transform(data.drop("user"))
    pytest.importorskip("tensorflow")
    plain = etl.Workflow((["user", "item"] >> etl.Categorify()) + (["hour"] >> etl.Normalize()))
    assert work.raw_signature() == plain.fit(data).raw_signature()
    import tensorflow as tf

    raw = {"user": tf.constant([3, 4], tf.int64), "item": tf.constant(["i1", "i2"])}
    raw |= {"item__valid": tf.constant([True, True]), "hour": tf.constant([1, 2], tf.int64)}
    got, wanted = work.tensorflow(raw), plain.tensorflow(raw)
    assert {name: x.shape for name, x in got.items()} == {"user": (2,), "item": (2,), "hour": (2,)}
    np.testing.assert_array_equal(got["item"], wanted["item"])


def test_mistakes() -> None:
    names = ["item", "user", "x"]
    for wrong, message in (
        (lambda: names >> etl.NegativeSampling("i"), r"item: no column 'i'; available: item, user, x"),
        (lambda: names >> etl.NegativeSampling("item", by=["u"]), r"by: no column 'u'"),
        (lambda: names >> etl.NegativeSampling("item", item_features="y"), r"item_features: no column 'y'"),
        (lambda: etl.NegativeSampling("item", 0), "n_per_positive >= 1, .* got 0, 0.0 and 0"),
        (lambda: etl.NegativeSampling("item", by="item"), "must be different columns"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong()
    data = pl.DataFrame({"item": [1.0], "user": [[1]], "x": ["a"]})
    for op, message in (
        (etl.NegativeSampling("item"), "column 'item' is float64: NegativeSampling takes strings, integers"),
        (
            etl.NegativeSampling("x", by="user"),
            "column 'user' has lists; NegativeSampling takes one",
        ),
        (etl.NegativeSampling("item", target="x"), "column 'x' is string; NegativeSampling takes numbers"),
    ):
        with pytest.raises(SchemaError, match=message):
            etl.Workflow(names >> op).fit(data.with_columns(item=1) if op.target == "x" else data)
    with pytest.raises(SchemaError, match="NegativeSampling: column 'item' has no item to draw"):
        etl.Workflow(["item"] >> etl.NegativeSampling("item")).fit(
            pl.DataFrame({"item": [None]}, {"item": pl.Int8})
        )
