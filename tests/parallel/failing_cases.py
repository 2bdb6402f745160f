"""Functions that go well or wrong on ranks, for `test_ranks.py`."""

import os
import signal
import time

from kerasrec.parallel import comm


def everyone():
    print("here is", comm.rank(), flush=True)
    return comm.gather_objects(os.getpid())


def rank_1_raises():
    if comm.rank() == 1:
        raise ValueError("the disk is full")
    comm.barrier()


def rank_1_hangs():
    if comm.rank() == 1:
        time.sleep(600)


def rank_1_is_killed():
    if comm.rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    comm.barrier()
