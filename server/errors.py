"""Domain errors to HTTP: the one table of status codes, and the one shape of an error's answer."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Match

from model.errors import (
    BasePictureError,
    DeviceError,
    ModelError,
    UnknownPlanetError,
    WeightsError,
    WindowError,
)
from server.export_errors import (
    DiskFullError,
    ExportNotFoundError,
    ExportNotReadyError,
    ExportQueueFullError,
    ExportRequestError,
    ExportTooLargeError,
)

logger = logging.getLogger(__name__)

RETRY_SECONDS = 5
METHODS = "GET, HEAD, OPTIONS"


class TileNotFoundError(Exception):
    """There is no such tile: outside the grid, or in a format that is not served."""


class ResourceNotFoundError(Exception):
    """There is no such collection, tile matrix set or other named thing."""


class NotAcceptableError(Exception):
    """None of the formats offered is one that the request's Accept header allows."""


class TileAddressError(Exception):
    """The address is not one of a tile: z, x or y is no integer."""


class ParameterError(Exception):
    """A query parameter has a value that it cannot have."""


class AreaError(Exception):
    """A box, or what is asked of it, makes no picture: empty, outside of the world, in an unknown CRS, of no size."""


class AreaTooLargeError(AreaError):
    """A box has more pixels than are answered at once."""


class OwsError(Exception):
    """A request that an OGC web service refuses: the text, and exceptionCode and locator of OWS Common 1.1.0 (06-121r3, 8)."""

    def __init__(self, code: str, text: str, locator: str | None = None) -> None:
        super().__init__(text)
        self.code, self.locator = code, locator


class OwsResourceError(OwsError):
    """The address of an OGC web service names no resource."""


class OwsMethodError(OwsError):
    """An OGC web service is asked by a method that it does not answer."""


class OwsNotAcceptableError(OwsError):
    """The Accept header allows no media type that a resource of an OGC web service has."""


class WmsError(Exception):
    """A WMS request is refused: `code` is that of the service exception, `locator` the parameter at fault."""

    def __init__(self, code: str, text: str, locator: str | None) -> None:
        super().__init__(text)
        self.code, self.locator = code, locator


class RenderError(Exception):
    """A tile could not be made, for a reason that may pass, such as memory that has run out."""


class QueueFullError(RenderError):
    """More is asked for than may wait to be rendered."""


class BusyError(Exception):
    """More requests are under way than are answered at a time."""


class RateLimitError(Exception):
    """A client asks for more than its share; `seconds` is when it may ask again."""

    def __init__(self, text: str, seconds: float) -> None:
        super().__init__(text)
        self.seconds = seconds


class ApiKeyError(Exception):
    """The request has no API key, or none that is known."""


class HostError(Exception):
    """The Host header names a host that the server is not."""


class UrlTooLongError(Exception):
    """The address is longer than any that means something here."""


class HeadersTooLargeError(Exception):
    """The request has more headers, or longer ones, than are read."""


class BodyTooLargeError(Exception):
    """The body is larger than is read."""


# Where a class and its base are both listed, the nearer one counts.
STATUS: dict[type[Exception], int] = {
    TileNotFoundError: 404,
    UnknownPlanetError: 404,
    ResourceNotFoundError: 404,
    NotAcceptableError: 406,
    WindowError: 404,
    OwsError: 400,
    OwsResourceError: 404,
    OwsMethodError: 405,
    OwsNotAcceptableError: 406,
    TileAddressError: 422,
    ParameterError: 422,
    AreaError: 422,
    WmsError: 400,
    AreaTooLargeError: 413,
    ExportRequestError: 422,
    ExportTooLargeError: 413,
    ExportNotFoundError: 404,
    ExportNotReadyError: 409,
    ExportQueueFullError: 429,
    DiskFullError: 507,
    RenderError: 503,
    BusyError: 503,
    RateLimitError: 429,
    ApiKeyError: 401,
    HostError: 400,
    UrlTooLongError: 414,
    HeadersTooLargeError: 431,
    BodyTooLargeError: 413,
    BasePictureError: 503,
    DeviceError: 503,
    WeightsError: 503,
    ModelError: 503,
}


