"""The model of the synthetic click log: how its columns are drawn, and the true probability of a click.

Columns: `user`, `item`, `site` (codes, power laws), `device` (string), `city`, `category`, `advertiser`, `hour`
(int64), `genres` (list of strings, some empty or null), `age`, `past_clicks` (int64), `price`, `seconds` (float32,
heavy tails), all but `item`, `advertiser` and `hour` with some nulls; and `clicked`, 0 or 1.

The log odds of a click are a sum of terms of the row's values, so the best possible score is known exactly:

- a bias for each value of each categorical column,
- dot products of two columns' hidden vectors: city x category, hour x category, user x item, site x advertiser,
  and city x the mean vector of the item's genres,
- slopes: price by city, seconds by device, past clicks by site, age by category.

A null is a value like any other: values hidden by nulls have no effect. Effects decrease with an id's rank and are
zero after the first `_HEAD` ranks, as the effect of an id that occurs once or twice cannot be learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kerasrec.datasets.power_law import Zipf, codes, scramble, unit

CATEGORICAL = ("user", "item", "site", "device", "city", "category", "advertiser", "hour")
CONTINUOUS = ("age", "price", "seconds", "past_clicks")
GENRES = (
    *("action", "adventure", "animation", "biography", "children", "comedy", "cooking", "crime"),
    *("documentary", "drama", "fantasy", "history", "horror", "music", "mystery", "nature"),
    *("news", "romance", "science", "sport", "thriller", "travel", "war", "western"),
)
CITIES, CATEGORIES, ADVERTISERS, SITES = 32, 24, 1_000, 2_000
DEVICES = ("phone", "tablet", "desktop", "television", "console")
STEP = 2.0**-12  # log odds are multiples of this, so that rows can be counted by log odds
_HEAD = 4096
_CLICK_RATE = 0.25
# The standard deviation of each term over the rows, in log odds.
_BIASES = {
    "user": 0.3,
    "item": 0.3,
    "site": 0.2,
    "device": 0.2,
    "city": 0.15,
    "category": 0.25,
    "advertiser": 0.2,
    "hour": 0.25,
}
_PAIRS = {
    ("city", "category"): (2, 1.0),
    ("hour", "category"): (2, 0.6),
    ("user", "item"): (2, 0.2),
    ("site", "advertiser"): (2, 0.3),
    ("city", "genres"): (2, 0.6),
}
_SLOPES = {
    ("price", "city"): 0.4,
    ("seconds", "device"): 0.4,
    ("past_clicks", "device"): 0.3,
    ("age", "category"): 0.4,
}


@dataclass
class Block:
    """Rows by column: categorical columns as ranks (the last level is null), continuous ones with NaN for null,
    genres as an (n, 4) array of indices with -1 for none."""

    ids: dict[str, NDArray[np.int64]]
    floats: dict[str, NDArray[np.float64]]
    genres: NDArray[np.int64]
    null_genres: NDArray[np.bool_]


class World:
    """The distributions of the columns and the true click model, all drawn from one seed.

    Args:
        seed: of the effects; `draw` takes the generator for rows.
        users, items: the numbers of ids to draw from.
        exponent: of the power law of users and items.
    """

    def __init__(self, seed: int, users: int, items: int, exponent: float):
        self.user, self.item, self.site = Zipf(users, exponent), Zipf(items, exponent), Zipf(SITES, 0.9)
        self.city, self.category = Zipf(CITIES, 0.7), Zipf(CATEGORIES, 0.7)
        self.advertiser, self.genre = Zipf(ADVERTISERS, 0.9), Zipf(len(GENRES), 0.5)
        sizes = (users, items, SITES, len(DEVICES), CITIES, CATEGORIES, ADVERTISERS, 24)
        self.levels = dict(zip(CATEGORICAL, sizes, strict=True))
        rng = np.random.default_rng([seed, 0])
        self._bias = {name: self._effects(rng, name, 1) for name in CATEGORICAL}
        self._pairs = {pair: tuple(self._effects(rng, c, k) for c in pair) for pair, (k, _) in _PAIRS.items()}
        self._slopes = {pair: self._effects(rng, pair[1], 1) for pair in _SLOPES}
        self._calibrate(self.draw(np.random.default_rng([seed, 1]), 1 << 17))

    def _effects(self, rng: np.random.Generator, name: str, width: int) -> NDArray[np.float64]:
        """Draw the effects of a column's ranks, (levels or head + 1, width); the last row, of the tail, is
        zero."""
        if name == "genres":
            return rng.normal(size=(len(GENRES), width))
        head = min(self.levels[name] + 1, _HEAD)  # + 1: null
        weight = (1 + np.arange(head) / 50) ** -0.75
        return np.vstack([rng.normal(size=(head, width)) * weight[:, None], np.zeros((1, width))])

    # ---- rows ----------------------------------------------------------------------------------------------
    def draw(self, rng: np.random.Generator, rows: int) -> Block:
        """Draw rows; users and items have fixed attributes."""
        user, item, site = (column(rng.random(rows)) for column in (self.user, self.item, self.site))
        evening = 1.2 + np.sin((np.arange(24) - 14) * np.pi / 12)
        ids = {
            "user": user,
            "item": item,
            "site": site,
            "device": rng.choice(len(DEVICES), rows, p=(0.55, 0.1, 0.25, 0.07, 0.03)),
            "city": self.city(unit(user, 11)),
            "category": self.category(unit(item, 12)),
            "advertiser": self.advertiser(unit(item, 13)),
            "hour": rng.choice(24, rows, p=evening / evening.sum()),
        }
        for name, share in (("user", 0.005), ("site", 0.01), ("device", 0.02), ("city", 0.03), ("category", 0.02)):
            ids[name][rng.random(rows) < share] = self.levels[name]
        floats: dict[str, NDArray] = {
            "age": np.where(unit(user, 14) < 0.1, np.nan, np.floor(16 + 70 * unit(user, 15) ** 1.7)),
            "price": np.round(12 * np.exp(0.7 * _logit(unit(item, 16)) + 0.1 * rng.normal(size=rows)), 2),
            "seconds": np.round(3600 * np.exp(0.9 * _logit(rng.random(rows) * 0.999999 + 5e-7)), 1),
            "past_clicks": np.floor(2 * ((1 - rng.random(rows)) ** -0.8 - 1)),
        }
        floats = {
            name: x.astype(np.float32).astype(np.float64) for name, x in floats.items()
        }  # the precision in files
        for name, share in (("price", 0.02), ("seconds", 0.05), ("past_clicks", 0.1)):
            floats[name][rng.random(rows) < share] = np.nan
        genre_counts = np.searchsorted((0.05, 0.35, 0.7, 0.9), unit(item, 17))
        step = np.array((1, 5, 7, 11))[scramble(item, 18) % 4]  # coprime with 24: an item's genres differ
        genres: NDArray = (self.genre(unit(item, 19))[:, None] + step[:, None] * np.arange(4)) % len(GENRES)
        null_genres = rng.random(rows) < 0.02
        genres[(np.arange(4) >= genre_counts[:, None]) | null_genres[:, None]] = -1
        return Block(ids, floats, genres, null_genres)

    # ---- the truth -----------------------------------------------------------------------------------------
    def log_odds(self, block: Block) -> NDArray[np.float64]:
        """Return the true log odds of a click, float64, multiples of `STEP` within +-12."""
        raw = reduce(np.add, self._terms(block).values()) + self._intercept
        return np.clip(np.rint(raw / STEP) * STEP, -12, 12)

    def _terms(self, block: Block) -> dict[object, NDArray[np.float64]]:
        terms: dict[object, NDArray[np.float64]] = {}
        for name, table in self._bias.items():
            terms[name] = self._look_up(table, block, name)[:, 0]
        for (left, right), (a, b) in self._pairs.items():
            terms[left, right] = np.einsum(
                "ij,ij->i", self._look_up(a, block, left), self._look_up(b, block, right)
            )
        for (slope, name), table in self._slopes.items():
            terms[slope, name] = self._look_up(table, block, name)[:, 0] * self._standardized(block, slope)
        return terms

    def _look_up(self, table: NDArray[np.float64], block: Block, name: str) -> NDArray[np.float64]:
        if name != "genres":
            return table.take(np.minimum(block.ids[name], len(table) - 1), axis=0)
        vectors = np.vstack([table, np.zeros((1, table.shape[1]))])  # index -1: no genre
        total = reduce(np.add, (vectors.take(block.genres[:, j], axis=0) for j in range(4)))
        return total / np.maximum((block.genres >= 0).sum(1), 1)[:, None]

    def _standardized(self, block: Block, name: str) -> NDArray[np.float64]:
        """Return a continuous column as the model uses it: roughly standardized, with zero for null."""
        x = block.floats[name]
        if name == "age":
            return np.nan_to_num((x - 42) / 19)
        centre, spread = self._standard.get(name, (0.0, 1.0))
        return (np.log1p(np.nan_to_num(x)) - centre) / spread

    def _calibrate(self, sample: Block) -> None:
        """Scale every term to its standard deviation on a sample, and find the intercept for the click rate."""
        self._intercept = 0.0
        self._standard: dict[str, tuple[float, float]] = {}
        for name in ("price", "seconds", "past_clicks"):
            x = self._standardized(sample, name)
            self._standard[name] = float(x.mean()), float(x.std())
        terms = self._terms(sample)
        for name, spread in _BIASES.items():
            self._bias[name] *= spread / terms[name].std()
        for pair, (_, spread) in _PAIRS.items():
            self._pairs[pair][0][:] *= spread / terms[pair].std()
        for pair, spread in _SLOPES.items():
            self._slopes[pair] *= spread / terms[pair].std()
        raw = reduce(np.add, self._terms(sample).values())
        low, high = -20.0, 20.0
        for _ in range(40):
            self._intercept = (low + high) / 2
            too_many = np.mean(1 / (1 + np.exp(-raw - self._intercept))) > _CLICK_RATE
            low, high = (low, self._intercept) if too_many else (self._intercept, high)


def to_table(block: Block, clicked: NDArray[np.bool_], levels: dict[str, int]) -> pa.Table:
    """Convert a block to a table of codes, integers, nulls and lists."""
    columns: dict[str, pa.Array | pa.DictionaryArray] = {}
    for name, salt, prefix in (("user", 21, "u_"), ("item", 22, ""), ("site", 23, "")):
        columns[name] = _nullable(codes(block.ids[name], salt, prefix), block.ids[name] == levels[name])
    device = pa.array(block.ids["device"].astype(np.int32), mask=block.ids["device"] == levels["device"])
    columns["device"] = pa.DictionaryArray.from_arrays(device, pa.array(DEVICES))
    for name in ("city", "category", "advertiser", "hour"):
        columns[name] = pa.array(block.ids[name], mask=block.ids[name] == levels[name])
    present = block.genres >= 0
    offsets = np.concatenate([[0], np.cumsum(present.sum(1))]).astype(np.int32)
    names = pa.DictionaryArray.from_arrays(pa.array(block.genres[present].astype(np.int32)), pa.array(GENRES))
    columns["genres"] = pa.ListArray.from_arrays(
        pa.array(offsets), names, mask=pa.array(block.null_genres) if block.null_genres.any() else None
    )
    for name, x in block.floats.items():
        is_integer = name in ("age", "past_clicks")
        values = np.nan_to_num(x).astype(np.int64) if is_integer else x.astype(np.float32)
        columns[name] = pa.array(values, mask=np.isnan(x))
    columns["clicked"] = pa.array(clicked.astype(np.int64))
    return pa.table(columns)


def _nullable(names: pa.DictionaryArray, null: NDArray[np.bool_]) -> pa.DictionaryArray:
    indices = pa.array(names.indices.to_numpy(), mask=null)
    return pa.DictionaryArray.from_arrays(indices, names.dictionary)


def _logit(u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map uniform to logistic numbers, whose exponentials have a power-law tail."""
    return np.log(u / (1 - u))
