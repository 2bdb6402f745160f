"""A running Triton answers as the SavedModel does, refuses wrong requests, and picks up new versions."""

import json
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from triton_clicks import ROWS, columns_of, expected, metrics, missing, post, predictions, raw_pairs

import kerasrec as kr
from kerasrec.files import write_aside
from kerasrec.serving.triton.server import free_port

pytestmark = [pytest.mark.skipif(bool(missing()), reason=missing()), pytest.mark.alone]


def test_rows_and_columns_get_the_predictions_of_the_saved_model(server, clicks):
    wanted = expected(clicks / "served", ROWS)
    np.testing.assert_allclose(predictions(server, ROWS)[0], wanted, rtol=1e-6)
    inputs = columns_of(kr.serving.rows(ROWS, clicks / "served"))
    status, answer = post(server, "clicks/infer", {"inputs": inputs})
    assert status == 200
    outputs = {output["name"]: output for output in answer["outputs"]}
    assert outputs["clicked"]["shape"] == [1, 60]
    np.testing.assert_allclose(np.float32(outputs["clicked"]["data"]), wanted, rtol=1e-6)
    assert predictions(server, [])[0].size == 0


def test_requests_at_the_same_time_are_computed_together_and_keep_their_own_answers(server, clicks):
    wanted = expected(clicks / "served", ROWS)
    lengths = [1, 7, 20, 3] * 10

    def ask(number):
        start = number % 40
        rows = ROWS[start : start + lengths[number]]
        np.testing.assert_allclose(predictions(server, rows)[0], wanted[start : start + len(rows)], rtol=1e-5)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(40)))
    text = metrics(server)
    assert 'kerasrec_serving_version{model="clicks"' in text
    assert 'nv_inference_exec_count{model="clicks"' in text


def test_an_index_recommends_with_k_and_without_the_excluded(server, items):
    queries = raw_pairs().select("user", "history").head(3)
    exclude = [["i1", "never seen"], [], ["i2"]]
    served = kr.serving.load(items).recommend(queries, k=4, exclude=exclude)
    body = {"rows": json.dumps(queries.to_dicts()), "k": 4}
    lists = {"exclude__values": ["i1", "never seen", "i2"], "exclude__offsets": [0, 2, 2, 3]}
    status, answer = post(server, "items/generate", body | lists)
    assert status == 200, answer
    assert np.reshape(answer["ids"], (3, 4)).tolist() == served["ids"].tolist()
    status, answer = post(server, "items/generate", body)
    assert (
        np.reshape(answer["ids"], (3, 4)).tolist()
        == kr.serving.load(items).recommend(queries, k=4)["ids"].tolist()
    )
    assert post(server, "items/generate", {"rows": body["rows"]})[1] == {
        "error": "input 'k' must have one element; it has 0"
    }


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"rows": json.dumps([{**ROWS[1], "user": None}])}, "column 'user', row 0: null"),
        ({"rows": json.dumps([{**ROWS[1], "price": "dear"}])}, "column 'price', row 0: 'dear' is not"),
        ({"rows": "{"}, "input 'rows' is not JSON"),
        ({"user": ["u1"]}, "column 'item id' is missing"),
        ({"user": [3]}, "input 'user': expected strings (BYTES); element 0 is 3"),
        ({"usr": ["u1"]}, "usr"),
        ({"rows": json.dumps([{}] * 1001)}, "1,001 rows; this server takes at most 1,000"),
        ({}, "0 inputs"),
        (b"{", "JSON"),
        (b"", "JSON"),
        (b"[" * 100_000, "nested more than 100 deep"),
        (b" " * (70 << 20), "73,400,320 bytes; at most 67,108,864"),
        (b'{"rows": "' + b"x" * (60 << 20) + b'"}', "input 'rows' is not JSON"),
    ],
    ids=lambda value: str(value[:40]) if isinstance(value, str) else "",
)
def test_a_wrong_request_is_told_why_and_the_next_one_is_served(server, clicks, body, message):
    status, answer = post(server, "clicks/generate", body)
    assert status in (400, 413), answer
    assert message in answer["error"]
    assert len(predictions(server, ROWS[:2])[0]) == 2


def test_a_new_version_is_picked_up_under_load_and_a_broken_one_is_refused(server, clicks):
    served = clicks / "served"
    originals = {}
    for name in ("served", "other"):
        shutil.copytree(clicks / name, clicks / f"{name}.copy")
        originals[name] = expected(clicks / name, ROWS[:5])

    def publish(source, damage=None):
        with write_aside(served) as aside:
            shutil.copytree(source, aside)
            if damage is not None:
                damage(aside)

    seen, stop, errors = {}, threading.Event(), []

    def ask():
        while not stop.is_set():
            try:
                values, version = predictions(server, ROWS[:5])
                seen.setdefault(version, []).append(values)
            except Exception as error:
                errors.append(error)

    def wait_for(condition):
        deadline = time.monotonic() + 120
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    with ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(ask) for _ in range(2)]
        try:
            wait_for(lambda: len(seen) == 1)
            publish(clicks / "other.copy")
            wait_for(lambda: len(seen) == 2)
            for _ in range(5):
                publish(clicks / "served.copy")
                publish(clicks / "other.copy")
            publish(clicks / "served.copy", lambda path: (path / "saved_model.pb").write_bytes(b"no model"))
            wait_for(lambda: any("is refused" in line for line in server.shown))
            publish(clicks / "served.copy")
            first = next(iter(seen))
            count = len(seen[first])
            wait_for(lambda: len(seen[first]) > count + 2)
        finally:
            stop.set()
        [each.result() for each in asking]
    assert errors == []
    for values, name in zip(seen.values(), originals, strict=True):  # no answer mixes versions
        for each in values:
            np.testing.assert_allclose(each, originals[name], rtol=1e-5)
    assert 'kerasrec_versions_refused{model="clicks",reason="does not load"} 1' in metrics(server)


def test_tritonclient_gets_the_same_over_grpc(server, clicks):
    grpc = pytest.importorskip("tritonclient.grpc")
    from tritonclient.utils import np_to_triton_dtype

    client = grpc.InferenceServerClient(f"127.0.0.1:{server.address.grpc}")
    inputs = []
    for name, array in kr.serving.rows(ROWS, clicks / "served").items():
        tensor = grpc.InferInput(name, [1, len(array)], np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array[np.newaxis])
        inputs.append(tensor)
    answer = client.infer("clicks", inputs)
    np.testing.assert_allclose(answer.as_numpy("clicked")[0], predictions(server, ROWS)[0], rtol=1e-6)
    assert answer.as_numpy("version").shape == (1, 1)


def test_the_command_serves_a_repository_and_ends_with_code_0(clicks, tmp_path):
    kr.serving.triton.export(clicks / "other", tmp_path / "repository", name="clicks")
    ports = [str(free_port()) for _ in range(3)]
    options = [
        x for pair in zip(("--http-port", "--grpc-port", "--metrics-port"), ports, strict=True) for x in pair
    ]
    command = [sys.executable, "-m", "kerasrec", "serve", str(tmp_path / "repository"), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Ctrl-C"):
                break
        assert any(f"http://127.0.0.1:{ports[0]}/v2/models/clicks" in line for line in lines), lines
        url = f"http://127.0.0.1:{ports[0]}/v2/models/clicks/generate"
        with urllib.request.urlopen(url, json.dumps({"rows": json.dumps(ROWS)}).encode()) as response:
            values = json.loads(response.read())["clicked"]
        process.terminate()
        assert process.wait(60) == 0
    np.testing.assert_allclose(np.float32(values), expected(clicks / "other", ROWS), rtol=1e-6)
