"""`Loader`: a folder of Parquet as the data of a Keras model."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from functools import cached_property, partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kerasrec._keras import DataAdapter, torch_dataloader
from kerasrec.data.arguments import choose, place, whole
from kerasrec.data.decode.arrow import Batch, Frame, Layout, Ragged, Rows, max_hotness
from kerasrec.data.decode.engines import make_engine
from kerasrec.data.files.checks import check_loadable
from kerasrec.data.files.discovery import Source, find_files, find_schema, pools, scan
from kerasrec.data.files.fingerprint import fingerprints
from kerasrec.data.files.remote import Remote
from kerasrec.data.frameworks.mixin import Frameworks
from kerasrec.data.ignored import refuse_ignored
from kerasrec.data.prefetch import prefetch
from kerasrec.data.rank_split import Share
from kerasrec.data.resume import Pass, Resumable
from kerasrec.data.views import Views
from kerasrec.schema import Schema

if TYPE_CHECKING:
    import tensorflow as tf

READ_ROWS = 65_536  # unshuffled, at least this many rows are read at once
POOL_ROWS = 262_144  # shuffled, at least this many are permuted together


class Loader(Frameworks, Resumable, Views, DataAdapter):
    """Batches of a Parquet dataset, for plain `keras.Model.fit`, `evaluate`, `predict` or a `for` loop.

    Iterating it yields `(features, target)`. `features` is a dict by name: a scalar column is an array (batch,) of
    the schema's dtype; a list column a `tf.RaggedTensor` (batch, None), or padded with 0 to (batch, max hotness),
    or a pair (values, offsets) of which row i is `values[offsets[i]:offsets[i + 1]]`; a list column of numbers
    that are no ids, of which every row has `width` by its hotness or by the files' type, an array (batch, width).
    `target` is float32 (batch, 1), a dict of such by name where there are several targets; without a target only
    `features` is yielded. With `sample_weight` it is `(features, target, weight)`, `weight` float32 (batch,).
    Each `iter`, each epoch of `fit`, is one pass in which every row comes once.

    **Ranks.** In a job of several ranks each reads its share, so that every row comes once an epoch over all
    ranks. Row groups stand in a line: in file order or, shuffled, in an order drawn anew each epoch, the same on
    all ranks. Rank r reads the r-th of equal spans of that line: of N rows those from N r / ranks to before
    N (r + 1) / ranks, rounded down. Unshuffled, the ranks' predictions one after another are thus in file order.
    A rank decodes the row groups of its span and no others; one cut at a border is decoded on both sides of it.
    `batch_size` is each rank's: a step of the job takes batch_size x ranks rows. All ranks have the same number of
    batches and none is empty: spans differ by one row at most, and where that row makes one batch more, the last
    two batches of a rank without it have batch_size - 1 rows and 1. With `drop_last` a rank leaves out what comes
    last in its span.

    **Shuffling.** A *pool* is a set of whole row groups, drawn at random from all files, of at least `pool_rows`
    rows together. Its rows are permuted uniformly and cut into batches, so a batch is a uniform sample without
    replacement of its pool (one that spans the end of a pool, of two). Pools and permutation differ each epoch and
    follow from (seed, epoch, ranks) alone. On several ranks each has pools of its own span and permutes them by
    itself: a step of the job samples one pool a rank, ranks x pool_rows rows. Where one pool of one rank holds the
    whole dataset, the shuffle is exact. Else rows of one row group meet in every epoch, and rows of two row groups
    only when these are drawn into one pool: write data whose order has a meaning (sorted by time or label) in
    small row groups, several a rank, so that a pool holds many.

    **Epochs** count the passes that were begun, from 0, in `epoch`; set it to replay one. `fit`
    begins one an epoch. (Keras's JAX and torch trainers begin one more before, for a first batch to build the
    model by.) `state` and `restore` continue one at the exact batch. Override `on_epoch_begin` and `on_epoch_end`
    for what is to be done then: Keras calls them as a `keras.utils.PyDataset`'s, so `on_epoch_end` also once
    before the first epoch; a loop of your own calls none.

    **Views.** `take(n)` is a loader of the first batches, `map(function)` of what a function makes of each;
    `peek()` is the next batch.

    **Memory.** Two pools at most are held at any time (three while a batch spans two of them), the row groups that
    are being decoded (up to 4), and a few batches: about 2 x pool_rows x bytes a row, on each rank.

    **Where it runs.** Two background threads decode pools and cut batches, ahead of the model. Features are NumPy
    arrays when iterated directly, so Keras's JAX and torch backends take a loader as well, with `lists="padded"`;
    TensorFlow gets a `tf.data.Dataset` (`get_tf_dataset`). `torch()`, `jax()` and `tensorflow()` give tensors to
    loops of one's own. Leaving a pass early ends its threads.

    **On a GPU.** `engine="cudf"` decodes, permutes and gathers on the GPU: the same rows in the same order, after
    the same checks. What is iterated are tensors of Keras's backend, which lie there; so do those that `kr.models`
    and Keras's JAX and torch trainers get. `fit` of any other model with TensorFlow goes by `tf.data`, so each
    batch is copied to the host and back; `fit(loader.tensorflow())` copies nothing. For TensorFlow int32 columns
    come as int64: it would keep those of 32 bits on the host.

    **Keras's arguments.** `fit`, `evaluate` and `predict` refuse, by name, the arguments that Keras leaves out for
    a data adapter that is not its own: `y`, `sample_weight`, `batch_size`, `shuffle=False` for a loader that
    shuffles, and `class_weight`, which `kr.models` apply themselves. Give the loader `sample_weight`, or make
    weights by `map`. A functional `keras.Model` wants a dict of exactly its inputs: name them in `columns`.

    Args:
        source: a Parquet file, a folder of them, a glob, or a list of these. Read in that order, by name. Each may
            be an address that fsspec knows (s3://, https://, memory://). A folder's folders named `column=value`
            belong to it; such columns are constant in their files.
        batch_size: rows a batch on each rank; the last one has what is left.
        shuffle: whether rows come in random order.
        seed: of the shuffle, a whole number from 0.
        lists: "ragged" (TensorFlow only), "padded" or "offsets" (no layer of Keras or this package takes it).
        drop_last: leave out a last batch shorter than `batch_size`; on all ranks where it is so on one.
        schema: what the columns are; read from the `schema.json` beside the data if not given.
        columns: names of the features to yield; all of the schema's if not given.
        targets: name or names of the targets to yield; all of the schema's if not given, `[]` for none.
        sample_weight: name of the column that says what a row counts for in the loss and in `weighted_metrics`;
            it is then no feature and no target. Keras divides a weighted loss by the rows, not by the weights.
        pool_rows: rows permuted together on a rank, at least; 8 batches, 262,144 rows and 4 of the largest row
            groups if not given.
        rank, ranks: which share of how many to read, from 0; this process's among the job's if not given.
            `rank=0, ranks=1` reads all rows in every process.
        engine: "arrow", or "cudf" for an NVIDIA GPU, the one that the process sees first.
        storage_options: how to reach addresses, as the file system's class in fsspec takes it.
        verify: whether row groups whose pages have checksums are compared with them when the loader first reads
            them. Files that `to_parquet` wrote have them.

    Attributes:
        num_rows: rows of this rank in one pass, before `drop_last` and `take`.
        total_rows: those of all ranks.
        epoch: which pass comes next.

    Raises:
        FileNotFoundError: no file, or no schema.
        SchemaError: a file lacks a column or has it in a type that does not fit, or a column cannot be an input.
        ValueError: an argument out of range, an unreadable file, nulls, values that do not fit the schema's dtype,
            ids outside [0, cardinality), weights that are negative or not finite, no rows,
            fewer than ranks, or batches of one row that do not come out even over the ranks.
            What footers do not tell is found when the rows are decoded, and raised then.
        OSError: raised in a pass: a file that is damaged, or not the one that it was when the loader was made.
        ImportError, RuntimeError: cuDF is not installed, or there is no GPU, for `engine="cudf"`.

    Example:

    >>> train = Loader("train/", batch_size=65_536, shuffle=True)  # doctest: +SKIP
    >>> model.fit(train, validation_data=Loader("valid/", batch_size=65_536), epochs=3)  # doctest: +SKIP
    >>> for features, target in train:  # doctest: +SKIP
    ...     print(features["item"].shape, target.shape)
    (65536,) (65536, 1)
    """

    def __init__(
        self,
        source: Source | Iterable[Source],
        batch_size: int = 65_536,
        shuffle: bool = False,
        seed: int = 0,
        *,
        lists: str = "ragged",
        drop_last: bool = False,
        schema: Schema | None = None,
        columns: Iterable[str] | None = None,
        targets: str | Iterable[str] | None = None,
        sample_weight: str | None = None,
        pool_rows: int | None = None,
        rank: int | None = None,
        ranks: int | None = None,
        engine: str = "arrow",
        storage_options: Mapping[str, Any] | None = None,
        verify: bool = True,
    ):
        self._batch_size = whole("batch_size", batch_size, least=1)
        self.rank, self.ranks = place(rank, ranks)
        self.seed = whole("seed", seed, least=0)
        self.shuffle, self.drop_last = bool(shuffle), bool(drop_last)
        if lists not in ("ragged", "padded", "offsets"):
            raise ValueError(f'lists must be "ragged", "padded" or "offsets", not {lists!r}')
        self.lists, self.engine, self._engine = lists, engine, make_engine(engine)
        self.files = find_files(source, storage_options)
        if engine == "cudf" and (there := [file for file in self.files if isinstance(file, Remote)]):
            raise ValueError(f'{there[0]}: engine="cudf" reads local files; use engine="arrow", or copy them here')
        asked = choose(find_schema(self.files) if schema is None else schema, columns, targets, sample_weight)
        check_loadable(asked)
        self.sample_weight = sample_weight
        self._chunks, self.schema = scan(self.files, asked)
        self._layout = Layout(self.schema, pad=lists == "padded", verify=bool(verify))
        if lists == "padded":
            for column in self._layout.lists:
                max_hotness(column)  # raises where the schema does not say it
        elif lists == "ragged" and self._layout.lists and keras.backend.backend() != "tensorflow":
            raise ValueError(
                f"ragged lists need Keras's TensorFlow backend, this is {keras.backend.backend()}: "
                f'pass lists="padded" for column {self._layout.lists[0].name!r}, or lists="offsets"'
            )
        self.total_rows = sum(chunk.rows for chunk in self._chunks)
        try:
            self._share = Share(self.total_rows, self.rank, self.ranks, self._batch_size, self.drop_last)
        except ValueError as error:
            raise ValueError(f"{self._where()} has {error}") from None
        self.num_rows = len(self._share.span)
        largest = max(chunk.rows for chunk in self._chunks)
        default = max(8 * batch_size, POOL_ROWS, 4 * largest) if shuffle else max(batch_size, READ_ROWS)
        self.pool_rows = default if pool_rows is None else whole("pool_rows", pool_rows, least=1)
        self.epoch = 0  # of the next pass; set it to replay one

    def __len__(self) -> int:
        """The number of batches in one pass, the same on every rank."""
        return self._share.batches

    def __iter__(self) -> Iterator[Any]:
        if self.engine == "cudf":
            yield from getattr(self, keras.backend.backend())()
            return
        for batch in self._lend():
            yield self._yielded(batch, self._whole)

    def _lend(self) -> Generator[Batch, None, None]:
        """One pass, gathered ahead; what is taken from here is counted as given."""
        now = self._pass = Pass(self.epoch, first=self._skip)
        self.epoch, self._resumed = self.epoch + 1, None

        def count(batch: Batch) -> Batch:
            now.given += 1
            return batch

        # By `map`, which keeps no batch: its memory is lent.
        yield from map(count, self._engine.lend(prefetch(self._batches(now.epoch, now.first), depth=2)))

    def _whole(self, column: np.ndarray | Ragged) -> Any:
        """A column as it is yielded from the loader itself."""
        if not isinstance(column, Ragged):
            return column
        if self.lists == "offsets":
            return column.values, column.offsets
        import tensorflow as tf

        return tf.RaggedTensor.from_row_splits(column.values, column.offsets, validate=False)

    def _batches(self, epoch: int, first: int) -> Generator[Batch, None, None]:
        """One pass from batch `first` on: decode a pool, permute it, slice it; the rest is bookkeeping."""
        rng = np.random.default_rng([self.seed, epoch]) if self.shuffle else None
        # Row groups are drawn alike on all ranks, rows within a pool by a stream of each rank's own.
        stream = None if rng is None else [rng, *rng.spawn(self.ranks - 1)][self.rank]
        sizes = self._share.sizes()
        start = sum(islice(sizes, first))  # rows before that batch
        missing = next(sizes)
        todo = pools(self._chunks, self._share.span, self.pool_rows, rng)
        for pool in todo:
            if start < (rows := sum(chunk.rows for chunk in pool)):
                todo = chain([pool], todo)
                break
            start -= rows
            if stream is not None:
                stream.permutation(rows)  # as if it had been read
        frames = prefetch(
            ((self._engine.read(pool, self._layout, self.shuffle), sum(c.rows for c in pool)) for pool in todo), 1
        )
        pieces: list[tuple[Frame, Rows]] = []
        try:
            for frame, rows in frames:
                order = stream.permutation(rows) if stream is not None else None
                while start < rows:
                    stop = min(start + missing, rows)
                    pieces.append((frame, slice(start, stop) if order is None else order[start:stop]))
                    missing -= stop - start
                    start = stop
                    if not missing:
                        yield self._engine.gather(pieces, self._layout)
                        pieces, missing = [], next(sizes, 0)
                        if not missing:  # every batch is out; with drop_last, rows may be left
                            return
                start = 0
                del frame  # its memory is there for the pool that is decoded next
        finally:
            frames.close()

    def _arrange(self, columns: dict[str, Any]) -> Any:
        """Columns by name as Keras takes them; arrays or tensors."""
        features = {name: columns[name] for name in self.schema.features.names}
        found = {name: columns[name][:, None] for name in self.schema.targets.names}
        if not found:
            return features
        target = found if len(found) > 1 else next(iter(found.values()))
        return (features, target, columns[self.sample_weight]) if self.sample_weight else (features, target)

    # ---- what Keras asks of its data -----------------------------------------------------------------------
    @property
    def num_batches(self) -> int:
        refuse_ignored(self)
        return len(self)

    @property
    def batch_size(self) -> int:
        return self._batch_size

    @property
    def has_partial_batch(self) -> bool:
        return bool(self.partial_batch_size)

    @property
    def partial_batch_size(self) -> int:
        return self._share.last % self._batch_size

    def get_numpy_iterator(self) -> Iterator[Any]:
        return iter(self)

    def get_jax_iterator(self) -> Iterator[Any]:
        from kerasrec.data.frameworks.jax import in_range

        if self.engine == "cudf":
            return iter(self)
        return (self._yielded(batch, self._whole) for batch in map(partial(in_range, self._layout), self._lend()))

    def get_torch_dataloader(self) -> Any:
        return torch_dataloader(self)

    def get_tf_dataset(self) -> tf.data.Dataset:
        """The same batches as a `tf.data.Dataset`: one pass of it is one epoch."""
        from kerasrec.data.frameworks.tf_dataset import dataset_of

        return dataset_of(self)

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """By name, what tells each file from another; ranks that share the data compare it before they begin."""
        return fingerprints(self.files)

    # ---- in words ------------------------------------------------------------------------------------------
    def _where(self) -> str:
        return str(self.files[0]) if len(self.files) == 1 else f"{self.files[0].parent} ({len(self.files)} files)"

    def __repr__(self) -> str:
        short = f", the last of {self.partial_batch_size:,}" if self.has_partial_batch else ""
        order = (
            f"shuffled in pools of {self.pool_rows:,} rows, seed {self.seed}" if self.shuffle else "in file order"
        )
        span = self._share.span
        which = "" if self.shuffle else f" ({span.start:,} to {span.stop - 1:,})"
        features = self.schema.features
        counts = {
            "categorical": len(features.categorical),
            "continuous": len(features.continuous),
            "padded lists" if self._layout.pad else "ragged lists": len(self._layout.lists),
        }
        kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
        target = ", ".join(self.schema.targets.names) or "none"
        weight = f"; weight: {self.sample_weight}" if self.sample_weight else ""
        return (
            f"Loader of {self._where()}\n"
            f"  {self.total_rows:,} rows in {len(self._chunks):,} row groups, {order}\n"
            f"  rank {self.rank} of {self.ranks}: {self.num_rows:,} rows{which}, "
            f"{len(self):,} batches of {self._batch_size:,}{short}\n"
            f"  {len(features)} features ({kinds}); target: {target}{weight}"
        )
