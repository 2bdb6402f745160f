"""Where tables are: a plan is plain data and allocates nothing, so it is as small for 22 TB as for 22 KB."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from kerasrec.tables.config import FeatureConfig, TableConfig
from kerasrec.tables.plan_report import describe, summary
from kerasrec.tables.table_plan import Predicted, TablePlan, TableShard

Tables: TypeAlias = Mapping[str, TableConfig | FeatureConfig] | Iterable[TableConfig | FeatureConfig]


@dataclass(frozen=True, repr=False)
class Plan:
    """Which rows and columns of which table each rank owns, and what that is predicted to cost.

    Args:
        ranks: the number of ranks.
        tables: a `TablePlan` for each table.
        predicted: set by `kr.parallel.plan`; None in a plan written by hand.
        memory: bytes that each rank had for the plan; None without a limit.

    Printed, it is a table of the ranks and one of the tables.

    Raises:
        ValueError: two tables with the same name, or a rank that is out of range.
    """

    ranks: int
    tables: tuple[TablePlan, ...]
    predicted: Predicted | None = None
    memory: int | None = None

    def __post_init__(self) -> None:
        if self.ranks < 1:
            raise ValueError(f"ranks must be an integer >= 1; got {self.ranks}")
        if len(self._by_name) < len(self.tables):
            names = [plan.table.name for plan in self.tables]
            raise ValueError(f"two tables are named {max(names, key=names.count)!r}; names must be unique")
        for plan in self.tables:
            if max(plan.ranks) >= self.ranks:
                raise ValueError(
                    f"table {plan.table.name!r}: rank {max(plan.ranks)} is out of range [0, {self.ranks})"
                )

    @cached_property
    def _by_name(self) -> dict[str, TablePlan]:
        return {plan.table.name: plan for plan in self.tables}

    def __getitem__(self, table: str) -> TablePlan:
        """Return a table's plan by its name."""
        if table not in self._by_name:
            raise KeyError(f"no table {table!r} in the plan; available: {', '.join(self._by_name)}")
        return self._by_name[table]

    def shards(self, rank: int) -> Iterator[TableShard]:
        """Yield what a rank owns, in the order of the tables."""
        return (shard for plan in self.tables if (shard := plan.shard(rank)) is not None)

    def __str__(self) -> str:
        return describe(self.ranks, self.tables, self.predicted, self.memory)

    def __repr__(self) -> str:
        return f"<Plan of {summary(self.ranks, self.tables, self.predicted)}>"


def plan_from_placements(tables: Tables, ranks: int, default: str = "row_wise") -> Plan:
    """Return the plan that tables' own placements imply, without a search.

    Row-wise, hybrid and replicated tables are owned by all ranks, each table's first row one rank further on than
    the table's before it; column-wise tables by as many ranks as they have columns, at most. Rows are exchanged,
    not sums.

    Args:
        tables: tables, or the features that look them up. A hybrid table without `frequent_rows` gets replicas of
            one row in a hundred.
        ranks: the number of ranks.
        default: the placement of tables whose own is "auto".

    >>> plan_from_placements([kr.TableConfig("item", 10, 4)], ranks=2)["item"].ranks
    (0, 1)
    """
    plans = []
    for first, (table, _) in enumerate(distinct_tables(tables)):
        placement = default if table.placement == "auto" else table.placement
        owners = {"table_wise": 1, "column_wise": min(table.embedding_dim, ranks)}.get(placement, ranks)
        frequent_rows = 0
        if placement == "hybrid":
            one_percent = -(-table.vocabulary_size // 100)
            frequent_rows = one_percent if table.frequent_rows is None else table.frequent_rows
        owning_ranks = tuple((first + place) % ranks for place in range(owners))
        plans.append(TablePlan(table, placement, owning_ranks, frequent_rows))
    return Plan(ranks, tuple(plans))


def distinct_tables(tables: Tables) -> list[tuple[TableConfig, tuple[float, ...]]]:
    """Return each distinct table, in order, with the hotness of every feature that looks it up."""
    by_name: dict[str, tuple[TableConfig, list[float]]] = {}
    for item in tables.values() if isinstance(tables, Mapping) else tables:
        table, hotness = (item.table, item.hotness) if isinstance(item, FeatureConfig) else (item, 1.0)
        if not isinstance(table, TableConfig):
            raise ValueError(f"tables must be TableConfigs or FeatureConfigs; got {item!r}")
        first, all_hotness = by_name.setdefault(table.name, (table, []))
        if first != table:
            raise ValueError(f"two different tables are named {table.name!r}: {first} and {table}")
        all_hotness.append(float(hotness))
    return [(table, tuple(all_hotness)) for table, all_hotness in by_name.values()]
