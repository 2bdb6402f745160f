"""PopularitySampler: how often it draws each item, and losses that take it, against float64 NumPy."""

import keras
import numpy as np
import polars as pl
import pytest
from keras import ops
from scipy import stats

import kerasrec as kr
from kerasrec.losses import many_negatives

FIRST, COUNT, DIM = 3, 23, 4
COUNTS = np.array([0, 7, 50, 100, 60, 30, 20, 20, 10, 9, 8, 0, 7, 6, 5, 4, 3, 3, 2, 2, 1, 1, 0])


class Rows:
    count, first_id = COUNT, FIRST
    table = np.random.default_rng(0).normal(size=(COUNT, DIM)).astype("float32")

    def lookup(self, ids):
        return ops.take(self.table, ids, axis=0)

    def all(self):
        return ops.convert_to_tensor(self.table)


@pytest.mark.parametrize("power", [0, 0.75, 1])
def test_items_are_drawn_in_proportion_to_a_power_of_their_counts(power):
    sampler = kr.losses.PopularitySampler(COUNTS, power)
    own = COUNTS[FIRST:]
    expected = np.where(own > 0, np.float64(own) ** power, 0) / (np.float64(own[own > 0]) ** power).sum()
    kept, others = sampler.tables(FIRST)
    exact = (kept + np.bincount(others, 1 - np.float64(kept), COUNT - FIRST)) / (COUNT - FIRST)
    np.testing.assert_allclose(exact, expected, atol=1e-7)
    drawn = np.asarray(sampler.draw((200, 500), FIRST, COUNT, keras.random.SeedGenerator(1)))
    times = np.bincount(drawn.ravel(), minlength=COUNT)[FIRST:]
    assert not times[expected == 0].any()
    assert stats.chisquare(times[expected > 0], 100_000 * expected[expected > 0]).pvalue > 0.001


@pytest.mark.parametrize("way", ["all scores", "drawn vectors", "shared"])
def test_the_sum_of_a_sampled_softmax_is_that_of_uniform_draws_on_average(way, monkeypatch):
    """`exp(loss + s_i) - exp(s_i)` is the sum over negatives, whose mean is n / N times that of all others."""
    monkeypatch.setattr(many_negatives, "FEW_ITEMS", 0 if way == "drawn vectors" else 64)
    sampler, items = kr.losses.PopularitySampler(COUNTS + 1, 0.5), Rows()
    queries = np.repeat(np.random.default_rng(1).normal(size=(1, DIM)), 4, axis=0).astype("float32")
    positives = np.full(4, 5)
    scores = np.float64(Rows.table @ queries[0])
    others = np.delete(scores, 5)[FIRST:]
    means = {}
    for corrected in (True, False):
        loss = kr.losses.SampledSoftmax(20_000, way == "shared", sampler, logq_correction=corrected)
        total = loss.weighted_sum(queries, positives, items, keras.random.SeedGenerator(0)) / 4
        means[corrected] = (np.exp(float(total) + scores[5]) - np.exp(scores[5])) / 20_000
    assert means[True] == pytest.approx(np.exp(others).sum() / (COUNT - FIRST), rel=0.03)
    shares = np.sqrt(COUNTS + 1)[FIRST:] / np.sqrt(COUNTS + 1)[FIRST:].sum()
    by_shares = (np.delete(shares, 5 - FIRST) * np.exp(others)).sum()
    assert means[False] == pytest.approx(by_shares, rel=0.03)
    assert abs(means[True] / means[False] - 1) > 0.1


def test_every_loss_draws_from_it():
    """Only the item 8 is ever drawn, so that the loss is known."""
    only = kr.losses.PopularitySampler(np.arange(COUNT) == 8)
    queries, positives = np.ones((5, DIM), "float32"), np.array([3, 4, 5, 6, 8])
    own, other = np.float64(Rows.table[positives]).sum(1), np.float64(Rows.table[8]).sum()
    counts = positives != 8
    expected = {
        kr.losses.BPR(2, sampler=only): counts * np.logaddexp(0, other - own),
        kr.losses.Hinge(2, sampler=only): counts * np.maximum(1 + other - own, 0),
        kr.losses.CosineContrastive(2, 0.1, 3, sampler=only): 1 - own + counts * 3 * np.maximum(other - 0.1, 0),
        kr.losses.SampledSoftmax(2, sampler=only): np.log(np.exp(own) + counts * 2 * np.exp(other) / 20) - own,
        kr.losses.GBCE(2, 0.0, sampler=only, offset=0.0): (
            np.logaddexp(0, -own) + counts * 2 * np.logaddexp(0, other)
        )
        / 2,
    }
    for loss, values in expected.items():
        found = loss.per_example(queries, positives, Rows(), keras.random.SeedGenerator(0))
        np.testing.assert_allclose(found, values, rtol=1e-4, atol=1e-5, err_msg=type(loss).__name__)
        copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
        assert copy.get_config() == loss.get_config()
        np.testing.assert_array_equal(copy.sampler.counts, only.counts)


def test_counts_are_those_of_a_vocabulary():
    raw = pl.DataFrame({"items": [["b", "a", "b"], ["c", "b", None]]})
    vocabulary = kr.etl.Workflow(["items"] >> kr.etl.Categorify()).fit(raw).vocabulary("items")
    np.testing.assert_array_equal(kr.losses.PopularitySampler(vocabulary).counts, [0, 1, 0, 3, 1, 1])


def test_counts_that_do_not_fit():
    for counts, message in [
        ([1, -1], "counts must be a list of numbers >= 0"),
        ([np.nan], "counts must be a list"),
    ]:
        with pytest.raises(ValueError, match=message):
            kr.losses.PopularitySampler(counts)
    with pytest.raises(ValueError, match="power must be >= 0; got -1"):
        kr.losses.PopularitySampler(COUNTS, -1)
    seed = keras.random.SeedGenerator(0)
    with pytest.raises(ValueError, match="has counts of 23 ids, but there are 30"):
        kr.losses.PopularitySampler(COUNTS).draw((2,), 3, 30, seed)
    with pytest.raises(ValueError, match="from 3 on are all 0"):
        kr.losses.PopularitySampler([1, 2, 3, 0]).draw((2,), 3, 4, seed)
    with pytest.raises(TypeError, match="sampler must be a kr.losses.PopularitySampler, or None; got 'counts'"):
        kr.losses.BPR(sampler="counts")
    with pytest.raises(ValueError, match=r"sampler=...: no items are drawn in a batch"):
        kr.losses.InBatch(kr.losses.BPR(sampler=kr.losses.PopularitySampler(COUNTS)))
