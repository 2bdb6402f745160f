"""Requests to Triton become a signature's arrays, and wrong ones are refused; no Triton is needed."""

import json
import socket
import struct
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from damaged_requests import damaged_arrays, damaged_http, damaged_json, damaged_rows
from hypothesis import given
from hypothesis import strategies as st

import kerasrec as kr
from kerasrec import etl
from kerasrec.serving.description import Description
from kerasrec.serving.description import Tensor as Output
from kerasrec.serving.triton.config import config_text
from kerasrec.serving.triton.front import Front
from kerasrec.serving.triton.http_messages import MAX_DEPTH, RefusedError, check_depth
from kerasrec.serving.triton.json_requests import fault, refusal, rows_as_text
from kerasrec.serving.triton.json_text import read
from kerasrec.serving.triton.read_strings import deserialize_bytes_tensor
from kerasrec.serving.triton.request_format import BadRequest, Format

RAW = pl.DataFrame(
    {
        "user": [f"u{i % 7}" for i in range(60)],
        "item id": [i % 9 for i in range(60)],
        "tags": [["a", "b", "größe"][: i % 4] for i in range(60)],
        "price": [None if i % 9 == 0 else float(i) for i in range(60)],
        "clicked": [i % 2 for i in range(60)],
    }
)


@dataclass
class Tensor:
    """An input as Triton's Python backend passes it."""

    key: str
    array: np.ndarray

    def name(self) -> str:
        return self.key

    def as_numpy(self) -> np.ndarray:
        return self.array


@pytest.fixture(scope="module")
def model():
    cats = ["user", "item id", "tags"] >> etl.Categorify()
    conts = ["price"] >> etl.FillMissing() >> etl.Normalize()
    workflow = etl.Workflow(cats + conts + (["clicked"] >> etl.Target())).fit(RAW)
    return kr.models.WideAndDeep(workflow.output_schema, embedding_dim=4, deep_units=[8]), workflow


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    return kr.serving.export(model[0], tmp_path_factory.mktemp("triton") / "served", workflow=model[1])


@pytest.fixture(scope="module")
def form(folder):
    values = {**asdict(Description.read(folder)), "rows": "rows", "version": "version", "max_rows": 50}
    return Format(json.loads(json.dumps(values)))


def reader(folder):
    return partial(kr.serving.rows, schema=folder)


def request_of(arrays):
    return [Tensor(name, array[np.newaxis]) for name, array in arrays.items()]


def test_the_description_names_inputs_and_outputs(folder):
    described = Description.read(folder)
    served = kr.serving.load(folder)
    assert dict(described.inputs) == served.inputs
    assert described.columns["tags"].values == "tags__values"
    assert described.columns["item id"].values == "item_id"
    assert described.outputs["clicked"].shape == (1,)


def test_columns_and_rows_as_json_give_the_same_arrays(form, folder):
    frame = RAW.drop("clicked").head(9)
    wire = kr.serving.rows(frame, folder)
    texts = [json.dumps(frame.head(4).to_dicts()), *map(json.dumps, frame[4:].to_dicts())]
    rows = np.array([[text.encode() for text in texts]], object)
    for request in (request_of(wire), [Tensor("rows", rows)]):
        arrays = form.arrays(request, reader(folder))
        assert form.rows(arrays) == 9
        for name, array in wire.items():
            np.testing.assert_array_equal(arrays[name], array)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=5))
def test_requests_that_are_computed_together_are_one_of_all_rows(form, folder, counts):
    starts = np.cumsum([0, *counts])
    frame = RAW.drop("clicked")
    parts = [kr.serving.rows(frame[start:stop], folder) for start, stop in pairwise(starts.tolist())]
    joined = form.joined(parts)
    for name, array in kr.serving.rows(frame.head(int(starts[-1])), folder).items():
        np.testing.assert_array_equal(joined[name], array)
    batches = form.batches(dict(enumerate(parts)))
    assert sorted(at for batch in batches for at in batch) == list(range(len(parts)))
    assert all(sum(form.rows(parts[at]) for at in batch) <= form.max_rows for batch in batches)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"user": None}, "column 'user' is missing: expected 'user'"),
        ({"tags__offsets": None}, "column 'tags' is missing: expected 'tags__values', 'tags__offsets'"),
        ({"price__valid": np.array([True])}, "column 'price': 'price__valid' has 1 elements, 'price' 3"),
        ({"item_id": np.array([1, 2])}, "column 'item id' has 2 rows, 'user' 3"),
        (
            {"tags__offsets": np.array([0, 2, 1, 3])},
            "'tags__offsets' must start with 0, not decrease, and end with",
        ),
        ({"tags__offsets": np.array([0, 0, 0, 9])}, "column 'tags': .* end with 6, the number of"),
        ({"tags__offsets": np.array([], int)}, "column 'tags'"),
        ({"rows": np.array([b"[]"], object)}, "pass 'rows' or columns, not both: 'user', 'item_id'"),
    ],
)
def test_a_request_that_does_not_fit_is_refused_by_the_name_of_the_column(form, folder, change, message):
    arrays = {**kr.serving.rows(RAW.drop("clicked")[1:4], folder), **change}
    with pytest.raises(BadRequest, match=message):
        form.arrays(
            request_of({name: array for name, array in arrays.items() if array is not None}), reader(folder)
        )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "input 'rows' is not JSON: Expecting property name"),
        ("[" * 100_000, "input 'rows' is not JSON: maximum recursion"),
        ("3", "row 0: expected a dict; got int"),
        ('{"user": 3}', "column 'user', row 0: 3 is not a value of string"),
        ('{"user": "\\ud800"}', "column 'user', row 0: .* is not a value of string"),
        ('{"user": null, "item id": 1}', "column 'user', row 0: null"),
        ("[" + ",".join(["{}"] * 51) + "]", "the request has 51 rows; this server takes at most 50: send several"),
    ],
    ids=lambda value: value[:40],
)
def test_rows_that_do_not_fit_are_refused(form, folder, text, message):
    with pytest.raises(BadRequest, match=message):
        form.arrays([Tensor("rows", np.array([[text.encode()]], object))], reader(folder))


