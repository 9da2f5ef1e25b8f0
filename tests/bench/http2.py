"""As much of HTTP/2 as one gRPC client needs, so that generating load costs little.

A client of the library itself costs about as much as a server, and would share the machine with it.
"""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
_ACK = _END_STREAM = 0x1
_END_HEADERS: Final = 0x4
_PADDED: Final = 0x8
_HEADER_TABLE_SIZE, _INITIAL_WINDOW_SIZE = 1, 4
_FIRST_WINDOW: Final = 65_535
_WIDEST: Final = 2**31 - 1
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEAD: Final = struct.Struct(">BHBBL")
_METHOD_POST, _SCHEME_HTTP = b"\x83", b"\x86"
_FIRST_DYNAMIC: Final = 62
# The server is told to keep no table of headers, so that its trailers spell the status each time.
_OK: Final = b"\x0bgrpc-status\x010"


class ProtocolError(Exception):
    """The server did something that this client does not know, or ended the connection."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of one call; ``trailers`` are what came with it, for people."""

    stream: int
    ok: bool
    message: bytes
    trailers: bytes


class Connection:
    """One connection that calls one unary RPC; what is sent waits for ``flush``."""

    def __init__(self, port: int, path: str, timeout_seconds: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        headers = (
            (":path", path),
            (":authority", f"127.0.0.1:{port}"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "tact-bench"),
            ("grpc-timeout", f"{timeout_seconds}S"),
        )
        # As clients do: names and values travel once, then by their place in the server's table.
        self._headers = _METHOD_POST + _SCHEME_HTTP + b"".join(_literal(*header) for header in headers)
        self._later = _METHOD_POST + _SCHEME_HTTP + _indexes(len(headers))
        self._stream = -1
        self._room = _FIRST_WINDOW
        self._received = bytearray()
        self._bodies: dict[int, bytes] = {}
        settings = struct.pack(">HLHL", _HEADER_TABLE_SIZE, 0, _INITIAL_WINDOW_SIZE, _WIDEST)
        window = struct.pack(">L", _WIDEST - _FIRST_WINDOW)
        self._outgoing = bytearray(
            _PREFACE + _frame(_SETTINGS, 0, 0, settings) + _frame(_WINDOW_UPDATE, 0, 0, window)
        )
        self._is_greeted = False
        self.flush()
        while not self._is_greeted:
            self.answers(wait_seconds=1.0)

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def has_room(self, message: bytes) -> bool:
        """Tell whether the server takes one more message now."""
        return self._room >= len(message) + 5

    def call(self, message: bytes) -> int:
        """Begin a call and return its stream."""
        self._stream += 2
        self._outgoing += _frame(_HEADERS, _END_HEADERS, self._stream, self._headers)
        self._headers = self._later
        payload = b"\0" + len(message).to_bytes(4, "big") + message
        self._outgoing += _frame(_DATA, _END_STREAM, self._stream, payload)
        self._room -= len(payload)
        return self._stream

    def flush(self) -> None:
        """Send what waits."""
        if self._outgoing:
            self._socket.sendall(self._outgoing)
            self._outgoing.clear()

    def answers(self, wait_seconds: float) -> Sequence[Answer]:
        """Wait for something to arrive, not for ever, and return the calls that ended.

        Raises:
            ProtocolError: the connection is of no more use.
        """
        if not select.select((self._socket,), (), (), wait_seconds)[0]:
            return ()
        chunk = self._socket.recv(1 << 20)
        if not chunk:
            raise ProtocolError("the server closed the connection")
        self._received += chunk
        ended = [answer for frame in self._frames() if (answer := self._take(*frame)) is not None]
        self.flush()
        return ended

    def _frames(self) -> Iterator[tuple[int, int, int, bytes]]:
        received, start = self._received, 0
        while len(received) - start >= _HEAD.size:
            high, low, kind, flags, stream = _HEAD.unpack_from(received, start)
            end = start + _HEAD.size + (high << 16 | low)
            if end > len(received):
                break
            yield kind, flags, stream, bytes(received[start + _HEAD.size : end])
            start = end
        del received[:start]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> Answer | None:
        if kind == _DATA and not flags & _PADDED:
            self._bodies[stream] = self._bodies.get(stream, b"") + payload
        elif kind == _HEADERS and flags & _END_HEADERS and not flags & _PADDED:
            if flags & _END_STREAM:
                return Answer(stream, _OK in payload, self._bodies.pop(stream, b"")[5:], payload)
        elif kind == _RST_STREAM:
            self._bodies.pop(stream, None)
            return Answer(stream, False, b"", b"reset " + payload)
        elif kind == _SETTINGS:
            self._is_greeted = True
            if not flags & _ACK:
                self._outgoing += _frame(_SETTINGS, _ACK, 0, b"")
        elif kind == _PING:
            if not flags & _ACK:
                self._outgoing += _frame(_PING, _ACK, 0, payload)
        elif kind == _WINDOW_UPDATE:
            if stream == 0:
                self._room += int.from_bytes(payload, "big")
        else:
            raise ProtocolError(f"frame of kind {kind}, flags {flags}: {payload!r}")
        return None


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    size = len(payload)
    return _HEAD.pack(size >> 16, size & 0xFFFF, kind, flags, stream) + payload


def _literal(name: str, value: str) -> bytes:
    return b"\x40" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()


def _indexes(count: int) -> bytes:
    return bytes(0x80 | _FIRST_DYNAMIC + place for place in reversed(range(count)))
