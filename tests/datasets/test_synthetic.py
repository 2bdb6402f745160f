"""The click log: what is written, and that the bounds it states are those of its rows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from kerasrec.datasets import click_model, metrics, synthetic
from kerasrec.datasets.click_model import CATEGORICAL, STEP, World
from kerasrec.datasets.synthetic import ClickLog, click_log, clicks

ROWS = 400_000


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return click_log(tmp_path_factory.mktemp("log") / "log", ROWS, seed=3, progress=False)


def truth(log, split):
    return pl.read_parquet(log.folder / "truth" / split / "*.parquet")["true_probability"].to_numpy()


@pytest.mark.parametrize("split", ["train", "valid"])
def test_bounds_are_the_true_probabilities_scores(log, split):
    clicked = pl.read_parquet(getattr(log, split))["clicked"].to_numpy()
    facts = log.splits[split]
    assert facts.rows == len(clicked)
    assert facts.clicks == clicked.sum()
    assert facts.auc_bound == pytest.approx(metrics.auc(clicked, truth(log, split)), abs=1e-12)
    assert facts.logloss_bound == pytest.approx(metrics.log_loss(clicked, truth(log, split)), abs=1e-12)


def test_clicks_are_bernoulli_of_the_truth(log):
    """Calibrated in every tenth of the rows, and the squared residuals as large as p (1 - p) says."""
    p, clicked = truth(log, "train"), pl.read_parquet(log.train)["clicked"].to_numpy()
    for rows in np.array_split(np.argsort(p), 10):
        spread = np.sqrt((p[rows] * (1 - p[rows])).sum())
        assert abs((clicked[rows] - p[rows]).sum()) < 4 * spread
    variance = p * (1 - p)
    assert ((clicked - p) ** 2).mean() == pytest.approx(variance.mean(), rel=0.01)
    residual = clicked - p
    assert abs(np.corrcoef(residual[:-1], residual[1:])[0, 1]) < 4 / np.sqrt(len(p))


def test_the_demos_promises(log):
    assert 0.75 < log.auc_bound < 0.85
    assert sum(log.distinct.values()) > 100_000
    baseline = log.bias_baseline()
    assert 0.6 < baseline.auc < log.auc_bound - 0.03
    assert baseline.logloss > log.logloss_bound + 0.02
    clicked = pl.read_parquet(log.valid)["clicked"]
    constant = metrics.log_loss(clicked, np.full(len(clicked), pl.read_parquet(log.train)["clicked"].mean()))
    assert baseline.logloss < constant


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_other_seeds_keep_the_bound(tmp_path, seed):
    log = click_log(tmp_path / "log", 70_000, seed=seed, valid_fraction=0.5, progress=False)
    assert 0.75 < log.auc_bound < 0.85


def test_looks_like_a_log(log):
    frame = pl.read_parquet(log.train)
    assert frame.schema["genres"] == pl.List(pl.String)
    strings = ("user", "item", "site", "device")
    assert all(frame.schema[name] == pl.String for name in strings)
    integers = ("city", "category", "advertiser", "hour", "age", "past_clicks", "clicked")
    assert all(frame.schema[name] == pl.Int64 for name in integers)
    nulls = {name: count[0] for name, count in frame.null_count().to_dict(as_series=False).items() if count[0]}
    nullable = {"user", "site", "device", "city", "category", "genres", "age", "price", "seconds", "past_clicks"}
    assert set(nulls) == nullable
    assert all(0.001 * len(frame) < count < 0.2 * len(frame) for count in nulls.values())
    lengths = frame["genres"].list.len().drop_nulls()
    assert lengths.min() == 0
    assert lengths.max() == 4
    assert frame["genres"].list.n_unique().drop_nulls().eq(lengths).all()  # an item's genres differ
    for name in ("price", "seconds"):
        values = frame[name].drop_nulls()
        assert values.min() >= 0
        assert values.mean() > 1.3 * values.median()
        assert values.max() > 100 * values.median()
    assert set(frame["clicked"].unique()) == {0, 1}
    assert "true_probability" not in frame.columns
    assert frame["user"].drop_nulls().str.contains(r"^u_[0-9a-f]{8}$").all()


def test_distinct_counts_what_is_present(log):
    both = pl.concat([pl.read_parquet(log.train), pl.read_parquet(log.valid)])
    assert log.distinct == {name: both[name].drop_nulls().n_unique() for name in CATEGORICAL}


def test_users_follow_the_power_law(log):
    counts = pl.read_parquet(log.train)["user"].drop_nulls().value_counts(sort=True)["count"].to_numpy()
    ranks = np.arange(1, 301)
    slope = np.polyfit(np.log(ranks), np.log(counts[:300]), 1)[0]
    assert slope == pytest.approx(-log.exponent, abs=0.05)


def files(folder):
    return {path.relative_to(folder): path for path in sorted(Path(folder).rglob("*")) if path.is_file()}


def test_seed_decides_rows_and_file_size_does_not(tmp_path):
    rows = 150_000
    first = click_log(tmp_path / "a", rows, seed=5, progress=False)
    again = click_log(tmp_path / "b", rows, seed=5, progress=False)
    assert all(
        files(tmp_path / "b")[name].read_bytes() == path.read_bytes()
        for name, path in files(tmp_path / "a").items()
    )
    assert again == replace(first, folder=again.folder)

    small = click_log(tmp_path / "c", rows, seed=5, rows_per_file=40_000, progress=False)
    parts = sorted((tmp_path / "c" / "train").iterdir())
    assert [pq.read_metadata(path).num_rows for path in parts] == [40_000, 40_000, 40_000, 15_000]
    assert small.splits == first.splits
    for split in ("train", "valid"):
        assert pl.read_parquet(getattr(small, split)).equals(pl.read_parquet(getattr(first, split)))

    other = click_log(tmp_path / "d", rows, seed=6, progress=False)
    assert not pl.read_parquet(other.train).equals(pl.read_parquet(first.train))


def test_a_longer_log_begins_with_the_same_rows(tmp_path):
    short = click_log(tmp_path / "short", 1_000, valid_fraction=0.5, progress=False)
    long = click_log(tmp_path / "long", 140_000, valid_fraction=0.5, progress=False)
    assert pl.read_parquet(long.train).head(500).equals(pl.read_parquet(short.train))


def test_hidden_values_play_no_part():
    """The truth of a row is a function of what the row shows: the null's level stands for any value."""
    world = World(0, 1000, 1000, 1.05)
    block = world.draw(np.random.default_rng(0), 5000)
    odds = world.log_odds(block)
    np.testing.assert_array_equal(odds, np.rint(odds / STEP) * STEP)
    hidden = block.ids["city"] == click_model.CITIES
    assert 0 < hidden.sum() < 500
    block.floats["age"][:] = np.nan
    assert not np.array_equal(world.log_odds(block), odds)
    assert np.isfinite(world.log_odds(block)).all()


