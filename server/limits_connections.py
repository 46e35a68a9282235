"""Connections that cannot take the server from others: slow heads, slow bodies, readers that do not read, too many of them.

uvicorn has a timeout for connections between two requests and for nothing else. What is missing is looked after by a sweep
once a second over all connections, so that a request at hand pays nothing for it.
"""

from __future__ import annotations

import asyncio
import json
import resource
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from server.limits import MAX_HEADER_BYTES

# What a head may have while it is incomplete: its address, its headers, and the syntax between.
MAX_HEAD = MAX_HEADER_BYTES + 65536 + 4096
# A reader who takes nothing for so long is gone.
STALLED_S = 60.0
# Descriptors that connections leave to files, databases and the rest of the process.
SPARE_DESCRIPTORS = 128


class GuardedProtocol(HttpToolsProtocol):
    """One connection: a head of bounded size, errors as JSON sentences, and a place among `max_connections`."""

    max_connections = 4096

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # When it was first seen at what it is still at, for `sweep`: a time of the event loop, the request, bytes unsent.
        self.mark: tuple[float, RequestResponseCycle | None, bool, int] | None = None
        self.opened = self.loop.time()
        # Bytes of a head that is incomplete.
        self.head = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come; with all places taken the one goes that has been idle for longest, or else this one."""
        super().connection_made(transport)
        if len(self.connections) <= self.max_connections:
            return
        idle = [other for other in self.connections if isinstance(other, GuardedProtocol) and other.idle and other is not self]
        if idle:
            # Those that have never sent a request come before those that keep a connection for their next.
            first = min(idle, key=lambda other: (other.cycle is not None, other.opened))
            self.connections.discard(first)  # what the loop does later, for the next to be counted right
            first.transport.abort()
        else:
            self.refuse(503, "The server has as many connections as it can; try again in a few seconds.")

    @property
    def idle(self) -> bool:
        """Whether no request is under way."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    @property
    def in_head(self) -> bool:
        """Whether a head has begun and is incomplete."""
        # The parser makes a scope for each head that begins, and a cycle with it when the head is complete.
        cycle: RequestResponseCycle | None = self.cycle
        return self.scope is not None and (cycle is None or cycle.scope is not self.scope)

    def data_received(self, data: bytes) -> None:
        """Part of a request, of several, or of none at all."""
        before: RequestResponseCycle | None = self.cycle
        super().data_received(data)
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not before:
            self.head = 0
        elif self.in_head:
            self.head += len(data)
            if self.head > MAX_HEAD and not self.transport.is_closing():
                self.refuse(431, "The head of the request is too large; send fewer and shorter headers.")

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP."""
        self.refuse(400, "This is no valid HTTP request; see RFC 9112.")

    def _unsupported_upgrade_warning(self) -> None:
        """No WebSocket is spoken here: the request is answered as one without Upgrade, and is no news for the log."""

    def refuse(self, status: int, sentence: str) -> None:
        """Answers an error outside of any request, and closes."""
        body = json.dumps({"detail": sentence}).encode()
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n" + "".join(
            f"{name}: {value}\r\n"
            for name, value in {
                "content-type": "application/json",
                "content-length": len(body),
                "connection": "close",
                **({"retry-after": 5} if status == 503 else {}),
            }.items()
        )
        self.transport.write(head.encode() + b"\r\n" + body)
        self.transport.close()


def sweep(connections: set[Any], now: float, head_seconds: float) -> None:
    """Closes connections that have been at the same thing for too long; to be called about once a second.

    Too long is `head_seconds` for the head of a request, twice that for its body, and `STALLED_S` for a client that takes
    nothing of its answer. `now` is the event loop's time.
    """
    for connection in list(connections):
        if not isinstance(connection, GuardedProtocol) or connection.transport is None:
            continue
        cycle: RequestResponseCycle | None = connection.cycle
        unsent = connection.transport.get_write_buffer_size()
        waits = (cycle, connection.idle, unsent)
        mark = connection.mark
        if mark is None or (mark[1] is not waits[0]) or mark[2:] != waits[1:]:
            # A connection is given its time from when it came, not from when it was first looked at.
            connection.mark = (connection.opened if mark is None and cycle is None else now, *waits)
            continue
        waited = now - mark[0]
        if connection.idle and unsent == 0:
            # Between two requests, with nothing of the next: that is uvicorn's timeout.
            if waited > head_seconds and (cycle is None or connection.in_head):
                connection.transport.close()
        elif unsent:
            if waited > STALLED_S:
                connection.transport.abort()
        elif cycle is not None and cycle.more_body and not cycle.response_started and waited > 2 * head_seconds:
            connection.refuse(408, "The body of the request did not come in time; send it faster.")


def allow_connections(wanted: int) -> int:
    """Raises the limit of open files as far as the system lets us; returns how many connections there is room for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + SPARE_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else min(wanted, max(16, soft - SPARE_DESCRIPTORS))
