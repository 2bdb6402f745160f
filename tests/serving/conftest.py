"""One Triton for all tests that need one: its start takes longer than most of them."""

import socket
import threading

import pytest


@pytest.fixture(scope="session")
def clicks(tmp_path_factory):
    from triton_clicks import export_clicks

    return export_clicks(tmp_path_factory.mktemp("clicks"))


@pytest.fixture(scope="session")
def items(tmp_path_factory):
    from triton_clicks import export_items

    return export_items(tmp_path_factory.mktemp("items") / "items")


@pytest.fixture(scope="session")
def server(clicks, items, tmp_path_factory):
    """A server whose `shown` is its log."""
    from triton_clicks import MAX_ROWS

    from kerasrec.serving.triton.repository import write_link
    from kerasrec.serving.triton.server import Address, Server, free_port

    repository, log = tmp_path_factory.mktemp("repository"), []
    write_link(repository, "clicks", clicks / "served", max_rows=MAX_ROWS, max_requests=16)
    write_link(repository, "items", items, max_requests=16)
    address = Address(http=free_port(), grpc=free_port(), metrics=free_port())
    with Server(repository, address, show=log.append) as server:
        server.shown = log
        yield server


@pytest.fixture(scope="session")
def front():
    """A front of 1,000 bytes before a server that answers with the number of bytes that it was sent."""
    from kerasrec.serving.triton.front import Front

    upstream = socket.create_server(("127.0.0.1", 0))

    def serve(connection):
        with connection, connection.makefile("rb") as reader:
            while line := reader.readline():
                length = 0
                while line not in (b"\r\n", b""):
                    if line.lower().startswith(b"content-length"):
                        length = int(line.split(b":")[1])
                    line = reader.readline()
                text = str(len(reader.read(length))).encode()
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))

    def accept():
        while True:
            try:
                connection, _ = upstream.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=[connection], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with Front("127.0.0.1", port, upstream.getsockname()[1], max_body=1000) as front:
        yield front
    upstream.close()