def test_load_reads_back_what_was_saved(log, tmp_path):
    assert ClickLog.load(log.folder) == log
    assert "AUC" in repr(log)
    assert f"{log.auc_bound:.4f}" in repr(log)
    with pytest.raises(FileNotFoundError, match="no click log"):
        ClickLog.load(tmp_path)
    (tmp_path / synthetic.FILENAME).write_text('{"seed": 0}')
    with pytest.raises(ValueError, match=synthetic.FILENAME):
        ClickLog.load(tmp_path)


@pytest.mark.parametrize("arguments", [{"rows": 0}, {"rows": 1}, {"valid_fraction": 0.0}, {"valid_fraction": 1.0}])
def test_an_empty_split_is_refused(tmp_path, arguments):
    with pytest.raises(ValueError, match="empty"):
        click_log(tmp_path / "log", **{"rows": 100, **arguments})
    assert not (tmp_path / "log").exists()


def test_a_folder_that_exists_stays(tmp_path):
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="exists"):
        click_log(tmp_path / "log", 100, progress=False)
    assert (tmp_path / "log" / "mine.txt").read_text() == "mine"
    with pytest.raises(FileExistsError, match="contains 'mine.txt', which is not a file that is written there"):
        click_log(tmp_path / "log", 100, overwrite=True, progress=False)
    assert (tmp_path / "log" / "mine.txt").read_text() == "mine"
    (tmp_path / "log" / "mine.txt").unlink()
    first = click_log(tmp_path / "log", 100, overwrite=True, progress=False)
    second = click_log(tmp_path / "log", 50, overwrite=True, progress=False)
    assert first.train == second.train
    assert pl.scan_parquet(second.train).select(pl.len()).collect().item() < 50


def test_nothing_half_written_stays(tmp_path, monkeypatch):
    """A full disk in the middle: the log's name does not appear and what was written is gone."""

    class Full(pq.ParquetWriter):
        def write_table(self, table, *args, **kwargs):
            if "true_probability" in table.column_names:
                raise OSError(28, "No space left on device")
            super().write_table(table, *args, **kwargs)

    monkeypatch.setattr(pq, "ParquetWriter", Full)
    with pytest.raises(OSError, match="No space left"):
        click_log(tmp_path / "log", 1000, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_frame_of_clicks_has_the_columns_of_a_log(log):
    frame, files = clicks(70_000, seed=5), pl.read_parquet(log.valid)
    assert frame.columns == files.columns
    assert frame["user"].dtype == pl.String
    assert len(frame) == 70_000
    assert frame.equals(clicks(70_000, seed=5))
    assert frame.head(10).equals(clicks(10, seed=5))
    assert not frame.equals(clicks(70_000, seed=6))


def test_what_is_learned_on_one_frame_of_clicks_holds_on_another():
    train, new = clicks(60_000), clicks(20_000, seed=1)
    rates = [frame.group_by("user").agg(pl.col("clicked").mean(), pl.len()) for frame in (train, new)]
    both = rates[0].join(rates[1], on="user", suffix="_new").filter(pl.min_horizontal("len", "len_new") > 200)
    assert both.select(pl.corr("clicked", "clicked_new")).item() > 0.7


def test_no_clicks_are_refused():
    with pytest.raises(ValueError, match="rows must be an integer >= 1; got 0"):
        clicks(0)
