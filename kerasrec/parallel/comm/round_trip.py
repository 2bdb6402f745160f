"""Run each collective once, with a known result; `kerasrec doctor` starts this file under horovodrun."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from kerasrec.parallel import comm


def main() -> None:
    """Run each collective and raise if one is wrong; rank 0 prints its name, seconds and result, tab-separated."""
    me, ranks = comm.rank(), np.arange(comm.size())
    cases: dict[str, tuple[Callable[[], object], object]] = {
        "alltoall": (lambda: comm.alltoall(10 * me + ranks, np.ones_like(ranks), "doctor")[0], 10 * ranks + me),
        "allreduce": (lambda: comm.allreduce([np.float32(me + 1)], "doctor")[0], np.float32(sum(ranks + 1))),
        "allgather": (lambda: comm.allgather(np.repeat(me, me + 1), "doctor"), np.repeat(ranks, ranks + 1)),
        "broadcast": (lambda: comm.broadcast([np.float32(me + 5)], 0, "doctor")[0], np.float32(5)),
    }
    if len(ranks) < 2:
        raise RuntimeError("Horovod started no second rank")
    for name, (run, expected) in cases.items():
        comm.barrier()
        started = time.perf_counter()
        got = np.asarray(run())
        seconds = time.perf_counter() - started
        if not np.array_equal(got, np.asarray(expected)):
            raise RuntimeError(f"{name} returned {got.tolist()}; expected {np.asarray(expected).tolist()}")
        if me == 0:
            print(f"round trip: {name}\t{seconds}\t{got.tolist()}, as it should be", flush=True)


if __name__ == "__main__":
    main()