def test_two_rows_of_a_batch_dimension_are_refused(form, folder):
    with pytest.raises(BadRequest, match=r"input 'user' has shape \[2, 1\]; expected \[1, n\]"):
        form.arrays([Tensor("user", np.array([[b"u1"], [b"u2"]], object))], reader(folder))


def test_a_repository_has_a_folder_per_version_that_share_a_configuration(model, folder, tmp_path):
    assert kr.serving.triton.export(model[0], tmp_path, model[1], name="clicks") == tmp_path / "clicks" / "1"
    assert kr.serving.triton.export(folder, tmp_path, name="clicks") == tmp_path / "clicks" / "2"
    assert sorted(path.name for path in (tmp_path / "clicks").iterdir()) == ["1", "2", "config.pbtxt"]
    version = tmp_path / "clicks" / "2"
    assert {path.name for path in version.iterdir()} == {
        "model.py",
        "request_format.py",
        "grouped_call.py",
        "session_call.py",
        "model.savedmodel",
    }
    assert kr.serving.load(version / "model.savedmodel").inputs == kr.serving.load(folder).inputs
    text = (tmp_path / "clicks" / "config.pbtxt").read_text(encoding="utf-8")
    assert 'name: "tags__offsets", data_type: TYPE_INT64, dims: [ -1 ], optional: true' in text
    with pytest.raises(ValueError, match="has versions of other inputs, outputs or max_rows"):
        kr.serving.triton.export(folder, tmp_path, name="clicks", max_rows=7)
    with pytest.raises(ValueError, match="'a/b' is not the name of a model"):
        kr.serving.triton.export(folder, tmp_path, name="a/b")
    with pytest.raises(FileNotFoundError, match="is not a SavedModel"):
        kr.serving.triton.export(tmp_path / "nowhere", tmp_path)


def test_a_raw_column_named_rows_and_a_target_named_version_keep_their_names():
    description = Description({}, [], [], {"rows": "string"}, {"version": Output("float32", (1,))})
    text = config_text("m", description)
    assert 'input { name: "rows_2", data_type: TYPE_STRING' in text
    assert 'output { name: "version_2", data_type: TYPE_STRING' in text


# ---- damaged at random -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("damage", [damaged_rows, damaged_arrays])
def test_damaged_requests_are_refused_by_the_name_of_the_column(form, folder, damage):
    for seed in range(60):
        rng = np.random.default_rng(seed)
        rows = RAW.drop("clicked").sample(int(rng.integers(1, 9)), seed=seed)
        if damage is damaged_rows:
            text, names = damaged_rows(rng, rows.to_dicts())
            request = [Tensor("rows", np.array([[text]], object))]
        else:
            arrays, names = damaged_arrays(rng, kr.serving.rows(rows, folder))
            request = [Tensor(name, array) for name, array in arrays.items()]
        with pytest.raises(BadRequest) as refusal:
            form.arrays(request, reader(folder))
        assert not names or any(f"'{name}'" in str(refusal.value) for name in names), (seed, refusal.value)


def test_json_of_a_wrong_kind_is_explained_by_the_name_of_the_input(form, folder):
    datatypes = {"user": "BYTES", "item_id": "INT64", "tags__values": "BYTES", "tags__offsets": "INT64"}
    datatypes |= {"price": "FP64", "price__valid": "BOOL"}
    good = kr.serving.rows(RAW.drop("clicked")[1:4], folder)
    for seed in range(60):
        text, names = damaged_json(np.random.default_rng(seed), good)
        reason = refusal(text, len(text)) or fault("infer", text, datatypes)  # Triton explains the others itself
        assert reason is None or not names or any(repr(name) in reason for name in names), (seed, reason)
    shapes = b'{"inputs": [{"name": "a", "shape": [9, 9]}, {"name": "b", "sh\\u0061pe": [9], "shape": [2]}]}'
    assert refusal(shapes, 92) is None
    assert refusal(shapes, 91) == "input 'b': the data cannot have shape [2]"
    assert refusal(shapes, 80) == "input 'a': the data cannot have shape [9, 9]"
    assert fault("generate", b'{"price": ["dear"], "k": 1}', datatypes) == (
        "input 'price': expected numbers (FP64); element 0 is 'dear'"
    )


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=3),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=3), each, max_size=3),
    max_leaves=9,
)


