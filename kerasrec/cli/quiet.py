"""TensorFlow without its notes on the processor."""

from __future__ import annotations

import os
import sys

LEVEL = "TF_CPP_MIN_LOG_LEVEL"


def import_tensorflow() -> None:
    """Import TensorFlow, dropping what its libraries print to standard error before their own log level counts.

    Exceptions pass. A user who sets TF_CPP_MIN_LOG_LEVEL sees what it lets through.
    """
    if LEVEL in os.environ:
        return
    os.environ[LEVEL] = "2"
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        import tensorflow  # noqa: F401
    finally:
        os.dup2(kept, 2)
        os.close(kept)
