"""What `test_comm.py` runs on every rank: each collective against NumPy, eagerly and inside `tf.function`."""

import tempfile
from pathlib import Path

import bytes_cases
import ml_dtypes
import numpy as np
import tensorflow as tf

from kerasrec.parallel import comm
from kerasrec.parallel.comm.batch_share import share_of

MOVED = ["uint8", "int8", "uint16", "int16", "int32", "uint32", "int64", "uint64", "bool"]
MOVED += ["float16", "float32", "float64", ml_dtypes.bfloat16]
SUMMED = ["uint8", "int32", "int64", "float16", "float32", "float64", ml_dtypes.bfloat16]
MODES = {"eager": lambda f: f, "graph": tf.function}


def values(rank, rows, dtype):
    return np.random.default_rng(rank + 7).integers(0, 9, (rows, 3)).astype(dtype)


def sent(rank, to):
    """How many rows `rank` sends: none to some, and the last rank none at all."""
    return 0 if rank == comm.size() - 1 and comm.size() > 2 else (rank + 2 * to) % 3


def check_alltoall(mode):
    me, ranks = comm.rank(), range(comm.size())
    run = MODES[mode](lambda x, s: comm.alltoall(x, s, "exchange"))
    for dtype in MOVED:
        parts = {r: np.split(values(r, 12, dtype), np.cumsum([sent(r, to) for to in ranks])) for r in ranks}
        splits = np.array([sent(me, to) for to in ranks], np.int32)
        received, received_splits = run(values(me, 12, dtype)[: splits.sum()], splits)
        np.testing.assert_array_equal(received, np.concatenate([parts[r][me] for r in ranks]))
        np.testing.assert_array_equal(received_splits, [sent(r, me) for r in ranks])
        assert received.dtype == dtype
        assert received_splits.dtype == tf.int32
    received, _ = run(np.zeros((0, 3), "float32"), np.zeros(comm.size(), np.int32))  # nobody sends anything
    assert received.shape == (0, 3)


def check_allreduce(mode):
    me, ranks = comm.rank(), range(comm.size())
    run = MODES[mode](lambda tensors: comm.allreduce(tensors, "sums"))
    mixed = [values(me, 4, dtype) for dtype in SUMMED]
    for got, dtype in zip(run(mixed), SUMMED, strict=True):
        np.testing.assert_array_equal(got, sum(values(r, 4, dtype) for r in ranks))
        assert got.dtype == dtype
    assert run([np.float32(me)])[0] == sum(ranks)
    assert comm.allreduce([], "none") == []


def check_allgather(mode):
    me, ranks = comm.rank(), range(comm.size())
    run = MODES[mode](lambda x: comm.allgather(x, "gathered"))
    for dtype in MOVED:
        got = run(values(me, 2 * me, dtype))  # rank 0 brings nothing
        np.testing.assert_array_equal(got, np.concatenate([values(r, 2 * r, dtype) for r in ranks]))
        assert got.dtype == dtype


def check_broadcast(mode):
    root = comm.size() - 1
    run = MODES[mode](lambda tensors: comm.broadcast(tensors, root=root, name="weights"))
    got = run([values(comm.rank(), 3, dtype) for dtype in MOVED])
    for tensor, dtype in zip(got, MOVED, strict=True):
        np.testing.assert_array_equal(tensor, values(root, 3, dtype))


def check_one_name_twice_under_unlike_scopes():
    @tf.function
    def run(x):
        with tf.name_scope(f"made_{comm.rank()}"):  # a rank may have made more layers than another
            first, second = comm.allgather(x, "twice"), comm.allgather(x + 10, "twice")

        @tf.function
        def inner(y):
            return comm.allgather(y, "twice")

        return first, second, inner(x + 20)

    ranks = np.arange(comm.size())
    for length in (1, 1 + comm.rank()):  # the second call traces again, though not on rank 0
        for number, got in enumerate(run(np.full([length], comm.rank()))):
            repeats = np.ones_like(ranks) if length == 1 and comm.rank() else None
            expected = ranks + 10 * number
            assert sorted(set(got.numpy())) == list(expected), (repeats, got)


def check_shares():
    """Rank 0's batches have one known size, the others' change, so that rank 0 alone never traces again."""
    me, ranks = comm.rank(), range(comm.size())
    run = tf.function(lambda x: share_of(tf.shape(x)[0]))
    for more in (0, 2, 3):
        sizes = [4 + (rank > 0) * more for rank in ranks]
        np.testing.assert_allclose(run(tf.zeros((sizes[me], 3))), sizes[me] / sum(sizes))


def check_fit():
    """Keras's own training loop, with a collective in its graph."""
    import keras

    class Total(keras.layers.Layer):
        def call(self, x):
            return x + tf.stop_gradient(comm.allreduce([tf.reduce_sum(x)], "total")[0]) * 0

        def compute_output_shape(self, shape):
            return shape

    model = keras.Sequential([keras.Input((2,)), Total(), keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=False)
    model.fit(np.ones((8, 2)), np.ones(8), batch_size=4, epochs=2, verbose=0)


def check_objects():
    assert comm.gather_objects({"rank": comm.rank(), "x": "a" * comm.rank()}) == [
        {"rank": r, "x": "a" * r} for r in range(comm.size())
    ]


def check_barrier():
    """Nobody is past a barrier before everybody has come to it."""
    with tempfile.TemporaryDirectory() as mine:
        folder = Path(comm.gather_objects(mine)[0])
        for number in range(20):
            (folder / f"{number}-{comm.rank()}").touch()
            comm.barrier()
            assert len(list(folder.glob(f"{number}-*"))) == comm.size()
        comm.barrier()


def run():
    """Check everything, and return the names of what was checked."""
    for mode in MODES:
        for check in (check_alltoall, check_allreduce, check_allgather, check_broadcast):
            check(mode)
    others = [check_shares, check_one_name_twice_under_unlike_scopes, check_fit, check_objects, check_barrier]
    for check in (*others, *bytes_cases.CASES):
        check()
    return [check.__name__ for check in (*others, *bytes_cases.CASES)]
