"""A loader in words."""

from __future__ import annotations

from collections.abc import Sequence

from kerasrec.data.batches import BatchStream
from kerasrec.data.files.discovery import Place
from kerasrec.data.files.in_memory import InMemory
from kerasrec.data.weights import weights_by_target


def where(files: Sequence[Place]) -> str:
    """Return what to call the data in messages."""
    first = files[0]
    return str(first) if len(files) == 1 or isinstance(first, InMemory) else f"{first.parent} ({len(files)} files)"


def summary(data: str, stream: BatchStream) -> str:
    """Return the rows, the batches and the columns of a loader of `data`, in four lines."""
    split, schema, layout = stream.split, stream.schema, stream.layout
    partial = split.last % split.batch_size
    short = f", the last of {partial:,}" if partial else ""
    order = (
        f"shuffled in pools of {stream.pool_rows:,} rows, seed {stream.seed}"
        if stream.shuffle
        else "in file order"
    )
    span = split.span
    which = "" if stream.shuffle else f" ({span.start:,} to {span.stop - 1:,})"
    features = schema.features
    counts = {
        "categorical": len(features.categorical),
        "continuous": len(features.continuous),
        "padded lists" if layout.pad else "ragged lists": len(layout.lists),
    }
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    target = ", ".join(schema.targets.names) or "none"
    weights = weights_by_target(schema, schema.targets.names)
    weight = ", ".join(dict.fromkeys(column for column in weights.values() if column))
    if len(set(weights.values())) > 1:
        weight = ", ".join(f"{column} for {target}" for target, column in weights.items() if column)
    return (
        f"Loader of {data}\n"
        f"  {_count(split.total, 'row')} in {_count(len(stream.row_groups), 'row group')}, {order}\n"
        f"  rank {split.rank} of {split.ranks}: {_count(len(span), 'row')}{which}, "
        f"{len(stream):,} {'batch' if len(stream) == 1 else 'batches'} of {split.batch_size:,}{short}\n"
        f"  {_count(len(features), 'feature')} ({kinds}); target: {target}"
        + (f"; weight: {weight}" if weight else "")
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
