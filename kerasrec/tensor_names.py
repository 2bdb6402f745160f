"""The wire contract: names, dtypes and shapes of the tensors that stand for a column.

A tensor has no nulls and no rows of different lengths, so a nullable column or a list column takes several.
Nothing else spells these suffixes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kerasrec.schema import Column

VALUES = "__values"
OFFSETS = "__offsets"
VALID = "__valid"


@dataclass(frozen=True)
class TensorNames:
    """The names of a column's tensors.

    Attributes:
        values: one value per row; of a list column, the elements of all rows.
        offsets: of a list column, where each row's elements start, and the end.
        valid: of a nullable column, false for a null.
    """

    values: str
    offsets: str | None = None
    valid: str | None = None

    @property
    def all(self) -> list[str]:
        return [name for name in (self.values, self.offsets, self.valid) if name is not None]


def tensor_names(columns: Iterable[Column]) -> dict[str, TensorNames]:
    """Name the tensors of each column.

    Those of X are `X`, or of a list `X__values` and `X__offsets`; and `X__valid` if it is nullable. Where
    another column has such a name itself, it keeps it, and a number is appended to the tensor's name.

    >>> names = tensor_names([Column("a", "int64", ("list",)), Column("a__values", "int64")])
    >>> names["a"].all, names["a__values"].all
    (['a__values_2', 'a__offsets'], ['a__values'])
    """
    columns = list(columns)
    taken = {column.name for column in columns if not column.is_list}

    def unique(name: str) -> str:
        candidate, number = name, 2
        while candidate in taken:
            candidate, number = f"{name}_{number}", number + 1
        taken.add(candidate)
        return candidate

    return {
        column.name: TensorNames(
            unique(column.name + VALUES) if column.is_list else column.name,
            unique(column.name + OFFSETS) if column.is_list else None,
            unique(column.name + VALID) if column.nullable else None,
        )
        for column in columns
    }


def tensor_type(dtype: str) -> str:
    """Return the dtype of the tensor for a column of a schema's `dtype`; dates are int64 microseconds."""
    return "int64" if dtype == "datetime" else dtype


def signature(columns: Iterable[Column]) -> dict[str, tuple[str, tuple[int | None, ...]]]:
    """Return the dtype and the shape of each tensor of some columns, by its name."""
    columns = list(columns)
    names = tensor_names(columns)
    tensors: dict[str, tuple[str, tuple[int | None, ...]]] = {}
    for column in columns:
        dtypes = (tensor_type(column.dtype), "int64", "bool")
        parts = (names[column.name].values, names[column.name].offsets, names[column.name].valid)
        tensors |= {name: (dtype, (None,)) for name, dtype in zip(parts, dtypes, strict=True) if name is not None}
    return tensors
