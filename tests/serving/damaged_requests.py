"""Random damage to good requests: of rows, of columns as arrays, as JSON and as bytes, and of HTTP itself.

Each function returns what to send and the names of which the refusal must have one: the raw column, or its inputs.
No names stand for damage that belongs to no column.
"""

import json
import struct

import numpy as np

INPUTS = {
    "user": ["user"],
    "item id": ["item_id"],
    "tags": ["tags__values", "tags__offsets"],
    "price": ["price", "price__valid"],
}
KINDS = {"object": "BYTES", "int64": "INT64", "float64": "FP64", "bool": "BOOL"}


def pick(rng, options):
    options = list(options)
    return options[rng.integers(len(options))]


def cut(rng, data):
    return data[: rng.integers(len(data))]


def names_of(column):
    return [column, *INPUTS[column]]


def column_of(name):
    return next(column for column, inputs in INPUTS.items() if name in inputs)


# ---- rows as JSON ----------------------------------------------------------------------------------------------
def damaged_rows(rng, rows):
    """A text of rows."""
    rows = [dict(row) for row in rows]
    row, column = pick(rng, rows), pick(rng, INPUTS)
    text = json.dumps(rows, ensure_ascii=False).encode()
    match rng.integers(8):
        case 0:
            return cut(rng, text), []
        case 1:
            return b"[" * 3000 + text, []
        case 2:
            return text[:-2] + b"\xff" + text[-2:], []
        case 3:
            return json.dumps(rows * 400).encode(), []  # too many
        case 4:
            return json.dumps(pick(rng, [3, [3], "text", [[]], [None], [rows]])).encode(), []
        case 5:
            column = pick(rng, ["user", "item id"])  # the others may be null
            row[column] = None
        case 6:
            for each in rows:
                each["x" + column] = each.pop(column)
            return json.dumps(rows).encode(), names_of(column)
        case _:
            wrong = {
                "user": [3, True, 1.5, ["u1"], {"a": 1}, "\ud800"],
                "item id": ["3", 1.5, True, 2**70, [1], {}],
                "tags": ["a", 3, [3], [["a"]], [None, 1], {"a": 1}],
                "price": ["dear", True, [1.0], {}, 10**400],
            }
            row[column] = pick(rng, wrong[column])
    return json.dumps(rows).encode(), names_of(column)


# ---- columns ---------------------------------------------------------------------------------------------------
def damaged_arrays(rng, wire):
    """Arrays by name, of the shape that they are sent with."""
    arrays = {name: array[np.newaxis] for name, array in wire.items()}
    name = pick(rng, arrays)
    column, array = column_of(name), arrays[name]
    match rng.integers(7):
        case 0:
            del arrays[name]
        case 1:
            arrays[name] = array[:, : rng.integers(array.shape[1])]
        case 2:
            arrays[name] = np.concatenate([array, array[:, : rng.integers(1, 3)]], 1)
        case 3:
            shape = pick(rng, [(-1,), (-1, 1, 1), (array.size + 1, 1)])
            arrays[name] = np.resize(array, shape) if shape[0] > 0 else array.reshape(shape)
            return arrays, [each for column in INPUTS for each in names_of(column)]  # Triton names the next input
        case 4:
            arrays[name] = np.repeat(array, rng.integers(2, 5), 0)
            return arrays, [each for column in INPUTS for each in names_of(column)]
        case 5:
            column, name = "tags", "tags__offsets"
            arrays[name] = arrays[name] + rng.choice([-1, 1, 7, 2**62, -(2**62)])
        case _:
            column, name = "tags", "tags__offsets"
            offsets = arrays[name].copy()
            offsets[0, rng.integers(offsets.shape[1])] += rng.choice([-9, 9, 2**40])
            arrays[name] = offsets
    return arrays, names_of(column)


def tensors_of(wire):
    """The inputs of KServe's JSON."""
    return [
        {
            "name": name,
            "shape": [1, len(array)],
            "datatype": KINDS[array.dtype.name],
            "data": [value.decode() if isinstance(value, bytes) else value for value in array.tolist()],
        }
        for name, array in wire.items()
    ]


