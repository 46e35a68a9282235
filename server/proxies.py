"""Requests as they were when the outermost trusted proxy got them: scheme, host and prefix of our links.

X-Forwarded-For/Proto/Host/Port/Prefix (no standard, but what proxies send) and Forwarded (RFC 7239) are believed of
peers in `settings.trusted_proxies` only, and through a chain only as far as each hop is trusted.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from server.links import host_header, public_url, split_host
from server.settings import PREFIX_PATH, Settings

DEFAULT_PORTS = {"http": 80, "https": 443}
# forwarded-pair of RFC 7239, 4: token "=" (token / quoted-string), and what separates pairs and elements.
PAIR = re.compile(r"""\s*+(?:([\w!#$%&'*+.^`|~-]+)=(?:([\w!#$%&'*+.^`|~:\[\]/-]+)|"((?:[^"\\]|\\.)*)"))?\s*(;|,|$)""", re.ASCII)


class Hop(NamedTuple):
    """What the request looked like to a proxy; None for what it did not say."""

    scheme: str | None = None
    host: str | None = None
    port: int | None = None


class ProxyPolicy:
    """Whom to believe, and what follows from it. `root_path` is the prefix configured, "" without one."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        public_path = urlsplit(settings.public_url or "").path
        self.root_path = settings.root_path or public_path.rstrip("/")
        self._all = "*" in settings.trusted_proxies
        self._networks = [
            ipaddress.ip_network(text, strict=False) for text in settings.trusted_proxies if text not in ("*", "none")
        ]
        self._is_trusted = lru_cache(4096)(self._look_up)

    def trusts(self, address: str) -> bool:
        """Whether `address`, an IP address as text, is one of a trusted proxy."""
        return self._all or self._is_trusted(address)

    def route_path(self, scope: Scope) -> str:
        """The path of a request without the prefix, whether the proxy stripped it or not."""
        path: str = _without(scope["path"], scope.get("root_path", ""))
        for prefix in (self._forwarded_prefix(scope), self.root_path):
            if prefix and (path == prefix or path.startswith(prefix + "/")):
                return _without(path, prefix)
        return path

    def client(self, scope: Scope) -> str:
        """The address of who sent the request, as the outermost trusted proxy tells; "" if it has none (a Unix socket)."""
        peer = scope.get("client")
        address: str = peer[0] if peer else ""
        if not self._trusted_peer(scope):
            return address
        elements = parse_forwarded(",".join(_values(scope, b"forwarded")))
        hops = _elements(scope, b"x-forwarded-for") or [element.get("for", "") for element in elements]
        for hop in map(_bare_address, reversed(hops)):
            try:
                address = str(ipaddress.ip_address(hop))
            except ValueError:
                break  # "unknown", or a name that a proxy made up: the hop before it is all that is known
            if not self.trusts(address):
                break
        return address

    def outside(self, scope: Scope) -> Scope:
        """`scope` with scheme, Host header and root_path as the client must write them; the path begins with
        root_path."""
        root = self._forwarded_prefix(scope) or self.root_path or scope.get("root_path", "").rstrip("/")
        scheme, host = scope.get("scheme", "http"), host_header(scope)
        if self.settings.public_url is not None:
            # For what the framework makes of the request itself, such as redirects.
            public = urlsplit(self.settings.public_url)
            scheme, host, root = public.scheme, public.netloc, public.path
        elif self._trusted_peer(scope):
            hop = _x_forwarded(scope, self._depth(scope)) or self._forwarded(scope)
            scheme = hop.scheme or scheme
            host = _with_port(hop.host or host, hop, scheme)
        headers = [(name, value) for name, value in scope["headers"] if name != b"host"]
        if host is not None:
            headers.append((b"host", host.encode("latin-1")))
        return {**scope, "scheme": scheme, "headers": headers, "root_path": root, "path": root + self.route_path(scope)}

    def _trusted_peer(self, scope: Scope) -> bool:
        client = scope.get("client")
        return self._all or (client is not None and self.trusts(client[0]))

    def _look_up(self, address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        mapped = getattr(ip, "ipv4_mapped", None)
        return any(candidate in network for network in self._networks for candidate in (ip, mapped) if candidate)

    def _depth(self, scope: Scope) -> int | None:
        """How many proxies are to be believed, the peer and those that X-Forwarded-For shows behind it; None if it
        says nothing."""
        addresses = _elements(scope, b"x-forwarded-for")
        depth = 0
        for address in reversed(addresses):
            depth += 1
            if not self.trusts(_bare_address(address)):
                break
        return depth or None

    def _forwarded_prefix(self, scope: Scope) -> str:
        """The prefixes that trusted proxies stripped, the outermost first, one after the other."""
        parts = _elements(scope, b"x-forwarded-prefix")
        if not parts or not self._trusted_peer(scope):
            return ""
        depth = self._depth(scope) or len(parts)
        prefix = "".join(part.rstrip("/") for part in parts[-depth:])
        return prefix if PREFIX_PATH.fullmatch(prefix) else ""

    def _forwarded(self, scope: Scope) -> Hop:
        """What RFC 7239's header says; of several elements the outermost whose writer is trusted."""
        elements = parse_forwarded(",".join(_values(scope, b"forwarded")))
        believed: list[dict[str, str]] = []
        for element in reversed(elements):
            believed.insert(0, element)
            if not self.trusts(_bare_address(element.get("for", ""))):
                break
        protos = [_scheme(element.get("proto", "")) for element in believed]
        hosts = [_host(element.get("host", "")) for element in believed]
        return Hop(next(filter(None, protos), None), next(filter(None, hosts), None))


class ProxyMiddleware:
    """Pure ASGI: shows `app` the request as the client wrote it."""

    def __init__(self, app: ASGIApp, policy: ProxyPolicy) -> None:
        self._app = app
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        outside = self._policy.outside(scope)
        if scope["path"] and scope["path"] == self._policy.root_path:
            # The viewer's links are relative to a page that ends in a slash.
            await RedirectResponse(public_url(outside, self._policy.settings, "/"), 308)(outside, receive, send)
            return
        await self._app(outside, receive, send)


def parse_forwarded(text: str) -> list[dict[str, str]]:
    """The elements of a Forwarded header (RFC 7239, 4), names in lower case; none at all if it is malformed."""
    elements: list[dict[str, str]] = [{}]
    position = 0
    while position < len(text):
        match = PAIR.match(text, position)
        if match is None:
            return []
        name, token, quoted, separator = match.groups()
        if name is not None:
            elements[-1][name.lower()] = token if token is not None else re.sub(r"\\(.)", r"\1", quoted)
        if separator == ",":
            elements.append({})
        position = match.end()
    return [element for element in elements if element]


def _x_forwarded(scope: Scope, depth: int | None) -> Hop | None:
    """What the X-Forwarded headers say at `depth` proxies from here; None if they say nothing.

    A client can send Forwarded through proxies that only know these, so that where there are these it is not read.
    """

    def value(name: bytes) -> str:
        values = _elements(scope, name)
        return values[-min(depth or len(values), len(values))] if values else ""

    proto, host, port = (value(b"x-forwarded-" + name) for name in (b"proto", b"host", b"port"))
    if not (proto or host or port):
        return None
    number = int(port) if re.fullmatch(r"\d{1,5}", port, re.ASCII) else 0
    return Hop(_scheme(proto), _host(host), number if 0 < number < 65536 else None)


def _with_port(host: str | None, hop: Hop, scheme: str) -> str | None:
    """`host` with the port that the proxy listens on, where it told it apart from its host; without one that goes
    without saying."""
    parts = None if host is None else split_host(host)
    if parts is None:
        return None
    name, port = parts
    if hop.port is not None and (hop.host is None or port is None):
        port = hop.port
    return name if port is None or (hop != Hop() and port == DEFAULT_PORTS.get(scheme)) else f"{name}:{port}"


def _values(scope: Scope, wanted: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in scope["headers"] if name == wanted]


def _elements(scope: Scope, wanted: bytes) -> Sequence[str]:
    return [part.strip() for value in _values(scope, wanted) for part in value.split(",") if part.strip()]


def _scheme(text: str) -> str | None:
    return text.lower() if text.lower() in DEFAULT_PORTS else None


def _host(text: str) -> str | None:
    return text if split_host(text) is not None else None


def _bare_address(text: str) -> str:
    """The IP address in 192.0.2.1, 192.0.2.1:80, 2001:db8::1 or [2001:db8::1]:80."""
    if text.startswith("["):
        return text[1:].split("]", 1)[0]
    return text.split(":", 1)[0] if text.count(":") == 1 else text


def _without(path: str, prefix: Any) -> str:
    prefix = str(prefix).rstrip("/")
    return (path[len(prefix) :] or "/") if prefix and (path == prefix or path.startswith(prefix + "/")) else path
