"""Refusals of requests that never get to their route, in the form that the protocol at their address has."""

from __future__ import annotations

import math
from typing import Any

from starlette.responses import Response

from server.errors import RateLimitError, error_headers, error_response, status_of
from server.ogc.errors import exception_response
from server.ows import XML, exception_report
from server.settings import Settings
from server.tms import error_document
from server.wms import report
from server.wms_request import VERSIONS

# First segments of the addresses of OGC API.
OGC_API = frozenset({"collections", "conformance", "map", "ogc", "tileMatrixSets", "tiles"})
PROBES = ("/health", "/ready")
TEXTS = {
    400: "The Host header names another server.",
    401: "There is no API key in the request, or none that is known.",
    413: "The body is larger than is read.",
    414: "The address is too long.",
    429: "The client asks for more than its share; Retry-After says when to try again.",
    431: "The headers are too many or too long.",
    503: "The server is busy; Retry-After says when to try again.",
}


def refusal(error: Exception, path: str) -> Response:
    """The answer to a request for `path`: JSON, or an OGC exception where the protocol wants one."""
    first = path.split("/", 2)[1] if path.startswith("/") else ""
    if first == "wmts":
        answer = exception_report(error)
    elif first == "wms":
        answer = report(error, VERSIONS[-1])
    elif first == "tms":
        answer = Response(error_document(str(error)), status_of(error), error_headers(status_of(error)), XML)
    elif first in OGC_API:
        answer = exception_response(status_of(error), str(error))
    else:
        answer = error_response(status_of(error), str(error))
    if isinstance(error, RateLimitError):
        answer.headers["retry-after"] = str(max(1, math.ceil(error.seconds)))
    return answer


def declare_refusals(document: dict[str, Any], settings: Settings, *, keys: bool) -> None:
    """Adds to an OpenAPI document what every operation may answer under `settings`; with `keys` also how they are sent."""
    codes = [413, 414, 431, 503]
    if settings.rate_limit:
        codes.append(429)
    if "*" not in settings.allowed_hosts:
        codes.append(400)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            declared = operation["responses"]
            errors = (answer["content"] for code, answer in declared.items() if code[0] in "45" and "content" in answer)
            content = next(errors, {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorDetail"}}})
            needs_key = keys and path not in PROBES
            for code in [*codes, 401] if needs_key else codes:
                body = {} if method == "head" else {"content": content}
                declared.setdefault(str(code), {"description": TEXTS[code], **body})
            if needs_key:
                operation["security"] = [{"header": []}, {"bearer": []}, {"query": []}]
    if keys:
        document["components"]["securitySchemes"] = {
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            "bearer": {"type": "http", "scheme": "bearer"},
            "query": {"type": "apiKey", "in": "query", "name": "key"},
        }
