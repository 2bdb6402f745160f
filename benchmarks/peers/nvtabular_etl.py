"""The ETL benchmark's work done by NVTabular 23.8 on CPUs; runs in its own environment (see setup.sh).

    nvtabular_etl.py FOLDER_OF_PARQUET OUTPUT [PROCESSES]

With PROCESSES, on a local Dask cluster of so many workers of one thread each, as NVTabular's documentation
advises; without, as it comes: one thread. Prints one line of JSON: seconds of fit and of transform with writing,
and CPU seconds and the most resident memory of this process and its workers together.
"""

import json
import os
import sys
import time
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

STRINGS = [f"C{i}" for i in range(1, 27)]
INTEGERS = [f"I{i}" for i in range(1, 14)]


def main(folder, output, processes=0):
    import nvtabular as nvt
    from merlin.io import Dataset
    from nvtabular import ops

    client = None
    if processes:
        from distributed import Client, LocalCluster

        cluster = LocalCluster(n_workers=processes, threads_per_worker=1, dashboard_address=None, memory_limit=0)
        client = Client(cluster)
    output = os.path.abspath(output)
    strings = STRINGS >> ops.Categorify(out_path=output)  # where its vocabularies go
    integers = INTEGERS >> ops.FillMissing() >> ops.Clip(min_value=0) >> ops.LogOp() >> ops.Normalize()
    workflow = nvt.Workflow(strings + integers + ["label"], client=client)
    data = Dataset(sorted(map(str, Path(folder).glob("*.parquet"))), engine="parquet")
    cpu, start = everywhere(time.process_time, client), time.perf_counter()
    workflow.fit(data)
    fitted = time.perf_counter()
    workflow.transform(data).to_parquet(
        os.path.join(output, "out"), output_files=len(data.partition_lens) if processes else None
    )
    done = time.perf_counter()
    cpu, peak = everywhere(time.process_time, client) - cpu, everywhere(peak_gib, client)
    if client:
        client.close()
        cluster.close()
    print(json.dumps({"fit_s": fitted - start, "transform_s": done - fitted, "cpu_s": cpu, "peak_gib": peak}))


def everywhere(function, client):
    """The sum over this process and the workers."""
    return function() + (sum(client.run(function).values()) if client else 0)


def peak_gib():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 2**20


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
