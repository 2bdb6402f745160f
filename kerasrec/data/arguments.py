"""Checks of the arguments of a `Loader`; each error names the argument."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias, get_args

from kerasrec.data.decode.layout import max_hotness
from kerasrec.data.weights import SampleWeight, choose_weights
from kerasrec.parallel import comm
from kerasrec.schema import Column, Schema, Tag

# How list columns are yielded.
Lists: TypeAlias = Literal["ragged", "padded", "offsets"]


def integer(name: str, value: object, least: int) -> int:
    """Return `value` as an int. Raises `ValueError` unless it is an integer of at least `least`."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = least - 1
    if number < least:
        raise ValueError(f"{name} must be an integer >= {least}; got {value!r}")
    return number


def choose_columns(
    schema: Schema,
    columns: Iterable[str] | None,
    targets: str | Iterable[str] | None,
    sample_weight: SampleWeight = None,
) -> Schema:
    """Return the part of `schema` that is asked for, in its order; weights are as `choose_weights` leaves them."""
    features = None if columns is None else list(columns)
    names = [targets] if isinstance(targets, str) else None if targets is None else list(targets)
    weighted = [name for name in schema.targets.names if name != sample_weight] if names is None else names
    if isinstance(sample_weight, str) and not weighted:
        raise ValueError(f"sample_weight={sample_weight!r} weights the loss of a target, but there is no target")
    schema = choose_weights(schema, features or (), weighted, sample_weight)
    features = _known("columns", "column", features, schema.features.names)
    names = _known("targets", "target", names, schema.targets.names)
    chosen_names = {*features, *names, *schema.select(Tag.WEIGHT).names}
    if not chosen_names:
        raise ValueError(
            f"columns={columns!r} and targets={targets!r} leave no column of the schema to read; name at least one"
        )
    return schema.subset(name for name in schema.names if name in chosen_names)


def _known(argument: str, kind: str, names: list[str] | None, known: list[str]) -> list[str]:
    """Return the names that were passed, or all if none were. Raises `ValueError` for one that does not exist."""
    for name in names or ():
        if name not in known:
            raise ValueError(
                f"{argument}: no {kind} {name!r} in the schema; available: {', '.join(known) or 'none'}"
            )
    return known if names is None else names


def rank_and_ranks(rank: int | None, ranks: int | None) -> tuple[int, int]:
    """Return the rank and the number of ranks: those of this process in its job if not given."""
    if rank is None and ranks is None:
        return comm.rank(), comm.size()
    if rank is None or ranks is None:
        raise ValueError(f"pass rank and ranks together; got rank={rank!r}, ranks={ranks!r}")
    rank, ranks = integer("rank", rank, least=0), integer("ranks", ranks, least=1)
    if rank >= ranks:
        raise ValueError(f"rank must be in [0, {ranks}) for ranks={ranks}; got {rank}")
    return rank, ranks


def check_lists(lists: str, columns: Sequence[Column], backend: str) -> None:
    """Raise `ValueError` or `SchemaError` if list columns cannot be yielded in that way.

    Args:
        lists: the argument.
        columns: the list columns to yield.
        backend: Keras's.
    """
    if lists not in get_args(Lists):
        raise ValueError(f'lists must be "ragged", "padded" or "offsets"; got {lists!r}')
    if lists == "padded":
        for column in columns:
            max_hotness(column)  # raises if the schema does not say it
    elif lists == "ragged" and columns and backend != "tensorflow":
        raise ValueError(
            f"ragged lists require Keras's TensorFlow backend, this is {backend}: "
            f'pass lists="padded" for column {columns[0].name!r}, or lists="offsets"'
        )
