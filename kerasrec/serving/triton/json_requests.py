"""What the front knows of a request's JSON: rows that are not a text, and what Triton could not read."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from kerasrec.excerpts import excerpt
from kerasrec.serving.triton.json_text import read

PATH = re.compile(r"(/v2/models/[^/?]+)(?:/versions/[^/?]+)?/(infer|generate|generate_stream)")
_ROWS = re.compile(rb'"rows"\s*:\s*[\[{]')
_INTEGER_BITS = {f"{sign}INT{bits}": (bits, not sign) for sign in ("", "U") for bits in (8, 16, 32, 64)}
_KINDS = {"BYTES": "strings", "BOOL": "true or false", "FP16": "numbers", "FP32": "numbers", "FP64": "numbers"}


def rows_as_text(body: bytes) -> bytes:
    """Return the body of a request to `generate`, with rows that are objects as the text that Triton takes.

    A body that is not JSON is returned as it is, for Triton to say so.
    """
    if not _ROWS.search(body):
        return body
    try:
        request, write = read(body)
    except (ValueError, RecursionError):
        return body
    rows = request.get("rows") if isinstance(request, dict) else None
    if isinstance(rows, dict) or (isinstance(rows, list) and all(isinstance(row, dict) for row in rows)):
        return write({**request, "rows": write(rows).decode()})
    return body


def refusal(text: bytes, elements: int) -> str | None:
    """Return why the JSON of a request to `infer` must not reach Triton, if it must not.

    Triton 2.51 takes memory for all elements of a shape before it looks at the data, and ends if there is none.

    Args:
        text: the JSON.
        elements: more than there can be in the data of all inputs.
    """
    left, too_large = elements, ""

    def look(pairs: list[tuple[str, Any]]) -> dict[str, Any]:  # at each object, and at each of equal keys
        nonlocal left, too_large
        for key, shape in pairs:
            if key == "shape" and isinstance(shape, list):
                left -= math.prod(size for size in shape if isinstance(size, int) and size > 0)
                if left < 0 and not too_large:
                    name = excerpt(dict(pairs).get("name"))
                    too_large = f"input {name}: the data cannot have shape {excerpt(shape)}"
        return dict(pairs)

    try:
        json.loads(text.decode(), object_pairs_hook=look)
    except (ValueError, RecursionError) as error:
        return f"the request is not JSON: {error}"
    return too_large or None


def fault(kind: str, text: bytes, datatypes: Mapping[str, str]) -> str | None:
    """Return what is wrong with an input of a request that Triton refused; None if it is nothing of JSON's.

    Args:
        kind: "infer" or "generate".
        text: the request's JSON.
        datatypes: of the model's inputs by name, as Triton's configuration has them.
    """
    try:
        request = json.loads(text)
    except RecursionError:
        return None
    except ValueError as error:
        return f"the request is not JSON: {error}"
    if not isinstance(request, dict):
        return f"the request must be a JSON object; got {excerpt(request)}"
    faults = _of_tensors(request, datatypes) if kind == "infer" else _of_keys(request, datatypes)
    return next(faults, None)


def _of_keys(request: dict[str, Any], datatypes: Mapping[str, str]) -> Iterator[str]:
    """Yield faults of the inputs of `generate`."""
    for name, value in request.items():
        if name in datatypes and (wrong := _of_values(datatypes[name], value)):
            yield f"input {name!r}: {wrong}"


def _of_tensors(request: dict[str, Any], datatypes: Mapping[str, str]) -> Iterator[str]:
    """Yield faults of the inputs of `infer`."""
    for key in ("inputs", "outputs"):
        tensors = request.get(key, [])
        if not isinstance(tensors, list):
            yield f"{key!r} must be a list of objects; got {excerpt(tensors)}"
            return
        for at, tensor in enumerate(tensors):
            name = tensor.get("name") if isinstance(tensor, dict) else None
            if not isinstance(name, str):
                yield f"{key!r}, element {at}: expected an object with a 'name'; got {excerpt(tensor)}"
            elif key == "inputs" and (wrong := _of_tensor(tensor, datatypes.get(name))):
                yield f"input {name!r}: {wrong}"
    if "inputs" not in request:
        yield "'inputs' is missing: expected a list of objects with name, shape, datatype and data"
    if not isinstance(request.get("id", ""), str):
        yield f"'id' must be a string; got {excerpt(request['id'])}"
    if not isinstance(request.get("parameters", {}), dict):
        yield f"'parameters' must be an object; got {excerpt(request['parameters'])}"


def _of_tensor(tensor: dict[str, Any], expected: str | None) -> str | None:
    shape, datatype = tensor.get("shape"), tensor.get("datatype")
    if not isinstance(shape, list) or not all(type(size) is int and 0 <= size < 1 << 63 for size in shape):
        return f"'shape' must be a list of sizes, such as [1, 3]; got {excerpt(shape)}"
    if expected is not None and datatype != expected:
        return f"'datatype' must be {expected}; got {excerpt(datatype)}"
    parameters = tensor.get("parameters", {})
    if not isinstance(parameters, dict):
        return f"'parameters' must be an object; got {excerpt(parameters)}"
    if (size := parameters.get("binary_data_size")) is not None and (type(size) is not int or size < 0):
        return f"'binary_data_size' must be a number of bytes; got {excerpt(size)}"
    if "data" not in tensor:
        return None if parameters else "'data' is missing"
    if not isinstance(tensor["data"], list):
        return f"'data' must be a list; got {excerpt(tensor['data'])}"
    if (wrong := _of_values(str(datatype), tensor["data"])) is not None:
        return wrong
    count = sum(1 for _ in _flat(tensor["data"]))
    return None if count == math.prod(shape) else f"shape {excerpt(shape)} does not fit {count:,} elements of data"


def _of_values(datatype: str, data: Any) -> str | None:
    """Return which value is not of a datatype, if one is not."""
    for at, value in enumerate(_flat(data)):
        if not _fits(datatype, value):
            expected = _KINDS.get(datatype, "integers")
            return f"expected {expected} ({datatype}); element {at} is {excerpt(value)}"
    return None


def _flat(data: Any) -> Iterator[Any]:
    if isinstance(data, list):
        for value in data:
            yield from _flat(value)
    else:
        yield data


def _fits(datatype: str, value: Any) -> bool:
    if datatype == "BYTES":
        return isinstance(value, str)
    if datatype == "BOOL":
        return isinstance(value, bool)
    if datatype in _INTEGER_BITS:
        bits, signed = _INTEGER_BITS[datatype]
        low, high = (-(1 << bits - 1), 1 << bits - 1) if signed else (0, 1 << bits)
        return type(value) is int and low <= value < high
    return type(value) in (int, float)
