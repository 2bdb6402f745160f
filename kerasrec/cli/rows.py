"""Which rows a run trains on, stops on, and takes its figures from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from kerasrec.cli.options import TrainOptions
from kerasrec.cli.roles import Guess
from kerasrec.cli.steps import literal
from kerasrec.etl import SplitByTime, SplitRandom
from kerasrec.etl.sources.source import Source

TRAIN, STOP, HELD_OUT = "train", "stop", "valid"  # folders of features
_MOST_TO_STOP_ON = 0.25  # of the rows that are not held out for the figures


@dataclass(frozen=True)
class Split:
    """How the rows of DATA are split, as a call of `kerasrec.etl`.

    Args:
        fractions: of the parts.
        parts: their names: TRAIN, and STOP and HELD_OUT if they are parts of DATA.
        seed: of a random split.
        time, format: the column of times, and how they are written if they are text; None splits at random.
    """

    fractions: tuple[float, ...]
    parts: tuple[str, ...]
    seed: int = 0
    time: str | None = None
    format: str | None = None

    @classmethod
    def of(cls, options: TrainOptions, guesses: Sequence[Guess]) -> Split:
        """Return the split of some options."""
        fraction = options.valid_fraction
        shares = {}
        if options.patience:
            shares[STOP] = fraction if options.valid else min(fraction, _MOST_TO_STOP_ON * (1 - fraction))
        if not options.valid:
            shares[HELD_OUT] = fraction
        fractions = (1 - sum(shares.values()), *shares.values())
        time_format = None
        for step in (step for guess in guesses if guess.name == options.time for step in guess.steps):
            time_format = dict(step.settings).get("format", time_format)
        return cls(fractions, (TRAIN, *shares), options.seed, options.time, time_format)

    def __str__(self) -> str:
        """Return the call that makes the split, without its module."""
        fractions = f"({', '.join(f'{share:.6g}' for share in self.fractions)})"
        if self.time is None:
            return f"SplitRandom({fractions}, seed={self.seed})"
        written = "" if self.format is None else f", format={literal(self.format)}"
        return f"SplitByTime({literal(self.time)}, {fractions}{written})"

    def __call__(self, source: Source) -> dict[str, Source]:
        """Return the parts of `source` by name."""
        if len(self.parts) == 1:
            return {TRAIN: source}
        fractions = tuple(float(f"{share:.6g}") for share in self.fractions)
        if self.time is None:
            parts = SplitRandom(fractions, self.seed)(source)
        else:
            parts = SplitByTime(self.time, fractions, format=self.format)(source)
        return dict(zip(self.parts, parts, strict=True))

    def explain(self, valid: str | None) -> str:
        """Return a sentence about the rows that the figures come from."""
        shares = dict(zip(self.parts, self.fractions, strict=True))
        latest = "the latest" if self.time is not None else "a random"
        where = valid or f"{latest} {100 * shares[HELD_OUT]:.3g}% of the rows"
        if STOP not in shares:
            return f"The figures are on {where}."
        others = f"{latest} {100 * shares[STOP]:.3g}% of DATA" if valid else f"another {100 * shares[STOP]:.3g}%"
        others = "those just before" if self.time is not None and not valid else others
        return f"The figures are on {where}, which decided nothing; when to stop was decided on {others}."


def count_nulls(source: Source, names: Sequence[str]) -> int:
    """Return in how many rows any of some columns is null or NaN."""
    frame = source.lazy(names)
    nulls = [_is_null(name, source) for name in names]
    with source.explain_errors():
        return int(frame.select(pl.any_horizontal(nulls).sum()).collect(engine="streaming").item())


def _is_null(name: str, source: Source) -> pl.Expr:
    column = pl.col(name)
    return column.is_null() | column.is_nan() if source.types[name].is_float() else column.is_null()
