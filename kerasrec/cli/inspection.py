"""Look at the data before anything is trained: roles of columns, rows of each part, what to be warned of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console

from kerasrec.cli.column_messages import column_warnings, print_columns, warn
from kerasrec.cli.column_stats import column_stats, read_sample
from kerasrec.cli.config import ColumnSteps
from kerasrec.cli.errors import CommandError, flag_in_errors
from kerasrec.cli.file_names import WORKFLOW
from kerasrec.cli.guess_roles import guess_roles
from kerasrec.cli.names import column_names
from kerasrec.cli.options import TrainOptions
from kerasrec.cli.preconditions import check_valid
from kerasrec.cli.roles import CATEGORICAL, CONTINUOUS, DROPPED, Guess, Wishes
from kerasrec.cli.rows import HELD_OUT, Split, count_nulls
from kerasrec.cli.tables import table_columns, with_tables
from kerasrec.cli.weights import weight_columns
from kerasrec.cli.workflow import with_min_count
from kerasrec.etl.sources.scan import scan
from kerasrec.etl.sources.source import Source
from kerasrec.serving.rows import check_path

_FEWEST = 10  # rows of which some can be held out


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Args:
        guesses: the role of each column, as a config file has it.
        resolved: the same, with the defaults of options in their steps.
        split: how rows are split.
        parts: the rows by name of the part.
        rows: how many rows there are, and how many are left out for a null target.
        warnings: sentences that were printed.
    """

    guesses: Sequence[Guess]
    resolved: Sequence[Guess]
    split: Split
    parts: Mapping[str, Source]
    rows: Mapping[str, int]
    warnings: Sequence[str]


def check_out(options: TrainOptions) -> None:
    """Raise `CommandError` if a run or a script cannot be written where it should be."""
    if options.out.exists() and not options.overwrite:
        raise CommandError(f"{options.out} exists; choose another --out, or pass --overwrite")
    if options.out.exists() and not (options.out / WORKFLOW).exists():
        raise CommandError(f"{options.out} exists and was not written by kerasrec train; choose another --out")
    if options.script is not None and options.script.exists() and not options.overwrite:
        raise CommandError(f"--script: {options.script} exists; choose another name, or pass --overwrite")
    if options.export:
        check_path(options.out)


def inspect_data(options: TrainOptions, columns: Mapping[str, ColumnSteps], console: Console) -> Inspection:
    """Guess the roles of columns and print them, with warnings.

    Args:
        options: the command's.
        columns: roles and steps from a config file.
        console: where to print.

    Raises:
        CommandError, SchemaError, FileNotFoundError: the data, a column or an option is wrong.
    """
    source = scan(options.data)
    with flag_in_errors("--valid"):
        valid = scan(options.valid) if options.valid else None
    with source.explain_errors():
        rows, sample = read_sample(source.frame)
    guesses = guess_roles(column_stats(sample, source, options.list_separator), _wishes(options, columns))
    resolved = with_tables(with_min_count(guesses, options.min_count), table_columns(options.table or ()))
    print_columns(console, resolved, rows)
    warnings = list(column_warnings(sample, guesses))
    for warning in warnings:
        warn(console, warning)
    del sample
    if rows < _FEWEST and (valid is None or options.patience):
        raise CommandError(f"the data has {rows} rows, too few to hold some out; pass at least {_FEWEST}")
    counts = {"data": rows}
    if options.drop_null_targets:
        counts["left out: null target"] = _left_out(source, valid, options.targets, console)
    split = Split.of(options, guesses)
    parts = split(source)
    if valid is not None:
        check_valid(valid, guesses)
        parts[HELD_OUT] = valid
    return Inspection(guesses, resolved, split, parts, counts, warnings)


def _wishes(options: TrainOptions, columns: Mapping[str, ColumnSteps]) -> Wishes:
    chosen = {
        CATEGORICAL: column_names(options.categorical),
        CONTINUOUS: column_names(options.continuous),
        DROPPED: column_names(options.drop),
    }
    weights = weight_columns(options.sample_weight or (), options.targets)
    return Wishes(
        options.targets,
        options.task,
        options.positive or (),
        options.drop_null_targets,
        options.time,
        weights,
        chosen,
        {name: steps for name, steps in columns.items() if name not in (*options.targets, *weights.values())},
    )


def _left_out(source: Source, valid: Source | None, targets: Sequence[str], console: Console) -> int:
    """Return, and print, how many rows are left out because a target is null."""
    nulls = count_nulls(source, targets)
    with flag_in_errors("--valid"):
        nulls += count_nulls(valid, targets) if valid is not None else 0
    names = " or ".join(map(repr, targets))
    console.print(f"{nulls:,} rows are left out, in which {names} is null.\n", markup=False, highlight=False)
    return nulls
