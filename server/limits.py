"""What a request may be: its address, headers and body, how many at a time and how often, from whom and to which host.

`Limits` is pure ASGI between the fast path and FastAPI and sees what is no hit. `Guard` stands before the fast path, and only
where settings ask for what hits are subject to as well: API keys, known hosts, a rate of all requests.
"""

from __future__ import annotations

import math
from collections import Counter

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.errors import (
    ApiKeyError,
    BodyTooLargeError,
    BusyError,
    HeadersTooLargeError,
    HostError,
    RateLimitError,
    UrlTooLongError,
)
from server.fastpath import FAULT
from server.keys import ApiKeys, key_in_headers, split_query
from server.limits_rate import CHARGE, TokenBuckets
from server.limits_refusal import refusal
from server.links import LINK_KEY, host_header, split_host
from server.proxies import ProxyPolicy
from server.render_queue import PRIORITY, Priority
from server.settings import Settings

# More than any browser or proxy sends.
MAX_HEADERS, MAX_HEADER_BYTES = 100, 32768
# Probes come by address, without a key, and must be answered when the server is busy most of all.
PROBES = frozenset({"/health", "/ready"})
# What shows no picture: the pages that ask for one, and their documentation.
OPEN = frozenset({"/", "/admin", "/favicon.ico", "/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"}) | PROBES
OPEN_BELOW = "/viewer/"
# Headers of requests for what nobody looks at yet: of browsers today, and of older ones.
PREFETCH = frozenset({b"sec-purpose", b"purpose", b"x-purpose", b"x-moz"})


class Guard:
    """Whom the server lets in, and under which name of itself."""

    def __init__(self, settings: Settings, proxies: ProxyPolicy, keys: ApiKeys, buckets: TokenBuckets | None) -> None:
        self._proxies, self._keys = proxies, keys
        self._buckets = buckets if settings.rate_limit_hits else None
        self._any_host = "*" in settings.allowed_hosts
        self._hosts = frozenset(host for host in settings.allowed_hosts if not host.startswith("*."))
        self._domains = tuple(host[1:] for host in settings.allowed_hosts if host.startswith("*."))

    @property
    def needed(self) -> bool:
        """Whether there is anything to look at; if not, hits need not pay for it."""
        return bool(self._keys or self._buckets) or not self._any_host

    def __call__(self, scope: Scope) -> Scope:
        """The request as what is behind shall see it: a key in its query string is taken out; with FAULT if not let in."""
        try:
            return self._admitted(scope)
        except (HostError, ApiKeyError, RateLimitError) as error:
            return {**scope, FAULT: error}

    def _admitted(self, scope: Scope) -> Scope:
        path = self._proxies.route_path(scope)
        if path in PROBES:
            return scope
        if not self._any_host:
            self._check_host(scope)
        client = ""
        if self._keys and scope["method"] != "OPTIONS":
            key, query = split_query(scope["query_string"])
            in_headers = key_in_headers(scope)
            if key is not None:
                scope = {**scope, "query_string": query}
            try:
                client = self._keys.check(in_headers if in_headers is not None else key)
            except ApiKeyError:
                if path not in OPEN and not path.startswith(OPEN_BELOW):
                    raise
            else:
                scope = {**scope, CLIENT: client, **({LINK_KEY: key} if key is not None and in_headers is None else {})}
        if self._buckets is not None:
            self._buckets.take(client or self._proxies.client(scope))
        return scope

    def _check_host(self, scope: Scope) -> None:
        outside = self._proxies.outside(scope)
        host = host_header(outside)
        parts = None if host is None else split_host(host)
        name = "" if parts is None else parts[0].lower()
        if name not in self._hosts and not name.endswith(self._domains or ("/",)):
            raise HostError("The Host header names a host that this server is not; see METAEARTH_ALLOWED_HOSTS.")


CLIENT = "metaearth.client"
"""In the scope: who asks, where an API key told."""


class Limits:
    """Pure ASGI: refuses what is too large or too much, and notes for whom and how urgently `app` works.

    `active` is how many requests are under way at this moment, `refused` counts those refused here by status code.
    """

    def __init__(self, app: ASGIApp, settings: Settings, proxies: ProxyPolicy, buckets: TokenBuckets | None) -> None:
        self._app, self._settings, self._proxies, self._buckets = app, settings, proxies, buckets
        self._max_body = settings.max_body_kb << 10
        self.active = 0
        self.refused: Counter[int] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        error = self._fault(scope)
        if error is not None:
            answer = refusal(error, self._proxies.route_path(scope))
            self.refused[answer.status_code] += 1
            await answer(scope, receive, send)
            return
        PRIORITY.set(Priority.PREFETCH if _is_prefetch(scope) else Priority.VIEWPORT)
        if self._buckets is not None and not self._settings.rate_limit_hits:
            send = self._charging(scope, send)
        if scope["method"] not in ("GET", "HEAD"):
            receive = self._measured(receive)
        self.active += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self.active -= 1

    def _fault(self, scope: Scope) -> Exception | None:
        fault: Exception | None = scope.get(FAULT)
        if fault is not None:
            return fault
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > self._settings.max_url:
            return UrlTooLongError(f"The address is longer than {self._settings.max_url} bytes; send a shorter one.")
        headers = scope["headers"]
        if len(headers) > MAX_HEADERS or sum(len(name) + len(value) for name, value in headers) > MAX_HEADER_BYTES:
            return HeadersTooLargeError(f"More than {MAX_HEADERS} headers or {MAX_HEADER_BYTES} bytes of them; send fewer.")
        for name, value in headers:
            if name == b"content-length" and value.isdigit() and (len(value) > 12 or int(value) > self._max_body):
                return BodyTooLargeError(self._too_large())
        if self.active >= self._settings.max_requests and self._proxies.route_path(scope) not in PROBES:
            return BusyError(f"{self.active} requests are under way, as many as are at a time; try again in a few seconds.")
        return None

    def _charging(self, scope: Scope, send: Send) -> Send:
        """Has the client charged for what is rendered; returns a `send` that says in a 429 when to come again."""
        buckets, wait = self._buckets, 0.0
        assert buckets is not None

        def charge() -> None:
            nonlocal wait
            try:
                buckets.take(scope.get(CLIENT) or self._proxies.client(scope))
            except RateLimitError as error:
                wait = error.seconds
                raise

        async def send_with_wait(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 429 and wait:
                self.refused[429] += 1
                headers = [pair for pair in message["headers"] if pair[0] != b"retry-after"]
                message = {**message, "headers": [*headers, (b"retry-after", b"%d" % math.ceil(wait))]}
            await send(message)

        CHARGE.set(charge)
        return send_with_wait

    def _measured(self, receive: Receive) -> Receive:
        """`receive`, which raises once the body is larger than it may be, if no header has told before."""
        received = 0

        async def receive_measured() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_body:
                raise HTTPException(413, self._too_large())
            return message

        return receive_measured

    def _too_large(self) -> str:
        return f"The body is larger than {self._settings.max_body_kb} KiB; send less."


def _is_prefetch(scope: Scope) -> bool:
    return any(name in PREFETCH and b"prefetch" in value.lower() for name, value in scope["headers"])
