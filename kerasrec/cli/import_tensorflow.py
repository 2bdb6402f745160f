"""Import TensorFlow without the notes that its libraries print."""

from __future__ import annotations

import os
import sys

LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


def import_tensorflow() -> None:
    """Import TensorFlow, dropping what its libraries write to standard error before their log level takes effect.

    Errors are still raised. If TF_CPP_MIN_LOG_LEVEL is set, nothing is dropped.
    """
    if LOG_LEVEL in os.environ:
        return
    os.environ[LOG_LEVEL] = "2"
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with open(os.devnull, "wb") as devnull:
            os.dup2(devnull.fileno(), 2)
        import tensorflow  # noqa: F401
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
