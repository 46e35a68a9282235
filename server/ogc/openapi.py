"""What FastAPI's OpenAPI document lacks and has too much of: limits of maps (20-058), and answers 422 that nobody gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI

from server.box_request import MAX_PIXELS
from server.ogc.map_request import MAX_SIDE

# FastAPI declares it for every route with parameters, and its schemas with it; ours answer what they declare themselves.
_UNUSED = "HTTPValidationError"


def describe(api: FastAPI, finish: Callable[[dict[str, Any]], None]) -> None:
    """Has `api.openapi` add the limits as x-OGC-limits (19-072, annex B.4) and leave out FastAPI's own 422; `finish` adds
    what the server says of every route."""
    generate = api.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        document["info"]["x-OGC-limits"] = {"maps": {"maxWidth": MAX_SIDE, "maxHeight": MAX_SIDE, "maxPixels": MAX_PIXELS}}
        for path in document["paths"].values():
            for operation in path.values():
                if _UNUSED in str(operation["responses"].get("422")):
                    del operation["responses"]["422"]
        if _UNUSED not in str(document["paths"]):
            for name in (_UNUSED, "ValidationError"):
                document["components"]["schemas"].pop(name, None)
        finish(document)
        return document

    # As FastAPI's own documentation has it; the document is made once and kept by `generate`.
    api.openapi = openapi  # type: ignore[method-assign]
