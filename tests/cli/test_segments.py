"""Segments against figures of the same rows, taken out by hand."""

import numpy as np
import polars as pl
import pytest

from kerasrec.cli.run_report import ColumnReport
from kerasrec.cli.segments import find_segments, segment_columns, worst_segments
from kerasrec.datasets import metrics

ROWS = 3000


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    site = rng.choice(["a", "b", '<script>alert("1")</script>', None], ROWS, p=[0.5, 0.3, 0.15, 0.05])
    price = np.where(rng.random(ROWS) < 0.1, np.nan, rng.lognormal(size=ROWS))
    p = rng.random(ROWS)
    random = np.array([s == "b" for s in site])
    y = (rng.random(ROWS) < np.where(random, 0.5, p)) * 1.0
    raw = pl.DataFrame({"user site": site, "a.b": price, "tags": [["x", "y"], ["y"], []] * (ROWS // 3)})
    return raw, y, p


def test_every_value_is_a_segment_with_the_figures_of_its_rows(data):
    raw, y, p = data
    segments = {(s.column, s.value): s for s in find_segments(raw, "binary", y[:, None], p[:, None])}
    for value in ("a", "b", '<script>alert("1")</script>', "null"):
        rows = (raw["user site"].fill_null("null") == value).to_numpy()
        segment = segments["user site", value]
        assert segment.rows == rows.sum()
        assert segment.observed == pytest.approx(y[rows].mean())
        assert segment.predicted == pytest.approx(p[rows].mean())
        assert segment.gap_error == pytest.approx((y - p)[rows].std() / np.sqrt(rows.sum()))
        assert segment.score == pytest.approx(metrics.auc(y[rows], p[rows]))
    assert next(value for column, value in segments if column == "user site") == "a"


def test_numbers_are_cut_into_ranges_of_equally_many_rows(data):
    raw, y, p = data
    null, *ranges = find_segments(raw.select("a.b"), "regression", y, p)
    price = raw["a.b"].to_numpy()
    assert (null.value, null.rows) == ("null", int(np.isnan(price).sum()))
    assert len(ranges) == 5
    assert max(s.rows for s in ranges) - min(s.rows for s in ranges) <= 3
    assert ranges[0].value.startswith(f"{np.nanmin(raw['a.b']):.4g} to ")
    assert ranges[-1].value.endswith(f" to {np.nanmax(raw['a.b']):.4g}")
    rows = raw["a.b"].fill_nan(None).rank("ordinal").fill_null(0).is_between(1, ranges[0].rows).to_numpy()
    assert ranges[0].score == pytest.approx(metrics.rmse(y[rows], p[rows]))


def test_numbers_that_are_ids_are_not_cut_into_ranges(data):
    _, y, p = data
    ids = [7, 7, 7, *range(100, 120)]
    frame = pl.DataFrame({"user id": (ids * ROWS)[:ROWS]})
    segments = find_segments(frame, "binary", y, p, categorical=["user id"])
    assert [s.value for s in segments][:2] == ["7", "100"]
    assert segments[-1].value == "11 other values"


def test_a_row_counts_for_each_element_of_its_list(data):
    raw, y, p = data
    assert [(s.value, s.rows) for s in find_segments(raw.select("tags"), "binary", y, p)] == [
        ("y", 2000),
        ("none", 1000),
        ("x", 1000),
    ]


def test_rare_values_are_one_segment_and_few_rows_are_none():
    frame = pl.DataFrame({"c": np.repeat(np.arange(40), 40)[:1590].astype(str), "d": ["x"] * 1580 + ["y"] * 10})
    y = np.arange(1590) % 2
    segments = find_segments(frame, "binary", y, y * 0.5)
    assert [s.value for s in segments][10:] == ["30 other values", "x"]
    assert sum(s.rows for s in segments if s.column == "c") == 1590


def test_the_standard_error_of_an_auc_is_that_of_repeated_samples():
    rng, found = np.random.default_rng(1), []
    for _ in range(300):
        p = rng.random(200)
        y = (rng.random(200) < p) * 1.0
        found += find_segments(pl.DataFrame({"c": ["x"] * 200}), "binary", y, p)
    assert np.mean([s.score_error for s in found]) == pytest.approx(np.std([s.score for s in found]), rel=0.15)


def test_the_worst_segments_are_named(data):
    raw, y, p = data
    segments = find_segments(raw.select("user site"), "binary", y, p)
    (sentence,) = worst_segments(segments, "binary", metrics.auc(y, p))
    assert sentence.startswith("Predicted worst: user site = b, AUC 0.")
    too_high = find_segments(
        raw.select("user site"), "binary", y, np.clip(p + (raw["user site"] == "a") * 0.3, 0, 1)
    )
    assert any(s.startswith("Predicted too high: user site = a") for s in worst_segments(too_high, "binary", 0.5))
    assert worst_segments([], "binary", 0.8) == []


def test_the_columns_of_segments_have_few_values_or_are_numbers():
    columns = [
        ColumnReport("user", "Int64", "categorical", ("Categorify",), "", 100_000, 0),
        ColumnReport("price", "Float64", "continuous", ("Normalize",), "", 5000, 0),
        ColumnReport("site", "String", "categorical", ("Categorify",), "", 4, 0),
        ColumnReport("y", "Int64", "target", (), "", 2, 0),
        ColumnReport("day", "Date", "dropped", (), "", 7, 0),
    ]
    assert segment_columns(columns) == ["site", "price"]


def test_predictions_of_other_rows_are_refused(data):
    raw, y, p = data
    with pytest.raises(ValueError, match="3000 rows, 2999 labels, 3000 predictions"):
        find_segments(raw, "binary", y[1:], p)