@given(json_values, st.booleans())
def test_json_is_read_and_written_as_python_does(value, ascii_only):
    try:
        text = json.dumps(value, ensure_ascii=ascii_only).encode()
    except UnicodeEncodeError:  # half a character
        text = json.dumps(value).encode()
    known, write = read(text)
    assert known == value
    assert json.loads(write(known)) == value
    objects = rows_as_text(b'{"rows": [{"x": ' + text + b'}], "k": 2}')
    assert json.loads(json.loads(objects)["rows"]) == [{"x": value}]


@pytest.mark.parametrize("text", ["", "[1,]", "[1] 2", '{"a" 1}', '"a\nb"', "01", "nan", '["\\x"]', "[" * 9999])
def test_what_is_not_json_is_not_read(text):
    with pytest.raises((ValueError, RecursionError)):
        read(text.encode())


@given(st.text('[]{}"\\a', max_size=9), st.integers(MAX_DEPTH - 3, MAX_DEPTH), st.integers(1, 99))
def test_depth_is_that_of_brackets_outside_of_strings(string, depth, block_size):
    text = json.dumps([string, {string: string}]).encode()
    check_depth(b"[" * (depth - 2) + text + b"]" * (depth - 2), block_size)
    with pytest.raises(RefusedError, match="nested more than 100 deep"):
        check_depth(b"[" * (MAX_DEPTH - 1) + text + b"]" * (MAX_DEPTH - 1), block_size)


# ---- strings ---------------------------------------------------------------------------------------------------
def encoded(strings):
    """A tensor of strings as Triton passes it to its Python backend."""
    return np.frombuffer(b"".join(struct.pack("<I", len(each)) + each for each in strings), np.uint8)


@given(st.lists(st.binary(max_size=20), max_size=9), st.sampled_from([1, 200]))
def test_strings_are_read_as_they_were_encoded(strings, times):
    np.testing.assert_array_equal(
        deserialize_bytes_tensor(encoded(strings * times)), np.array(strings * times, object)
    )


@given(st.binary(max_size=8), st.integers(200, 300), st.integers(1, 3))
def test_strings_of_one_length_are_read_and_a_tensor_that_lacks_bytes_is_refused(string, count, lacking):
    tensor = encoded([string] * count)
    read = deserialize_bytes_tensor(tensor)
    assert read.dtype == object
    assert read.tolist() == [string] * count
    with pytest.raises(ValueError, match="the lengths of the strings do not fit"):
        deserialize_bytes_tensor(tensor[:-lacking])


# ---- the front -------------------------------------------------------------------------------------------------
def answer(front, body, **headers):
    request = urllib.request.Request(f"http://127.0.0.1:{front.port}/", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_the_front_passes_requests_on_and_refuses_what_triton_would_not_survive(front):
    nested = b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1)
    quoted = json.dumps({"rows": "[" * (MAX_DEPTH + 1)}).encode()
    assert answer(front, b"x" * 1000) == (200, "1000")
    assert answer(front, b"x" * 1001) == (
        413,
        '{"error": "the request has 1,001 bytes; at most 1,000: send several"}',
    )
    assert answer(front, nested) == (400, '{"error": "the JSON is nested more than 100 deep"}')
    for text in (quoted, b'"\\\\\\"' + nested + b'"', b"[]{}" * 60):  # brackets in a string, and side by side
        assert answer(front, text) == (200, str(len(text)))
    assert answer(front, b'"\\\\"' + nested)[0] == 400  # the string ends before them
    assert answer(front, iter([b"x"]))[0] == 411  # in chunks
    assert answer(front, b"", **{"Content-Length": "many"})[0] == 400
    assert answer(front, b"", **{"X-Long": "x" * 100_000})[0] == 400
    assert answer(front, b"x" * 5) == (200, "5")


def test_the_front_says_that_there_is_no_server():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port, closed = probe.getsockname()[1], None
    with socket.create_server(("127.0.0.1", 0)) as probe:
        closed = probe.getsockname()[1]
    with Front("127.0.0.1", port, closed, max_body=10) as front:
        assert answer(front, b"") == (503, '{"error": "the model server is not running"}')


def test_damaged_http_is_answered_and_the_next_request_is_passed_on(front):
    for seed in range(60):
        with socket.create_connection(("127.0.0.1", front.port), timeout=30) as client:
            sent = damaged_http(np.random.default_rng(seed), "/", b'{"rows": "[]"}')
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
            status = b"".join(iter(partial(client.recv, 1 << 16), b""))[:12]
        assert status[:10] in (b"HTTP/1.1 2", b"HTTP/1.1 4") or not sent, (seed, status)
    assert answer(front, b"x" * 5) == (200, "5")
