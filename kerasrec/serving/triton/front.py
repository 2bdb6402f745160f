"""What listens for HTTP before Triton: passes requests on, unless Triton would not survive them.

Triton 2.51 needs twice a body's size of its threads' stack, and ends where that is not there; the same goes for
chunks and for deeply nested JSON. So a body is read here first, and answered with 4xx if it is too much.
"""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

import numpy as np

MAX_HEAD = 64 << 10
MAX_DEPTH = 100  # of nested JSON
BLOCK = 1 << 20  # brackets that are counted at a time
LINGER = 5.0  # seconds in which what is left of a refused body is read, so that its sender sees the answer
_REASONS = {400: "Bad Request", 411: "Length Required", 413: "Content Too Large", 503: "Service Unavailable"}
_WRONG_JSON = (b"failed to parse the request JSON", b"Unable to parse")  # for which Triton answers 500
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = np.zeros(256, np.int64)
_STEPS[list(b"[{")], _STEPS[list(b"]}")] = 1, -1


@dataclass
class RefusedError(Exception):
    """A request that is not passed on, with the status and message of its answer."""

    status: int
    message: str


class Front:
    """An HTTP server before Triton's, in a thread of its own, for a `with` block.

    Args:
        host: the address to listen on.
        port: the port to listen on.
        upstream: Triton's port on this machine.
        max_body: the most bytes of a body.
    """

    def __init__(self, host: str, port: int, upstream: int, max_body: int):
        self.host, self.port, self.upstream, self.max_body = host, port, upstream, max_body
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Front:
        self._thread.start()
        start = asyncio.start_server(self._serve, self.host, self.port, limit=MAX_HEAD)
        try:
            self._server = asyncio.run_coroutine_threadsafe(start, self._loop).result()
        except OSError:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._server.close)
        self._end()

    def _end(self) -> None:
        asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection, whose requests go to one connection of Triton's."""
        answers = None
        try:
            # It is cancelled when the front ends, and asyncio would print that.
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                try:
                    triton_reader, triton = await asyncio.open_connection("127.0.0.1", self.upstream)
                except OSError:
                    raise RefusedError(503, "the model server is not running") from None
                answers = asyncio.create_task(_pass_on(triton_reader, writer))
                while True:
                    triton.write(await _request(reader, writer, self.max_body))
                    await triton.drain()
        except RefusedError as refusal:
            with suppress(ConnectionError):
                await _refuse(refusal, reader, writer)
        finally:
            if answers is not None:
                answers.cancel()
                triton.close()
            writer.close()


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy Triton's answers to the client."""
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            if data.startswith(b"HTTP/1.1 500 ") and any(text in data for text in _WRONG_JSON):
                data = data.replace(b"500 Internal Server Error", b"400 Bad Request", 1)
            writer.write(data)
            await writer.drain()
    writer.close()


async def _request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, max_body: int) -> bytes:
    """Return the next request.

    Raises:
        RefusedError: it is not to be passed on.
        asyncio.IncompleteReadError: the connection ended.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise RefusedError(400, f"the request's headers have more than {MAX_HEAD:,} bytes") from None
    request, *lines = head[:-4].split(b"\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
    if b"transfer-encoding" in headers:
        raise RefusedError(411, "send the body with Content-Length, not in chunks")
    length = headers.get(b"content-length", b"0")
    if not length.isdigit():
        raise RefusedError(400, f"Content-Length is {length.decode(errors='replace')!r}; expected a number")
    if int(length) > max_body:
        raise RefusedError(413, f"the request has {int(length):,} bytes; at most {max_body:,}: send several")
    if headers.get(b"expect", b"").lower() == b"100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        kept = [line for line in lines if not line.lower().startswith(b"expect")]
        head = b"\r\n".join([request, *kept]) + b"\r\n\r\n"
    body = await reader.readexactly(int(length))
    _check_depth(body[: int(headers.get(b"inference-header-content-length") or len(body))])
    return head + body


def _check_depth(text: bytes) -> None:
    """Refuse JSON that is nested too deeply; few brackets cannot be."""
    if text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
        return
    unescaped = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = b"".join(unescaped.split(b'"')[::2]).translate(None, _NO_BRACKETS)
    depth = 0
    for start in range(0, len(brackets), BLOCK):
        depths = depth + np.cumsum(_STEPS[np.frombuffer(brackets[start : start + BLOCK], np.uint8)])
        if depths.max() > MAX_DEPTH:
            raise RefusedError(400, f"the JSON is nested more than {MAX_DEPTH} deep")
        depth = int(depths[-1])


async def _refuse(refusal: RefusedError, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    body = json.dumps({"error": refusal.message}).encode()
    head = (
        f"HTTP/1.1 {refusal.status} {_REASONS[refusal.status]}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await writer.drain()
    with suppress(asyncio.TimeoutError, TimeoutError):
        async with asyncio.timeout(LINGER):
            while await reader.read(1 << 20):
                pass
