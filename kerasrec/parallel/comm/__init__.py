"""Communication between ranks: the collectives of Horovod, and what is built on them alone."""

from kerasrec.parallel.comm.collectives import (
    allgather,
    allreduce,
    alltoall,
    barrier,
    broadcast,
    gather_objects,
    launched,
    rank,
    size,
)

__all__ = [
    "allgather",
    "allreduce",
    "alltoall",
    "barrier",
    "broadcast",
    "gather_objects",
    "launched",
    "rank",
    "size",
]