def damaged_json(rng, wire):
    """The JSON of a request to `infer`."""
    tensors = tensors_of(wire)
    at = rng.integers(len(tensors))
    tensor = tensors[at]
    name = tensor["name"]
    names = names_of(column_of(name))
    match rng.integers(10):
        case 0:
            return cut(rng, json.dumps({"inputs": tensors}).encode()), []
        case 1:
            value = pick(rng, [None, {}, {"a": 1}, [], [[]], 3.5 if tensor["datatype"] != "FP64" else "x"])
            tensor["data"] = [value] * tensor["shape"][1]
        case 2:
            size = tensor["shape"][1]
            shapes = [
                [],
                [size],
                [1, size + 1],
                [1, 2**40],
                [1, 2**63],
                [1, -1],
                [size, 1],
                [1.5],
                "1",
                None,
                [2, size],
            ]
            tensor["shape"] = pick(rng, [shape for shape in shapes if shape != [1, size]])
            if tensor["shape"] in ([], [size], [size, 1], [2, size]):
                names = []  # Triton names the next input, whose first dimension differs from this one's
        case 3:
            others = [kind for kind in ("BYTES", "INT64", "FP64", "BOOL", "INT8") if kind != tensor["datatype"]]
            tensor["datatype"] = pick(rng, [*others, "TEXT", 3, None])
        case 4:
            tensors.append(dict(tensor))
        case 5:
            tensor["name"] = pick(rng, ["nobody", "a.b", "größe", "^x$", "x" * 10_000])
            names = [tensor["name"][:100], *names]
        case 6:
            del tensors[at]
        case 7:
            tensor["data"] = pick(rng, [3, "text", None, {}, {"data": []}])
        case 8:
            return json.dumps(pick(rng, [[], 3, None, {"inputs": {}}, {"inputs": [3]}, tensors])).encode(), []
        case _:
            depth = int(rng.integers(101, 5000))
            return json.dumps({"inputs": tensors}).encode()[:-1] + b', "a": ' + b"[" * depth + b"]" * depth, []
    return json.dumps({"inputs": tensors}).encode(), names


def damaged_binary(rng, wire):
    """Headers and body of a request to `infer` whose data are binary."""
    tensors, data = [], []
    for name, array in wire.items():
        if array.dtype == object:
            raw = b"".join(struct.pack("<I", len(each)) + each for each in array)
        else:
            raw = array.tobytes()
        parameters = {"binary_data_size": len(raw)}
        tensors.append(
            {"name": name, "shape": [1, len(array)], "datatype": KINDS[array.dtype.name], "parameters": parameters}
        )
        data.append(raw)
    head_bytes = None
    at = int(rng.integers(len(tensors)))
    match rng.integers(6):
        case 0:
            tensors[at]["parameters"]["binary_data_size"] += int(rng.choice([-1, 1, 100, 2**40]))
        case 1:
            tensors[at]["parameters"]["binary_data_size"] = pick(rng, [-1, "3", 1.5, 2**70, None, [1]])
        case 2:
            data[-1] = cut(rng, data[-1])
        case 3:
            data.append(b"more")
        case 4:
            at = pick(rng, [at for at, each in enumerate(tensors) if each["datatype"] == "BYTES"])
            data[at] = struct.pack("<I", 2**32 - 1 - int(rng.integers(9))) + data[at][4:]
        case _:
            head_bytes = pick(rng, ["-1", "x", "999999999", "0", "7", "1" * 40, ""])
    head = json.dumps({"inputs": tensors}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)) if head_bytes is None else head_bytes}
    return headers, head + b"".join(data)


# ---- HTTP ------------------------------------------------------------------------------------------------------
def damaged_http(rng, path, body):
    """The bytes of a request, after which the client says no more."""
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\n"
    good = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    match rng.integers(9):
        case 0:
            return cut(rng, good)
        case 1:
            return bytes(rng.integers(0, 256, rng.integers(1, 3000), np.uint8))
        case 2:
            return good.replace(b"HTTP/1.1", pick(rng, [b"HTTP/9", b"HTTP", b"", b"HTTP/1.1 x", b"\0"]), 1)
        case 3:
            length = pick(rng, [10**9, 10**18, 10**30, -1, "0x10", "1e3", ""])
            return f"{head}Content-Length: {length}\r\n\r\n".encode() + body
        case 4:
            chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
            return f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks
        case 5:
            return f"{head}X: {'x' * 70_000}\r\n\r\n".encode()
        case 6:
            return f"{head}Content-Length: {len(body)}\r\nContent-Length: 3\r\n\r\n".encode() + body
        case 7:
            coding = pick(rng, ["gzip", "deflate", "br", "x"])
            return f"{head}Content-Encoding: {coding}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        case _:
            damaged = bytearray(good)
            for at in rng.integers(0, head.__len__(), 3):
                damaged[at] = rng.integers(256)
            return bytes(damaged)
