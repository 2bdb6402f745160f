"""`Loader`: a folder of Parquet, or rows in memory, as the data of a Keras model."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import keras

from kerasrec._keras import DataAdapter, torch_dataloader
from kerasrec.data.arguments import Lists, check_lists, choose_columns, integer, rank_and_ranks
from kerasrec.data.batch_size import default_batch_size
from kerasrec.data.batches import BatchStream
from kerasrec.data.decode.check_rows import check_rows
from kerasrec.data.decode.engines import make_engine
from kerasrec.data.decode.layout import BatchColumn, Layout, Ragged
from kerasrec.data.files.checks import check_loadable
from kerasrec.data.files.fingerprint import fingerprints
from kerasrec.data.files.in_memory import InMemory
from kerasrec.data.files.row_groups import read_row_groups
from kerasrec.data.mapping import Inputs
from kerasrec.data.open import Data, open_data
from kerasrec.data.rank_split import RankSplit
from kerasrec.data.resume import Resumable
from kerasrec.data.summary import summary, where
from kerasrec.data.unused_arguments import refuse_unused_arguments
from kerasrec.data.views import Views
from kerasrec.data.weights import SampleWeight, weights_by_target
from kerasrec.schema import Schema

if TYPE_CHECKING:
    import tensorflow as tf

    from kerasrec.data.frameworks.jax import JaxBatches
    from kerasrec.data.frameworks.tf_tensors import TensorFlowBatches
    from kerasrec.data.frameworks.torch import TorchBatches

READ_ROWS = 65_536  # the least rows that are read at once, if not shuffled
POOL_ROWS = 262_144  # the least rows that are permuted together, if shuffled


class Loader(Resumable, Views, DataAdapter):
    """Batches of Parquet files or of rows in memory, for plain `keras.Model.fit` or a `for` loop.

    Iterating it yields `(features, target)`. `features` is a dict by name: a scalar column is an array (batch,) of
    the schema's dtype; a list column a `tf.RaggedTensor` (batch, None), or padded with 0 to (batch, max hotness),
    or a pair (values, offsets) of which row i is `values[offsets[i]:offsets[i + 1]]`; a list column of numbers
    that are not ids, and of which every row has `width` elements, an array (batch, width). `target` is float32
    (batch, 1), or a dict of such arrays by name if there are several targets; without a target only `features` is
    yielded. With a weight it is `(features, target, weight)`, `weight` float32 (batch,), or a dict of such by
    target. Each `iter`, and each epoch of `fit`, is one pass in which every row comes once.

    **Ranks.** In a job of several ranks each reads its share, so that every row comes once per epoch over all
    ranks. All row groups form a sequence, in file order or, shuffled, in an order drawn anew for each epoch, the
    same on all ranks. The sequence is cut into equal spans: of N rows, rank r reads those from N r / ranks to
    before N (r + 1) / ranks, rounded down. Unshuffled, the ranks' predictions one after another are thus in file
    order. A rank decodes only the row groups of its span; one that a border cuts is decoded on both sides of it.
    `batch_size` is each rank's: a step of the job takes batch_size x ranks rows. All ranks have the same number
    of batches and none is empty: spans differ by one row at most, and if that row makes one batch more, the last
    two batches of a rank without it have batch_size - 1 rows and 1. With `drop_last` a rank leaves out the last
    rows of its span.

    **Shuffling.** A *pool* is a set of whole row groups, drawn at random from all files, with at least `pool_rows`
    rows in total. Its rows are permuted uniformly and cut into batches, so a batch is a uniform sample without
    replacement of its pool (or of two pools, at the end of one). Pools and permutation change with each epoch and
    follow from (seed, epoch, ranks) alone. On several ranks each draws pools from its own span: a step of the job
    samples one pool per rank, ranks x pool_rows rows. If one pool of one rank contains the whole dataset, the
    shuffle is exact. Else rows of one row group meet in every epoch, and rows of two row groups only if both are
    drawn into one pool: write data whose order has a meaning (sorted by time or label) in small row groups,
    several per rank, so that a pool contains many.

    **Epochs** count the passes that were started, from 0, in `epoch`; set it to replay one. `fit` starts one per
    epoch. (Keras's JAX and torch trainers start one more before, for a first batch to build the model with.)
    `state` and `restore` continue one at the exact batch. To do something at the end of an epoch, override
    `on_epoch_begin` and `on_epoch_end`: Keras calls them as those of a `keras.utils.PyDataset`, so `on_epoch_end`
    also once before the first epoch; a loop of your own does not call them.

    **Views.** `take(n)` is a loader of the first batches, `map(function)` of what a function returns for each;
    `peek()` is the next batch.

    **Memory.** At most two pools (three while a batch spans two of them), the row groups that are being decoded
    (up to 4) and a few batches: about 2 x pool_rows x bytes per row, on each rank.

    **Where it runs.** Two background threads decode pools and cut batches, ahead of the model. Features are NumPy
    arrays when iterated directly, so Keras's JAX and torch backends take a loader as well, with `lists="padded"`;
    TensorFlow gets a `tf.data.Dataset` (`get_tf_dataset`). `torch()`, `jax()` and `tensorflow()` return tensors
    for loops of your own. Leaving a pass early ends its threads.

    **On a GPU.** `engine="cudf"` decodes, permutes and gathers on the GPU: the same rows in the same order, after
    the same checks. It yields tensors of Keras's backend that are on the GPU, and so do those that `kr.models` and
    Keras's JAX and torch trainers get. `fit` of any other model with TensorFlow uses `tf.data`, so each batch is
    copied to the host and back; `fit(loader.tensorflow())` copies nothing. For TensorFlow int32 columns come as
    int64: it would keep those of 32 bits on the host.

    **Keras's arguments.** `fit`, `evaluate` and `predict` refuse, by name, the arguments that Keras ignores for
    a data adapter that is not its own: `y`, `sample_weight`, `batch_size`, `shuffle=False` for a loader that
    shuffles, and `class_weight`, which `kr.models` apply themselves. Give the loader `sample_weight`, or make
    weights with `map`. A functional `keras.Model` wants a dict of exactly its inputs: name them in `columns`.

    Args:
        source: a Parquet file, a folder of them, a glob, or a list of these, read in that order, by name. Each may
            be an address that fsspec knows (s3://, https://, memory://). A folder's subfolders named
            `column=value` are part of it; such columns are constant in their files. Or rows in memory: what
            `workflow.transform` returns, or, with `schema`, transformed rows as a Polars, pandas or Arrow frame,
            dicts, or a dict of columns. They make the same batches as the files that `to_parquet` writes of them.
        batch_size: rows per batch on each rank; the last one has what is left. If not given, it follows from the
            rank's rows: shuffled, to train on, 64 to 2,048 (250 to 500 batches per epoch up to 1 million rows); in
            order, to evaluate and predict, 1,024 to 16,384.
        shuffle: whether rows come in random order.
        seed: of the shuffle, an integer >= 0.
        lists: "ragged" (TensorFlow only), "padded" or "offsets" (no layer of Keras or this package takes it).
        drop_last: leave out a last batch shorter than `batch_size`; on all ranks if on one.
        schema: what the columns are; by default from the `schema.json` beside the data, or the dataset's own.
        columns: names of the features to yield; all of the schema's if not given.
        targets: name or names of the targets to yield; all of the schema's if not given, `[]` for none.
        sample_weight: name of the column with a row's weight in the loss and in `weighted_metrics`, or a dict of
            such by target, where those left out weigh 1 and the column may be another target. By default what the
            schema says, the column with the tag "weight"; False uses none. Keras divides a weighted loss by the
            rows, not the weights.
        pool_rows: the least rows that are permuted together on a rank; if not given, the largest of 8 batches,
            262,144 rows and 4 of the largest row groups.
        rank, ranks: which share of how many to read, from 0; those of this process in its job if not given.
            `rank=0, ranks=1` reads all rows in every process.
        engine: "arrow", or "cudf" for an NVIDIA GPU, the first that the process sees.
        storage_options: how to reach addresses, as the file system's class in fsspec takes it.
        verify: whether row groups whose pages have checksums are compared with them when the loader first reads
            them. Files that `to_parquet` wrote have them.

    Attributes:
        num_rows: rows of this rank in one pass, before `drop_last` and `take`.
        total_rows: rows of all ranks.
        epoch: the number of the next pass.

    Raises:
        FileNotFoundError: there is no file, or no schema.
        SchemaError: a column is missing or of a type that does not fit, or cannot be an input; a frame comes
            without a schema.
        ValueError: an argument is out of range, a file is unreadable, there are nulls, values that do not fit the
            schema's dtype, ids outside [0, cardinality), weights that are negative or not finite, no rows, fewer
            than ranks, or batches of one row that cannot be split evenly over the ranks. Rows in memory are all
            checked at once. What footers of files do not show is raised when the rows are decoded.
        OSError: raised in a pass: a file is damaged, or has changed since the loader was made.
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
        source: Data,
        batch_size: int | None = None,
        shuffle: bool = False,
        seed: int = 0,
        *,
        lists: Lists = "ragged",
        drop_last: bool = False,
        schema: Schema | None = None,
        columns: Iterable[str] | None = None,
        targets: str | Iterable[str] | None = None,
        sample_weight: SampleWeight = None,
        pool_rows: int | None = None,
        rank: int | None = None,
        ranks: int | None = None,
        engine: str = "arrow",
        storage_options: Mapping[str, Any] | None = None,
        verify: bool = True,
    ):
        self.rank, self.ranks = rank_and_ranks(rank, ranks)
        seed = integer("seed", seed, least=0)
        self.drop_last, self.lists, self.engine = bool(drop_last), lists, engine
        decoder = make_engine(engine)
        self.files, schema = open_data(source, schema, engine, storage_options)
        schema = choose_columns(schema, columns, targets, sample_weight)
        check_loadable(schema)
        row_groups, self.schema = read_row_groups(self.files, schema)
        layout = Layout(self.schema, pad=lists == "padded", verify=bool(verify))
        check_lists(lists, layout.lists, keras.backend.backend())
        self.total_rows = sum(row_group.rows for row_group in row_groups)
        if batch_size is None:
            batch_size = default_batch_size(self.total_rows // self.ranks, bool(shuffle))
        batch_size = integer("batch_size", batch_size, least=1)
        try:
            split = RankSplit(self.total_rows, self.rank, self.ranks, batch_size, self.drop_last)
        except ValueError as error:
            raise ValueError(f"{where(self.files)} has {error}") from None
        for rows in self.files:
            if isinstance(rows, InMemory):
                check_rows(rows, row_groups, layout)
        self.num_rows = len(split.span)
        largest = max(row_group.rows for row_group in row_groups)
        default = max(8 * batch_size, POOL_ROWS, 4 * largest) if shuffle else max(batch_size, READ_ROWS)
        pool_rows = default if pool_rows is None else integer("pool_rows", pool_rows, least=1)
        self._stream = BatchStream(
            self.schema, row_groups, layout, decoder, split, bool(shuffle), seed, pool_rows, lists
        )

    def __len__(self) -> int:
        """Return the number of batches in one pass, the same on every rank."""
        return len(self._stream)

    def __iter__(self) -> Generator[Inputs, None, None]:
        if self.engine == "cudf":
            on_device: dict[str, Callable[[], Iterable[Inputs]]]
            on_device = {"tensorflow": self.tensorflow, "torch": self.torch, "jax": self.jax}
            yield from on_device[keras.backend.backend()]()
            return
        for batch in self._stream.batches():
            yield self._stream.convert(batch, self._column)

    def _column(self, column: BatchColumn) -> Any:
        """Return a column as the loader itself yields it."""
        if not isinstance(column, Ragged):
            return column
        if self.lists == "offsets":
            return column.values, column.offsets
        import tensorflow as tf

        return tf.RaggedTensor.from_row_splits(column.values, column.offsets, validate=False)

    def peek(self) -> Inputs:
        """Return the first batch of the next pass, without starting that pass."""
        with closing(iter(self._of(self._stream.copy()))) as batches:
            return next(batches)

    @property
    def epoch(self) -> int:
        return self._stream.progress.epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._stream.progress.epoch = epoch

    @property
    def sample_weight(self) -> str | dict[str, str] | None:
        """The column with the rows' weights, a dict by target where targets have others, or None."""
        weights = weights_by_target(self.schema, self.schema.targets.names)
        if len(set(weights.values())) < 2:
            return next(iter(weights.values()), None)
        return {target: column for target, column in weights.items() if column is not None}

    @property
    def shuffle(self) -> bool:
        return self._stream.shuffle

    @property
    def seed(self) -> int:
        return self._stream.seed

    @property
    def pool_rows(self) -> int:
        return self._stream.pool_rows

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """The fingerprint of each file by name; ranks that share the data compare them before they begin."""
        return fingerprints(self.files)

    # ---- tensors for loops of your own -----------------------------------------------------------------------
    def tensorflow(self) -> TensorFlowBatches:
        """Return the same batches as TensorFlow tensors where the engine has them, not as `tf.data`'s on the host.

        The result is an iterable with `len`, of `(features, target)`; `fit`, `evaluate` and `predict` take it as
        they take the loader, which `kr.models` do by themselves with `engine="cudf"`. A list column is a
        `tf.RaggedTensor`, with `lists="padded"` (batch, max hotness), with `lists="offsets"` a pair (values,
        offsets)."""
        from kerasrec.data.frameworks.tf_tensors import TensorFlowBatches

        return TensorFlowBatches(self, self._stream)

    def torch(self) -> TorchBatches:
        """Return the same batches as PyTorch tensors, on the memory where the loader gathered them.

        The result is a `torch.utils.data.IterableDataset` with `len`, of `(features, target)` as the loader itself
        yields them; it counts the loader's epochs. A list column is padded with `lists="padded"`, else a pair
        `(values, offsets)`, row i being `values[offsets[i]:offsets[i + 1]]`, as
        `torch.nn.EmbeddingBag(include_last_offset=True)` takes it. In a `torch.utils.data.DataLoader` pass
        `batch_size=None` and no workers. Merlin's counterpart: `merlin.dataloader.torch.Loader`.

        Only lists that are read unshuffled are copied. With `engine="cudf"` tensors are on the GPU.
        """
        from kerasrec.data.frameworks.torch import TorchBatches

        return TorchBatches(self._stream)

    def jax(self) -> JaxBatches:
        """Return the same batches as JAX arrays, on JAX's default device.

        The result is an iterable with `len`, of `(features, target)`; list columns are as in `torch`. On a CPU a
        column is not copied if it starts at a multiple of 64 bytes (all of 32 bits do if `batch_size` is a
        multiple of 16). Unless `jax_enable_x64` is set, XLA makes 64 bits 32, in a copy."""
        from kerasrec.data.frameworks.jax import JaxBatches

        return JaxBatches(self._stream)

    # ---- what Keras asks of its data -----------------------------------------------------------------------
    @property
    def num_batches(self) -> int:
        refuse_unused_arguments(self.batch_size, self.shuffle)
        return len(self)

    @property
    def batch_size(self) -> int:
        return self._stream.split.batch_size

    @property
    def has_partial_batch(self) -> bool:
        return bool(self.partial_batch_size)

    @property
    def partial_batch_size(self) -> int:
        return self._stream.split.last % self.batch_size

    def get_numpy_iterator(self) -> Iterator[Inputs]:
        return iter(self)

    def get_jax_iterator(self) -> Iterator[Inputs]:
        from kerasrec.data.frameworks.jax import checked_integers

        if self.engine == "cudf":
            return iter(self)
        stream = self._stream
        batches = map(partial(checked_integers, stream.layout), stream.batches())
        return (stream.convert(batch, self._column) for batch in batches)

    def get_torch_dataloader(self) -> Any:
        return torch_dataloader(self)

    def get_tf_dataset(self) -> tf.data.Dataset:
        """Return the same batches as a `tf.data.Dataset`: one pass over it is one epoch."""
        from kerasrec.data.frameworks.tf_dataset import dataset_of

        return dataset_of(self._stream)

    def __repr__(self) -> str:
        return summary(where(self.files), self._stream)
