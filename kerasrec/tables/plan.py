"""Where tables live: a plan is plain data and allocates nothing, so it is as small for 22 TB as for 22 KB."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from kerasrec.tables.config import PLACEMENTS, FeatureConfig, TableConfig

EXCHANGES = ("rows", "sums")


@dataclass(frozen=True)
class Piece:
    """What one rank holds of one table: `rows` (with their stride), and of these `columns` from and to."""

    table: str
    rank: int
    rows: range
    columns: tuple[int, int]


@dataclass(frozen=True)
class TablePlan:
    """Where one table lives.

    Args:
        table: the table.
        placement: "table_wise", "row_wise", "column_wise", "replicated" or "hybrid".
        ranks: the ranks that own a part. Row-wise, hybrid and replicated: row r lives on `ranks[r % len(ranks)]`,
            there as row `r // len(ranks)`; neighbours part, since ids are ordered by frequency and a cut into
            blocks would put all the frequent rows on one rank. Table-wise: one rank. Column-wise, with k ranks
            and D columns: `ranks[i]` has columns `D * i // k` to `D * (i + 1) // k` of all rows.
        frequent_rows: rows [0, frequent_rows) are copied to every rank, besides living on their owners, which
            keep their optimizer state. All rows of a replicated table, none but for hybrid and replicated.
        exchange: "rows" sends each distinct row once a step; "sums" has each owner add up what it holds of a list
            and sends that (rows all the same where ranks exchange by way of their nodes).

    Raises:
        ValueError: a field out of its range, or that does not go with the placement; names the table.
    """

    table: TableConfig
    placement: str
    ranks: tuple[int, ...]
    frequent_rows: int = 0
    exchange: str = "rows"

    def __post_init__(self) -> None:
        rows, width, owners = self.table.vocabulary_size, self.table.embedding_dim, len(self.ranks)
        if self.placement not in PLACEMENTS[1:]:
            self._refuse(f"placement must be one of {PLACEMENTS[1:]}, not {self.placement!r}")
        if self.exchange not in EXCHANGES:
            self._refuse(f"exchange must be one of {EXCHANGES}, not {self.exchange!r}")
        if not owners or len(set(self.ranks)) < owners or min(self.ranks) < 0:
            self._refuse(f"its ranks must be distinct and at least one, not {self.ranks}")
        if self.placement == "table_wise" and owners > 1:
            self._refuse(f"table-wise it lives on one rank, not on {self.ranks}")
        if self.placement == "column_wise" and owners > width:
            self._refuse(f"its {width} columns cannot be spread over {owners} ranks")
        if self.placement == "replicated" and self.frequent_rows in (0, rows):
            object.__setattr__(self, "frequent_rows", rows)
        elif not 0 <= self.frequent_rows <= (rows if self.placement == "hybrid" else 0):
            self._refuse(f"{self.placement} with {self.frequent_rows} frequent rows of {rows}")
        if self.exchange == "sums" and (self.frequent_rows or self.table.combiner is None):
            self._refuse("sums are exchanged where lists are combined and no row is copied")

    def _refuse(self, reason: str) -> None:
        raise ValueError(f"plan of table {self.table.name!r}: {reason}")

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """What each owner holds, empty pieces left out. Every row and column is in exactly one; copies of
        frequent rows are not in them."""
        pieces = (self._piece(place) for place in range(len(self.ranks)))
        return tuple(piece for piece in pieces if len(piece.rows))

    def piece(self, rank: int) -> Piece | None:
        """What a rank owns of the table; None where that is nothing."""
        if rank not in self.ranks:
            return None
        piece = self._piece(self.ranks.index(rank))
        return piece if len(piece.rows) else None

    def _piece(self, place: int) -> Piece:
        rows, width, owners = self.table.vocabulary_size, self.table.embedding_dim, len(self.ranks)
        if self.placement == "column_wise":
            columns = (width * place // owners, width * (place + 1) // owners)
            return Piece(self.table.name, self.ranks[place], range(rows), columns)
        return Piece(self.table.name, self.ranks[place], range(place, rows, owners), (0, width))


@dataclass(frozen=True)
class Predicted:
    """What a plan is expected to cost: element r of each field is rank r's; bytes and seconds of one step.

    `table_bytes` and `state_bytes` are exact, copies of frequent rows included. `buffer_bytes` holds what is sent
    and received in a step and the lookups' results with their gradients, as if all of it lay in memory at once.
    """

    table_bytes: tuple[int, ...]
    state_bytes: tuple[int, ...]
    buffer_bytes: tuple[int, ...]
    sent_bytes: tuple[float, ...]
    received_bytes: tuple[float, ...]
    seconds: tuple[float, ...]

    @property
    def memory(self) -> tuple[int, ...]:
        parts = zip(self.table_bytes, self.state_bytes, self.buffer_bytes, strict=True)
        return tuple(map(sum, parts))


@dataclass(frozen=True, repr=False)
class Plan:
    """Which rows and columns of which table live on which rank, and what that is expected to cost.

    Args:
        ranks: how many there are.
        tables: one `TablePlan` a table.
        predicted: `kr.parallel.plan` fills it in; None in a plan that was written by hand.
        memory: the bytes that each rank had to hold it in, where a limit was set.

    Printed, it is a table of the ranks and one of the tables.

    Raises:
        ValueError: two tables of one name, or a rank that there is not; names the table.
    """

    ranks: int
    tables: tuple[TablePlan, ...]
    predicted: Predicted | None = None
    memory: int | None = None

    def __post_init__(self) -> None:
        if self.ranks < 1:
            raise ValueError(f"a plan needs at least one rank, not {self.ranks}")
        if len(self._by_name) < len(self.tables):
            names = [each.table.name for each in self.tables]
            raise ValueError(f"two tables are named {max(names, key=names.count)!r}")
        for each in self.tables:
            if max(each.ranks) >= self.ranks:
                raise ValueError(f"table {each.table.name!r} is on rank {max(each.ranks)} of {self.ranks}")

    @cached_property
    def _by_name(self) -> dict[str, TablePlan]:
        return {each.table.name: each for each in self.tables}

    def __getitem__(self, table: str) -> TablePlan:
        """A table's plan by its name."""
        if table not in self._by_name:
            raise KeyError(f"the plan has no table {table!r}; it has: {', '.join(self._by_name)}")
        return self._by_name[table]

    def pieces(self, rank: int) -> Iterator[Piece]:
        """What a rank owns, in the order of the tables."""
        return (piece for each in self.tables if (piece := each.piece(rank)) is not None)

    def __str__(self) -> str:
        from kerasrec.tables.plan_report import describe

        return describe(self)

    def __repr__(self) -> str:
        from kerasrec.tables.plan_report import summary

        return f"<Plan of {summary(self)}>"


