"""What `ranks.py` starts on every rank: calls one function after another, and says what it returned or raised."""

import gc
import importlib
import socket
import sys
import traceback
from multiprocessing.connection import Connection

import keras

from kerasrec.parallel import comm


def main(address: str) -> None:
    with socket.socket(socket.AF_UNIX) as connecting:
        connecting.connect(address)
        descriptor = connecting.detach()
    with Connection(descriptor) as connection:
        connection.send(comm.rank())
        while (asked := connection.recv()) is not None:
            number, module, name, arguments = asked
            try:
                answer = "returned", getattr(importlib.import_module(module), name)(*arguments)
            except BaseException:
                answer = "raised", traceback.format_exc()
            for stream in (sys.stdout, sys.stderr):
                print(f"<end of case {number}>", file=stream, flush=True)
            connection.send(answer)


def clear() -> None:
    """Forget the graphs and names of what ran before."""
    keras.backend.clear_session()
    gc.collect()


if __name__ == "__main__":
    main(sys.argv[1])
