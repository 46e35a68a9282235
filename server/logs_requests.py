"""Identifiers of requests, for the log and for whoever asks about an answer, and the access log."""

from __future__ import annotations

import logging
import re
import time
import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.cors import Headers
from server.fastpath import FastPath
from server.logs import REQUEST_ID, TRACE_ID

access = logging.getLogger("metaearth.access")

# What a client or a proxy may call its request: no spaces, nothing that means anything to a log or a header.
SANE_ID = re.compile(rb"[A-Za-z0-9._+/=@:-]{1,128}")
# W3C Trace Context, 3.2: version, trace, parent, flags. Version ff is invalid, later ones may say more behind a dash.
TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
# The value of the query parameter that holds an API key, which is nobody's business.
SECRET = re.compile(r"((?:^|&)(?:key|api_?key|token)=)[^&]*", re.IGNORECASE)


class RequestLog:
    """Pure ASGI: gives every request of `app` its identifier, in the log and as `X-Request-ID` of the answer.

    An answer that shared caches may keep has it only if the request brought it: a new one would be given to strangers later.
    With `lines`, writes one line for each, once it is answered.
    """

    def __init__(self, app: ASGIApp, lines: bool) -> None:
        self._app = app
        self._lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given, trace = identifiers(scope)
        identifier = given or uuid.uuid4().hex
        # Never taken back: the context ends with the request's task, and the server writes its own lines about a request
        # that failed after this function has returned.
        REQUEST_ID.set(identifier)
        TRACE_ID.set(trace)
        header = (b"x-request-id", identifier.encode())
        began = time.perf_counter()
        status = sent = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = list(message.get("headers", ()))
                if given or not _is_shared(headers):
                    message = {**message, "headers": [*headers, header]}
            elif message["type"] == "http.response.body":
                sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            if self._lines:
                _write(scope, status or 500, sent, time.perf_counter() - began)


class LoggedFastPath(FastPath):
    """A `FastPath` with an access log: also what it answers from memory has an identifier and a line."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        await RequestLog(super().__call__, lines=True)(scope, receive, send)


def identifiers(scope: Scope) -> tuple[str, str]:
    """The request's X-Request-ID if it is a sane one, and the trace of its traceparent; "" for what there is not."""
    request, trace = b"", b""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and SANE_ID.fullmatch(value):
            request = value
        elif name == b"traceparent" and (match := TRACEPARENT.fullmatch(value)):
            trace = match[1]
    return request.decode(), trace.decode()


def target(scope: Scope) -> str:
    """Path and query as the client wrote them, percent-encoded, any API key in them left out."""
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: str = scope.get("query_string", b"").decode("latin-1")
    return path.decode("latin-1") + ("?" + SECRET.sub(r"\1...", query) if query else "")


def _is_shared(headers: Headers) -> bool:
    return any(name.lower() == b"cache-control" and b"public" in value for name, value in headers)


def _write(scope: Scope, status: int, sent: int, seconds: float) -> None:
    client = scope["client"][0] if scope.get("client") else "-"
    what = target(scope)
    access.info(
        "%s %s %s %d, %d bytes, %.1f ms",
        client,
        scope["method"],
        what,
        status,
        sent,
        1000 * seconds,
        extra={
            "client": client,
            "method": scope["method"],
            "path": what,
            "status": status,
            "bytes": sent,
            "seconds": round(seconds, 6),
        },
    )
