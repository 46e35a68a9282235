"""Which of the offered formats a client gets: the parameter `f` first, then `Accept` (RFC 9110, 12.5.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from fastapi import Query, Request
from pydantic import WithJsonSchema

from server.errors import NotAcceptableError, ParameterError
from server.tilekey import shorten

Offers = Mapping[str, str]
"""Media types by the name that `f` gives them; the first is what a client without a wish gets."""

DOCUMENT: Offers = {"json": "application/json", "html": "text/html"}
TILESET: Offers = {**DOCUMENT, "tilejson": "application/vnd.mapbox.tilejson+json"}
ALIASES = {"jpg": "jpeg", "tif": "tiff", "geotiff": "tiff"}
VARY = {"vary": "Accept"}


DocumentFormat = Annotated[
    str | None,
    WithJsonSchema({"type": "string", "enum": list(DOCUMENT)}),
    Query(description="format; goes before the Accept header"),
]
TilesetFormat = Annotated[
    str | None,
    WithJsonSchema({"type": "string", "enum": list(TILESET)}),
    Query(description="format; goes before the Accept header"),
]


def choose(request: Request, f: str | None, offers: Offers) -> str:
    """The name among `offers` that the client asks for by `f` (a name or a media type) or else by `Accept`.

    Of formats that a client likes equally, the one it names the more precisely wins, then the one offered first.

    Raises:
        ParameterError: if `f` names none of them.
        NotAcceptableError: if `Accept` rules all of them out.
    """
    if f is not None:
        name = ALIASES.get(f, f)
        if name in offers:
            return name
        by_type = next((name for name, media_type in offers.items() if media_type == f), None)
        if by_type is not None:
            return by_type
        raise ParameterError(f"The format {shorten(f)} is not offered here; use f={' or f='.join(offers)}.")
    accept = ",".join(request.headers.getlist("accept"))
    if not accept.strip():
        return next(iter(offers))
    ranges = media_ranges(accept)
    liking = {name: quality(ranges, media_type) for name, media_type in offers.items()}
    best = max(liking, key=lambda name: liking[name])
    if liking[best][0] <= 0:
        raise NotAcceptableError(f"Accept asks for {shorten(accept)}; offered here are {', '.join(offers.values())}.")
    return best


def media_ranges(accept: str) -> list[tuple[str, float]]:
    """The media ranges of an `Accept` header with their weights, 0 to 1; a malformed weight counts as 1."""
    ranges = []
    for part in accept.split(","):
        media_range, *parameters = (piece.strip() for piece in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "q":
                try:
                    weight = min(1.0, max(0.0, float(value)))
                except ValueError:
                    weight = 1.0
        ranges.append((media_range.lower(), weight))
    return ranges


def quality(ranges: list[tuple[str, float]], media_type: str) -> tuple[float, int]:
    """The weight of `media_type` and how precisely it was named: 2 in full, 1 by kind, 0 by */* or not at all."""
    kind = media_type.split("/")[0]
    for precision, wanted in ((2, media_type), (1, f"{kind}/*"), (0, "*/*")):
        weights = [weight for media_range, weight in ranges if media_range == wanted]
        if weights:
            return max(weights), precision
    return 0.0, 0
