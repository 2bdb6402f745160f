"""TargetEncoding: the mean of a target over rows that share a key, without the row itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl

from kerasrec.etl.lookup.hashing import splitmix64
from kerasrec.etl.lookup.key_index import KeyIndex, ValueTable
from kerasrec.etl.operator.keyed import Keyed, common_tags
from kerasrec.etl.operator.operator import Columns, Node, as_node
from kerasrec.etl.sources.types import ROW, float_of, is_integer, key_column
from kerasrec.schema import Column, SchemaError


@dataclass(repr=False)
class TargetEncoding(Keyed):
    """Output, for each row, the smoothed mean of a target over the fitted rows with the same key:

        (sum + p_smooth * mean) / (count + p_smooth)

    with the `sum` and `count` of the key's target values, and the `mean` over all rows. A key is one column or
    several together; a null is a key like any other; an unseen key gets `mean`. Null targets do not count. Outputs
    are float64.

    **Out-of-fold values.** A row's encoding must not contain its own target, or the model trains on the answer. So
    the fitted rows are split into `kfold` folds, and the encoding of a fitted row uses only the other folds.
    `fit_transform` returns these values, and so does `transform` of the fitted rows, which a `Workflow` recognises
    (see `Workflow.transform`). All other rows, and served ones, get the encoding of all fitted rows. Operators
    after this one learn from the out-of-fold values.

    NVTabular's `TargetEncoding` has the same arguments and formula (Micci-Barreca's empirical Bayes estimate,
    2001, with weight count / (count + p_smooth) of a key). There, `transform` leaves out a fold for any rows,
    including a validation set, and folds are drawn anew in each partition.

    Args:
        target: the target columns: names of columns before `>>`, otherwise of raw ones, or a node. They are read
            only in fit; transformed and served rows need not have them.
        kfold: the number of folds; 1 uses each row's own target as well.
        p_smooth: the number of rows with the overall mean that each key's mean is mixed with.
        fold_seed: the seed of the hash of the row's position that assigns its fold.
        fold: an integer column, before `>>` or raw, that assigns folds instead: the value modulo `kfold` (null
            counts as 0). Rows with equal values, such as those of one user, share a fold; and it makes
            `transform(..., fitted=True)` possible for rows whose positions have changed.
        target_mean: the overall mean, if known better than from the data; or a dict by target.
        keys: names, or lists of names for keys of several columns; by default each column before `>>` except
            `target` is a key, and so is each inner list there.
        name_sep: joins the names of a key in `TE_user_item_clicked`.

    Raises:
        ValueError: no target, no key, `kfold` below 1 or a negative `p_smooth`.
        SchemaError: (in fit) a key of lists or floats; a target of lists, strings or dates, or without a value.

    Example:

    >>> encoded = ["user", ["user", "hour"]] >> TargetEncoding("clicked", kfold=5, p_smooth=20)
    >>> encoded.outputs
    ['TE_user_clicked', 'TE_user_hour_clicked']
    """

    needs_row_numbers: ClassVar[bool] = True
    target: Columns
    kfold: int = 3
    p_smooth: float = 20
    fold_seed: int = 42
    fold: str | None = None
    target_mean: float | Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.target, Node) and not self.target:
            raise ValueError("TargetEncoding: target must have at least one column")
        if self.kfold < 1 or int(self.kfold) != self.kfold:
            raise ValueError(f"TargetEncoding: kfold must be an integer >= 1; got {self.kfold!r}")
        if not (self.p_smooth >= 0 and math.isfinite(self.p_smooth)):
            raise ValueError(f"TargetEncoding: p_smooth must be finite and >= 0; got {self.p_smooth!r}")

    # ---- in the graph ----------------------------------------------------------------------------------------
    def value_columns(self) -> Columns:
        targets = as_node(self.target)
        if self.fold is None:
            return targets
        return [targets, self.fold] if targets.parents else [*targets.outputs, self.fold]

    def set_value_columns(self, names: list[str]) -> None:
        self.target = names if self.fold is None else [name for name in names if name != self.fold]

    @property
    def targets(self) -> list[str]:
        return as_node(self.target).outputs

    def output_keys(self) -> list[tuple[str, list[str]]]:
        return [(self._name(key, target), key) for key in self.groups for target in self.targets]

    def _name(self, key: Sequence[str], target: str) -> str:
        return f"TE_{self.name_sep.join(key)}_{target}"

    # ---- the two implementations -----------------------------------------------------------------------------
    def output(self, columns: Sequence[Column]) -> list[Column]:
        for column in columns:
            if column.name in self.targets and column.is_list:
                raise SchemaError(f"column {column.name!r} has lists, which cannot be a target")
            if column.name in self.targets:
                float_of(column, "TargetEncoding")
            if column.name == self.fold and (column.is_list or not is_integer(column.dtype)):
                raise SchemaError(
                    f"column {column.name!r} assigns folds, so it must be of integers; it is {column.dtype}"
                )
        return [Column(name, "float64", common_tags(key)) for name, key in self.available_outputs(columns).items()]

    def defaults(self) -> dict[str, Any]:
        means = {target: self.state[target]["mean"] for target in self.targets}
        return {self._name(key, target): means[target] for key in self.groups for target in self.targets}

    def fitted_expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        if self.kfold == 1:
            return self.expressions(columns, values)
        by_name = {column.name: value for column, value in zip(columns, values, strict=True)}
        fold = self._fold(pl.col(ROW) if self.fold is None else by_name[self.fold])
        keys, defaults = dict(self.output_keys()), self.defaults()
        outputs = []
        for output, at in self.positions(columns, values).items():
            frame = self.frames[self.frame_name(keys[output])]
            out_of_fold = [f"{output} without {number}" for number in range(self.kfold)]
            outputs.append(ValueTable(frame, out_of_fold, defaults[output]).expression(at * self.kfold + fold))
        return outputs

    def _fold(self, x: pl.Expr) -> pl.Expr:
        """Return a row's fold, by its number or its value in the column `fold`."""
        if self.fold is not None:
            return x.mod(self.kfold).cast(pl.Int32).fill_null(0)
        seed = pl.lit(self.fold_seed % 2**64, pl.UInt64)
        return splitmix64(splitmix64(seed) + x.cast(pl.UInt64)).mod(self.kfold).cast(pl.Int32)

    # ---- learning --------------------------------------------------------------------------------------------
    @property
    def value_names(self) -> list[str]:
        return [*self.targets, *([] if self.fold is None else [self.fold])]

    def key_query(self, frame: pl.LazyFrame, key: Sequence[str]) -> pl.LazyFrame:
        fold = self._fold(pl.col(self.fold or ROW)).alias("fold")
        aggregations = []
        for target in self.targets:
            y = pl.col(target).cast(pl.Float64)
            aggregations += [y.count().cast(pl.Int64).alias(f"n:{target}"), y.sum().alias(f"sum:{target}")]
        return frame.group_by(fold, *(pl.col(name).alias(key_column(name)) for name in key)).agg(aggregations)

    def merge(self, parts: Sequence[Sequence[pl.DataFrame]]) -> list[pl.DataFrame]:
        concatenated = [pl.concat(frames) for frames in zip(*parts, strict=True)]
        sums = [f"{part}:{target}" for target in self.targets for part in ("n", "sum")]
        return [
            frame.group_by("fold", *(key_column(name) for name in key)).agg(pl.col(sums).sum())
            for key, frame in zip(self.groups, concatenated, strict=True)
        ]

    def finalize(self, statistics: Sequence[pl.DataFrame], columns: Sequence[Column]) -> None:
        means = self.target_mean
        for target in self.targets:
            mean = means.get(target) if isinstance(means, Mapping) else means
            if mean is None:
                n, total = (float(statistics[0][f"{part}:{target}"].sum()) for part in ("n", "sum"))
                if not n:
                    raise SchemaError(f"column {target!r} has no value to encode by")
                mean = total / n
            if not math.isfinite(mean):
                raise SchemaError(f"column {target!r} has infinities, so it has no mean; remove them")
            self.state[target] = {"mean": mean}
        super().finalize(statistics, columns)

    def key_values(self, key: Sequence[str], frame: pl.DataFrame) -> pl.DataFrame:
        keys = frame.select(key_column(name) for name in key)
        encodings = keys.unique()
        at = KeyIndex(encodings).find(keys.get_columns()) * self.kfold + frame["fold"].to_numpy()

        def by_fold(part: str, target: str) -> np.ndarray[Any, Any]:
            weights = frame[f"{part}:{target}"].to_numpy().astype(np.float64)
            sums = np.bincount(at, weights, len(encodings) * self.kfold)
            return sums.reshape(len(encodings), self.kfold)

        for target in self.targets:
            n, total, name = by_fold("n", target), by_fold("sum", target), self._name(key, target)
            columns = {name: self._smoothed(total.sum(1), n.sum(1), target)}
            if self.kfold > 1:
                others = n.sum(1, keepdims=True) - n
                smoothed = self._smoothed(total.sum(1, keepdims=True) - total, others, target)
                columns |= {f"{name} without {fold}": smoothed[:, fold] for fold in range(self.kfold)}
            encodings = encodings.with_columns(**{column: pl.Series(values) for column, values in columns.items()})
        return encodings

    def _smoothed(self, total: Any, n: Any, target: str) -> Any:
        p, mean = self.p_smooth, self.state[target]["mean"]
        known = n + p > 0
        return np.where(known, (np.where(n > 0, total, 0) + p * mean) / np.where(known, n + p, 1), mean)
