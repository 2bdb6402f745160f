"""`BatchStream`: the batches of a loader before they are tensors of a framework."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from kerasrec.data.arguments import Lists
from kerasrec.data.decode.engines import Engine
from kerasrec.data.decode.layout import Batch, Frame, Layout, Rows
from kerasrec.data.files.row_groups import RowGroup
from kerasrec.data.mapping import Convert, Function, Inputs, apply, as_pair
from kerasrec.data.prefetch import prefetch
from kerasrec.data.progress import Progress
from kerasrec.data.rank_split import RankSplit
from kerasrec.data.shuffle import EpochOrder, num_rows
from kerasrec.data.weights import weights_by_target
from kerasrec.schema import Schema


@dataclass(eq=False)
class BatchStream:
    """The batches of one rank, pass after pass.

    `Loader` makes one of its arguments, and the adapters in `data.frameworks` make tensors of its batches: each
    takes `batches()`, and gives `convert` a function that makes a tensor of one column.

    Args:
        schema: the columns to read.
        row_groups: the row groups of all files, in file order.
        layout: where columns are in a batch.
        engine: what decodes and gathers.
        split: which rows the rank reads, and the sizes of batches.
        shuffle: whether rows come in random order.
        seed: of the shuffle.
        pool_rows: the least number of rows that are permuted together.
        lists: how list columns are passed on.
        functions: applied to each batch, one after another.
        progress: how far passes have come.
    """

    schema: Schema
    row_groups: Sequence[RowGroup]
    layout: Layout
    engine: Engine
    split: RankSplit
    shuffle: bool
    seed: int
    pool_rows: int
    lists: Lists
    functions: tuple[Function, ...] = ()
    progress: Progress = field(default_factory=Progress)

    def __post_init__(self) -> None:
        self._features, self._targets = self.schema.features.names, self.schema.targets.names
        self._weights = weights_by_target(self.schema, self._targets)

    def __len__(self) -> int:
        return self.split.batches

    # ---- other streams of the same rows -----------------------------------------------------------------------
    def copy(self, **changes: Any) -> BatchStream:
        """Return a stream that begins where this one is and then counts passes of its own."""
        return replace(self, progress=self.progress.copy(), **changes)

    def take(self, batches: int) -> BatchStream:
        """Return a stream of the first batches of each pass."""
        return self.copy(split=replace(self.split, most=min(batches, len(self))))

    def map(self, function: Function) -> BatchStream:
        """Return a stream of what a function returns for each batch."""
        return self.copy(functions=(*self.functions, function))

    # ---- a pass -----------------------------------------------------------------------------------------------
    def batches(self) -> Generator[Batch, None, None]:
        """Start a pass and yield its batches, which background threads decode and gather ahead.

        A batch counts as done when it is taken from here.
        """
        current = self.progress.start()

        def count(batch: Batch) -> Batch:
            current.yielded += 1
            return batch

        gathered = prefetch(self._gather(current.epoch, current.first), depth=2)
        # By `map`, which keeps no reference to a batch: its memory is lent.
        yield from map(count, self.engine.keep_while_used(gathered))

    def _gather(self, epoch: int, first: int) -> Generator[Batch, None, None]:
        """Yield the batches of an epoch from batch `first` on: decode a pool, permute it, cut it into batches."""
        seed = self.seed if self.shuffle else None
        order = EpochOrder(self.row_groups, self.split, self.pool_rows, seed, epoch)
        sizes = self.split.sizes()
        pools, start = order.pools_from(sum(islice(sizes, first)))
        missing = next(sizes)
        frames = prefetch(
            ((self.engine.read(pool, self.layout, self.shuffle), num_rows(pool)) for pool in pools), depth=1
        )
        pieces: list[tuple[Frame, Rows]] = []
        try:
            for frame, rows in frames:
                permutation = order.permutation(rows)
                while start < rows:
                    stop = min(start + missing, rows)
                    chosen = slice(start, stop) if permutation is None else permutation[start:stop]
                    pieces.append((frame, chosen))
                    missing -= stop - start
                    start = stop
                    if not missing:
                        yield self.engine.gather(pieces, self.layout)
                        pieces, missing = [], next(sizes, 0)
                        if not missing:  # all batches are out; with drop_last, rows may be left
                            return
                start = 0
                del frame  # so that the pool that is decoded next can use its memory
        finally:
            frames.close()

    # ---- what a batch becomes -------------------------------------------------------------------------------
    def convert(self, batch: Batch, convert: Convert) -> Inputs:
        """Return a batch as Keras takes it, after the functions of `map`.

        Args:
            batch: from `batches()`.
            convert: makes of a column, an array or `Ragged`, what is to be passed on.
        """
        columns = self.layout.columns_of(batch)
        if not self.functions:
            return self.arrange({name: convert(column) for name, column in columns.items()})
        return apply(self.functions, self.arrange({n: as_pair(c) for n, c in columns.items()}), convert)

    def arrange(self, columns: Mapping[str, Any]) -> Inputs:
        """Return columns by name as features, `(features, target)` or `(features, target, weight)`.

        The weight is one for all targets, or a dict by target where these differ.
        """
        features = {name: columns[name] for name in self._features}
        targets = {name: columns[name][:, None] for name in self._targets}
        if not targets:
            return features
        target = targets if len(targets) > 1 else next(iter(targets.values()))
        weights = list(dict.fromkeys(self._weights.values()))
        if len(weights) == 1:
            return (features, target) if weights[0] is None else (features, target, columns[weights[0]])
        # A number to the power of 0 is 1, in any framework.
        return (
            features,
            target,
            {
                name: columns[name] ** 0 if weight is None else columns[weight]
                for name, weight in self._weights.items()
            },
        )
