"""Links to ourselves. Every absolute link the server writes comes from `public_url`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.settings import Settings


def public_url(scope: Mapping[str, Any], settings: Settings, path: str) -> str:
    """The absolute address of `path` (which begins with /) as the client of the request `scope` must write
    it.

    `settings.public_url`, where set, stands for scheme, host and prefix. Otherwise they are those of the
    request: its scheme (uvicorn takes it from X-Forwarded-Proto of a trusted proxy), its Host header, and the
    ASGI root_path.
    """
    if settings.public_url is not None:
        return settings.public_url + path
    host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), None)
    if host is None:
        name, port = scope.get("server") or ("localhost", None)
        name = f"[{name}]" if ":" in name else name
        host = f"{name}:{port}" if port else name
    root = str(scope.get("root_path", "")).rstrip("/")
    return f"{scope.get('scheme', 'http')}://{host}{root}{path}"
