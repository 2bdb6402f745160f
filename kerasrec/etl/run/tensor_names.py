"""The names of the tensors that stand for columns, which have no null and no rows of different lengths."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kerasrec.etl.sources.types import tensor_type
from kerasrec.schema import Column


@dataclass(frozen=True)
class TensorNames:
    """What the tensors of a column are called.

    Attributes:
        values: one value per row; of a list column, the elements of all rows.
        offsets: of a list column, where each row's elements start, and the end.
        valid: of a nullable column, where a value is not null.
    """

    values: str
    offsets: str | None = None
    valid: str | None = None

    @property
    def all(self) -> list[str]:
        return [name for name in (self.values, self.offsets, self.valid) if name is not None]


def tensor_names(columns: Iterable[Column]) -> dict[str, TensorNames]:
    """The tensors of each column X: `X`, or of a list `X__values` and `X__offsets`; and `X__valid`. Where a column
    has such a name itself, it keeps that, and the other's tensor has a number at the end.

    >>> names = tensor_names([Column("a", "int64", ("list",)), Column("a__values", "int64")])
    >>> names["a"].all, names["a__values"].all
    (['a__values_2', 'a__offsets'], ['a__values'])
    """
    columns = list(columns)
    taken = {column.name for column in columns if not column.is_list}

    def free(name: str) -> str:
        found, number = name, 2
        while found in taken:
            found, number = f"{name}_{number}", number + 1
        taken.add(found)
        return found

    return {
        column.name: TensorNames(
            free(f"{column.name}__values") if column.is_list else column.name,
            free(f"{column.name}__offsets") if column.is_list else None,
            free(f"{column.name}__valid") if column.nullable else None,
        )
        for column in columns
    }


def signature(columns: Iterable[Column]) -> dict[str, tuple[str, tuple[int | None, ...]]]:
    """The dtype and the shape of each tensor that stands for some columns."""
    columns = list(columns)
    names = tensor_names(columns)
    found: dict[str, tuple[str, tuple[int | None, ...]]] = {}
    for column in columns:
        kinds = (tensor_type(column.dtype), "int64", "bool")
        parts = (names[column.name].values, names[column.name].offsets, names[column.name].valid)
        found |= {name: (kind, (None,)) for name, kind in zip(parts, kinds, strict=True) if name is not None}
    return found
