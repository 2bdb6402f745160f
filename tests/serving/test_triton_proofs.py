"""A running Triton survives 2,000 damaged requests, and 100 exchanges of its model under load."""

import http.client
import json
import shutil
import socket
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from damaged_requests import (
    damaged_arrays,
    damaged_binary,
    damaged_http,
    damaged_json,
    damaged_rows,
    tensors_of,
)
from triton_clicks import ROWS, expected, metrics, missing, post, predictions

import kerasrec as kr
from kerasrec.files import write_aside

pytestmark = [
    pytest.mark.skipif(bool(missing()), reason=missing()),
    pytest.mark.alone,
    pytest.mark.nightly,
]

DAMAGED = 2000
SWAPS = 100


class Asking:
    """Sends damaged requests, and returns status and text of the answers."""

    def __init__(self, server, wire):
        self.server, self.wire = server, wire
        self.address = (server.address.host, server.address.http)

    def __call__(self, rng):
        """Return the kind of damage, a status, a message, and the names that it must have one of."""
        kind = rng.choice(["rows", "rows in objects", "json", "binary", "http", "grpc"])
        if kind == "grpc":
            arrays, names = damaged_arrays(rng, self.wire)
            return kind, *self.grpc(arrays), names
        if kind == "http":
            body = json.dumps({"inputs": tensors_of(self.wire)}).encode()
            sent = damaged_http(rng, "/v2/models/clicks/infer", body)
            return kind, *(self.raw(sent) if sent else (400, "")), []
        headers, names, path = {}, [], "infer"
        if kind == "json":
            body, names = damaged_json(rng, self.wire)
        elif kind == "binary":
            headers, body = damaged_binary(rng, self.wire)
        else:
            path = "generate"
            text, names = damaged_rows(rng, ROWS[1:6])
            body = (
                b'{"rows": ' + (text if "objects" in kind else json.dumps(text.decode("latin-1")).encode()) + b"}"
            )
        return kind, *self.post(path, body, headers), names

    def post(self, path, body, headers):
        connection = http.client.HTTPConnection(*self.address, timeout=60)
        connection.request("POST", f"/v2/models/clicks/{path}", body, headers)
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, json.loads(text).get("error", text)

    def raw(self, sent):
        with socket.create_connection(self.address, timeout=60) as client:
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(partial(client.recv, 1 << 16), b""))
        return int(answer[9:12] or 0), answer.decode(errors="replace")

    def grpc(self, arrays):
        import tritonclient.grpc as grpc
        from tritonclient.utils import InferenceServerException, np_to_triton_dtype

        inputs = []
        for name, array in arrays.items():
            inputs.append(grpc.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)))
            inputs[-1].set_data_from_numpy(array)
        client = grpc.InferenceServerClient(f"{self.server.address.host}:{self.server.address.grpc}")
        try:
            client.infer("clicks", inputs)
        except InferenceServerException as error:
            codes = {"StatusCode.INVALID_ARGUMENT": 400, "StatusCode.NOT_FOUND": 404}
            return codes.get(error.status(), 500), error.message()
        finally:
            client.close()
        return 200, ""


def test_damaged_requests_are_refused_by_name_and_the_next_is_answered(server, clicks, capsys):
    asking = Asking(server, kr.serving.rows(ROWS[1:6], clicks / "served"))
    good, before, counts = expected(clicks / "served", ROWS[:3]), memory(server), Counter()
    wrong = []
    for seed in range(DAMAGED):
        kind, status, message, names = asking(np.random.default_rng(seed))
        counts[kind, status] += 1
        harmless = kind == "http" and status == 200  # a letter of a header that says nothing
        if not (400 <= status < 500 or harmless) or not (
            not names or any(f"'{name}" in message for name in names)
        ):
            wrong.append((seed, kind, status, message, names))
        assert len(wrong) < 20, wrong
        if seed % 10 == 0:
            np.testing.assert_allclose(predictions(server, ROWS[:3])[0], good, rtol=1e-6)
    assert wrong == []
    after = memory(server)
    with capsys.disabled():
        table = ", ".join(f"{kind} {status}: {count}" for (kind, status), count in sorted(counts.items()))
        print(f"\n{table}; memory {before / 2**20:.0f} MiB before, {after / 2**20:.0f} MiB after")
    assert after < before + (256 << 20)


