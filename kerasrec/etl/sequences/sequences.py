"""Sequences: makes one row per user or session of its events, split into train, valid and test."""

from __future__ import annotations

import itertools
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import pyarrow as pa

from kerasrec.etl.operator.operator import Node, as_node
from kerasrec.etl.operator.settings import as_tuple
from kerasrec.etl.ops.add_tags import AddTags
from kerasrec.etl.run.parquet_parts import ParquetParts, naming_folder
from kerasrec.etl.run.progress import bar
from kerasrec.etl.sequences.events import TIME, Events
from kerasrec.etl.sequences.report import PartReport, SequenceParts, SequenceReport
from kerasrec.etl.sequences.spans import Spans, by_time, leave_one_out
from kerasrec.etl.sources.scan import scan
from kerasrec.etl.sources.splits import SplitByTime, Time
from kerasrec.files import write_aside
from kerasrec.schema import Tag

NAMES = {1: ("all",), 2: ("train", "test"), 3: ("train", "valid", "test")}
REPORT = "report.json"
FILES = ("*/part-*.parquet", REPORT)
EVENTS = 2_000_000  # in memory at a time
ROWS_PER_GROUP, ROWS_PER_FILE = 16_384, 1 << 20


@dataclass
class Sequences:
    """Make a row per user (or session) of the events in a log, and split the rows to train, validate and test.

    A row has the user, the list of items in the order of time, an aligned list for each of `event_columns`, and
    one value for each of `user_columns`, which is that of the row's last event. Columns keep their names and
    values; repeated events stay. In training, each position of a row predicts the next; in evaluation, the last
    item is the target and those before it are the history. Events with equal times are in the order of the
    source.

    Two ways to split, of a user's `items`:

    - leave one out, the default: `items[:-2]` to train on, `items[:-1]` to validate, `items` to test. All events
    of
      a user with fewer than three are to train on.
    - by time, with `at` or `fractions` as `SplitByTime` takes them: the events before the first time to train on;
      then one row per event up to the second time to validate, and one per later event to test, each with all of
      the user's events up to that one. Nothing that happened later is trained on.

    Like the splits, this is not a node of a graph: it takes raw data, anything that `Workflow.fit` takes, and
    returns sources that `fit` and `transform` take. So the workflow of a model reads lists of raw items, as
    whoever asks a served model sends them; `items`, `event_features` and `user_features` are its columns, with
    their tags. In NVTabular this is `Groupby`, `ListSlice` and a filter of the list's length, one workflow per
    part; `Groupby` stays for other aggregations.

    Called, it makes the rows in memory. `to_parquet` writes them out of core: what is in memory is the number of
    events of each user, and about two million events at a time.

    What is left out is counted in `report` of the result, and a warning says it: rows of short users and, with
    `nulls="drop"`, with a null user, item or time; also rows of one event, which have no history.

    Args:
        user: the column of users or sessions; several columns are a key together.
        item: the column of items.
        time: the column that orders the events; by default they are in the order of the source.
        event_columns: columns that describe an event or its item, such as a rating or a category.
        user_columns: columns that describe the user, such as age.
        at: the times at which the parts after the first begin, one or two.
        fractions: instead, the shares of the events by time, two or three of sum 1.
        format: of a column of times that are strings, as `SplitByTime` takes it.
        parts: without `at` and `fractions`: 3 for train, valid and test; 2 for train and test; 1 for all events of
            each user, for a last training or to predict from.
        min_events: the least number of events of a user.
        max_events: the greatest number of events of a row, the last ones; by default all.
        nulls: "error" refuses a null user, item or time; "drop" leaves out the rows.

    Raises:
        ValueError: an argument is out of range; a column has two roles. SchemaError: (when called) no such
        column, a column of lists, a null, a user or an item that is a number but
            not an integer; the message names the row.

    Example:

    >>> sequences = etl.Sequences("user", "item", "timestamp", event_columns="category")
    >>> train, valid, test = sequences("events/*.parquet")
    >>> workflow = etl.Workflow((sequences.items + sequences.event_features) >> etl.Categorify()).fit(train)
    >>> workflow.transform(train).to_parquet("train/")
    """

    user: str | Sequence[str]
    item: str
    time: str | None = None
    event_columns: str | Sequence[str] = ()
    user_columns: str | Sequence[str] = ()
    at: Sequence[Time] | None = None
    fractions: Sequence[float] | None = None
    format: str | None = None
    parts: int = 3
    min_events: int = 2
    max_events: int | None = None
    nulls: Literal["error", "drop"] = "error"

    def __post_init__(self) -> None:
        self.user, self.event_columns = as_tuple(self.user), as_tuple(self.event_columns)
        self.user_columns = as_tuple(self.user_columns)
        roles = [*self.user, self.item, *self.event_columns, *self.user_columns]
        if not self.user or len(set(roles)) < len(roles):
            raise ValueError(f"Sequences takes users, and each column once; got {', '.join(roles)}")
        least = 2 if self._by_time is not None or self.parts > 1 else 1
        if self.min_events < least or (self.max_events is not None and self.max_events < least):
            raise ValueError(
                f"Sequences: min_events and max_events must be integers >= {least}; "
                f"got {self.min_events} and {self.max_events}"
            )
        if self.nulls not in ("error", "drop"):
            raise ValueError(f'Sequences: nulls must be "error" or "drop"; got {self.nulls!r}')
        if self._by_time is not None and (self.parts != 3 or self.time is None):
            raise ValueError("Sequences: at and fractions need time, and say the number of parts themselves")
        if self._count not in NAMES:
            raise ValueError(f"Sequences makes 1 to 3 parts, train, valid and test; got {self._count}")

    @property
    def _count(self) -> int:
        """The number of parts."""
        if self.fractions is not None:
            return len(self.fractions)
        return self.parts if self.at is None else len(self.at) + 1

    @property
    def _by_time(self) -> SplitByTime | None:
        if self.at is None and self.fractions is None:
            return None
        return SplitByTime(self.time or "", self.fractions, self.at, self.format)

    # ---- the columns of a workflow ---------------------------------------------------------------------------
    @property
    def items(self) -> Node:
        """The list of items, with the tags ITEM_ID, ITEM and SEQUENCE: `sequences.items >> etl.Categorify()`."""
        return as_node(self.item) >> AddTags([Tag.ITEM_ID, Tag.SEQUENCE])

    @property
    def event_features(self) -> Node:
        """The lists of `event_columns`, with the tag SEQUENCE."""
        return list(self.event_columns) >> AddTags([Tag.SEQUENCE])

    @property
    def user_features(self) -> Node:
        """The `user_columns`, with the tag USER."""
        return list(self.user_columns) >> AddTags([Tag.USER])

    # ---- rows ------------------------------------------------------------------------------------------------
    def __call__(self, source: object) -> SequenceParts:
        """Return the parts of `source`, made in memory."""
        events, users, cuts, report = self._read(source)
        frame = events.sorted(users)
        parts = {
            name: pl.concat(list(self._rows(frame, spans)))
            for name, spans in self._split(events, frame, cuts, report).items()
        }
        _warn(report)
        return SequenceParts({name: scan(rows) for name, rows in parts.items()}, report)

    def to_parquet(
        self, source: object, folder: str | os.PathLike[str], *, overwrite: bool = False, progress: bool = True
    ) -> SequenceParts:
        """Write the parts of `source` as Parquet into `folder/train/`, `folder/valid/` and `folder/test/`.

        Rows are sorted by user. `report.json` has the counts. The folder appears only when it is complete; events
        are also written there once for sorting, and removed.

        Args:
            source: as for `Workflow.fit`.
            folder: the path of a new folder.
            overwrite: whether to replace an existing one. One with other files is never replaced.
            progress: whether to show a progress bar on a terminal.

        Returns:
            The parts, which are read from the files when they are used.

        Raises:
            FileExistsError: `folder` exists and `overwrite` is false, or it has other files.
            SchemaError: as when called.
        """
        folder = Path(folder)
        with write_aside(folder, overwrite=overwrite, files=FILES) as aside, naming_folder(folder):
            aside.mkdir()
            events, users, cuts, report = self._read(source)
            with ExitStack() as stack:
                advance = stack.enter_context(bar("sequences", 2 * report.events, "events", show=progress))
                writers = {}
                for name in NAMES[self._count]:
                    (aside / name).mkdir()
                    writer = ParquetParts(aside / name, ROWS_PER_GROUP, ROWS_PER_FILE, "part-", nulls=True)
                    writers[name] = stack.enter_context(writer)
                for frame in events.sorted_parts(users, aside / "sorting", EVENTS, advance):
                    for name, spans in self._split(events, frame, cuts, report).items():
                        for rows in self._rows(frame, spans):
                            writers[name].write(rows)
                    advance(len(frame))
                for writer in writers.values():
                    writer.flush()
            (aside / REPORT).write_text(json.dumps(report.to_dict(), indent=1) + "\n", encoding="utf-8")
        _warn(report)
        return SequenceParts({name: scan(folder / name) for name in NAMES[self._count]}, report)

    def _read(self, source: object) -> tuple[Events, pl.DataFrame, list[float | None], SequenceReport]:
        """Return the events of `source`, the users that are long enough, the times of a split by time, and what
        was left out so far."""
        columns = [*self.user, self.item, *self.event_columns, *self.user_columns]
        read = dict.fromkeys([*columns, *([] if self.time is None else [self.time])])
        events = Events(scan(source).select(list(read)), self.user, self.item, self.time, self.format, columns)
        report = SequenceReport(parts={name: PartReport() for name in NAMES[self._count]})
        report.nulls = events.count_nulls(drop=self.nulls == "drop")
        users = events.count_users(self.min_events, report)
        cuts = [] if self._by_time is None else self._by_time.cuts(events.with_times())
        return events, users, cuts, report

    def _split(
        self, events: Events, frame: pl.DataFrame, cuts: Sequence[float | None], report: SequenceReport
    ) -> dict[str, Spans]:
        """Return the rows of each part of sorted events, and count them."""
        users = events.spans(frame)
        if self._by_time is None:
            parts = leave_one_out(users, self.parts)
        else:
            parts = by_time(users, frame[TIME].to_numpy(), cuts)
        result = {}
        for name, spans in zip(report.parts, parts, strict=True):
            counts = report.parts[name]
            spans = spans.where(spans.lengths > 0)
            if self._count > 1:
                counts.without_history += int((spans.lengths < 2).sum())
                spans = spans.where(spans.lengths >= 2)
            last = spans.last(self.max_events)
            counts.truncated += int(spans.lengths.sum() - last.lengths.sum())
            counts.add(last)
            result[name] = last
        return result

    def _rows(self, frame: pl.DataFrame, spans: Spans) -> Iterator[pl.DataFrame]:
        """Yield the rows of a part, at least one frame and about `EVENTS` events at a time."""
        after = np.cumsum(spans.lengths)
        firsts = np.searchsorted(after, np.arange(0, after[-1] if len(after) else 1, EVENTS), side="right")
        bounds = [*dict.fromkeys([0, *firsts.tolist()]), len(after)]
        for first, last in itertools.pairwise(bounds):
            rows = Spans(spans.begins[first:last], spans.ends[first:last])
            positions, offsets = rows.positions(), np.concatenate([[0], np.cumsum(rows.lengths)])
            columns = [frame[name].gather(rows.ends - 1) for name in self.user]
            lists = (self.item, *self.event_columns)
            columns += [_lists(frame[name].gather(positions), offsets) for name in lists]
            columns += [frame[name].gather(rows.ends - 1) for name in self.user_columns]
            yield pl.DataFrame(columns)


def _lists(values: pl.Series, offsets: np.ndarray) -> pl.Series:
    """Return a column of lists of consecutive values."""
    lists = pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), values.to_arrow())
    return pl.Series(values.name, pl.from_arrow(lists), dtype=pl.List(values.dtype))


def _warn(report: SequenceReport) -> None:
    if phrases := report.left_out():
        warnings.warn(f"Sequences leaves out {'; '.join(phrases)}", UserWarning, stacklevel=3)
