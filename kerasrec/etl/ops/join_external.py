"""JoinExternal: columns of another frame, for the rows that share its key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import InitVar, dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from kerasrec.etl.lookup.key_index import Gathered, Keys, check_keys
from kerasrec.etl.operator.keyed import tags_of
from kerasrec.etl.operator.operator import Operator, Trusted
from kerasrec.etl.operator.row_operators import KeepsRows
from kerasrec.etl.operator.settings import check_names
from kerasrec.etl.sources.external_frame import check_types, of_types, read
from kerasrec.etl.sources.scan import scan
from kerasrec.etl.sources.source import Source
from kerasrec.etl.sources.types import KEY, column_type, to_name, to_polars
from kerasrec.schema import Column, SchemaError, Tag

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn


@dataclass(repr=False)
class JoinExternal(KeepsRows):
    """The columns before `>>`, and for each row those of the external row that has the same key.

    Where there is no such row, the external columns are null (lists are empty); `how="inner"` drops the row as
    `Filter` does, but for rows that are served, which get the nulls. A null is a key like any other, as in pandas.
    Rows keep their number and order, so an external key may stand in one row only.

    The external frame is read when the operator is made, and is its state from then on: it lies in memory, is
    saved with the workflow and goes into a served model. Files that change later are read by a new operator.

    NVTabular's `JoinExternal`, with its names. There, an external key that stands in several rows makes several
    rows of one, `drop_duplicates_ext` drops rows that are equal in all columns, and keys that are called otherwise
    in the external frame come out as well.

    Args:
        df_ext: the external frame: whatever `Workflow.fit` takes.
        on: the key, a column before `>>` or several.
        how: "left" or "inner".
        on_ext: what the key's columns are called in the external frame; by default as in `on`.
        columns_ext: which of the external columns come out; by default all but the key's.
        drop_duplicates_ext: whether of the external rows that share a key the first is taken.

    Raises:
        ValueError: another `how`; a key that is not there; an external column called as one before `>>`, or none.
        SchemaError: an external column that is not there or of an unknown type, a key that stands in several rows
            there; (when fitted) keys of different types, or of lists or floats.

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
            raise ValueError(f"JoinExternal: how must be 'left' or 'inner', not {self.how!r}")
        self.on = _several(self.on)
        self.on_ext = self.on if self.on_ext is None else _several(self.on_ext)
        if not self.on or len(self.on) != len(self.on_ext):
            raise ValueError(f"JoinExternal: on has {len(self.on)} columns, on_ext {len(self.on_ext)}")
        if self.columns_ext is not None:
            self.columns_ext = _several(self.columns_ext)
            own = {there for here, there in zip(self.on, self.on_ext, strict=True) if here == there}
            self.columns_ext = tuple(name for name in self.columns_ext if name not in own)
        if df_ext is not None or self.columns_ext is None:  # else the operator was saved, and so is its frame
            self.frames["external"] = self._read(scan(df_ext))

    def _read(self, source: Source) -> pl.DataFrame:
        """The external rows: their keys under the names `_keys`, and `columns_ext`."""
        assert self.on_ext is not None
        if self.columns_ext is None:
            self.columns_ext = tuple(name for name in source.types if name not in self.on_ext)
        if not self.columns_ext and self.how == "left":
            raise ValueError(f"JoinExternal: no column of {source.name} is to be joined")
        wanted = list(dict.fromkeys([*self.on_ext, *self.columns_ext]))
        source.require(wanted)
        columns = {name: source.column(name) for name in wanted}
        check_keys([columns[name] for name in self.on_ext], f"JoinExternal, in {source.name},")
        named = {key: columns[name] for key, name in zip(self._keys, self.on_ext, strict=True)}
        frame = read(source, named | {name: columns[name] for name in self.columns_ext})
        if self.drop_duplicates_ext:
            return frame.unique(self._keys, keep="first", maintain_order=True)
        keys = frame.select(self._keys)
        if len(twice := keys.filter(keys.is_duplicated())):
            raise SchemaError(
                f"{source.name}: key {dict(zip(self.on_ext, twice.row(0), strict=True))} stands in several rows, "
                "but each row is joined to one; drop_duplicates_ext=True takes the first"
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
    def drops(self) -> bool:
        return self.how == "inner"

    def saved(self, names: Sequence[str]) -> dict[str, Any]:
        return {"df_ext": None, **self.settings}

    @classmethod
    def restored(cls, settings: Mapping[str, Any], trusted: Trusted) -> Operator:
        return cls(**{**settings, "df_ext": None})

    # ---- names -----------------------------------------------------------------------------------------------
    def output_names(self, names: list[str]) -> list[str]:
        assert self.columns_ext is not None
        check_names("JoinExternal", "on", dict.fromkeys(self.on), names)
        if both := [name for name in self.columns_ext if name in names]:
            raise ValueError(
                f"JoinExternal: {both} are columns before >> and of the external frame as well: leave them out by "
                "columns_ext, or rename them"
            )
        return [*names, *self.columns_ext]

    def sources(self, names: list[str]) -> dict[str, list[str]]:
        joined = {name: list(self.on) for name in self.columns_ext or ()}
        return {name: [name] for name in names} | joined

    # ---- the two faces ---------------------------------------------------------------------------------------
    def output(self, columns: Sequence[Column]) -> list[Column]:
        keys = self._key_columns(columns)
        if keys is None:
            return list(columns)
        if "external" not in self.frames:
            raise TypeError("JoinExternal: df_ext is None")
        check_keys(keys, "JoinExternal")
        known_as = dict(zip(self._keys, self.on_ext or (), strict=True))
        check_types(keys, self.frames["external"], known_as, "the external frame")
        tags = tags_of(keys)
        return [*columns, *(self._column(name).evolve(add_tags=tags) for name in self.columns_ext or ())]

    def _column(self, name: str) -> Column:
        """Facts of a column of the external frame."""
        dtype: Any = self.frames["external"].schema[name]
        is_list = isinstance(dtype, pl.List)
        element = to_name(dtype.inner if is_list else dtype)
        assert element is not None
        return Column(name, element, (Tag.LIST,) if is_list else (), nullable=True)

    def _key_columns(self, columns: Sequence[Column]) -> list[Column] | None:
        """The key's columns; None where some are not among `columns`, as nobody wants what they are read for."""
        given = {column.name: column for column in columns}
        return [given[name] for name in self.on] if all(name in given for name in self.on) else None

    def _external(self, keys: Sequence[Column]) -> tuple[pl.DataFrame, Keys]:
        """The external rows whose key fits the types of columns `keys`, and what finds them; made once."""
        types = tuple(to_polars(column.dtype) for column in keys)
        cache = self.__dict__.setdefault("_found", {})
        if types not in cache:
            frame = of_types(self.frames["external"], dict(zip(self._keys, types, strict=True)))
            cache[types] = frame, Keys(frame.select(self._keys))
        return cache[types]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_found"}

    def keeps(self, columns: Sequence[Column]) -> pl.Expr:
        keys = self._key_columns(columns)
        assert keys is not None
        _, found = self._external(keys)
        return found.position([pl.col(column.name) for column in keys]) < found.size

    def expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        keys = self._key_columns(columns)
        if keys is None:
            return list(values)
        frame, found = self._external(keys)
        given = {column.name: value for column, value in zip(columns, values, strict=True)}
        at = found.position([given[column.name] for column in keys])
        made = list(values)
        for name in self.columns_ext or ():
            column, x = self._column(name), Gathered(frame, [name]).expression(at)
            made.append(x.fill_null(pl.lit([], dtype=column_type(column))) if column.is_list else x)
        return made

    def tensorflow(
        self, columns: Sequence[Column], resources: list[Any]
    ) -> Callable[[list[TensorColumn]], list[TensorColumn]]:
        keys = self._key_columns(columns)
        if keys is None:
            return list
        frame, found = self._external(keys)
        find = found.tensors(resources)
        takers = [Gathered(frame, [name]).tensor(resources) for name in self.columns_ext or ()]
        places = [list(columns).index(column) for column in keys]

        def look_up(values: list[TensorColumn]) -> list[TensorColumn]:
            at = find([values[place] for place in places])
            return [*values, *(take(at) for take in takers)]

        return look_up


def _several(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)
