"""What `Sequences` made of the events, and what it left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from kerasrec.etl.sequences.spans import Spans
from kerasrec.etl.sources.source import Source


@dataclass
class PartReport:
    """The rows of one part.

    Attributes:
        rows, events: how many there are; an event counts in each row that has it.
        shortest, longest: the least and the greatest number of events in a row.
        truncated: events that `max_events` left out of rows.
        without_history: rows left out because they had one event, so nothing to predict it from.
    """

    rows: int = 0
    events: int = 0
    shortest: int = 0
    longest: int = 0
    truncated: int = 0
    without_history: int = 0

    def add(self, spans: Spans) -> None:
        """Count rows."""
        if len(lengths := spans.lengths):
            self.shortest = min(int(lengths.min()), self.shortest or int(lengths.max()))
            self.longest = max(int(lengths.max()), self.longest)
            self.rows, self.events = self.rows + len(lengths), self.events + int(lengths.sum())


@dataclass
class SequenceReport:
    """How many users, events and rows there are, and how many were left out.

    Attributes:
        users, events: of the source, less those left out.
        nulls: rows left out because a column was null, by column; a row counts for the first one.
        short_users, short_events: users with fewer than `min_events`, and their events.
        parts: the rows of each part, by name.
    """

    users: int = 0
    events: int = 0
    nulls: dict[str, int] = field(default_factory=dict)
    short_users: int = 0
    short_events: int = 0
    min_events: int = 1
    parts: dict[str, PartReport] = field(default_factory=dict)

    def left_out(self) -> list[str]:
        """Return what was left out, a phrase each."""
        phrases = [f"{_count(n, 'row')} with a null in column {name!r}" for name, n in self.nulls.items() if n]
        if self.short_users:
            events = _count(self.short_events, "event")
            phrases.append(
                f"{_count(self.short_users, 'user')} with fewer than {self.min_events} events ({events})"
            )
        for name, part in self.parts.items():
            if part.without_history:
                phrases.append(f"{_count(part.without_history, 'row')} of {name} with one event, so no history")
        return phrases

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return asdict(self)

    def __repr__(self) -> str:
        rows = [("", "rows", "events", "shortest", "mean", "longest")]
        for name, part in self.parts.items():
            mean = f"{part.events / part.rows:.1f}" if part.rows else "-"
            rows.append((name, f"{part.rows:,}", f"{part.events:,}", f"{part.shortest}", mean, f"{part.longest}"))
        widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
        table = ["  ".join(map(str.rjust, row, widths)).rstrip() for row in rows]
        truncated = [
            f"{_count(part.truncated, 'earlier event')} of {name}, by max_events"
            for name, part in self.parts.items()
            if part.truncated
        ]
        lines = [f"left out: {phrase}" for phrase in [*self.left_out(), *truncated]]
        return "\n".join(
            [f"Sequences of {_count(self.users, 'user')}, {_count(self.events, 'event')}", *table, *lines]
        )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


@dataclass(frozen=True, repr=False)
class SequenceParts:
    """The parts that `Sequences` makes; `train, valid, test = parts` unpacks them.

    Attributes:
        sources: raw rows that `Workflow.fit` and `transform` take, by the name of the part.
        report: counts of rows and events, and of what was left out; `print(parts)` shows it.
    """

    sources: Mapping[str, Source]
    report: SequenceReport

    def __iter__(self) -> Iterator[Source]:
        return iter(self.sources.values())

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, name: str) -> Source:
        if name not in self.sources:
            raise KeyError(f"no part {name!r}; available: {', '.join(self.sources)}")
        return self.sources[name]

    def __repr__(self) -> str:
        return repr(self.report)
