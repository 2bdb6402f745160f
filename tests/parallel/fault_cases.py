"""What `test_comm.py` lets go wrong on rank 1, while the other ranks wait for it in a collective."""

import os
import signal
import sys
import time

import numpy as np
import tensorflow as tf

from kerasrec.parallel import comm


class Unprintable(Exception):
    def __str__(self):
        return str(1 / 0)


def wrong(how):
    if how == "raise":
        raise ValueError("s3://igloo/age.parquet: Connection reset by peer")
    if how == "unknown":
        raise tf.errors.UnknownError(None, None, "gs://gloo/age.parquet: Broken pipe")
    if how == "unprintable":
        raise Unprintable
    if how == "interrupt":
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(600)
    if how == "paused":
        os.kill(os.getpid(), signal.SIGSTOP)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "exit":
        sys.exit(3)
    if how == "leave":
        sys.exit(0)
    if how == "stuck":
        time.sleep(600)


if __name__ == "__main__":
    how = sys.argv[1]
    if how == "early" and os.environ["HOROVOD_RANK"] == "1":
        wrong("raise")
    for step in range(5):
        if step == 3 and comm.rank() == 1:
            wrong(how)
        if how == "outside" and step == 3:
            if comm.rank() == 0:
                wrong("raise")
            time.sleep(600)  # the others are busy in Python
        comm.allgather(np.ones(1000), "step")
        print(f"step {step}", flush=True)
