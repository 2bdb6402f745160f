"""What listens for HTTP before Triton: passes requests on, unless Triton would not survive them.

Triton 2.51 needs twice a body's size of its threads' stack, and ends where that is not there; the same goes for
chunks and for deeply nested JSON. So a body is read here first, and answered with 4xx if it is too much. Where
Triton does not say which input it could not read, the front does.
"""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import suppress
from types import TracebackType

from kerasrec.serving.triton.http_messages import (
    MAX_HEAD,
    Answer,
    RefusedError,
    Request,
    error_answer,
    read_request,
)
from kerasrec.serving.triton.json_requests import PATH, fault, refusal, rows_as_text

LINGER = 5.0  # seconds in which what is left of a refused body is read, so that its sender sees the answer
_PARSING = ("arse", "attempt to", "invalid datatype", "Converting keyword", "only one of the following fields")


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
        self._tasks: set[asyncio.Task[None] | None] = set()  # to which asyncio refers weakly

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
        triton: _Upstream | None = None
        task = asyncio.current_task()
        self._tasks.add(task)
        # It is cancelled when the front ends, and asyncio would print that.
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            try:
                while (request := await read_request(reader, writer, self.max_body)) is not None:
                    triton = triton or await _Upstream.connect(self.upstream)
                    if await triton.answer(request, writer):
                        break
            except RefusedError as refusal:
                writer.write(error_answer(refusal.status, refusal.message, close=True))
                await writer.drain()
                await _read_rest(reader)
        if triton is not None:
            triton.writer.close()
        writer.close()
        self._tasks.discard(task)


class _Upstream:
    """A connection to Triton."""

    def __init__(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.port, self.reader, self.writer = port, reader, writer

    @classmethod
    async def connect(cls, port: int) -> _Upstream:
        try:
            return cls(port, *await asyncio.open_connection("127.0.0.1", port, limit=MAX_HEAD))
        except OSError:
            raise RefusedError(503, "the model server is not running") from None

    async def answer(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        """Pass a request on, and its answer back; return whether the connection ends with it."""
        path = PATH.match(request.path) if request.method == "POST" else None
        if path is not None and path[2] != "infer":
            request = request.with_body(rows_as_text(request.body))
        elif path is not None and (reason := refusal(request.json, len(request.body))):
            raise RefusedError(400, reason)
        try:
            self.writer.write(request.encode())
            await self.writer.drain()
            answer = await Answer.read(self.reader, request.method)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await _Upstream.connect(self.port)  # which fails where there is no server any more
            raise RefusedError(400, "the model server cannot read the request: it is not HTTP/1.1") from None
        if path is not None and answer.status >= 400 and answer.length:
            body = await self.reader.readexactly(answer.length)
            status, message = await self._explained(path[1], path[2], request, answer.status, body)
            writer.write(error_answer(status, message, close=answer.ends_connection))
        else:
            writer.write(answer.head)
            await answer.copy_body(self.reader, writer)
        await writer.drain()
        return answer.ends_connection

    async def _explained(
        self, model: str, kind: str, request: Request, status: int, body: bytes
    ) -> tuple[int, str]:
        """Return the status and message of an error, with the name of the input where Triton does not name it."""
        message = body.decode(errors="replace")
        with suppress(ValueError, KeyError, TypeError):
            message = str(json.loads(body)["error"])
        if not any(text in message for text in _PARSING):
            return status, message
        reason = fault(kind, request.json, await self._datatypes(model))
        return 400 if status == 500 else status, reason or message

    async def _datatypes(self, model: str) -> dict[str, str]:
        """Return the datatypes of a model's inputs by name; none if Triton does not tell."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=MAX_HEAD)
            writer.write(f"GET {model} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            answer = await Answer.read(reader, "GET")
            body = await reader.readexactly(answer.length or 0)
            writer.close()
            return {each["name"]: each["datatype"] for each in json.loads(body).get("inputs", [])}
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return {}


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _read_rest(reader: asyncio.StreamReader) -> None:
    with suppress(asyncio.TimeoutError, TimeoutError):
        async with asyncio.timeout(LINGER):
            while await reader.read(1 << 20):
                pass
