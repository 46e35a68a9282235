"""Requests that ask only for what has changed (RFC 9110, 13.1.2): ETags known before anything is rendered."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from server.ogc.negotiation import VARY


def validators(etag: str, max_age: int) -> dict[str, str]:
    """The headers of an answer that is the same for ever: `etag` in its quotes, `max_age` in seconds."""
    return {"etag": etag, "cache-control": f"public, max-age={max_age}", **VARY}


def answer_if_known(request: Request, etag: str, max_age: int) -> Response | None:
    """304 if the client of `request` has what `etag` names, else None."""
    # Our ETags are unique strings in quotes, so containment finds them in lists and behind W/ alike.
    held = request.headers.getlist("if-none-match")
    if any(etag in value or value.strip() == "*" for value in held):
        return Response(status_code=304, headers=validators(etag, max_age))
    return None
