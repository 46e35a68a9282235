"""Cross-origin resource sharing (the Fetch standard) for an API that is only read: no cookies, no
credentials."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Headers = list[tuple[bytes, bytes]]

METHODS = b"GET, HEAD, OPTIONS"
# What pages of other origins may use: exports are started by POST and cancelled by DELETE.
CROSS_ORIGIN_METHODS = b"GET, HEAD, POST, DELETE, OPTIONS"
# ETag and those of exports: where a job is, and what of a file came.
EXPOSED = b"ETag, Location, Content-Disposition, Content-Range, Content-Bbox, Content-Crs"
ORIGIN = b"access-control-allow-origin"


class CorsPolicy:
    """Which headers an answer carries so that pages of the allowed `origins` may read it; `*` stands for
    all."""

    def __init__(self, origins: Sequence[str]) -> None:
        self.any_origin = "*" in origins
        self._origins = frozenset(origin.encode() for origin in origins)
        exposed = (b"access-control-expose-headers", EXPOSED)
        # Sent also to requests without Origin: what they put into a shared cache is later read by those that
        # have one.
        origin = (ORIGIN, b"*") if self.any_origin else (b"vary", b"Origin")
        # Pages under Cross-Origin-Embedder-Policy show only what says that it may be; no browser guesses at what it got.
        self.always: Headers = [
            origin,
            exposed,
            (b"cross-origin-resource-policy", b"cross-origin"),
            (b"x-content-type-options", b"nosniff"),
        ]

    def for_request(self, scope: Scope) -> Headers:
        """What comes on top of `always`: the allowed origin by name, where not all are allowed."""
        if self.any_origin:
            return []
        for name, value in scope["headers"]:
            if name == b"origin" and value in self._origins:
                return [(ORIGIN, value)]
        return []


class CorsMiddleware:
    """Pure ASGI: adds the policy's headers to every answer of `app`, and answers OPTIONS itself."""

    def __init__(self, app: ASGIApp, policy: CorsPolicy) -> None:
        self._app = app
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        added = self._policy.always + self._policy.for_request(scope)
        if scope["method"] == "OPTIONS":
            await send({"type": "http.response.start", "status": 204, "headers": self._preflight(scope) + added})
            await send({"type": "http.response.body", "body": b""})
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        await self._app(scope, receive, send_with_headers)

    @staticmethod
    def _preflight(scope: Scope) -> Headers:
        headers: Headers = [(b"allow", METHODS), (b"access-control-allow-methods", CROSS_ORIGIN_METHODS)]
        asked = [value for name, value in scope["headers"] if name == b"access-control-request-headers"]
        if asked:
            headers.append((b"access-control-allow-headers", asked[0]))
        headers.append((b"access-control-max-age", b"86400"))
        return headers
