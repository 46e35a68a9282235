"""What OGC web services share (OWS Common 1.1.0, OGC 06-121r3): exception reports, and parameters in a query string."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import Response

from server.errors import STATUS, OwsError, RenderError, error_headers, status_of
from server.tilekey import shorten

logger = logging.getLogger(__name__)

XML = "application/xml"
INVALID, MISSING, ANY_OTHER = "InvalidParameterValue", "MissingParameterValue", "NoApplicableCode"
# More parameters than any operation has: whatever sends so many is no client.
MAX_PARAMETERS = 100

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=StrictUndefined, auto_reload=False
)
_REPORT = TEMPLATES.get_template("ows_exception.xml.j2")
# What XML 1.0 cannot hold, not even escaped.
_NOT_XML = dict.fromkeys((*range(9), 11, 12, *range(14, 32), *range(55296, 57344), 65534, 65535), " ")


class Parameters:
    """The key-value pairs of a query string: names in any case, values as they are.

    Raises:
        OwsError: InvalidParameterValue if a name occurs twice with different values, or there are too many.
    """

    def __init__(self, query: bytes) -> None:
        self._values: dict[str, str] = {}
        try:
            pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
        except ValueError as error:
            raise OwsError(INVALID, f"The query has more than {MAX_PARAMETERS} parameters; send fewer.") from error
        for name, value in pairs:
            if self._values.setdefault(name.lower(), value) != value:
                text = f"The parameter {shorten(name)} is given twice with different values; send one of them."
                raise OwsError(INVALID, text, xml_text(name))

    def get(self, name: str) -> str:
        """The value of `name`, or an empty text."""
        return self._values.get(name.lower(), "")

    def has(self, name: str) -> bool:
        """Whether `name` is given, be it without a value."""
        return name.lower() in self._values

    def need(self, name: str, hint: str) -> str:
        """The value of `name`; raises `OwsError` with MissingParameterValue, which says `hint`, if it is absent or empty."""
        value = self.get(name)
        if not value:
            raise OwsError(MISSING, f"The parameter {name} is missing; {hint}.", name)
        return value

    def choice(self, name: str, allowed: tuple[str, ...]) -> str:
        """The value of `name`, one of `allowed`, compared case by case.

        Raises:
            OwsError: MissingParameterValue if it is absent or empty, InvalidParameterValue if it is something else.
        """
        value = self.need(name, f"send {name}={allowed[0]}")
        if value not in allowed:
            raise OwsError(INVALID, f"{name} cannot be {shorten(value)}; use {' or '.join(allowed)}.", name)
        return value


def exception_report(error: Exception) -> Response:
    """The ows:ExceptionReport of a domain error, with the status of `server.errors.STATUS`."""
    status = status_of(error)
    code, locator = (error.code, error.locator) if isinstance(error, OwsError) else (ANY_OTHER, None)
    body = _REPORT.render(code=code, locator=locator, text=xml_text(str(error)))
    return Response(body, status, error_headers(status), XML)


async def or_report(answer: Awaitable[Response]) -> Response:
    """The answer, or the exception report of the error that it raised; what nobody foresaw goes to the log too."""
    try:
        return await answer
    except tuple(STATUS) as error:
        return exception_report(error)
    except Exception:
        logger.exception("an OGC web service failed")
        return exception_report(RenderError("The server met an error that it did not foresee; it is in the log."))


def xml_text(text: str) -> str:
    """`text` without the characters that an XML document cannot have."""
    return text.translate(_NOT_XML)


def report_responses(*codes: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI declarations of exception reports with the given status codes."""
    texts = {
        400: "A parameter is missing or has a value that it cannot have.",
        404: "The address names no resource.",
        406: "The Accept header allows no media type of this resource.",
        503: "The tile could not be rendered now; Retry-After says when to try again.",
    }
    content = {XML: {"schema": {"type": "string", "description": "ows:ExceptionReport, OWS Common 1.1.0"}}}
    return {code: {"description": texts[code], "content": content} for code in codes}
