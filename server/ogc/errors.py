"""Errors as OGC API has them: the exception schema (RFC 7807's members), 400 where the rest of the server says 422."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.responses import Response

from server.errors import STATUS, error_response, status_of

TEXTS = {
    400: "A parameter has a value that it cannot have.",
    404: "There is no such collection, tile matrix set or tile.",
    406: "The formats offered do not include any that Accept allows.",
    413: "The map would be larger than the limit.",
    503: "It could not be rendered now; Retry-After says when to try again.",
}


class OgcException(BaseModel):
    """An exception after OGC API - Common - Part 1 (19-072), schema exception.yaml."""

    type: str = Field(description="always about:blank: the title says it all (RFC 7807, 4.2)")
    title: str
    status: int
    detail: str = Field(description="One sentence that says what was wrong and what to change.")


def exceptions(*codes: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI declarations of the given error codes."""
    return {code: {"model": OgcException, "description": TEXTS[code]} for code in codes}


def exception_response(status: int, sentence: str) -> Response:
    """The answer of an error; 503 has Retry-After. A malformed parameter is 400, as the OGC API standards have it."""
    status = 400 if status == 422 else status
    document = OgcException(type="about:blank", title=HTTPStatus(status).phrase, status=status, detail=sentence)
    return error_response(status, sentence, document.model_dump())


class OgcRoute(APIRoute):
    """A route that answers the errors of the table `server.errors.STATUS` in the OGC exception schema."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler with those errors caught."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as error:
                first = error.errors()[0]
                return exception_response(400, f"The parameter {first['loc'][-1]} is malformed: {first['msg']}.")
            except tuple(STATUS) as error:
                return exception_response(status_of(error), str(error))

        return answer
