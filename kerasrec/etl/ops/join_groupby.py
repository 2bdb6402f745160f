"""JoinGroupby: adds statistics of the fitted rows that share a key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from kerasrec.etl.operator.keyed import Keyed, common_tags
from kerasrec.etl.operator.operator import Columns, as_node
from kerasrec.etl.sources.types import float_of, key_column
from kerasrec.schema import Column, SchemaError

STATS = ("count", "sum", "mean", "min", "max", "std", "var")


@dataclass(repr=False)
class JoinGroupby(Keyed):
    """Output, for each row, statistics of the fitted rows that have the same key.

    A key is one column or several together. `user_count` (int64) is the number of rows with the row's user,
    `user_price_mean` (float64) the mean of their prices. Statistics are of the values that are not null; `std` and
    `var` are those of a sample (n - 1), and null for fewer than two values. A null is a key like any other. For a
    key that was not seen in fit, `count` and `sum` are 0 and the others null; as new data has new keys, add
    `FillMissing`.

    NVTabular's `JoinGroupby` has the same arguments. There, a mean divides by the number of rows whose key is not
    null, whatever their values, and every statistic of an unseen key is null.

    Args:
        cont_cols: the columns to compute statistics of: names of columns before `>>`, otherwise of raw ones, or a
            node. They are read only in fit; served rows need not have them.
        stats: some of count, sum, mean, min, max, std, var; count is of rows and needs no `cont_cols`.
        keys: names, or lists of names for keys of several columns; by default each column before `>>` except
            `cont_cols` is a key, and so is each inner list there.
        name_sep: joins the parts of the outputs' names.

    Raises:
        ValueError: an unknown statistic, or one without `cont_cols` that needs them; an unknown key.
        SchemaError: (in fit) a key of lists or floats, `cont_cols` of lists, strings or dates.

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
            raise ValueError(f"JoinGroupby: stats must be of {', '.join(STATS)}; got {unknown or self.stats}")

    def value_columns(self) -> Columns:
        return self.cont_cols

    def set_value_columns(self, names: list[str]) -> None:
        self.cont_cols = names
        stats = [stat for stat in self.stats if stat != "count"]
        if stats and not names:
            raise ValueError(f"JoinGroupby: {', '.join(stats)} needs columns to compute it of; pass cont_cols")

    @property
    def conts(self) -> list[str]:
        return as_node(self.cont_cols).outputs if self.cont_cols else []

    def output_keys(self) -> list[tuple[str, list[str]]]:
        outputs = []
        for key in self.groups:
            if "count" in self.stats:
                outputs.append((self.name_sep.join([*key, "count"]), key))
            stats = [stat for stat in self.stats if stat != "count"]
            outputs += [(self.name_sep.join([*key, cont, stat]), key) for cont in self.conts for stat in stats]
        return outputs

    def output(self, columns: Sequence[Column]) -> list[Column]:
        for column in columns:
            if column.name in self.conts and column.is_list:
                raise SchemaError(f"column {column.name!r} has lists; JoinGroupby takes columns of numbers")
            if column.name in self.conts:
                float_of(column, "JoinGroupby")
        outputs = []
        for name, key in self.available_outputs(columns).items():
            stat = self._stat(name)
            nullable = stat not in ("count", "sum")
            outputs.append(
                Column(name, "int64" if stat == "count" else "float64", common_tags(key), nullable=nullable)
            )
        return outputs

    def _stat(self, output: str) -> str:
        return next(stat for stat in STATS if output.endswith(f"{self.name_sep}{stat}"))

    def defaults(self) -> dict[str, Any]:
        return {output: 0 if self._stat(output) in ("count", "sum") else None for output, _ in self.output_keys()}

    # ---- learning --------------------------------------------------------------------------------------------
    @property
    def value_names(self) -> list[str]:
        return self.conts

    def key_query(self, frame: pl.LazyFrame, key: Sequence[str]) -> pl.LazyFrame:
        aggregations = [pl.len().cast(pl.Int64).alias("count")]
        for cont in self.conts:
            x = pl.col(cont).cast(pl.Float64)
            squares = x.var(ddof=0) * x.count()  # the sum of squared deviations from this part's mean
            parts = {
                "n": x.count().cast(pl.Int64),
                "sum": x.sum(),
                "squares": squares,
                "min": x.min(),
                "max": x.max(),
            }
            aggregations += [parts[part].alias(f"{part}:{cont}") for part in self._parts()]
        return frame.group_by(pl.col(name).alias(key_column(name)) for name in key).agg(aggregations)

    def merge(self, parts: Sequence[Sequence[pl.DataFrame]]) -> list[pl.DataFrame]:
        aggregations = [pl.col("count").sum()]
        for cont in self.conts:
            n, total, squares = (pl.col(f"{part}:{cont}") for part in ("n", "sum", "squares"))
            deviation = total / n - total.sum() / n.sum()  # Chan, Golub and LeVeque, 1979
            between = pl.when(n > 0).then(n * deviation**2).sum()
            low, high = pl.col(f"min:{cont}").min(), pl.col(f"max:{cont}").max()
            merged = {
                "n": n.sum(),
                "sum": total.sum(),
                "squares": squares.sum() + between,
                "min": low,
                "max": high,
            }
            aggregations += [merged[part] for part in self._parts()]
        return [
            pl.concat(frames).group_by(key_column(name) for name in key).agg(aggregations)
            for key, frames in zip(self.groups, zip(*parts, strict=True), strict=True)
        ]

    def _parts(self) -> list[str]:
        """Return the names of the sums that the statistics need of each of `cont_cols`."""
        stats = set(self.stats)
        needed_by = {
            "n": stats & {"mean", "std", "var"},
            "sum": stats & {"sum", "mean", "std", "var"},
            "squares": stats & {"std", "var"},
            "min": stats & {"min"},
            "max": stats & {"max"},
        }
        return [part for part, needing in needed_by.items() if needing]

    def key_values(self, key: Sequence[str], frame: pl.DataFrame) -> pl.DataFrame:
        columns = {key_column(name): pl.col(key_column(name)) for name in key}
        if "count" in self.stats:
            columns[self.name_sep.join([*key, "count"])] = pl.col("count")
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
                    columns[self.name_sep.join([*key, cont, stat])] = stats[stat]
        return frame.select(**columns)
