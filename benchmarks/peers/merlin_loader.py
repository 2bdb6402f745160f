"""A worker of `loader.py`: NVIDIA Merlin's dataloader 23.8 on CPUs, iterated bare; in its own environment
(setup.sh).

    merlin_loader.py FOLDER BATCH_SIZE SHUFFLE

SHUFFLE is 0 or 1. Reads one epoch for each line on its standard input, and answers with a line of JSON: wall
and CPU seconds of all threads, and rows.
"""

import json
import os
import sys
import time
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"


def main(folder, batch_size, shuffle):
    from merlin.dataloader.tensorflow import Loader
    from merlin.io import Dataset
    from merlin.schema import Tags

    files = sorted(map(str, Path(folder).glob("*.parquet")))
    # Without it a partition is a tenth of the machine's memory: all files in one, and nothing read ahead.
    data = Dataset(files, engine="parquet")
    schema = data.schema
    schema["label"] = schema["label"].with_tags([Tags.TARGET])
    data.schema = schema
    loader = Loader(data, batch_size=int(batch_size), shuffle=bool(int(shuffle)))
    print(json.dumps({"batches": len(loader)}), flush=True)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        rows = sum(int(target.shape[0]) for _, target in loader)
        times = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
        print(json.dumps({"rows": rows, **times}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
