"""What a user passes to a `Loader`, checked; each error names the argument."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

from kerasrec.parallel import comm
from kerasrec.schema import Schema, SchemaError, Tag


def whole(name: str, value: Any, least: int) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise ValueError(f"{name} must be a whole number from {least}, not {value!r}")
    return number


def choose(
    schema: Schema,
    columns: Iterable[str] | None,
    targets: str | Iterable[str] | None,
    sample_weight: str | None = None,
) -> Schema:
    """The part of `schema` that is asked for, in the schema's order; the weight has no tag but that of weights."""
    chosen: set[str] = set()
    targets = [targets] if isinstance(targets, str) else targets
    asked = {
        role: None if names is None else list(names)
        for role, names in (("columns", columns), ("targets", targets))
    }
    if sample_weight is not None:
        for role, wanted in asked.items():
            if sample_weight in (wanted or ()):
                raise ValueError(f"sample_weight={sample_weight!r} is among {role}=, too: a column has one role")
        schema = _weighted(schema, sample_weight)
        chosen.add(sample_weight)
    for role, known in (("columns", schema.features.names), ("targets", schema.targets.names)):
        wanted = asked[role]
        names = known if wanted is None else wanted
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ValueError(
                f"{role}={unknown[0]!r} is none of the schema's; there are: {', '.join(known) or 'none'}"
            )
        chosen.update(names)
    if sample_weight is not None and not chosen.intersection(schema.targets.names):
        raise ValueError(f"sample_weight={sample_weight!r} weighs the loss of a target, but there is no target")
    return schema.subset(name for name in schema.names if name in chosen)


def _weighted(schema: Schema, name: str) -> Schema:
    """The schema with a column as the weight of rows, whatever it was before."""
    if name not in schema:
        raise ValueError(f"sample_weight={name!r} is none of the schema's; there are: {', '.join(schema.names)}")
    column = schema[name]
    for kind, found in (("a list column", column.is_list), ("categorical", Tag.CATEGORICAL in column.tags)):
        if found:
            raise SchemaError(f"sample_weight={name!r} is {kind} in the schema; a weight is one number a row")
    return Schema(each.evolve(tags=(Tag.WEIGHT,)) if each is column else each for each in schema)


def place(rank: int | None, ranks: int | None) -> tuple[int, int]:
    """This process among the ranks: of the job if not given."""
    if rank is None and ranks is None:
        return comm.rank(), comm.size()
    if rank is None or ranks is None:
        raise ValueError(f"rank and ranks go together, not rank={rank!r} with ranks={ranks!r}")
    rank, ranks = whole("rank", rank, least=0), whole("ranks", ranks, least=1)
    if rank >= ranks:
        raise ValueError(f"rank must be from 0 to {ranks - 1}, as ranks={ranks}, not {rank}")
    return rank, ranks
