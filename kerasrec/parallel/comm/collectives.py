"""Collectives between ranks: the only file that knows Horovod.

A script started by `horovodrun` or `mpirun` has as many ranks as these were asked for; any other is one rank,
where every function here returns at once and Horovod need not be installed. All of them work eagerly and inside
`tf.function`, except `gather_objects` and `barrier`, which are for Python code between steps.

`rank` and `size` read what the launcher says in the environment. The first collective initialises Horovod; from
then on an error that nobody catches ends this process at once (`uncaught_error`), and with it the job.

Every rank must call the same collectives under the same names. Inside `tf.function` they run in any order, and
ranks find each other by name: a name used twice in one traced function is numbered, in the order of tracing.
Horovod's operations count as stateless: TensorFlow prunes one whose result nobody uses, and runs one that is given
constants alone once, when it optimizes the graph, and never again.

None of them has gradients: what exchanges tensors defines its own (`gradients.Operation`).
"""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec
from typing import Any
from weakref import WeakKeyDictionary

from kerasrec.parallel.comm import messages
from kerasrec.parallel.comm.uncaught_error import end_job_on_uncaught_errors

# Where launchers tell a process its rank and how many ranks there are: horovodrun, Open MPI, MPICH and Slurm.
RANK_AND_SIZE = (
    ("HOROVOD_RANK", "HOROVOD_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("PMIX_RANK", "SLURM_STEP_NUM_TASKS"),
)
BUILD = "Build it against the installed TensorFlow with: python -m kerasrec.parallel.horovod_wheel"
# Dtypes that Horovod's data-moving operations lack travel as these, bit by bit.
BITS = {"bfloat16": "uint16", "uint32": "int32", "uint64": "int64"}
# For `kerasrec doctor`, which runs it in a process of its own: a broken build may crash.
ASK_BUILD = """
import horovod.tensorflow as hvd
built = {"Gloo": hvd.gloo_built(), "MPI": hvd.mpi_built(), "NCCL": hvd.nccl_built()}
print(", ".join(name for name, there in built.items() if there))
"""

_names: WeakKeyDictionary[Any, dict[str, int]] = WeakKeyDictionary()


def launched() -> bool:
    """Return whether a launcher started this process as one of several ranks."""
    return any(rank in os.environ for rank, _ in RANK_AND_SIZE)


def rank() -> int:
    """Return this process's number, from 0."""
    return _rank_and_size()[0]


def size() -> int:
    """Return how many ranks there are."""
    return _rank_and_size()[1]


def alltoall(tensor: Any, splits: Any, name: str) -> tuple[Any, Any]:
    """Send each rank its part of `tensor`, and return what the others sent to this one.

    Args:
        tensor: (n, ...), real or bool; the other dimensions are equal on all ranks.
        splits: (size(),) int32, summing to n: the first `splits[0]` entries go to rank 0, and so on; may be 0.
        name: equal on every rank.

    Returns:
        What was received, (m, ...), in the order of ranks, and how much came from each, (size(),) int32.

    Example, on two ranks, rank r sending r to rank 0 and 10 + r to rank 1::

        received, parts = alltoall(tf.constant([r, 10 + r]), tf.constant([1, 1]), "example")
        # rank 0: [0, 1], [1, 1]     rank 1: [10, 11], [1, 1]
    """
    import tensorflow as tf

    tensor, splits = tf.convert_to_tensor(tensor), tf.cast(splits, tf.int32)
    hvd = _horovod()
    if hvd is None:
        return tf.identity(tensor), tf.identity(splits)
    received, parts = hvd.alltoall(_as_bits(tensor), splits, name=_unique(name), ignore_name_scope=True)
    received.set_shape([None, *tensor.shape[1:]])
    parts.set_shape([hvd.size()])
    return _from_bits(received, tensor.dtype), parts


def allreduce(tensors: list[Any], name: str) -> list[Any]:
    """Return the sum of each tensor over ranks, in one message per dtype.

    Args:
        tensors: dense; numeric; the same shapes and dtypes on every rank. bfloat16 is summed in float32.
        name: equal on every rank.
    """
    import tensorflow as tf

    tensors = [tf.convert_to_tensor(tensor) for tensor in tensors]
    hvd = _horovod()
    if hvd is None:
        return [tf.identity(tensor) for tensor in tensors]
    name, sums = _unique(name), list(tensors)
    sent = [tf.cast(t, tf.float32) if t.dtype == tf.bfloat16 else t for t in tensors]
    for dtype in sorted({t.dtype.name for t in sent}):
        places = [i for i, t in enumerate(sent) if t.dtype.name == dtype]
        message = [sent[i] for i in places]
        options = {"op": hvd.Sum, "name": f"{name}.{dtype}", "ignore_name_scope": True}
        for place, total in zip(places, hvd.grouped_allreduce(message, **options), strict=True):
            sums[place] = tf.cast(tf.ensure_shape(total, tensors[place].shape), tensors[place].dtype)
    return sums


def allgather(tensor: Any, name: str) -> Any:
    """Return all ranks' tensors one after another along the first axis, whose length may differ between ranks.

    Args:
        tensor: (n, ...), real or bool; the other dimensions are equal on all ranks.
        name: equal on every rank.
    """
    import tensorflow as tf

    tensor = tf.convert_to_tensor(tensor)
    hvd = _horovod()
    if hvd is None:
        return tf.identity(tensor)
    gathered = hvd.allgather(_as_bits(tensor), name=_unique(name), ignore_name_scope=True)
    gathered.set_shape([None, *tensor.shape[1:]])
    return _from_bits(gathered, tensor.dtype)


def broadcast(tensors: list[Any], root: int = 0, name: str = "broadcast") -> list[Any]:
    """Return rank `root`'s tensors on every rank; shapes and dtypes must be equal on all of them."""
    import tensorflow as tf

    tensors = [tf.convert_to_tensor(tensor) for tensor in tensors]
    hvd = _horovod()
    if hvd is None:
        return [tf.identity(tensor) for tensor in tensors]
    name, received = _unique(name), []
    for place, tensor in enumerate(tensors):
        bits = hvd.broadcast(_as_bits(tensor), root, name=f"{name}.{place}", ignore_name_scope=True)
        received.append(_from_bits(tf.ensure_shape(bits, tensor.shape), tensor.dtype))
    return received


def gather_objects(value: Any) -> list[Any]:
    """Return every rank's `value`, in the order of ranks. Not for use inside `tf.function`.

    Args:
        value: numbers, strings, bytes, NumPy arrays, and lists and dicts of these (`comm.messages`).
    """
    if _horovod() is None:
        return [value]
    import numpy as np
    import tensorflow as tf

    with tf.init_scope():
        data = np.frombuffer(messages.encode(value), np.uint8)
        lengths = allgather(np.array([len(data)], np.int64), "kerasrec_object_lengths").numpy()
        everything = allgather(data, "kerasrec_objects").numpy()
    ends = np.cumsum(lengths)
    return [
        messages.decode(everything[end - length : end].tobytes())
        for end, length in zip(ends, lengths, strict=True)
    ]


def barrier() -> None:
    """Return once every rank has called it. Not for use inside `tf.function`."""
    gather_objects(None)


def _rank_and_size() -> tuple[int, int]:
    for rank, size in RANK_AND_SIZE:
        if rank in os.environ:
            _check_installed()
            if size in os.environ:
                return int(os.environ[rank]), int(os.environ[size])
            hvd = _initialised()  # a launcher that says only the rank
            return hvd.rank(), hvd.size()
    return 0, 1


@cache
def _check_installed() -> None:
    if find_spec("horovod") is None:
        raise RuntimeError(
            f"this process was started as one of several ranks, but Horovod is not installed. {BUILD}"
        )


@cache
def _horovod() -> Any:
    """Return Horovod's TensorFlow module, initialised at the first use; None where there is one rank."""
    if size() == 1:
        return None
    hvd = _initialised()
    if (hvd.rank(), hvd.size()) != (rank(), size()):
        raise RuntimeError(
            f"the launcher says that this is rank {rank()} of {size()}, but Horovod was initialised as rank "
            f"{hvd.rank()} of {hvd.size()}: start the script with horovodrun, or build Horovod with MPI"
        )
    return hvd


@cache
def _initialised() -> Any:
    try:
        import horovod.tensorflow as hvd
    except ImportError as error:
        raise RuntimeError(f"Horovod cannot be imported ({error}). {BUILD}") from error
    hvd.init()
    end_job_on_uncaught_errors(hvd.rank(), hvd.size())
    return hvd


def _as_bits(tensor: Any) -> Any:
    import tensorflow as tf

    bits = BITS.get(tensor.dtype.name)
    return tensor if bits is None else tf.bitcast(tensor, bits)


def _from_bits(bits: Any, dtype: Any) -> Any:
    import tensorflow as tf

    return bits if bits.dtype == dtype else tf.bitcast(bits, dtype)


def _unique(name: str) -> str:
    """Return `name`, numbered if the function being traced has used it already; eager calls come one at a time."""
    import tensorflow as tf

    if tf.executing_eagerly():
        return name
    graph = tf.compat.v1.get_default_graph()
    while getattr(graph, "outer_graph", None) is not None and hasattr(graph.outer_graph, "outer_graph"):
        graph = graph.outer_graph
    used = _names.setdefault(graph, {})
    used[name] = used.get(name, 0) + 1
    return name if used[name] == 1 else f"{name}.{used[name]}"
