"""JoinGroupby: statistics of the rows that share a key, for each of these rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from kerasrec.etl.operator.keyed import Keyed, tags_of
from kerasrec.etl.operator.operator import Columns, as_node
from kerasrec.etl.sources.types import float_of, key_column
from kerasrec.schema import Column, SchemaError

STATS = ("count", "sum", "mean", "min", "max", "std", "var")


@dataclass(repr=False)
class JoinGroupby(Keyed):
    """For each row, statistics of all the rows that were fitted and share its key.

    A key is a column, or several jointly. `user_count` is how many rows hold the row's user, `user_price_mean`
    the mean of their prices. Statistics are of the values that are not null, in float64; `std` and `var` are a
    sample's (n - 1). A null is a key like any other. Of a key that was not seen, `count` and `sum` are 0 and the
    others null; `std` and `var` of fewer than two values are null as well. New data bring new keys: put
    `FillMissing` behind.

    NVTabular's `JoinGroupby`, with its names. There, a mean divides by the rows whose key is not null, whatever
    they hold, and a key that was not seen makes every statistic null.

    Args:
        cont_cols: the columns that statistics are of: names of columns before `>>`, else of raw ones, or a node.
            They are read when fitting only: rows to be served need not hold them.
        stats: some of count, sum, mean, min, max, std, var; count is of rows and needs no `cont_cols`.
        keys: names, or lists of names for joint keys; by default each column before `>>` but for `cont_cols` is
            one, and so are lists within the list there.
        name_sep: what joins the parts of the outputs' names.

    Raises:
        ValueError: an unknown statistic, or no `cont_cols` for one that needs them; a key that is not there.
        SchemaError (when fitted): a key that is a list or a float, a `cont_cols` of lists or strings.

    Example:

    >>> spent = ["user", ["user", "shop"]] >> JoinGroupby(["price"], stats=["count", "mean"]) >> FillMissing()
    >>> spent.outputs
    ['user_count', 'user_price_mean', 'user_shop_count', 'user_shop_price_mean']
    """

    cont_cols: Columns = ()
    stats: Sequence[str] = ("count",)

    def __post_init__(self) -> None:
        self.stats = [self.stats] if isinstance(self.stats, str) else list(dict.fromkeys(self.stats))
        unknown = [stat for stat in self.stats if stat not in STATS]
        if unknown or not self.stats:
            raise ValueError(f"JoinGroupby: stats must be some of {', '.join(STATS)}, not {unknown or self.stats}")

    def learned_from(self) -> Columns:
        return self.cont_cols

    def with_names(self, learned: list[str]) -> None:
        self.cont_cols = learned
        needing = [stat for stat in self.stats if stat != "count"]
        if needing and not learned:
            raise ValueError(f"JoinGroupby: {', '.join(needing)} of which columns? Give cont_cols")

    @property
    def conts(self) -> list[str]:
        return as_node(self.cont_cols).outputs if self.cont_cols else []

    def made(self) -> list[tuple[str, list[str]]]:
        found = []
        for key in self.groups:
            if "count" in self.stats:
                found.append((self.name_sep.join([*key, "count"]), key))
            stats = [stat for stat in self.stats if stat != "count"]
            found += [(self.name_sep.join([*key, cont, stat]), key) for cont in self.conts for stat in stats]
        return found

    def output(self, columns: Sequence[Column]) -> list[Column]:
        for column in columns:
            if column.name in self.conts and column.is_list:
                raise SchemaError(f"column {column.name!r} holds lists; JoinGroupby takes statistics of numbers")
            if column.name in self.conts:
                float_of(column, "JoinGroupby")
        made = []
        for name, key in self.made_of(columns):
            stat = self._stat(name)
            nullable = stat not in ("count", "sum")
            made.append(Column(name, "int64" if stat == "count" else "float64", tags_of(key), nullable=nullable))
        return made

    def _stat(self, output: str) -> str:
        return next(stat for stat in STATS if output.endswith(f"{self.name_sep}{stat}"))

    def defaults(self) -> dict[str, Any]:
        return {output: 0 if self._stat(output) in ("count", "sum") else None for output, _ in self.made()}

    # ---- learning --------------------------------------------------------------------------------------------
    @property
    def learned_names(self) -> list[str]:
        return self.conts

    def of_key(self, frame: pl.LazyFrame, key: Sequence[str]) -> pl.LazyFrame:
        found = [pl.len().cast(pl.Int64).alias("count")]
        for cont in self.conts:
            x = pl.col(cont).cast(pl.Float64)
            squares = x.var(ddof=0) * x.count()  # of the deviations from this part's mean
            parts = {
                "n": x.count().cast(pl.Int64),
                "sum": x.sum(),
                "squares": squares,
                "min": x.min(),
                "max": x.max(),
            }
            found += [parts[part].alias(f"{part}:{cont}") for part in self._parts()]
        return frame.group_by(pl.col(name).alias(key_column(name)) for name in key).agg(found)

    def merge(self, parts: Sequence[Sequence[pl.DataFrame]]) -> list[pl.DataFrame]:
        summed = [pl.col("count").sum()]
        for cont in self.conts:
            n, total, squares = (pl.col(f"{part}:{cont}") for part in ("n", "sum", "squares"))
            off = total / n - total.sum() / n.sum()  # Chan, Golub and LeVeque, 1979
            apart = pl.when(n > 0).then(n * off**2).sum()
            low, high = pl.col(f"min:{cont}").min(), pl.col(f"max:{cont}").max()
            merged = {"n": n.sum(), "sum": total.sum(), "squares": squares.sum() + apart, "min": low, "max": high}
            summed += [merged[part] for part in self._parts()]
        return [
            pl.concat(frames).group_by(key_column(name) for name in key).agg(summed)
            for key, frames in zip(self.groups, zip(*parts, strict=True), strict=True)
        ]

    def _parts(self) -> list[str]:
        """What is gathered of each of `cont_cols`."""
        stats = set(self.stats)
        wanted = {
            "n": stats & {"mean", "std", "var"},
            "sum": stats & {"sum", "mean", "std", "var"},
            "squares": stats & {"std", "var"},
            "min": stats & {"min"},
            "max": stats & {"max"},
        }
        return [part for part, why in wanted.items() if why]

    def learned(self, key: Sequence[str], frame: pl.DataFrame) -> pl.DataFrame:
        kept = {key_column(name): pl.col(key_column(name)) for name in key}
        if "count" in self.stats:
            kept[self.name_sep.join([*key, "count"])] = pl.col("count")
        for cont in self.conts:
            n, total = pl.col(f"n:{cont}"), pl.col(f"sum:{cont}")
            var = pl.when(n > 1).then(pl.col(f"squares:{cont}") / (n - 1))
            stats = {
                "sum": total,
                "mean": pl.when(n > 0).then(total / n),
                "min": pl.col(f"min:{cont}"),
                "max": pl.col(f"max:{cont}"),
                "std": var.sqrt(),
                "var": var,
            }
            for stat in self.stats:
                if stat != "count":
                    kept[self.name_sep.join([*key, cont, stat])] = stats[stat]
        return frame.select(**kept)
