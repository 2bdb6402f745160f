"""Loaders made of a loader: of its first batches, or of what a function returns for each."""

from __future__ import annotations

import copy
from typing import Self

from kerasrec.data.arguments import integer
from kerasrec.data.batches import BatchStream
from kerasrec.data.mapping import Function


class Views:
    """`Loader.take` and `Loader.map`.

    A view is a loader, so everything that takes a loader takes it. It reads the same files, begins at the epoch
    that is next here, and counts its own from there."""

    _stream: BatchStream

    def take(self, batches: int) -> Self:
        """Return a loader of the first `batches` batches of each pass, on each rank; of all if there are fewer.

        Shuffled, they are different ones in each epoch. No more is read than the pools that contain them, and one
        pool ahead.

        Raises:
            ValueError: `batches` is not an integer >= 1, or the next pass after `restore` skips that many.

        Example:

        >>> model.fit(train.take(100), epochs=3)  # doctest: +SKIP
        """
        stream = self._stream.take(integer("batches", batches, least=1))
        if (skipped := stream.progress.skipped) >= len(stream):
            raise ValueError(f"take({batches}): the next pass continues at batch {skipped}, as restored")
        return self._of(stream)

    def map(self, function: Function) -> Self:
        """Return a loader of what `function` returns for each batch.

        It is called as `function(features, target)`, with the weights if the loader yields them and without the
        target if there is none, on the host and before anything is a tensor. It returns what Keras is to get:
        features, or a tuple (features, target) or (features, target, weight). Columns are NumPy arrays as the
        loader yields them, a list column that is not padded is a pair (values, offsets), and such a pair in a dict
        that is returned is a list column again. The arrays are the batch's own and may be changed in place. With
        `engine="cudf"` they are CuPy's.

        All batches must have the same columns, dtypes and shapes except for the number of rows. `fit` with
        TensorFlow reads the first batch once more to learn them. `schema` remains that of the files. The function
        runs in one thread, beside the model's step in `fit`: a slow function slows down the training.

        Raises:
            TypeError: `function` is not callable; or, raised by the batch, it returned something else.

        Example:

        >>> def weigh(features, target):
        ...     return features, target, np.where(target[:, 0] == 1, 10, 1).astype("float32")
        >>> model.fit(train.map(weigh))  # doctest: +SKIP
        """
        if not callable(function):
            raise TypeError(f"map takes a function of (features, target); got {function!r}")
        return self._of(self._stream.map(function))

    def _of(self, stream: BatchStream) -> Self:
        """Return this loader with another stream."""
        view = copy.copy(self)
        view._stream = stream
        return view
