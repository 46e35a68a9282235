"""The service metadata document of WMTS 1.0.0 (OGC 07-057r7, 7.1), and what a client may ask of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from model import Planet
from server import links
from server.encode import EXTENSIONS, MEDIA_TYPES
from server.errors import OwsError, OwsNotAcceptableError
from server.ows import ANY_OTHER, INVALID, MISSING, TEMPLATES, XML, Parameters, xml_text
from server.settings import Settings
from server.tilejson import MAX_LATITUDE
from server.tilekey import TILE_SIZE, shorten
from server.wmts_grids import MATRIX_SETS

VERSION = "1.0.0"
KVP_PATH, METADATA_PATH, REST_PATH = "/wmts", "/wmts/1.0.0/WMTSCapabilities.xml", "/wmts/1.0.0/"
# To be raised by one whenever the document says something else than before.
UPDATE_SEQUENCE = 1
SECTIONS = ("ServiceIdentification", "ServiceProvider", "OperationsMetadata", "Contents", "Themes")
CAPABILITIES_FORMATS = (XML, "text/xml")
_TEMPLATE = TEMPLATES.get_template("wmts_capabilities.xml.j2")


def tile_formats() -> dict[str, str]:
    """Media type by extension; where two extensions share one, the first of `EXTENSIONS` has it."""
    formats: dict[str, str] = {}
    for extension in EXTENSIONS:
        if MEDIA_TYPES[extension] not in formats.values():
            formats[extension] = MEDIA_TYPES[extension]
    return formats


def capabilities(
    scope: Mapping[str, Any], settings: Settings, planet: Planet, sections: frozenset[str], complete: bool = False
) -> bytes:
    """The document with those `sections`, its links as the client of `scope` writes them; `complete` adds its own address."""
    rest, _, query = links.public_url(scope, settings, REST_PATH).partition("?")
    document = _TEMPLATE.render(
        update_sequence=UPDATE_SEQUENCE,
        sections=sections,
        complete=complete,
        attribution=xml_text(settings.attribution),
        site=links.public_url(scope, settings, "/"),
        kvp=links.public_url(scope, settings, KVP_PATH + "?"),
        metadata=links.public_url(scope, settings, METADATA_PATH),
        rest=rest,
        rest_query=f"?{query}" if query else "",
        capabilities_formats=CAPABILITIES_FORMATS,
        all_sections=("All", *SECTIONS),
        planets=[
            {
                "name": planet.name,
                "title": f"MetaEarth {planet.name}",
                "abstract": f"A synthetic planet, seed {planet.seed}: no record of any real place beyond zoom 4.",
            }
        ],
        formats=tile_formats(),
        grids=list(MATRIX_SETS.values()),
        max_latitude=MAX_LATITUDE,
        tile_size=TILE_SIZE,
    )
    return xml_text(document).encode()


def negotiated(parameters: Parameters) -> tuple[frozenset[str], bool, str]:
    """What a GetCapabilities request asks for: sections, whether the document is complete, and its media type.

    Raises:
        OwsError: VersionNegotiationFailed, InvalidUpdateSequence, or what is wrong with the sections.
    """
    versions = [version.strip() for version in parameters.get("AcceptVersions").split(",") if version.strip()]
    if versions and VERSION not in versions:
        text = f"None of the versions {shorten(', '.join(versions))} is spoken here; put {VERSION} into AcceptVersions."
        raise OwsError("VersionNegotiationFailed", text)
    sections, complete = _sections(parameters)
    if _is_current(parameters.get("updateSequence")):
        sections, complete = frozenset(), False
    accepted = [name.strip() for name in parameters.get("AcceptFormats").split(",")]
    # A format that is not offered is no error: the default answers (06-121r3, 7.3.5).
    media_type = next((name for name in accepted if name in CAPABILITIES_FORMATS), XML)
    return sections, complete, media_type


def acceptable(accept: str | None) -> str:
    """The media type for an Accept header (RFC 9110, 12.5.1); raises `OwsNotAcceptableError` if it allows none of ours."""
    ranges = {}
    for part in (accept or "*/*").split(","):
        name, *options = (piece.strip().lower() for piece in part.split(";"))
        quality = next((option[2:] for option in options if option.startswith("q=")), "1")
        ranges[name] = re.fullmatch(r"0(\.0*)?", quality) is None
    for media_type in CAPABILITIES_FORMATS:
        for name in (media_type, media_type.partition("/")[0] + "/*", "*/*"):
            if name in ranges:
                if ranges[name]:
                    return media_type
                break
    text = f"The service metadata comes as {' or '.join(CAPABILITIES_FORMATS)} only; allow one of them in the Accept header."
    raise OwsNotAcceptableError(ANY_OTHER, text)


def _sections(parameters: Parameters) -> tuple[frozenset[str], bool]:
    if not parameters.has("Sections"):
        return frozenset(SECTIONS), True
    names = [name.strip() for name in parameters.get("Sections").split(",") if name.strip()]
    if not names:
        raise OwsError(MISSING, "Sections has no value; leave it out or send Sections=All.", "sections")
    for name in names:
        if name != "All" and name not in SECTIONS:
            text = f"There is no section {shorten(name)}; use All or some of {', '.join(SECTIONS)}."
            raise OwsError(INVALID, text, "sections")
    if "All" in names:
        return frozenset(SECTIONS), True
    return frozenset(names), False


def _is_current(sequence: str) -> bool:
    """Whether the client has the document as it is; raises `OwsError` if it claims to have a later one."""
    current = str(UPDATE_SEQUENCE)
    if sequence in ("", current):
        return sequence == current
    is_number = re.fullmatch(r"-?\d{1,18}", sequence, re.ASCII) is not None
    if int(sequence) > UPDATE_SEQUENCE if is_number else sequence > current:
        text = f"The updateSequence {shorten(sequence)} is later than the present {current}; leave it out."
        raise OwsError("InvalidUpdateSequence", text)
    return False
