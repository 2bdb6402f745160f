"""The `model.py` of a model in Triton's repository: answers requests with a SavedModel, several at a time.

With `request_format.py`, `grouped_call.py` and `session_call.py` it is copied into the repository. They do not
need kerasrec, but NumPy and TensorFlow alone, unless a request has its rows as JSON. Every input has the shape
(1, n): the first dimension is that of requests, which Triton's dynamic batcher puts together, the second that of
rows, or of the elements of lists.

A SavedModel that is replaced on the disk, in one rename, is loaded beside the one that serves, tried on no rows,
and takes its place between two batches. One that does not load or takes other inputs is refused.
"""

from __future__ import annotations

import os
import sys

sys.path[:0] = [path for path in os.environ.get("KERASREC_SYS_PATH", "").split(os.pathsep) if path]

import hashlib  # noqa: E402
import json  # noqa: E402
import threading  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import triton_python_backend_utils as triton  # noqa: E402
from grouped_call import GroupedCall  # noqa: E402
from request_format import Arrays, BadRequest, Format, ReadRows, shortened  # noqa: E402
from session_call import SIGNATURE, SessionCall  # noqa: E402

POLL = 0.05  # seconds between looks at the disk


class TritonPythonModel:
    """What Triton's Python backend calls."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the SavedModel. `args` is Triton's: the model's configuration, name, folder and version."""
        config = json.loads(args["model_config"])
        parameters = {name: value["string_value"] for name, value in config["parameters"].items()}
        own = Path(args["model_repository"]) / args["model_version"] / "model.savedmodel"
        self.format = Format(json.loads(parameters["format"]))
        self.path = Path(parameters.get("saved_model", own))
        self.metrics = Metrics(args["model_name"])
        self.stamp = stamp_of(self.path)
        self.version = Version(self.path, self.format)
        self.metrics.now_serving(self.version.name)
        self.stopped = threading.Event()
        self.watcher = threading.Thread(target=self._watch, daemon=True)
        self.watcher.start()

    def finalize(self) -> None:
        self.stopped.set()
        self.watcher.join()

    # ---- requests --------------------------------------------------------------------------------------------
    def execute(self, requests: list[Any]) -> list[Any]:
        """Return a response to each request. One version of the model answers all of them."""
        version = self.version
        responses: list[Any] = [None] * len(requests)
        parsed: dict[int, Arrays] = {}
        for at, request in enumerate(requests):
            try:
                self.format.check_parameters(json.loads(request.parameters() or "{}"))
                parsed[at] = self.format.arrays(request.inputs(), version.read_rows)
            except BadRequest as error:
                responses[at] = failure(error)
        for batch in self.format.batches(parsed):
            for at, answer in self._answers(version, {at: parsed[at] for at in batch}).items():
                responses[at] = answer
        return responses

    def _answers(self, version: Version, batch: dict[int, Arrays]) -> dict[int, Any]:
        """Return the responses to some requests that are computed together, or one by one if one of them fails."""
        rows = {at: self.format.rows(arrays) for at, arrays in batch.items()}
        try:
            outputs = version.call(self.format.joined(list(batch.values())))
        except Exception as error:
            if len(batch) == 1:
                return {at: failure(error) for at in batch}
            return {at: self._answers(version, {at: arrays})[at] for at, arrays in batch.items()}
        answers, start = {}, 0
        for at, count in rows.items():
            part = {name: values[start : start + count] for name, values in outputs.items()}
            answers[at] = response(part, self.format.version_output, version.name)
            start += count
        return answers

    # ---- versions --------------------------------------------------------------------------------------------
    def _watch(self) -> None:
        while not self.stopped.wait(POLL):
            try:
                self._look()
            except Exception as error:  # the version that serves goes on
                triton.Logger.log_error(f"{self.path}: {shortened(error)}")

    def _look(self) -> None:
        stamp = stamp_of(self.path)
        if stamp is None or stamp == self.stamp:
            return
        try:
            version = Version(self.path, self.format)
        except Exception as error:
            if stamp_of(self.path) == stamp:  # otherwise it was replaced again meanwhile
                self.stamp = stamp
                self.metrics.refused(error.reason if isinstance(error, OtherModelError) else "does not load")
                triton.Logger.log_error(
                    f"{self.path}: the new version is refused, {self.version.name} goes on: {shortened(error)}"
                )
            return
        if stamp_of(self.path) != stamp:
            return
        self.stamp, self.version = stamp, version
        self.metrics.now_serving(version.name)
        triton.Logger.log_info(f"{self.path}: version {version.name} serves")


