"""Content negotiation of tiles without an extension: the Accept header (RFC 9110, 12.5.1) to a format."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from server.encode import MEDIA_TYPES
from server.errors import NotAcceptableError

# What a client names is what it can show, so the smallest files first; what it only allows by a wildcard it may not
# know, so what every client shows first.
NAMED_ORDER = ("avif", "webp", "png", "jpg")
WILDCARD_ORDER = ("png", "jpg", "webp", "avif")
RANGE = re.compile(r"\s*([\w!#$&^.+*-]+)/([\w!#$&^.+*-]+)\s*((?:;[^;]*)*)", re.ASCII)
VARY_ACCEPT = [(b"vary", b"Accept")]
WEIGHT = re.compile(r"0(?:\.\d{0,3})?|1(?:\.0{0,3})?", re.ASCII)


def negotiate(accept: str | None) -> str:
    """The extension of the format that a client with this Accept header gets; png where it has no wish.

    The highest weight wins; among equals those named win over those that a wildcard allows, AVIF and WebP first.

    Raises:
        NotAcceptableError: if every format has weight 0 or goes unmentioned.
    """
    if accept is None or not accept.strip():
        return "png"
    weights = dict(filter(None, (_media_range(part) for part in accept.split(","))))
    best: tuple[float, bool, int] = (0.0, False, 0)
    chosen = None
    for extension in NAMED_ORDER:
        media_type = MEDIA_TYPES[extension]
        # The most specific range that matches decides, not the one with the highest weight.
        named = media_type in weights
        weight = next((weights[match] for match in (media_type, "image/*", "*/*") if match in weights), 0.0)
        rank = -(NAMED_ORDER if named else WILDCARD_ORDER).index(extension)
        if weight > 0 and (chosen is None or (weight, named, rank) > best):
            best, chosen = (weight, named, rank), extension
    if chosen is None:
        raise NotAcceptableError(
            f"Tiles are {', '.join(MEDIA_TYPES[extension] for extension in WILDCARD_ORDER)}; name one of them in Accept, "
            "or add an extension such as .png to the address."
        )
    return chosen


def accept_header(scope: Mapping[str, Any]) -> str | None:
    """The Accept header of a request, its lines joined; None without one."""
    values = [value.decode("latin-1") for name, value in scope["headers"] if name == b"accept"]
    return ",".join(values) if values else None


def _media_range(text: str) -> tuple[str, float] | None:
    """A media range, without parameters, and its weight; None for what is no media range."""
    match = RANGE.fullmatch(text)
    if match is None:
        return None
    weight = 1.0
    for parameter in match[3].split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            if not WEIGHT.fullmatch(value.strip()):
                return None
            weight = float(value.strip())
    return f"{match[1]}/{match[2]}".lower(), weight
