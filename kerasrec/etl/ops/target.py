"""Target: marks columns as what the model predicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl

from kerasrec.etl.operator.elementwise import Elementwise
from kerasrec.etl.sources.types import float_of, to_polars
from kerasrec.schema import Column, SchemaError, Tag

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn


@dataclass(repr=False)
class Target(Elementwise):
    """Mark columns as targets: BINARY if all fitted values are 0 or 1, else REGRESSION.

    With `threshold` or `positive` the output is float32, otherwise float64, or the dtype of a column of floats.
    NVTabular sets the tags by hand, `AddTags(["target", "binary_classification"])`, and checks nothing.

    Args:
        threshold: if given, values >= threshold become 1 and values below become 0.
        binary: True refuses values other than 0 and 1; False always tags REGRESSION.
        positive: if given, this value, such as "yes", becomes 1 and all others become 0.
        weight: if given, the column of the workflow's output with the weights of these targets in the loss, by
            which `kr.Loader` weighs them. It may be another target: `weight="clicked"` learns from clicked rows.

    Raises:
        ValueError: both `threshold` and `positive`.
        SchemaError: (in fit) a column of dates or lists; of strings without `positive`, or with one that is not a
            string; no value equal to `positive`; with `binary=True` a value other than 0 and 1.

    Example:

    >>> label = ["rating"] >> Target(threshold=4) >> Rename({"rating": "liked"})
    >>> label = ["churned"] >> Target(positive="yes")
    >>> bought = ["bought"] >> FillMissing(0) >> Target(weight="clicked")
    """

    stateful: ClassVar[bool] = True
    threshold: float | None = None
    binary: bool | None = None
    positive: str | float | None = None
    weight: str | None = None

    def __post_init__(self) -> None:
        if self.threshold is not None and self.positive is not None:
            raise ValueError(
                f"Target takes threshold or positive, not both; got {self.threshold!r} and {self.positive!r}"
            )

    def column(self, column: Column) -> Column:
        if column.is_list:
            raise SchemaError(f"column {column.name!r} has lists, which cannot be a target")
        kind = Tag.BINARY if self.state.get(column.name, {}).get("binary") else Tag.REGRESSION
        if self.positive is not None:
            self._positive(column)
        dtype = "float32" if self._compares else float_of(column, "Target")
        return column.evolve(dtype=dtype, add_tags=[Tag.TARGET, kind], weight=self.weight)

    @property
    def _compares(self) -> bool:
        return self.threshold is not None or self.positive is not None

    def _positive(self, column: Column) -> str | np.generic:
        """Return `positive` in the dtype of a column."""
        name, value = column.name, self.positive
        is_text = isinstance(value, str)
        if column.dtype == "datetime" or (column.dtype == "string") != is_text:
            raise SchemaError(
                f"column {name!r} is {column.dtype}; Target(positive={value!r}) compares "
                f"{'strings' if is_text else 'numbers'}"
            )
        if isinstance(value, str):
            return value
        with np.errstate(all="ignore"):
            own: Any = np.asarray(value).astype(column.dtype)[()]
        if own != value and not column.dtype.startswith("float"):
            raise SchemaError(
                f"column {name!r} is {column.dtype}, which has no value {value!r}: Target(positive=)"
            )
        return own

    def expression(self, x: pl.Expr, column: Column) -> pl.Expr:
        if self.positive is not None:
            return (x == pl.lit(self._positive(column), to_polars(column.dtype))).cast(pl.Float32)
        dtype = to_polars(float_of(column, "Target"))
        if self.threshold is None:
            return x.cast(dtype)
        return (x.cast(dtype) >= pl.lit(self.threshold, dtype)).cast(pl.Float32)

    def tensor(self, column: Column, resources: list[Any]) -> Callable[[TensorColumn], TensorColumn]:
        import tensorflow as tf

        if self.positive is not None:
            positive = tf.constant(self._positive(column), column.dtype)
            return lambda x: x.evolve(values=tf.cast(tf.equal(x.values, positive), tf.float32))
        dtype = float_of(column, "Target")

        def mark(x: TensorColumn) -> TensorColumn:
            values = tf.cast(x.values, dtype)
            if self.threshold is not None:
                values = tf.cast(values >= tf.constant(self.threshold, dtype), tf.float32)
            return x.evolve(values=values)

        return mark

    # ---- learning --------------------------------------------------------------------------------------------
    def partial(self, frame: pl.LazyFrame, columns: Sequence[Column]) -> list[pl.LazyFrame]:
        values = [self.expression(pl.col(c.name), c).cast(pl.Float64) for c in columns]
        if self.positive is not None:
            return [frame.select(x.max().alias(c.name)) for x, c in zip(values, columns, strict=True)]
        # The least value other than 0 and 1; null where there is none.
        return [
            frame.select(
                x.filter((x != 0) & (x != 1)).min().alias(c.name) for x, c in zip(values, columns, strict=True)
            )
        ]

    def merge(self, parts: Sequence[Sequence[pl.DataFrame]]) -> list[pl.DataFrame]:
        best = pl.all().min() if self.positive is None else pl.all().max()
        return [pl.concat(frames).select(best) for frames in zip(*parts, strict=True)]

    def finalize(self, statistics: Sequence[pl.DataFrame], columns: Sequence[Column]) -> None:
        if self.positive is not None:
            for name, highest in statistics[0].row(0, named=True).items():
                if not highest:
                    raise SchemaError(f"column {name!r} has no value {self.positive!r}; see Target(positive=...)")
                self.state[name] = {"binary": self.binary is not False}
            return
        for name, other in statistics[0].row(0, named=True).items():
            if self.binary and other is not None:
                raise SchemaError(f"column {name!r} has a value {other!r}; Target(binary=True) takes only 0 and 1")
            self.state[name] = {"binary": other is None and self.binary is not False}
