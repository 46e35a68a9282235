"""What answers a tile that is at hand: a pure-ASGI function in front of FastAPI, with everything built
beforehand.

A hit is one dictionary look-up and two messages; a 304 is one hash, for the ETag follows from the key, so
that it is right for tiles never rendered too. Whatever else a request may be goes on to the application
behind.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cache import ByteBoundedLRU
from server.accept import VARY_ACCEPT, accept_header, negotiate
from server.cors import CorsPolicy, Headers
from server.encode import MEDIA_TYPES
from server.errors import NotAcceptableError
from server.proxies import ProxyPolicy
from server.tilekey import MAX_ZOOM, TileKey

# Headers and messages of one tile, about, beside its body.
READY_OVERHEAD = 2048
EMPTY: Message = {"type": "http.response.body", "body": b""}
# Where the request says which zoom it asks for, to those who count requests behind.
ZOOM = "metaearth.zoom"
# From a path below an alias' prefix, and its query string, to the tile that both mean; see `FastPath.add_alias`.
Resolver = Callable[[str, bytes], TileKey | None]
FAULT = "metaearth.fault"
"""In the scope: the error for which a guard does not let a request in; `server.limits` answers it."""
# Returns the request as what follows shall see it, with FAULT if it is not let in.
Guard = Callable[[Scope], Scope]
Fetch = Callable[[TileKey], Awaitable["ReadyTile | None"]]


@dataclass(frozen=True, slots=True)
class ReadyTile:
    """An encoded tile with its answer: `headers` without CORS, the two ASGI messages with it; `count` is its zoom's of
    `ReadyTiles.counts`."""

    body: bytes
    etag: bytes
    headers: Headers
    start: Message
    content: Message
    count: list[int]


class ReadyTiles:
    """The byte-bounded LRU of tiles ready to be sent, by canonical path, and the making of their headers.

    `counts[zoom]` is [tiles sent from memory, 304 answered, tiles sent from the tier behind] by the fast path: plain
    numbers, for a counter of prometheus-client takes ten times as long. Only the event loop writes them.
    """

    def __init__(
        self, max_bytes: int, seeds: Mapping[str, bytes], max_age: int, cors: CorsPolicy, *, private: bool = False
    ) -> None:
        """`private` keeps tiles out of shared caches, which would hand them to whoever has no API key."""
        self.seeds = seeds
        self.cors = cors
        self.lru: ByteBoundedLRU[ReadyTile] = ByteBoundedLRU(max_bytes, lambda t: len(t.body) + READY_OVERHEAD)
        self.get = self.lru.get
        self.counts = [[0, 0, 0] for _ in range(MAX_ZOOM + 1)]
        self._cache_control = (b"cache-control", b"%s, max-age=%d" % (b"private" if private else b"public", max_age))

    def etag(self, key: TileKey) -> bytes:
        """The strong ETag (RFC 9110, 8.8.3) of a tile, rendered or not."""
        return b'"' + key.digest(self.seeds).encode() + b'"'

    def make(self, key: TileKey, body: bytes) -> ReadyTile:
        """Builds the answer of `key` once and keeps it for the fast path."""
        etag = self.etag(key)
        headers = [
            (b"content-type", MEDIA_TYPES[key.extension].encode()),
            (b"content-length", b"%d" % len(body)),
            (b"etag", etag),
            self._cache_control,
        ]
        start = {"type": "http.response.start", "status": 200, "headers": headers + self.cors.always}
        content = {"type": "http.response.body", "body": body}
        tile = ReadyTile(body, etag, headers, start, content, self.counts[key.zoom])
        self.lru.put(key.path, tile)
        return tile

    def not_modified(self, etag: bytes) -> Message:
        """The start of a 304: the headers of the 200 that describe the representation kept by the client."""
        headers = [(b"etag", etag), self._cache_control, *self.cors.always]
        return {"type": "http.response.start", "status": 304, "headers": headers}


class FastPath:
    """The outermost ASGI application: tiles at hand and 304, GET and HEAD; all else is for `app`.

    `api` is the FastAPI application inside of `app`, for those who want its routes or its OpenAPI document.

    A protocol whose tiles are these tiles by other addresses gets the same speed by `add_alias`.
    """

    def __init__(
        self,
        app: ASGIApp,
        tiles: ReadyTiles,
        planet: str,
        api: FastAPI,
        proxies: ProxyPolicy,
        guard: Guard | None = None,
    ) -> None:
        self._guard = guard
        self.app = app
        self.api = api
        self.tiles = tiles
        self._get = tiles.get
        self._aliases: dict[str, Resolver] = {}
        self._fetch: Fetch | None = None
        self._proxies = proxies
        self._varies = not tiles.cors.any_origin
        name = f"/{planet}"
        # A tile whose format is for Accept to say.
        self._open = re.compile(f"(?:{re.escape(name)})?/\\d+/\\d+/\\d+(?:@2x)?", re.ASCII)
        self.add_alias(name, lambda path, query: TileKey.from_path(path.removeprefix(name), query))

    def add_alias(self, prefix: str, resolver: Resolver) -> None:
        """Has `resolver(path, query)` say which tile an address below `prefix` means, before FastAPI sees the request.

        `prefix` is the first segment of such paths with its slash, "/wmts": the resolver is asked for GET and HEAD of
        /wmts and of all below /wmts/, with the whole path as decoded text without any root path ("/wmts/1.0.0/..."),
        and the raw query string without its question mark. It answers the `TileKey` only if the route behind would
        answer 200 with exactly that tile (its media type, body and ETag are then sent from memory, or 304), and None
        in any doubt: the route then does what it does, errors included. It runs on every such request, so it should
        be a regular expression or a dictionary look-up, and must not raise.

        Plain XYZ addresses are looked up first, whatever aliases there are; an alias is found by one look-up of the
        first segment. Raises `ValueError` if the prefix has an alias already or is no single segment.
        """
        if not prefix.startswith("/") or "/" in prefix[1:] or prefix == "/" or prefix in self._aliases:
            raise ValueError(f"{prefix!r} is no single path segment, or has an alias already.")
        self._aliases[prefix] = resolver

    def add_tier(self, fetch: Fetch) -> None:
        """Has `fetch(key)` asked for tiles that are not in memory, before FastAPI sees the request: a look-up, no work."""
        self._fetch = fetch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            if self._guard is not None and scope["type"] == "http":
                scope = self._guard(scope)
            await self.app(scope, receive, send)
            return
        if self._guard is not None:
            scope = self._guard(scope)
            if FAULT in scope:
                await self.app(scope, receive, send)
                return
        query: bytes = scope.get("query_string", b"")
        tile = None if query else self._get(scope["path"])
        key: TileKey | None = None
        added: Headers = []
        if tile is None:
            # As it came, which is all but what comes with a proxy's prefix: to look for that costs more than the rest.
            key = self._named(scope["path"], query)
            tile = None if key is None else self._get(key.path)
        if tile is None:
            key, added = self._resolve(scope, query)
            if key is not None:
                tile = self._get(key.path)
        for name, value in scope["headers"]:
            if name == b"if-none-match":
                etag = tile.etag if tile is not None else None if key is None else self.tiles.etag(key)
                # Our ETags are unique strings in quotes, so containment finds them in lists and behind W/
                # alike.
                if etag is not None and (etag in value or value.strip() == b"*"):
                    count = tile.count if tile is not None else self.tiles.counts[key.zoom]  # type: ignore[union-attr]
                    count[1] += 1
                    await send(self._for_request(self.tiles.not_modified(etag), scope, added))
                    await send(EMPTY)
                    return
        source = 0
        if tile is None and key is not None and self._fetch is not None:
            tile, source = await self._fetch(key), 2
        if tile is None:
            if key is not None:
                scope[ZOOM] = key.zoom
            await self.app(scope, receive, send)
            return
        tile.count[source] += 1
        await send(self._for_request(tile.start, scope, added) if self._varies or added else tile.start)
        await send(tile.content if scope["method"] == "GET" else EMPTY)

    def _resolve(self, scope: Scope, query: bytes) -> tuple[TileKey | None, Headers]:
        """The tile that a request means by any address other than its canonical path, and what its answer says
        besides."""
        path: str = scope["path"]
        key = self._named(path, query)
        if key is not None:
            return key, []
        inner = self._proxies.route_path(scope)
        if inner != path:
            path, key = inner, self._named(inner, query)
        if key is None and self._open.fullmatch(path):
            try:
                return self._named(f"{path}.{negotiate(accept_header(scope))}", query), VARY_ACCEPT
            except NotAcceptableError:
                return None, []
        return key, []

    def _named(self, path: str, query: bytes) -> TileKey | None:
        end = path.find("/", 1)
        resolver = self._aliases.get(path if end < 0 else path[:end])
        return TileKey.from_path(path, query) if resolver is None else resolver(path, query)

    def _for_request(self, start: Message, scope: Scope, added: Headers) -> Message:
        added = added + self.tiles.cors.for_request(scope)
        return {**start, "headers": start["headers"] + added} if added else start
