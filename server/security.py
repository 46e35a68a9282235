"""Headers that tell browsers what our pages may do: Content-Security-Policy (CSP Level 3), referrers, permissions.

Every page may be embedded where `METAEARTH_FRAME_ANCESTORS` says, by default anywhere: a map is there to be shown. What is
on every answer (no sniffing, embeddable tiles) is in `server.cors`, for tiles at hand have it too.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.cors import Headers
from server.settings import Settings
from server.viewer_pages import VIEWER

TEMPLATE = Path(__file__).parent / "templates" / "base.html.j2"
# Swagger UI and ReDoc as FastAPI embeds them: from a CDN, started by a script in the page.
DOCUMENTATION = frozenset({"/docs", "/docs/oauth2-redirect", "/redoc"})
DOCUMENTATION_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' https://cdn.jsdelivr.net; worker-src blob:; "
    "style-src 'unsafe-inline' https://cdn.jsdelivr.net https://fonts.googleapis.com; font-src https://fonts.gstatic.com; "
    "img-src 'self' data: https://fastapi.tiangolo.com https://cdn.redoc.ly; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'self'"
)
SHARED: Headers = [
    (b"referrer-policy", b"strict-origin-when-cross-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
]


def page_policy(settings: Settings) -> str:
    """The policy of the viewer and of the pages of OGC API.

    MapLibre GL runs its worker from a blob; without npm it comes from the CDN of viewer/maplibre.json, two files and no more.
    """
    cdn = json.loads((VIEWER / "maplibre.json").read_text(encoding="utf-8"))
    parts = urlsplit(settings.public_url or "")
    # The page may be looked at by another address than the public one, which is that of tiles.
    public = f" {parts.scheme}://{parts.netloc}" if parts.netloc else ""
    style = re.search(r"<style>(.*?)</style>", TEMPLATE.read_text(encoding="utf-8"), re.DOTALL)
    assert style is not None, "base.html.j2 has its style in the page"
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'self' {cdn['cdn_js']}; style-src 'self' {cdn['cdn_css']} 'sha256-{digest}'; "
        f"img-src 'self' data: blob:{public}; connect-src 'self'{public}; worker-src blob:; child-src blob:; font-src 'self'; "
        f"base-uri 'none'; form-action 'self'; frame-ancestors {settings.frame_ancestors}"
    )


class SecurityHeaders:
    """Pure ASGI: adds them to pages of `app`; with `private` it keeps every answer out of shared caches."""

    def __init__(self, app: ASGIApp, settings: Settings, *, private: bool) -> None:
        self._app, self._private = app, private
        self._page = [*SHARED, (b"content-security-policy", page_policy(settings).encode())]
        self._documentation = [*SHARED, (b"content-security-policy", DOCUMENTATION_POLICY.encode())]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                if any(name == b"content-type" and value.startswith(b"text/html") for name, value in headers):
                    headers += self._documentation if scope["path"].endswith(tuple(DOCUMENTATION)) else self._page
                if self._private:
                    headers = [
                        (name, value.replace(b"public", b"private") if name == b"cache-control" else value)
                        for name, value in headers
                    ]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, send_with_headers)
