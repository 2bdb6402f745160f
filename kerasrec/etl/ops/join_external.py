"""JoinExternal: adds columns of another frame, looked up by key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import InitVar, dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from kerasrec.etl.lookup.key_index import KeyIndex, ValueTable, check_keys
from kerasrec.etl.operator.keyed import common_tags
from kerasrec.etl.operator.operator import Operator, TrustModule
from kerasrec.etl.operator.row_operators import RowFilter
from kerasrec.etl.operator.settings import as_tuple, check_names
from kerasrec.etl.sources.external_frame import check_types, of_types, read
from kerasrec.etl.sources.scan import scan
from kerasrec.etl.sources.source import Source
from kerasrec.etl.sources.types import KEY, column_type, to_name, to_polars
from kerasrec.schema import Column, SchemaError, Tag

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn


@dataclass(repr=False)
class JoinExternal(RowFilter):
    """Add to each row the columns of the external row with the same key.

    Where there is no such row, the new columns are null (lists are empty); with `how="inner"` the row is dropped,
    as by `Filter`, except for served rows, which get nulls. A null is a key like any other, as in pandas. The
    number and the order of rows stay the same, so an external key must be unique. New columns have the dtypes of
    the external frame.

    The external frame is read when the operator is created. From then on it is part of the operator: it is kept in
    memory, saved with the workflow and included in a served model; later changes of its files have no effect.

    NVTabular's `JoinExternal` has the same arguments. There, an external key in several rows multiplies rows,
    `drop_duplicates_ext` drops rows that are equal in all columns, and the external key columns are output if
    their names differ from `on`.

    Args:
        df_ext: the external frame: anything that `Workflow.fit` takes.
        on: the key: one column before `>>`, or several.
        how: "left" or "inner".
        on_ext: the names of the key's columns in the external frame; by default those of `on`.
        columns_ext: the external columns to add; by default all but the key.
        drop_duplicates_ext: whether to take the first of several external rows with the same key.

    Raises:
        ValueError: another `how`; an unknown key; an external column named like one before `>>`; no column to add.
        SchemaError: an external column that is missing or of an unsupported dtype, a key that is not unique there;
            (in fit) keys of different dtypes, of lists or of floats.

    Example:

    >>> items = pl.DataFrame({"id": ["a", "b"], "price": [1.5, 2.0], "genres": [["x", "y"], ["x"]]})
    >>> joined = ["user", "item"] >> JoinExternal(items, on="item", on_ext="id")
    >>> joined.outputs
    ['user', 'item', 'price', 'genres']
    """

    df_ext: InitVar[Any]
    on: str | Sequence[str]
    how: str = "left"
    on_ext: str | Sequence[str] | None = None
    columns_ext: Sequence[str] | None = None
    drop_duplicates_ext: bool = False

    def __post_init__(self, df_ext: Any) -> None:
        if self.how not in ("left", "inner"):
            raise ValueError(f"JoinExternal: how must be 'left' or 'inner'; got {self.how!r}")
        self.on = as_tuple(self.on)
        self.on_ext = self.on if self.on_ext is None else as_tuple(self.on_ext)
        if not self.on or len(self.on) != len(self.on_ext):
            raise ValueError(
                "JoinExternal: on and on_ext must have equally many columns; "
                f"got {len(self.on)} and {len(self.on_ext)}"
            )
        if self.columns_ext is not None:
            self.columns_ext = as_tuple(self.columns_ext)
            own = {external for name, external in zip(self.on, self.on_ext, strict=True) if name == external}
            self.columns_ext = tuple(name for name in self.columns_ext if name not in own)
        if df_ext is not None or self.columns_ext is None:  # otherwise the frame is loaded with the operator
            self.frames["external"] = self._read(scan(df_ext))

    def _read(self, source: Source) -> pl.DataFrame:
        """Read the external rows: their keys under the names `_keys`, and `columns_ext`."""
        assert self.on_ext is not None
        if self.columns_ext is None:
            self.columns_ext = tuple(name for name in source.types if name not in self.on_ext)
        if not self.columns_ext and self.how == "left":
            raise ValueError(f"JoinExternal: {source.name} has no column to add besides the key")
        names = list(dict.fromkeys([*self.on_ext, *self.columns_ext]))
        source.require(names)
        columns = {name: source.column(name) for name in names}
        check_keys([columns[name] for name in self.on_ext], f"JoinExternal, in {source.name},")
        keys_ext = {key: columns[name] for key, name in zip(self._keys, self.on_ext, strict=True)}
        frame = read(source, keys_ext | {name: columns[name] for name in self.columns_ext})
        if self.drop_duplicates_ext:
            return frame.unique(self._keys, keep="first", maintain_order=True)
        keys = frame.select(self._keys)
        if len(duplicates := keys.filter(keys.is_duplicated())):
            key = dict(zip(self.on_ext, duplicates.row(0), strict=True))
            raise SchemaError(
                f"{source.name}: key {key} is in several rows; make it unique, or pass drop_duplicates_ext=True "
                "to take the first"
            )
        return frame

    @property
    def _keys(self) -> list[str]:
        assert self.on_ext is not None
        assert self.columns_ext is not None
        mark = KEY
        while any(name.startswith(mark) for name in self.columns_ext):
            mark += KEY[-1]
        return [f"{mark}{name}" for name in self.on_ext]

    @property
    def drops_rows(self) -> bool:
        return self.how == "inner"

    def saved_settings(self, columns: Sequence[Column]) -> dict[str, Any]:
        return {"df_ext": None, **self.settings}

    @classmethod
    def from_saved(cls, settings: Mapping[str, Any], trusted: TrustModule) -> Operator:
        return cls(**{**settings, "df_ext": None})

    # ---- names -----------------------------------------------------------------------------------------------
    def output_names(self, names: list[str]) -> list[str]:
        assert self.columns_ext is not None
        check_names("JoinExternal", "on", dict.fromkeys(self.on), names)
        if clashes := [name for name in self.columns_ext if name in names]:
            raise ValueError(
                f"JoinExternal: {clashes} are columns both before >> and of the external frame; omit them with "
                "columns_ext, or rename them"
            )
        return [*names, *self.columns_ext]

    def sources(self, names: list[str]) -> dict[str, list[str]]:
        external = {name: list(self.on) for name in self.columns_ext or ()}
        return {name: [name] for name in names} | external

    # ---- the two implementations -----------------------------------------------------------------------------
    def output(self, columns: Sequence[Column]) -> list[Column]:
        keys = self._key_columns(columns)
        if keys is None:
            return list(columns)
        if "external" not in self.frames:
            raise TypeError("JoinExternal: df_ext is None; pass a frame or files")
        check_keys(keys, "JoinExternal")
        external_names = dict(zip(self._keys, self.on_ext or (), strict=True))
        check_types(keys, self.frames["external"], external_names, "the external frame")
        tags = common_tags(keys)
        return [*columns, *(self._column(name).evolve(add_tags=tags) for name in self.columns_ext or ())]

    def _column(self, name: str) -> Column:
        """Describe a column of the external frame."""
        dtype: Any = self.frames["external"].schema[name]
        is_list = isinstance(dtype, pl.List)
        element = to_name(dtype.inner if is_list else dtype)
        assert element is not None
        return Column(name, element, (Tag.LIST,) if is_list else (), nullable=True)

    def _key_columns(self, columns: Sequence[Column]) -> list[Column] | None:
        """Return the key's columns; None where some are not among `columns`, as no output that needs them is
        computed."""
        by_name = {column.name: column for column in columns}
        return [by_name[name] for name in self.on] if all(name in by_name for name in self.on) else None

    def _external(self, keys: Sequence[Column]) -> tuple[pl.DataFrame, KeyIndex]:
        """Return the external rows whose key fits the dtypes of columns `keys`, and an index of them; built
        once."""
        types = tuple(to_polars(column.dtype) for column in keys)
        cache = self.__dict__.setdefault("_indexes", {})
        if types not in cache:
            frame = of_types(self.frames["external"], dict(zip(self._keys, types, strict=True)))
            cache[types] = frame, KeyIndex(frame.select(self._keys))
        return cache[types]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_indexes"}

    def predicate(self, columns: Sequence[Column]) -> pl.Expr:
        keys = self._key_columns(columns)
        assert keys is not None
        _, index = self._external(keys)
        return index.position([pl.col(column.name) for column in keys]) < index.size

    def expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        keys = self._key_columns(columns)
        if keys is None:
            return list(values)
        frame, index = self._external(keys)
        by_name = {column.name: value for column, value in zip(columns, values, strict=True)}
        at = index.position([by_name[column.name] for column in keys])
        outputs = list(values)
        for name in self.columns_ext or ():
            column, x = self._column(name), ValueTable(frame, [name]).expression(at)
            outputs.append(x.fill_null(pl.lit([], dtype=column_type(column))) if column.is_list else x)
        return outputs

    def tensorflow(
        self, columns: Sequence[Column], resources: list[Any]
    ) -> Callable[[list[TensorColumn]], list[TensorColumn]]:
        keys = self._key_columns(columns)
        if keys is None:
            return list
        frame, index = self._external(keys)
        find = index.tensors(resources)
        gathers = [ValueTable(frame, [name]).tensor(resources) for name in self.columns_ext or ()]
        key_positions = [list(columns).index(column) for column in keys]

        def look_up(values: list[TensorColumn]) -> list[TensorColumn]:
            at = find([values[i] for i in key_positions])
            return [*values, *(gather(at) for gather in gathers)]

        return look_up