class ErrorDetail(BaseModel):
    """What every error answers."""

    detail: str = Field(description="One sentence that says what was wrong and what to change.")


def status_of(error: Exception) -> int:
    """The status code of a domain error, by the table."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def responses(*codes: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI declarations of the given error codes."""
    texts = {
        404: "There is no such tile, planet or page.",
        406: "None of the formats served is one that Accept allows.",
        405: "Only GET, HEAD and OPTIONS are answered.",
        409: "The job has no file: it has not finished, has failed or was cancelled.",
        413: "More is asked for than is answered at once; the sentence names what to use instead.",
        422: "A part of the address or a parameter is malformed.",
        429: "The client asks for more than its share, or too many jobs wait; Retry-After says when to try again.",
        503: "It could not be rendered or answered now; Retry-After says when to try again.",
        507: "The disk has no room for it.",
    }
    return {code: {"model": ErrorDetail, "description": texts[code]} for code in codes}


def error_headers(status: int) -> dict[str, str]:
    """What an error says in headers, after RFC 9110: 401 WWW-Authenticate, 405 Allow, 406 Vary, 429 and 503 Retry-After."""
    headers = {"cache-control": "no-store"} if status >= 500 or status in (401, 429) else {}
    if status == 401:
        headers["www-authenticate"] = 'Bearer realm="MetaEarth Tiles"'
    if status == 405:
        headers["allow"] = METHODS
    if status == 406:
        headers["vary"] = "Accept"
    if status in (429, 503):
        headers["retry-after"] = str(RETRY_SECONDS)
    return headers


def error_response(status: int, sentence: str, document: dict[str, Any] | None = None) -> Response:
    """The JSON answer of an error; `document` is what the body says where it is more than the sentence."""
    return JSONResponse(document or {"detail": sentence}, status, error_headers(status))


def allowed_methods(request: Request) -> list[str]:
    """The methods, but for OPTIONS, that something answers at the address of `request`."""
    routes = request.app.router.routes
    methods = ("GET", "HEAD", "POST", "DELETE")
    return [
        method
        for method in methods
        if any(route.matches({**request.scope, "method": method})[0] == Match.FULL for route in routes)
    ]


def add_error_handlers(app: FastAPI) -> None:
    """Makes every error of `app` answer `{"detail": "sentence"}` with the status of the table; nothing
    answers 500."""

    async def domain(_: Request, error: Exception) -> Response:
        return error_response(status_of(error), str(error))

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        path = request.url.path
        if error.status_code == 405:
            methods = allowed_methods(request)
            answer = error_response(405, f"The method {request.method} is not allowed at {path}; use {' or '.join(methods)}.")
            answer.headers["allow"] = ", ".join([*methods, "OPTIONS"])
            return answer
        if error.status_code == 400:
            # FastAPI's answer to a body that is no text at all; what is malformed is 422 here.
            return error_response(422, "The body could not be read; send JSON in UTF-8.")
        sentences = {404: f"There is nothing at {path}; the routes are listed at /docs."}
        return error_response(error.status_code, sentences.get(error.status_code, str(error.detail)))

    async def validation(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return error_response(422, f"The body is no valid JSON: {first['ctx']['error']} at character {first['loc'][-1]}.")
        name = ".".join(str(part) for part in first["loc"][1:])
        if not name:
            return error_response(422, "The body must be a JSON object, sent with Content-Type: application/json.")
        return error_response(422, f"The parameter {name} is malformed: {first['msg']}.")

    async def unforeseen(request: Request, error: Exception) -> Response:
        # Starlette raises the error again once this is sent, and uvicorn logs it with its traceback.
        logger.error("%s %r failed: %r", request.method, request.url.path, error)
        return error_response(503, "The server met an error that it did not foresee; it is in the log.")

    for kind in STATUS:
        app.add_exception_handler(kind, domain)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, validation)
    app.add_exception_handler(Exception, unforeseen)
