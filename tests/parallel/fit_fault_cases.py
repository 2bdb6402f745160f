"""What `test_fit_faults.py` lets go wrong on one rank in the middle of `fit`; run by horovodrun."""

import os
import signal
import sys
import time
from pathlib import Path

import fit_cases
import keras
import numpy as np

import kerasrec as kr
from kerasrec.parallel import comm

STEP_LIMIT = 20  # tracing the first step counts


class Wrong(keras.callbacks.Callback):
    def __init__(self, how):
        super().__init__()
        self.how = how

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 2:
            print("step 2", flush=True)
        if batch != 2 or comm.rank() != 1:
            return
        if self.how == "raise":
            raise ValueError("column 'age' has a bad value")
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "stuck":
            time.sleep(600)


def stray_ids():
    """Rank 1's third batch has an id outside its table."""
    batches = list(fit_cases.parts(comm.rank(), comm.size()))
    if comm.rank() == 1:
        batches[2][0]["item"] = np.full_like(batches[2][0]["item"], 1000)
    return fit_cases.as_dataset(batches)


if __name__ == "__main__":
    folder, how = Path(sys.argv[1]), sys.argv[2]
    if how == "stray id":
        fit_cases.plain("sgd", "row_wise").fit(stray_ids(), callbacks=[Wrong(how)])
    elif how == "bad file":
        train = kr.Loader(folder / "bad", batch_size=8, pool_rows=20, columns=fit_cases.FEATURES)
        fit_cases.dlrm(folder, "sgd").fit(train, callbacks=[Wrong(how)])
    else:
        callbacks = [kr.parallel.Callback(step_limit=STEP_LIMIT), Wrong(how)]
        fit_cases.dlrm(folder, "sgd").fit(fit_cases.loaders(folder)[0], epochs=3, callbacks=callbacks)
    print("went on", flush=True)