def plan_from_placements(
    tables: Mapping[str, TableConfig | FeatureConfig] | Iterable[TableConfig | FeatureConfig],
    ranks: int,
    default: str = "row_wise",
) -> Plan:
    """A plan without a search: each table by its own `placement`, and those of "auto" by `default`.

    Row-wise, hybrid and replicated tables are owned by all ranks, the first row of the next table a rank further;
    column-wise ones by as many ranks as they have columns, at most. Rows are exchanged, not sums. A hybrid table
    that does not say how many of its rows are frequent has a hundredth of them copied.

    Example:

    >>> plan_from_placements([kr.TableConfig("item", 10, 4)], ranks=2)["item"].ranks
    (0, 1)
    """
    placed = []
    for turn, (table, _) in enumerate(distinct_tables(tables)):
        placement = default if table.placement == "auto" else table.placement
        owners = {"table_wise": 1, "column_wise": min(table.embedding_dim, ranks)}.get(placement, ranks)
        frequent = table.frequent_rows if table.frequent_rows is not None else -(-table.vocabulary_size // 100)
        chosen = tuple((turn + place) % ranks for place in range(owners))
        placed.append(TablePlan(table, placement, chosen, frequent if placement == "hybrid" else 0))
    return Plan(ranks, tuple(placed))


def distinct_tables(
    tables: Mapping[str, TableConfig | FeatureConfig] | Iterable[TableConfig | FeatureConfig],
) -> list[tuple[TableConfig, tuple[float, ...]]]:
    """The tables in the order they come, each with the hotness of every feature that looks it up."""
    found: dict[str, tuple[TableConfig, list[float]]] = {}
    for each in tables.values() if isinstance(tables, Mapping) else tables:
        table, hotness = (each.table, each.hotness) if isinstance(each, FeatureConfig) else (each, 1.0)
        if not isinstance(table, TableConfig):
            raise ValueError(f"a plan is of TableConfigs or FeatureConfigs, not {each!r}")
        first, all_hotness = found.setdefault(table.name, (table, []))
        if first != table:
            raise ValueError(f"two different tables are named {table.name!r}: {first} and {table}")
        all_hotness.append(float(hotness))
    return [(table, tuple(hotness)) for table, hotness in found.values()]
