"""TargetEncoding: the mean of a target over the rows that share a key, and not that of the row itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl

from kerasrec.etl.lookup.hashing import mixed
from kerasrec.etl.lookup.key_index import Gathered, Keys
from kerasrec.etl.operator.keyed import Keyed, tags_of
from kerasrec.etl.operator.operator import Columns, as_node
from kerasrec.etl.sources.types import ROW, float_of, is_integer, key_column
from kerasrec.schema import Column, SchemaError


@dataclass(repr=False)
class TargetEncoding(Keyed):
    """For each row, the smoothed mean of a target over the fitted rows that share its key:

        (sum + p_smooth * mean) / (count + p_smooth)

    with the key's `sum` and `count` of target values, and the `mean` over all rows. A key is a column or several
    jointly; a null is a key like any other; a key that was not seen gets `mean`. Null targets are not counted.

    **Without the row's own target.** A row's encoding must not contain its own target, or a model trains on the
    answer. The fitted rows are therefore dealt into `kfold` folds, and among them a row's encoding counts the
    other folds only. `fit_transform` gives these values, and so does `transform` of what was fitted, which a
    `Workflow` recognises (see `Workflow.transform`). Any other rows, and those served, get the encoding of all
    fitted rows. Operators behind this one learn from what training sees: the values without a row's own fold.

    NVTabular's `TargetEncoding`, with its names and formula (Micci-Barreca's empirical Bayes estimate, 2001, whose
    weight of a key is count / (count + p_smooth)). There, `transform` leaves a fold out for any rows, those of a
    validation set as well, and folds are drawn anew in each partition.

    Args:
        target: the columns to encode by: names of columns before `>>`, else of raw ones, or a node. They are read
            when fitting only: rows to be transformed or served need not hold them.
        kfold: how many folds; 1 for none, which lets each row see its own target.
        p_smooth: how many rows of the overall mean each key's mean is mixed with.
        fold_seed: folds are drawn by a hash of this and the row's position in what is fitted.
        fold: an integer column, before `>>` or raw, that deals the folds instead: a row's is its value modulo
            `kfold` (null counts as 0). Rows of one value share a fold, such as those of one user; and where rows
            cannot be told by their position any more, it is what makes `transform(..., fitted=True)` right.
        target_mean: the overall mean, where it is known better than from the data; or one by target's name.
        keys: names, or lists of names for joint keys; by default each column before `>>` but for `target` is one,
            and so are lists within the list there.
        name_sep: what joins a key's names in `TE_user_item_clicked`.

    Raises:
        ValueError: no target, no key, fewer folds than 1 or a negative p_smooth.
        SchemaError (when fitted): a key of lists or floats; a target of lists or strings, or without a value.

    Example:

    >>> encoded = ["user", ["user", "hour"]] >> TargetEncoding("clicked", kfold=5, p_smooth=20)
    >>> encoded.outputs
    ['TE_user_clicked', 'TE_user_hour_clicked']
    """

    numbered: ClassVar[bool] = True
    target: Columns
    kfold: int = 3
    p_smooth: float = 20
    fold_seed: int = 42
    fold: str | None = None
    target_mean: float | Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if self.kfold < 1 or int(self.kfold) != self.kfold:
            raise ValueError(f"TargetEncoding: kfold must be a number of folds, 1 or more, not {self.kfold!r}")
        if not (self.p_smooth >= 0 and math.isfinite(self.p_smooth)):
            raise ValueError(f"TargetEncoding: p_smooth must be at least 0, not {self.p_smooth!r}")

    # ---- in the graph ----------------------------------------------------------------------------------------
    def learned_from(self) -> Columns:
        targets = as_node(self.target)
        if self.fold is None:
            return targets
        return [targets, self.fold] if targets.parents else [*targets.outputs, self.fold]

    def with_names(self, learned: list[str]) -> None:
        self.target = learned if self.fold is None else [name for name in learned if name != self.fold]

    @property
    def targets(self) -> list[str]:
        return as_node(self.target).outputs

    def made(self) -> list[tuple[str, list[str]]]:
        return [(self._name(key, target), key) for key in self.groups for target in self.targets]

    def _name(self, key: Sequence[str], target: str) -> str:
        return f"TE_{self.name_sep.join(key)}_{target}"

    # ---- the two faces ---------------------------------------------------------------------------------------
    def output(self, columns: Sequence[Column]) -> list[Column]:
        for column in columns:
            if column.name in self.targets and column.is_list:
                raise SchemaError(f"column {column.name!r} holds lists, which cannot be a target to encode by")
            if column.name in self.targets:
                float_of(column, "TargetEncoding")
            if column.name == self.fold and (column.is_list or not is_integer(column.dtype)):
                raise SchemaError(f"column {column.name!r} deals the folds, so it must hold integers")
        return [Column(name, "float64", tags_of(key)) for name, key in self.made_of(columns)]

    def defaults(self) -> dict[str, Any]:
        means = {target: self.facts[target]["mean"] for target in self.targets}
        return {self._name(key, target): means[target] for key in self.groups for target in self.targets}

    def fitted_expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        if self.kfold == 1:
            return self.expressions(columns, values)
        given = {column.name: value for column, value in zip(columns, values, strict=True)}
        fold = self._fold(pl.col(ROW) if self.fold is None else given[self.fold])
        keys, defaults = dict(self.made()), self.defaults()
        made = []
        for output, at in self.positions(columns, values).items():
            frame = self.frames[self.stored(keys[output])]
            others = [f"{output} without {number}" for number in range(self.kfold)]
            made.append(Gathered(frame, others, defaults[output]).expression(at * self.kfold + fold))
        return made

    def _fold(self, x: pl.Expr) -> pl.Expr:
        """A row's fold, by its number or its value in the column `fold`."""
        if self.fold is not None:
            return x.mod(self.kfold).cast(pl.Int32).fill_null(0)
        seed = pl.lit(self.fold_seed % 2**64, pl.UInt64)
        return mixed(mixed(seed) + x.cast(pl.UInt64)).mod(self.kfold).cast(pl.Int32)

    # ---- learning --------------------------------------------------------------------------------------------
    @property
    def learned_names(self) -> list[str]:
        return [*self.targets, *([] if self.fold is None else [self.fold])]

    def of_key(self, frame: pl.LazyFrame, key: Sequence[str]) -> pl.LazyFrame:
        fold = self._fold(pl.col(self.fold or ROW)).alias("fold")
        found = []
        for target in self.targets:
            y = pl.col(target).cast(pl.Float64)
            found += [y.count().cast(pl.Int64).alias(f"n:{target}"), y.sum().alias(f"sum:{target}")]
        return frame.group_by(fold, *(pl.col(name).alias(key_column(name)) for name in key)).agg(found)

    def merge(self, parts: Sequence[Sequence[pl.DataFrame]]) -> list[pl.DataFrame]:
        together = [pl.concat(frames) for frames in zip(*parts, strict=True)]
        sums = [f"{part}:{target}" for target in self.targets for part in ("n", "sum")]
        return [
            frame.group_by("fold", *(key_column(name) for name in key)).agg(pl.col(sums).sum())
            for key, frame in zip(self.groups, together, strict=True)
        ]

    def finalize(self, statistics: Sequence[pl.DataFrame], columns: Sequence[Column]) -> None:
        given = self.target_mean
        for target in self.targets:
            mean = given.get(target) if isinstance(given, Mapping) else given
            if mean is None:
                n, total = (float(statistics[0][f"{part}:{target}"].sum()) for part in ("n", "sum"))
                if not n:
                    raise SchemaError(f"column {target!r} holds no value to encode by")
                mean = total / n
            if not math.isfinite(mean):
                raise SchemaError(f"column {target!r} holds infinities, so it has no mean to encode by")
            self.facts[target] = {"mean": mean}
        super().finalize(statistics, columns)

    def learned(self, key: Sequence[str], frame: pl.DataFrame) -> pl.DataFrame:
        keys = frame.select(key_column(name) for name in key)
        kept = keys.unique()
        at = Keys(kept).find(keys.get_columns()) * self.kfold + frame["fold"].to_numpy()

        def by_fold(part: str, target: str) -> np.ndarray[Any, Any]:
            weights = frame[f"{part}:{target}"].to_numpy().astype(np.float64)
            sums = np.bincount(at, weights, len(kept) * self.kfold)
            return sums.reshape(len(kept), self.kfold)

        for target in self.targets:
            n, total, name = by_fold("n", target), by_fold("sum", target), self._name(key, target)
            made = {name: self._smoothed(total.sum(1), n.sum(1), target)}
            if self.kfold > 1:
                others = n.sum(1, keepdims=True) - n
                smoothed = self._smoothed(total.sum(1, keepdims=True) - total, others, target)
                made |= {f"{name} without {fold}": smoothed[:, fold] for fold in range(self.kfold)}
            kept = kept.with_columns(**{column: pl.Series(values) for column, values in made.items()})
        return kept

    def _smoothed(self, total: Any, n: Any, target: str) -> Any:
        p, mean = self.p_smooth, self.facts[target]["mean"]
        known = n + p > 0
        return np.where(known, (np.where(n > 0, total, 0) + p * mean) / np.where(known, n + p, 1), mean)