class OtherModelError(ValueError):
    """A SavedModel has other inputs or outputs than the one that serves, which `reason` says in two words."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


class Version:
    """A loaded SavedModel.

    Attributes:
        name: 12 hexadecimal digits that are equal for equal graphs and weights, wherever they are loaded.
        read_rows: returns the arrays of rows by the schema of this version; None where kerasrec is not installed.
    """

    def __init__(self, path: Path, form: Format):
        self.name = version_of(path)
        self.read_rows = rows_reader(path)
        self.call = call_of(path)
        self._check(form)
        self.call(form.nothing())

    def _check(self, form: Format) -> None:
        here = self.call.inputs
        if here != form.inputs:
            differing = sorted(name for name in {*here, *form.inputs} if here.get(name) != form.inputs.get(name))
            changes = (
                f"{name}: {form.inputs.get(name, 'no')} before, {here.get(name, 'no')} now" for name in differing
            )
            message = f"its inputs differ ({'; '.join(changes)}); restart the server for such a model"
            raise OtherModelError("other inputs", message)
        if set(self.call.outputs) != set(form.outputs):
            message = f"its outputs are {sorted(self.call.outputs)}, not {sorted(form.outputs)}"
            raise OtherModelError("other outputs", message)


def call_of(path: Path) -> SessionCall | GroupedCall:
    """Return what calls a SavedModel."""
    try:
        return SessionCall(path)
    except NotImplementedError:  # exported by kerasrec 0.4 or earlier
        return GroupedCall(tf.saved_model.load(str(path)).signatures[SIGNATURE])


class Metrics:
    """Counters of versions, beside Triton's own metrics of requests.

    Args:
        model: the model's name, a label of each.
    """

    def __init__(self, model: str):
        gauge, counter = triton.MetricFamily.GAUGE, triton.MetricFamily.COUNTER
        self.model = model
        self.info = triton.MetricFamily("kerasrec_serving_version", "1 for the version that serves", gauge)
        # Triton wants the families to live as long as their metrics.
        self.loaded = triton.MetricFamily("kerasrec_versions_loaded", "SavedModels that were loaded", counter)
        self.failed = triton.MetricFamily("kerasrec_versions_refused", "SavedModels that were refused", counter)
        self.loads = self.loaded.Metric({"model": model})
        self.refusals: dict[str, Any] = {}
        self.serving: Any = None

    def now_serving(self, version: str) -> None:
        self.loads.increment(1)
        if self.serving is not None:
            self.serving.set(0)
        self.serving = self.info.Metric({"model": self.model, "version": version})
        self.serving.set(1)

    def refused(self, reason: str) -> None:
        if reason not in self.refusals:
            self.refusals[reason] = self.failed.Metric({"model": self.model, "reason": reason})
        self.refusals[reason].increment(1)


def version_of(path: Path) -> str:
    """Return the name of a SavedModel's version: a digest of its graph and of the checksums of its variables."""
    digest = hashlib.sha256()
    for file in (path / "saved_model.pb", path / "variables" / "variables.index"):
        if file.exists():
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def rows_reader(path: Path) -> ReadRows | None:
    """Return what makes arrays of rows, by the schema that a SavedModel has now."""
    try:
        from kerasrec.schema import Schema
        from kerasrec.serving.rows import EXTRA, RowFormat
    except ImportError:
        return None
    return RowFormat(Schema.load(path / EXTRA).features).arrays


def stamp_of(path: Path) -> tuple[int, ...] | None:
    """Return what changes when a SavedModel is replaced; None while there is none."""
    try:
        stat = os.stat(path / "saved_model.pb")
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def response(outputs: Arrays, version_output: str, version: str) -> Any:
    """Return Triton's response: one prediction per row is (1, rows), several are (1, rows, n)."""
    tensors = []
    for name, values in outputs.items():
        if values.dtype.name == "bfloat16":
            values = values.astype(np.float32)
        flat = values.reshape(len(values)) if values.shape[1:] == (1,) else values
        tensors.append(triton.Tensor(name, np.ascontiguousarray(flat[np.newaxis])))
    tensors.append(triton.Tensor(version_output, np.array([[version.encode()]], object)))
    return triton.InferenceResponse(tensors)


def failure(error: Exception) -> Any:
    """Return the response to a request that failed: by its own fault (400), or not (500)."""
    own = isinstance(error, BadRequest | tf.errors.InvalidArgumentError)
    code = triton.TritonError.INVALID_ARG if own else triton.TritonError.INTERNAL
    return triton.InferenceResponse(error=triton.TritonError(shortened(error), code))
