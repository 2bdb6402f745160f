"""A loader's batches as tensors of whichever framework a training loop is written in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kerasrec.data.frameworks.jax import JaxBatches
    from kerasrec.data.frameworks.tf_tensors import TensorFlowBatches
    from kerasrec.data.frameworks.torch import TorchBatches


class Frameworks:
    """What `Loader` offers besides being data for Keras; each imports its framework when called."""

    def tensorflow(self: Any) -> TensorFlowBatches:
        """The same batches as TensorFlow tensors where the engine has them, in place of `tf.data`'s on the host.

        An iterable with `len`, of `(features, target)`; `fit`, `evaluate` and `predict` take it as they take the
        loader, which `kr.models` do by themselves with `engine="cudf"`. A list column is a `tf.RaggedTensor`,
        with `lists="padded"` (batch, max hotness), with `lists="offsets"` a pair (values, offsets).
        """
        from kerasrec.data.frameworks.tf_tensors import TensorFlowBatches

        return TensorFlowBatches(self)

    def torch(self: Any) -> TorchBatches:
        """The same batches as PyTorch tensors, on the memory where the loader gathered them.

        A `torch.utils.data.IterableDataset` with `len`, of `(features, target)` as from the loader itself, which
        counts the epochs: shuffle, seed, ranks and `epoch` are its. A list column is padded with
        `lists="padded"`, else a pair `(values, offsets)`, row i being `values[offsets[i]:offsets[i + 1]]`, as
        `torch.nn.EmbeddingBag(include_last_offset=True)` takes it. In a `torch.utils.data.DataLoader` pass
        `batch_size=None` and no workers. Merlin's counterpart: `merlin.dataloader.torch.Loader`.

        Nothing is copied but lists read unshuffled. With `engine="cudf"` tensors are on the GPU.

        Example:

        >>> loader = Loader("train/", batch_size=65_536, shuffle=True, lists="padded")  # doctest: +SKIP
        >>> for features, target in loader.torch():  # doctest: +SKIP
        ...     loss = torch.nn.functional.binary_cross_entropy(model(features), target)
        """
        from kerasrec.data.frameworks.torch import TorchBatches

        return TorchBatches(self)

    def jax(self: Any) -> JaxBatches:
        """The same batches as JAX arrays, on JAX's default device.

        An iterable with `len`, of `(features, target)`; list columns as in `torch`. On a CPU a column lies where
        the loader gathered it, if it starts at a multiple of 64 bytes (all of 32 bits do where `batch_size` is a
        multiple of 16); XLA copies others, and, unless `jax_enable_x64` is set, makes 64 bits 32.
        """
        from kerasrec.data.frameworks.jax import JaxBatches

        return JaxBatches(self)
