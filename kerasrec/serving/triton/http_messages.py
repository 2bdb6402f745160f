"""Requests and answers of HTTP/1.1, as the front reads and passes them on."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field, replace

import numpy as np

MAX_HEAD = 64 << 10
MAX_DEPTH = 100  # of nested JSON
BLOCK = 1 << 20  # bytes that are looked at together
PIECE = 1 << 16  # bytes of an answer that are passed on at a time
REASONS = {
    400: "Bad Request",
    411: "Length Required",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    503: "Service Unavailable",
}
_REQUEST = re.compile(rb"([A-Z]+) (/[!-~]*) HTTP/1\.[01]")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00\r\n]*)")
_ESCAPE = ord("\\")
_SMALL = 0x20  # the bit that makes { of [, and } of ]


@dataclass
class RefusedError(Exception):
    """A request that is not passed on, with the status and message of its answer."""

    status: int
    message: str


@dataclass(frozen=True)
class Request:
    """A request that was read.

    Attributes:
        line: its first line.
        method: such as POST.
        path: of the URL.
        headers: by their names in small letters.
        body: all of it.
    """

    line: bytes
    method: str
    path: str
    headers: dict[bytes, bytes]
    body: bytes = field(repr=False)

    @property
    def json(self) -> bytes:
        """The JSON that the body begins with, after which KServe has binary data."""
        return self.body[: int(self.headers.get(b"inference-header-content-length", len(self.body)))]

    def encode(self) -> bytes:
        """Return the bytes of the request."""
        lines = [self.line, *(name + b": " + value for name, value in self.headers.items())]
        return b"\r\n".join(lines) + b"\r\n\r\n" + self.body

    def with_body(self, body: bytes) -> Request:
        """Return the request with another body."""
        headers = {**self.headers, b"content-length": str(len(body)).encode()}
        return replace(self, headers=headers, body=body)


async def read_request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, max_body: int
) -> Request | None:
    """Return the next request, or None where the connection ended after the last one.

    Raises:
        RefusedError: it is not to be passed on.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise RefusedError(400, f"the request's headers have more than {MAX_HEAD:,} bytes") from None
    except asyncio.IncompleteReadError as error:
        if not error.partial:
            return None
        raise RefusedError(400, "the request ends within its headers") from None
    line, *lines = head[:-4].split(b"\r\n")
    match = _REQUEST.fullmatch(line)
    if match is None:
        raise RefusedError(400, f"the request begins with {_shown(line)}; expected: POST /v2/... HTTP/1.1")
    headers = _headers(lines)
    length = _length(headers, b"content-length", max_body) or 0
    if headers.pop(b"expect", b"").lower() == b"100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    try:
        body = await reader.readexactly(length)
    except asyncio.IncompleteReadError as error:
        raise RefusedError(
            400, f"the request ends after {len(error.partial):,} of {length:,} bytes of its body"
        ) from None
    method, path = (part.decode() for part in match.groups())
    _length(headers, b"inference-header-content-length", len(body))
    request = Request(line, method, path, headers, body)
    check_depth(request.json)
    return request


def _headers(lines: list[bytes]) -> dict[bytes, bytes]:
    headers: dict[bytes, bytes] = {}
    for line in lines:
        match = _HEADER.fullmatch(line)
        if match is None:
            raise RefusedError(400, f"the header {_shown(line)} is not of HTTP: expected NAME: VALUE")
        name = match[1].lower()
        if name in headers and name in (b"content-length", b"inference-header-content-length", b"host"):
            raise RefusedError(400, f"the request has two headers {name.decode()}")
        value = match[2].rstrip()
        headers[name] = headers[name] + b", " + value if name in headers else value
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise RefusedError(415, "send the body as it is, not compressed")
    if b"transfer-encoding" in headers:
        raise RefusedError(411, "send the body with Content-Length, not in chunks")
    return headers


def _length(headers: dict[bytes, bytes], name: bytes, most: int) -> int | None:
    """Return the number of bytes that a header names, if there is one."""
    if (text := headers.get(name)) is None:
        return None
    if not text.isdigit() or len(text) > 18:
        raise RefusedError(400, f"{name.decode()} is {_shown(text)}; expected a number of bytes")
    if int(text) > most and name == b"content-length":
        raise RefusedError(413, f"the request has {int(text):,} bytes; at most {most:,}: send several")
    if int(text) > most:
        raise RefusedError(400, f"{name.decode()} is {int(text):,}, but the body has {most:,} bytes")
    return int(text)


