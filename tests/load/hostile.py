"""Hostile requests as raw bytes, each from its number alone: what scanners, broken clients and attackers send.

Addresses and parameters come from the server's own OpenAPI document, so that a new route is attacked without a line here.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.load.tokens import CHARSET, CHEAP, MEDIA, METHODS, hostile_value, token


@dataclass(frozen=True)
class Hostile:
    """One request. `complete`: a server may be expected to answer; else the client hangs up in the middle."""

    name: str
    data: bytes
    complete: bool = True


class Attack:
    """All hostile requests of one seed against the routes of an OpenAPI `document`."""

    def __init__(self, document: dict[str, Any], seed: int = 0) -> None:
        self._seed = seed
        self._routes: list[tuple[str, str, tuple[str, ...]]] = []
        self._properties: list[str] = sorted(
            {name for schema in document["components"]["schemas"].values() for name in schema.get("properties", {})}
        )
        for path, methods in sorted(document["paths"].items()):
            for method, operation in sorted(methods.items()):
                named = tuple(p["name"] for p in operation.get("parameters", ()) if p["in"] == "query")
                self._routes.append((method.upper(), path, named))

    def request(self, number: int) -> Hostile:
        """The request `number`: the same for the same number, seed and document."""
        draw = random.Random(f"{self._seed}/{number}")
        makers: tuple[tuple[int, Callable[[random.Random], Hostile]], ...] = (
            (30, self._address),
            (25, self._query),
            (18, self._headers),
            (15, self._body),
            (4, self._framing),
            (4, self._method),
            (4, self._garbage),
        )
        return draw.choices([maker for _, maker in makers], [weight for weight, _ in makers])[0](draw)

    def _address(self, draw: random.Random) -> Hostile:
        _, path, _ = draw.choice(self._routes)
        segments = self._filled(draw, path).split("/")
        for _ in range(draw.randint(1, 3)):
            at = draw.randrange(1, len(segments) + 1)
            segments[at : at + draw.randint(0, 1)] = [token(draw)]
        target = "/".join(segments) or "/"
        if draw.random() < 0.05:
            target = f"{draw.choice(('http://evil.example', 'HTTP://[::1', '//evil.example', 'ftp:', '*'))}{target}"
        return Hostile("address", message(draw.choice(("GET", "GET", "HEAD")), target))

    def _query(self, draw: random.Random) -> Hostile:
        _, path, named = draw.choice(self._routes)
        names = [*named, "tilesize", "f", "key", "x"]
        pairs = []
        for _ in range(draw.randint(1, 8)):
            name = draw.choice(names)
            pairs.append(f"{draw.choice((name, name, name.upper(), name + '[]', token(draw)))}={token(draw)}")
        query = draw.choice(("&", "&", "&", ";", "&&", "?")).join(pairs)
        if draw.random() < 0.03:
            query = "&".join(f"{name}={i}" for i, name in zip(range(draw.randint(500, 4000)), names * 4000, strict=False))
        return Hostile("query", message(draw.choice(("GET", "GET", "HEAD")), f"{self._filled(draw, path)}?{query}"))

    def _headers(self, draw: random.Random) -> Hostile:
        junk = "".join(draw.choices(CHARSET, k=draw.randint(1, 40))).replace("\r", "").replace("\n", "")
        raw = token(draw).replace("%0d%0a", "\r\n\t")
        choices = [
            *(
                (name, draw.choice((raw, junk, f'W/"{raw}"', "*", '""', "," * 500)))
                for name in ("If-None-Match", "If-Match", "If-Range")
            ),
            *(
                ("Accept", text)
                for text in (raw, junk, "image/png;q=2", "image/*;q=nan", "*/*;q=", ";;;", ",".join(["a/b"] * 2000))
            ),
            *(("Range", text) for text in ("bytes=0-", "bytes=-1", "bytes=9-1", "bytes=" + "0-1," * 500, f"bytes={raw}-", raw)),
            *(
                (name, draw.choice((raw, junk, "evil.example", "a" * 5000, "[::1", "x:99999")))
                for name in ("Host", "X-Forwarded-Host")
            ),
            *(
                (name, draw.choice((raw, junk)))
                for name in ("X-Forwarded-Proto", "X-Forwarded-Prefix", "X-Forwarded-For", "Origin")
            ),
            *(
                (name, draw.choice((raw, junk)))
                for name in ("X-Forwarded-Port", "X-Request-ID", "traceparent", "X-API-Key", "Cookie")
            ),
            *(("Forwarded", text) for text in (raw, junk, 'for="[', "for=a;host=b;proto=c;;;", "host=" + "a" * 3000)),
            *(
                (name, draw.choice((raw, junk, "Basic !!!", "Bearer " + "a" * 4000)))
                for name in ("Authorization", "User-Agent")
            ),
            *(("If-Modified-Since", text) for text in (raw, "Thu, 99 Foo 0000 99:99:99 GMT")),
            *((name, raw) for name in ("Access-Control-Request-Method", "Access-Control-Request-Headers", "last-event-id")),
            *((("Upgrade", "websocket"), ("Upgrade", "h2c"), ("Expect", "100-continue"), ("Expect", raw), ("TE", "trailers"))),
            *(
                (
                    ("Content-Type", raw),
                    ("X" * 3000, "1"),
                    ("", "empty name"),
                    ("Bad Name", "1"),
                    (junk, "1"),
                    ("X-Big", "b" * 70000),
                )
            ),
        ]
        picked = draw.sample(choices, draw.randint(1, 5))
        if draw.random() < 0.03:
            picked += [(f"X-{i}", "1") for i in range(3000)]
        method, path, _ = draw.choice(self._routes)
        if method not in ("GET", "HEAD"):
            method = "OPTIONS"
        return Hostile("headers", message(method, self._filled(draw, path), picked))

    def _body(self, draw: random.Random) -> Hostile:
        path = draw.choice([path for method, path, _ in self._routes if method == "POST"] or ["/"])
        depth = draw.choice((10, 500, 5000, 100_000))
        good = {"bbox": [-170.0, -60.0, 170.0, 60.0], "zoom": 3, "dry_run": True}
        changed: dict[str, Any] = dict(good)
        for _ in range(draw.randint(1, 4)):
            changed[draw.choice(self._properties)] = hostile_value(draw)
        # Nothing that is answered by real work, which is no attack.
        changed["dry_run"] = draw.choice((True, True, "yes", None, 7)) if "exports" in path else changed.pop("dry_run")
        bodies: list[bytes] = [
            *[json.dumps(changed).encode()] * 8,
            b"[" * depth,
            b'{"a":' * depth + b"1" + b"}" * depth,
            b'{"bbox": [' + b"1," * 20000 + b"1]}",
            b'{"bbox": [1, 2, 3, 4], "zoom": ' + b"9" * 5000 + b"}",
            b'{"clip": ' + b'{"type":"GeometryCollection","geometries":[' * 2000 + b"]}" * 2000 + b"}",
            draw.randbytes(draw.randint(1, 2000)),
            json.dumps(good).encode("utf-16"),
            b"\xef\xbb\xbf" + json.dumps(good).encode(),
            b'{"bbox": "\\ud800"}',
            b'{"bbox": [1,2,3,4], "bbox": null, "\\u0000": 1}',
            b"",
            b"null",
            b'"' + b"a" * 2_000_000,
            json.dumps(good).encode()[: draw.randint(1, 40)],
        ]
        body = draw.choice(bodies)
        headers = [("Content-Type", draw.choice((MEDIA[0], MEDIA[0], MEDIA[0], *MEDIA)))]
        if draw.random() < 0.1:
            headers.append(("Content-Encoding", draw.choice(("gzip", "br", "x"))))
        return Hostile("body", message("POST", path, [*headers, ("Content-Length", str(len(body)))], body))

    def _framing(self, draw: random.Random) -> Hostile:
        path = draw.choice(("/bbox", "/exports", "/4/3/2.png", "/health"))
        cases: list[tuple[list[tuple[str, str]], bytes, bool]] = [
            ([("Content-Length", "-1")], b"", True),
            ([("Content-Length", "abc")], b"", True),
            ([("Content-Length", "9" * 40)], b"x", False),
            ([("Content-Length", "5"), ("Content-Length", "6")], b"hello!", True),
            ([("Content-Length", "1000000000")], b"{", False),
            ([("Content-Length", "50")], b"{", False),
            ([("Content-Length", "3"), ("Transfer-Encoding", "chunked")], b"0\r\n\r\n", True),
            ([("Transfer-Encoding", "chunked")], b"zz\r\nhello\r\n0\r\n\r\n", True),
            ([("Transfer-Encoding", "chunked")], b"fffffffffffffffff\r\n", True),
            ([("Transfer-Encoding", "chunked")], b"-1\r\n\r\n", True),
            ([("Transfer-Encoding", "chunked")], b"5\r\nhel", False),
            ([("Transfer-Encoding", "chunked, gzip")], b"0\r\n\r\n", False),
            ([("Transfer-Encoding", "x")], b"", False),
            ([("Expect", "100-continue"), ("Content-Length", "5")], b"", False),
        ]
        headers, body, complete = draw.choice(cases)
        return Hostile("framing", message("POST", path, headers, body), complete)

    def _method(self, draw: random.Random) -> Hostile:
        _, path, _ = draw.choice(self._routes)
        return Hostile("method", message(draw.choice(METHODS), self._filled(draw, path)), complete=False)

    def _garbage(self, draw: random.Random) -> Hostile:
        cases = (
            draw.randbytes(draw.randint(1, 500)),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + draw.randbytes(400),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00" * 9,
            b"GET /4/3/2.png\r\n\r\n",
            b"GET /4/3/2.png HTTP/9.9\r\n\r\n",
            b"GET  /4/3/2.png  HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /4/3/2.png HTTP/1.1\nHost: x\n\n",
            b"\r\n" * 200,
            b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 30 + b"BAD\r\n\r\n",
            b"GET /" + b"a" * draw.choice((5000, 70000, 300_000)) + b" HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /4/3/2.png HTTP/1.1\r\nHost: x\r\n" + b"X: 1\r\n" * draw.randint(1, 20),
            b"GET /4/3/2.png HTTP/1.1\r\nHost: x\r\n folded: 1\r\n\r\n",
            b"GET /4/3/\xff\xfe\x80.png HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            b"POST /exports HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 400\r\n\r\n{",
            *(_upgrade(path) for path in ("/", "/4/3/2.png", "/health", "/exports", "/nowhere", "/wmts")),
            b"G",
        )
        return Hostile("garbage", draw.choice(cases), complete=False)

    def _filled(self, draw: random.Random, path: str) -> str:
        """`path` with its placeholders filled by tokens, or by what leads to cheap tiles."""
        while "{" in path:
            before, _, rest = path.partition("{")
            name, _, after = rest.partition("}")
            path = before + (token(draw).replace("{", "%7B") if draw.random() < 0.3 else CHEAP.get(name, "x")) + after
        return path


def _upgrade(path: str) -> bytes:
    """A WebSocket handshake (RFC 6455, 4.1), which nothing here answers."""
    headers = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]
    return message("GET", path, [*headers, ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")])


def message(method: str, target: str, headers: list[tuple[str, str]] | None = None, body: bytes = b"") -> bytes:
    """A request on a connection that is to be closed after it; text beyond latin-1 goes as UTF-8, raw."""
    lines = [f"{method} {target} HTTP/1.1"]
    given = headers or []
    if not any(name == "Host" for name, _ in given):
        lines.append("Host: localhost")
    lines += [f"{name}: {value}" for name, value in given]
    if not any(name == "Connection" for name, _ in given):
        lines.append("Connection: close")
    return _raw("\r\n".join([*lines, "", ""])) + body


def _raw(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape")
