"""The events that sequences are made of: read, checked, and sorted by user and time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from kerasrec.etl.sequences.report import SequenceReport
from kerasrec.etl.sequences.spans import Spans
from kerasrec.etl.sources.source import Source
from kerasrec.etl.sources.splits import time_type, time_values
from kerasrec.etl.sources.types import ROW, is_float
from kerasrec.schema import SchemaError

TIME, PART, COUNT = "__time__", "__part__", "__count__"
BATCH_ROWS = 262_144
MOST_FILES = 500  # open at a time


@dataclass
class Events:
    """The events of a source.

    Args:
        source: with all columns that are read.
        users: the key columns.
        item: the column of items.
        time: the column that orders a user's events; None for the order of the source.
        format: of times that are strings.
        columns: all columns of the sequences.
    """

    source: Source
    users: Sequence[str]
    item: str
    time: str | None
    format: str | None
    columns: Sequence[str]
    _integers: set[str] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        for name in self.columns:
            if self.source.column(name).is_list:
                raise SchemaError(
                    f"{self.source.name}: column {name!r} has lists; Sequences takes one value per event"
                )
        if self.time is not None:
            time_type(self.source, self.time, self.format)

    def frame(self) -> pl.LazyFrame:
        """Return the events, numbered, with their times in TIME; users and items that are floats, as pandas writes
        integers with a null, are integers."""
        order = pl.col(ROW) if self.time is None else time_values(self.source, self.time, self.format)
        columns = []
        for name in self.columns:
            x = self.source.clean(self.source.column(name))
            columns.append((x.cast(pl.Int64) if name in self._integers else x).alias(name))
        return self.source.lazy().select(ROW, order.alias(TIME), *columns)

    def with_times(self) -> Source:
        """Return the source's rows that have a time."""
        known = time_values(self.source, self.time or "", self.format).is_not_null()
        return replace(self.source, filters={**self.source.filters, f"{self.time} is not null": known})

    # ---- checks ----------------------------------------------------------------------------------------------
    @property
    def _required(self) -> list[tuple[str, pl.Expr]]:
        """The columns that must have a value, by the user's names."""
        columns = [(name, pl.col(name)) for name in (*self.users, self.item)]
        return columns if self.time is None else [*columns, (self.time, pl.col(TIME))]

    def count_nulls(self, *, drop: bool) -> dict[str, int]:
        """Return the number of rows with a null user, item or time, by column; a row counts for the first one.

        Raises:
            SchemaError: there is one and `drop` is false; a user or an item is a number that is not an integer.
        """
        self._find_integers()
        frame, counts, earlier = self.frame(), {}, pl.lit(True)
        for name, x in self._required:
            counts[name] = (x.is_null() & earlier).sum()
            earlier = earlier & x.is_not_null()
        totals = self._collect(frame.select(count.alias(str(i)) for i, count in enumerate(counts.values()))).row(0)
        nulls = {name: int(total or 0) for name, total in zip(counts, totals, strict=True)}
        for name, x in self._required:
            if nulls[name] and not drop:
                row = self._collect(frame.filter(x.is_null()).select(ROW).head(1)).item()
                raise SchemaError(
                    f"{self.source.locate(row)}: column {name!r} is null{self._or_text(name)} (one of "
                    f'{nulls[name]:,}), so the event has no place in a sequence; pass nulls="drop" to leave such '
                    "rows out"
                )
        return nulls

    def _or_text(self, name: str) -> str:
        return ", or not in the format" if name == self.time and self.format is not None else ""

    def _find_integers(self) -> None:
        """Note which users and items are floats that are integers. Raise `SchemaError` for other floats."""
        floats = [name for name in (*self.users, self.item) if is_float(self.source.column(name).dtype)]
        for name in floats:
            x = pl.col(name)
            wrong = self.frame().filter((x != x.floor()) | (x.abs() >= 2.0**53)).select(ROW, name).head(1)
            for row, value in self._collect(wrong).rows():
                place = self.source.locate(row)
                raise SchemaError(f"{place}: column {name!r} is {value}; users and items are ids")
        self._integers = set(floats)

    def _collect(self, query: pl.LazyFrame) -> pl.DataFrame:
        with self.source.explain_errors():
            return self.source.collect(query)

    # ---- users and their parts -------------------------------------------------------------------------------
    def _known(self) -> pl.LazyFrame:
        return self.frame().filter(x.is_not_null() for _, x in self._required)

    def count_users(self, min_events: int, report: SequenceReport) -> pl.DataFrame:
        """Return the users with at least `min_events` events, sorted, with their number of events in COUNT."""
        counts = self._collect(self._known().group_by(self.users).agg(pl.len().cast(pl.Int64).alias(COUNT)))
        counts = counts.sort(self.users)
        few = counts.filter(pl.col(COUNT) < min_events)
        report.short_users, report.short_events = len(few), int(few[COUNT].sum())
        counts = counts.filter(pl.col(COUNT) >= min_events)
        report.users, report.events, report.min_events = len(counts), int(counts[COUNT].sum()), min_events
        return counts

    def sorted(self, users: pl.DataFrame) -> pl.DataFrame:
        """Return all events of some users, sorted by user, time and row."""
        return self._sort(
            self._collect(self._known().join(users.lazy().select(self.users), on=self.users, how="semi"))
        )

    def sorted_parts(
        self, users: pl.DataFrame, folder: Path, events: int, advance: Callable[[int], None]
    ) -> Iterator[pl.DataFrame]:
        """Yield the events of some users, sorted by user, time and row, about `events` of them at a time.

        All events are first written to files in `folder`, each with the events of a range of users.

        Args:
            advance: called with each number of events written.
        """
        total = int(users[COUNT].sum())
        if total <= events:
            yield self.sorted(users)
            return
        size = max(events, -(-total // MOST_FILES))
        before = pl.col(COUNT).cum_sum() - pl.col(COUNT)
        parts = users.select(*self.users, (before // size).cast(pl.Int32).alias(PART))
        query = self._known().join(parts.lazy(), on=self.users, how="inner")
        folder.mkdir()
        with ExitStack() as stack, self.source.explain_errors():
            writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}

            def write(batch: pl.DataFrame) -> None:
                for (part,), rows in batch.partition_by(PART, as_dict=True, include_key=False).items():
                    table = rows.to_arrow()
                    if part not in writers:
                        file = stack.enter_context(pa.OSFile(str(folder / f"{part}.arrow"), "wb"))
                        writers[part] = stack.enter_context(pa.ipc.new_stream(file, table.schema))
                    writers[part].write_table(table)
                advance(len(batch))

            query.sink_batches(write, chunk_size=BATCH_ROWS, maintain_order=False, engine="streaming")
        for part in sorted(writers):
            path = folder / f"{part}.arrow"
            with pa.memory_map(str(path)) as file:
                frame = pl.from_arrow(pa.ipc.open_stream(file).read_all(), rechunk=True)
            assert isinstance(frame, pl.DataFrame)
            path.unlink()
            yield self._sort(frame)
        folder.rmdir()

    def _sort(self, frame: pl.DataFrame) -> pl.DataFrame:
        return frame.sort(*self.users, TIME, ROW)

    def spans(self, frame: pl.DataFrame) -> Spans:
        """Return the events of each user in a sorted frame."""
        new = pl.any_horizontal(pl.col(name) != pl.col(name).shift(1) for name in self.users)
        begins = np.flatnonzero(frame.select(new.fill_null(True)).to_series().to_numpy())
        return Spans(begins, np.append(begins[1:], len(frame)) if len(begins) else begins)