def check_depth(text: bytes, block_size: int = BLOCK) -> None:
    """Refuse JSON that is nested too deeply; few brackets cannot be.

    Args:
        text: the JSON.
        block_size: how many bytes are looked at together, which bounds the memory.

    Raises:
        RefusedError: it is.
    """
    characters = np.frombuffer(text, np.uint8)
    if np.count_nonzero(characters | _SMALL == ord("{")) <= MAX_DEPTH:
        return
    if ((characters[1:] == _ESCAPE) & (characters[:-1] == _ESCAPE)).any():
        characters = np.frombuffer(text.replace(rb"\\", b"__"), np.uint8)
    depth, in_string = 0, False
    for start in range(0, len(characters), block_size):
        block = characters[start : start + block_size]
        quotes = np.flatnonzero(block == ord('"'))
        quotes = quotes[(characters[start + quotes - 1] != _ESCAPE) | (start + quotes == 0)]
        small = block | _SMALL
        brackets = np.flatnonzero((small == ord("{")) | (small == ord("}")))
        outside = (np.searchsorted(quotes, brackets) + in_string) % 2 == 0
        depths = depth + np.cumsum(np.where(small[brackets[outside]] == ord("{"), 1, -1))
        if depths.max(initial=0) > MAX_DEPTH:
            raise RefusedError(400, f"the JSON is nested more than {MAX_DEPTH} deep")
        depth = int(depths[-1]) if len(depths) else depth
        in_string ^= len(quotes) % 2 == 1


def _shown(text: bytes) -> str:
    return repr(text[:60].decode("latin-1"))


@dataclass
class Answer:
    """An answer whose head was read, and whose body comes from `reader`.

    Attributes:
        head: with the empty line after it.
        status: such as 200.
        headers: by their names in small letters.
        has_body: whether a body follows, which it does not after HEAD.
    """

    head: bytes
    status: int
    headers: dict[bytes, bytes]
    has_body: bool

    @classmethod
    async def read(cls, reader: asyncio.StreamReader, method: str) -> Answer:
        """Read the head of the next answer."""
        head = await reader.readuntil(b"\r\n\r\n")
        status, *lines = head[:-4].split(b"\r\n")
        parts = (line.partition(b":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in parts}
        number = int(status.split()[1])
        return cls(head, number, headers, method != "HEAD" and number not in (204, 304))

    @property
    def length(self) -> int | None:
        """The number of bytes of the body; None if only its end tells."""
        if not self.has_body:
            return 0
        length = self.headers.get(b"content-length")
        return None if length is None else int(length)

    @property
    def ends_connection(self) -> bool:
        """Whether no other answer follows."""
        chunked = self.headers.get(b"transfer-encoding", b"").lower() == b"chunked"
        return self.headers.get(b"connection", b"").lower() == b"close" or (self.length is None and not chunked)

    async def copy_body(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass the body on as it comes."""
        if self.length is not None:
            await _copy(self.length, reader, writer)
        elif self.ends_connection:
            while data := await reader.read(PIECE):
                writer.write(data)
                await writer.drain()
        else:
            size = 1
            while size:  # of a chunk; after the last comes an empty line
                line = await reader.readline()
                if not line:
                    raise ConnectionError
                size = int(line.split(b";")[0], 16)
                writer.write(line)
                await _copy(size + 2, reader, writer)


async def _copy(count: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while count:
        data = await reader.read(min(count, PIECE))
        if not data:
            raise ConnectionError
        count -= len(data)
        writer.write(data)
        await writer.drain()


def error_answer(status: int, message: str, *, close: bool) -> bytes:
    """Return an answer with an error in JSON, as Triton's are."""
    body = json.dumps({"error": message}).encode()
    head = f"HTTP/1.1 {status} {REASONS.get(status, 'Error')}\r\nContent-Type: application/json\r\n"
    end = "Connection: close\r\n" if close else ""
    return f"{head}Content-Length: {len(body)}\r\n{end}\r\n".encode() + body
