"""Links to ourselves. Every absolute link the server writes comes from `public_url`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from server.settings import Settings

# A registered name or an address of RFC 3986, 3.2.2, of the letters that names in use have (so that nothing else gets
# into links, whoever wrote the Host header), and a port.
LINK_KEY = "metaearth.link_key"
"""In the scope: the API key that came in the query string, and goes into links in the answer."""
# TMS clients append to addresses, so that these cannot end in a query.
NO_QUERY = re.compile(r"/tms(?:/.*)?")
HOST = re.compile(r"(?P<name>[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>\d{1,5}))?", re.ASCII)


def public_url(scope: Mapping[str, Any], settings: Settings, path: str) -> str:
    """The absolute address of `path` (which begins with /) as the client of the request `scope` must write
    it.

    `settings.public_url`, where set, stands for scheme, host and prefix. Otherwise they are those of the
    request: its scheme, its Host header, and the ASGI root_path, all three as `server.proxies` has left them, that is,
    as the outermost trusted proxy saw them. In place of a Host header that is no host stands the address listened on.
    An API key from the query string of the request is in the link too.
    """
    key = scope.get(LINK_KEY)
    if key is not None and not NO_QUERY.fullmatch(path):
        address, mark, query = path.partition("?")
        # A base that clients append parameters to ends in "?", and then in "&".
        path = f"{address}?{query}{'&' if query else ''}key={quote(key, safe='')}{'&' if mark and not query else ''}"
    if settings.public_url is not None:
        return settings.public_url + path
    host = host_header(scope)
    if host is None:
        name, port = scope.get("server") or ("localhost", None)
        name = f"[{name}]" if ":" in name else name
        host = f"{name}:{port}" if port else name
    root = str(scope.get("root_path", "")).rstrip("/")
    return f"{scope.get('scheme', 'http')}://{host}{root}{path}"


def host_header(scope: Mapping[str, Any]) -> str | None:
    """The Host header of a request, if there is one and it is a host."""
    hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    return hosts[0] if len(hosts) == 1 and split_host(hosts[0]) is not None else None


def split_host(text: str) -> tuple[str, int | None] | None:
    """Name (IPv6 in brackets) and port of `host[:port]`, or None where it is no such thing."""
    match = HOST.fullmatch(text)
    if match is None:
        return None
    port = None if match["port"] is None else int(match["port"])
    return None if port is not None and not 0 < port < 65536 else (match["name"], port)