def test_large_requests_are_refused_in_bounded_memory(server, clicks, capsys):
    wire = kr.serving.rows(ROWS[1:6], clicks / "served")
    many = {name: np.resize(array, 1_000_000)[np.newaxis] for name, array in wire.items() if "__" not in name}
    asking, before = Asking(server, wire), memory(server)
    many |= {"price__valid": np.ones((1, 1_000_000), bool), "tags__values": wire["tags__values"][np.newaxis]}
    many["tags__offsets"] = np.zeros((1, 1_000_001), np.int64)
    status, message = asking.grpc(many)
    assert status == 400
    assert "the request has 1,000,000 rows; this server takes at most 1,000" in message or "'tags'" in message
    claimed = b"POST /v2/models/clicks/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n"
    assert asking.raw(claimed + b"x" * 100)[0] == 413
    assert asking.post("generate", json.dumps({"rows": [ROWS[1]] * 100_000}).encode(), {})[0] == 400
    after = memory(server)
    with capsys.disabled():
        print(f"\nmemory {before / 2**20:.0f} MiB before, {after / 2**20:.0f} MiB after")
    assert after < before + (1 << 30)
    assert len(predictions(server, ROWS[:3])[0]) == 3


def memory(server):
    """Return the resident bytes of Triton and its model processes."""
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            group = int((process / "stat").read_text().rpartition(")")[2].split()[2])
            if group == server.process_id:
                total += int((process / "statm").read_text().split()[1]) * 4096
        except (OSError, ValueError):
            continue
    return total


# ---- versions --------------------------------------------------------------------------------------------------
def no_model(path):
    (path / "saved_model.pb").write_bytes(b"no model")


def no_variables(path):
    shutil.rmtree(path / "variables")


@pytest.mark.parametrize("clients", [4])
def test_a_model_is_exchanged_under_load_without_errors_or_mixed_answers(server, clicks, capsys, clients):
    """Each answer must be that of the version that it names; every tenth version is broken."""
    for name in ("served", "other", "wider"):
        shutil.copytree(clicks / name, clicks / f"{name}.kept")
    values = {name: expected(clicks / f"{name}.kept", ROWS[:5]) for name in ("served", "other")}
    answers, errors, stop = [], [], threading.Event()

    def publish(name, damage=None):
        with write_aside(clicks / "served") as aside:
            shutil.copytree(clicks / f"{name}.kept", aside)
            if damage is not None:
                damage(aside)
        return time.monotonic()

    def ask():
        while not stop.is_set():
            try:
                answers.append((*predictions(server, ROWS[:5]), time.monotonic()))
            except Exception as error:
                errors.append(error)

    def wait_for(condition):
        deadline = time.monotonic() + 120
        while not condition():
            assert time.monotonic() < deadline
            assert not errors
            time.sleep(0.005)

    def refusals():
        return sum(float(line.split()[-1]) for line in metrics(server).splitlines() if "s_refused{" in line)

    took, names = [], {}
    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: answers)
        names[answers[0][1]] = "served"
        for swap in range(SWAPS):
            name = ("other", "served")[swap % 2]
            published, start = publish(name), len(answers)
            before = answers[start - 1][1]
            wait_for(
                lambda start=start, before=before: any(version != before for _, version, _ in answers[start:])
            )
            _, version, at = next(each for each in answers[start:] if each[1] != before)
            took.append(at - published)
            assert names.setdefault(version, name) == name
            if swap % 10 == 9:
                broken, count = (swap // 10) % 3, refusals()
                damage = (no_model, no_variables, None)[broken]
                publish("wider" if damage is None else name, damage)
                wait_for(lambda count=count: refusals() == count + 1)
                publish(name)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert errors == []
    for predicted, version, _ in answers:
        np.testing.assert_allclose(predicted, values[names[version]], rtol=1e-5)
    reasons = [line for line in server.shown if "is refused" in line]
    assert len(reasons) >= SWAPS // 10
    assert any("its inputs differ (user_2: no before, string now)" in line for line in reasons)
    quantiles = ", ".join(f"{q:.0%} {np.quantile(took, q):.2f} s" for q in (0.5, 0.9, 0.99, 1))
    with capsys.disabled():
        print(f"\n{len(answers):,} answers of {clients} clients; picked up after {quantiles}")


def test_triton_is_started_again_where_the_process_of_a_model_ends(server, clicks):
    """As it does for this request, whose bytes are a multiple of 2**64."""
    import grpc
    from tritonclient.grpc import service_pb2, service_pb2_grpc

    threading.Thread(target=server.wait, daemon=True).start()
    request = service_pb2.ModelInferRequest(model_name="clicks", raw_input_contents=[b""])
    request.inputs.add(name="price", datatype="FP64", shape=[1, 2**61])
    before = server.process_id
    channel = grpc.insecure_channel(f"{server.address.host}:{server.address.grpc}")
    with channel, pytest.raises(grpc.RpcError):
        service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request)
    deadline = time.monotonic() + 120
    while server.process_id == before or post(server, "clicks/generate", {"rows": ROWS[:2]})[0] != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    np.testing.assert_allclose(predictions(server, ROWS[:2])[0], expected(clicks / "served", ROWS[:2]), rtol=1e-6)
