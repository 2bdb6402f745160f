"""The configuration of a model in Triton's repository, `config.pbtxt`, made from a SavedModel's description."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from kerasrec.serving.description import Description, Tensor

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
MAX_ROWS = 65_536
MAX_REQUESTS = 64  # that are computed together
_TYPES = {"string": "TYPE_STRING", "bool": "TYPE_BOOL", "bfloat16": "TYPE_FP32"} | {
    f"{kind}{bits}": f"TYPE_{short}{bits}"
    for kind, short, sizes in (("int", "INT", (8, 16, 32, 64)), ("uint", "UINT", (8, 16, 32, 64)))
    for bits in sizes
}
_TYPES |= {f"float{bits}": f"TYPE_FP{bits}" for bits in (16, 32, 64)}


def config_text(
    name: str,
    description: Description,
    *,
    saved_model: str | os.PathLike[str] | None = None,
    max_rows: int = MAX_ROWS,
    max_requests: int = MAX_REQUESTS,
) -> str:
    """Return the text of `config.pbtxt`.

    All inputs are optional to Triton: a request has columns or `rows`, and `model.py` says what is missing. They
    are ragged to it, or else it would compute only requests of equal shapes together.

    Args:
        name: of the model, which is that of its folder.
        description: of the SavedModel.
        saved_model: its path; by default `model.savedmodel` in the folder of the version.
        max_rows: of a request, and of several that are computed together.
        max_requests: how many are computed together.

    Raises:
        ValueError: the name is not one that a URL can have.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a model: use letters, digits, '_', '-' and '.'")
    rows, version = free_name("rows", description.inputs), free_name("version", description.outputs)
    inputs = {**description.inputs, rows: "string"}
    form = {**asdict(description), "rows": rows, "version": version, "max_rows": max_rows}
    parameters = {"format": json.dumps(form)}
    if saved_model is not None:
        parameters["saved_model"] = str(Path(saved_model).absolute())
    outputs = {**description.outputs, version: Tensor("string", (1,))}
    lines = [
        f"name: {_text(name)}",
        'backend: "python"',
        f"max_batch_size: {max_requests}",
        "dynamic_batching { }",
        "instance_group [ { kind: KIND_CPU, count: 1 } ]",
    ]
    for key, dtype in inputs.items():
        kind = f"name: {_text(key)}, data_type: {_TYPES[dtype]}, dims: [ -1 ]"
        lines.append(f"input {{ {kind}, optional: true, allow_ragged_batch: true }}")
    for key, out in outputs.items():
        lines.append(f"output {{ name: {_text(key)}, data_type: {_TYPES[out.dtype]}, dims: {_dims(out)} }}")
    for key, value in parameters.items():
        lines.append(f"parameters {{ key: {_text(key)}, value: {{ string_value: {_text(value)} }} }}")
    return "\n".join(lines) + "\n"


def free_name(name: str, taken: Mapping[str, object]) -> str:
    """Return `name`, with a number after it where an input or output has that name."""
    candidate, number = name, 2
    while candidate in taken:
        candidate, number = f"{name}_{number}", number + 1
    return candidate


def _dims(output: Tensor) -> str:
    """Return the dimensions of an output after that of requests."""
    after_rows = () if output.shape == (1,) else output.shape
    return f"[ {', '.join(str(-1 if size is None else size) for size in (None, *after_rows))} ]"


def _text(value: str) -> str:
    """Return a string as protobuf's text format writes it."""
    return json.dumps(value, ensure_ascii=False)
