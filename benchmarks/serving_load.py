"""Measure what a Triton server adds to its SavedModel, and how it bears several clients at once.

    python benchmarks/serving_load.py [--clients 8] [--seconds 30] [--calls 200] [--swaps 20]

The model is that of `serving.py`. For each number of candidates, calls of these take turns:

    here     the SavedModel in this process, arrays to arrays
    grpc     the server's, the same arrays by tritonclient
    http     the server's `generate`, the same rows as JSON

Then clients ask for 32 candidates each over gRPC as fast as they can, and while one of them goes on, new versions
of the SavedModel are published: how long after the rename the first answer of a new version came. All is on one
machine: the clients take CPU time from the server. Needs `pip install "kerasrec[serve]"`. Prints a table, and a
line of JSON last.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import tensorflow as tf
import tritonclient.grpc as grpc
from serving import raw_rows, trained
from tritonclient.utils import np_to_triton_dtype

import kerasrec as kr
from kerasrec.files import write_aside
from kerasrec.serving.triton.config import MAX_REQUESTS
from kerasrec.serving.triton.repository import write_link
from kerasrec.serving.triton.server import Address, Server, free_port

Figures = dict[str, dict[str, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidates", type=int, nargs="+", default=[1, 32, 500])
    parser.add_argument("--vocabulary", type=int, default=100_000, help="distinct strings per column")
    parser.add_argument("--rows", type=int, default=200_000, help="rows that the workflow is fitted on")
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--swaps", type=int, default=20, help="versions that are published")
    options = parser.parse_args()
    figures: dict[str, object] = {**vars(options), "cores": os.cpu_count(), "tensorflow": tf.__version__}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frame = raw_rows(options.rows, options.vocabulary)
        workflow, model = trained(frame, 32)
        for copy in ("served", "first", "second"):
            if copy == "second":
                model.set_weights([weights + 1e-3 for weights in model.get_weights()])
            kr.serving.export(model, folder / copy, workflow=workflow)
        write_link(folder / "repository", "model", folder / "served", max_requests=MAX_REQUESTS)
        address = Address(http=free_port(), grpc=free_port(), metrics=free_port())
        started = time.perf_counter()
        with Server(folder / "repository", address):
            figures["start_seconds"] = time.perf_counter() - started
            print(f"ready after {figures['start_seconds']:.1f} s")
            print(f"{'candidates':>10}  {'case':6}{'p50 ms':>10}{'p99 ms':>10}")
            for count in options.candidates:
                cases = cases_of(folder / "served", address, frame.drop("clicked").head(count))
                figures[str(count)] = measure(count, cases, options.calls)
            request = inputs_of(kr.serving.rows(frame.drop("clicked").head(32), folder / "served"))
            figures["load"] = load(address, request, options.clients, options.seconds)
            figures["new_version"] = exchange(address, request, folder, options.swaps)
    print(json.dumps(figures))


def inputs_of(arrays: dict[str, np.ndarray]) -> list[grpc.InferInput]:
    """Return arrays as tritonclient sends them."""
    inputs = []
    for name, array in arrays.items():
        tensor = grpc.InferInput(name, [1, len(array)], np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array[np.newaxis])
        inputs.append(tensor)
    return inputs


def cases_of(path: Path, address: Address, frame: pl.DataFrame) -> dict[str, Callable[[], object]]:
    """Return the calls that are compared."""
    served = kr.serving.load(path)
    arrays = kr.serving.rows(frame, path)
    inputs, client = inputs_of(arrays), grpc.InferenceServerClient(f"{address.host}:{address.grpc}")
    connection = http.client.HTTPConnection(address.host, address.http)
    body = json.dumps({"rows": json.dumps(frame.to_dicts())})

    def generate() -> bytes:
        connection.request("POST", "/v2/models/model/generate", body)
        return connection.getresponse().read()

    return {"here": lambda: served(**arrays), "grpc": lambda: client.infer("model", inputs), "http": generate}


def measure(count: int, cases: dict[str, Callable[[], object]], calls: int) -> Figures:
    """Print and return the median and the 99th percentile of each case."""
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for call in range(calls + 10):
        for name, case in cases.items():
            start = time.perf_counter()
            case()
            if call >= 10:
                seconds[name].append(time.perf_counter() - start)
    figures = {}
    for name, of_case in seconds.items():
        figures[name] = {"p50": 1e3 * float(np.median(of_case)), "p99": 1e3 * float(np.quantile(of_case, 0.99))}
        print(f"{count:10,}  {name:6}{figures[name]['p50']:10.2f}{figures[name]['p99']:10.2f}")
    return figures


def load(address: Address, request: list[grpc.InferInput], clients: int, seconds: float) -> dict[str, float]:
    """Ask from several threads at once, and print and return how many requests were answered, and when."""
    stop = time.perf_counter() + seconds
    took: list[float] = []
    errors: list[Exception] = []

    def ask() -> None:
        client = grpc.InferenceServerClient(f"{address.host}:{address.grpc}")
        while (start := time.perf_counter()) < stop:
            try:
                client.infer("model", request)
            except Exception as error:
                errors.append(error)
            took.append(time.perf_counter() - start)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    figures = {
        "requests_per_second": len(took) / seconds,
        "p50": 1e3 * float(np.median(took)),
        "p99": 1e3 * float(np.quantile(took, 0.99)),
        "errors": len(errors),
        "executions_per_request": _metric(address, "exec_count") / _metric(address, "count"),
    }
    print(f"{clients} clients: {', '.join(f'{name} {value:.2f}' for name, value in figures.items())}")
    return figures


def exchange(address: Address, request: list[grpc.InferInput], folder: Path, swaps: int) -> dict[str, float]:
    """Publish versions in turn, and print and return after how many seconds an answer came from each."""
    client = grpc.InferenceServerClient(f"{address.host}:{address.grpc}")

    def version() -> bytes:
        return client.infer("model", request).as_numpy("version")[0, 0]

    took = []
    for swap in range(swaps):
        before = version()
        with write_aside(folder / "served") as aside:
            shutil.copytree(folder / ("second", "first")[swap % 2], aside)
        published = time.perf_counter()
        while version() == before:
            pass
        took.append(time.perf_counter() - published)
    figures = {"p50": float(np.median(took)), "p99": float(np.quantile(took, 0.99)), "most": max(took)}
    print(f"a new version answers after {', '.join(f'{name} {value:.2f} s' for name, value in figures.items())}")
    return figures


def _metric(address: Address, name: str) -> float:
    with urllib.request.urlopen(f"http://{address.host}:{address.metrics}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line for line in lines if line.startswith(f"nv_inference_{name}{{")).split()[-1])


if __name__ == "__main__":
    main()
