"""A web server of a folder, as object stores are one: it knows ranges of bytes, and counts what it sends."""

import re
import socket
import struct
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread


@dataclass
class Server:
    """What it did, and how it is to misbehave.

    Attributes:
        url: its address.
        sent: (path, bytes) of each answer to a GET of a file.
        ranges: whether it knows range requests.
        cut: of how many bytes each answer is short, after which the connection is reset.
        status: answers each GET with this error.
        late: seconds before each answer to a GET.
        asked: how many GETs there were.
    """

    url: str = ""
    sent: list = field(default_factory=list)
    ranges: bool = True
    cut: int = 0
    status: int = 0
    late: float = 0
    asked: int = 0


class Handler(SimpleHTTPRequestHandler):
    def __init__(self, *args, server_state, **kwargs):
        self.state = server_state
        super().__init__(*args, **kwargs)

    def log_message(self, *args):
        pass

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        self.state.asked += 1
        time.sleep(self.state.late)
        if self.state.status:
            return self.send_error(self.state.status)
        if path.is_dir():
            return super().do_GET()
        if not path.exists():
            return self.send_error(404)
        data = path.read_bytes()
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if asked and self.state.ranges:
            first, last = int(asked[1] or 0), min(int(asked[2] or len(data) - 1), len(data) - 1)
            if not asked[1]:  # the last bytes, so many
                first, last = max(0, len(data) - int(asked[2])), len(data) - 1
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
            data = data[first : last + 1]
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.state.sent.append((self.path, len(data)))
        self.wfile.write(data[: max(0, len(data) - self.state.cut)])
        if self.state.cut:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        return None


@contextmanager
def serve(folder):
    state = Server()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder), server_state=state))
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
