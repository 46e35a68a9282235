"""What a WMS request asks for (OGC 01-068r3, version 1.1.1, and 06-042, version 1.3.0): the parameters of GetMap."""

from __future__ import annotations

import re
from dataclasses import dataclass

from server.area import Area
from server.box_files import WHITE, Colour
from server.errors import AreaError, WmsError
from server.ogc.crs import MapCRS
from server.ows import INVALID, MISSING, Parameters
from server.tilekey import shorten

VERSIONS = ("1.1.1", "1.3.0")
MAX_SIDE = 4096
"""Most pixels of one side of a map."""
FORMATS = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/tiff": "tif",
    "image/png8": "png8",
    "image/avif": "avif",
}
"""Extensions by the value of FORMAT."""
_SAME = {"image/png; mode=8bit": "image/png8", "image/jpg": "image/jpeg", "image/geotiff": "image/tiff"}
EXCEPTIONS = {
    "1.1.1": {
        "application/vnd.ogc.se_xml": "xml",
        "application/vnd.ogc.se_inimage": "inimage",
        "application/vnd.ogc.se_blank": "blank",
    },
    "1.3.0": {"xml": "xml", "inimage": "inimage", "blank": "blank"},
}
"""What the values of EXCEPTIONS mean, in lower case, by version; the first is the default."""
COLOUR = re.compile(r"(?:0x|#)?([0-9a-f]{6})", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class MapRequest:
    """A GetMap: the area, the extension of its format, and what is shown where there is no planet."""

    area: Area
    extension: str
    background: Colour
    transparent: bool


def negotiate(text: str) -> str:
    """The version answered where `text` is asked for: itself, or the next lower one, or the lowest (06-042, 6.2.4)."""
    if not text:
        return VERSIONS[-1]
    parts = re.findall(r"\d+", text)[:3]
    numbers = [int(part) if len(part) < 9 else 999 for part in parts] if parts else [9]
    return "1.3.0" if numbers >= [1, 3] else "1.1.1"


def parse_map(parameters: Parameters, version: str, layer: str) -> MapRequest:
    """The GetMap of `parameters`; raises `WmsError` with the code that the standard has for the mistake."""
    for name in _required(parameters, "LAYERS", f"send LAYERS={layer}").split(","):
        if name != layer:
            raise WmsError("LayerNotDefined", f"There is no layer {shorten(name)}; use {layer}.", "LAYERS")
    for name in parameters.get("STYLES").split(","):
        if name not in ("", "default"):
            raise WmsError("StyleNotDefined", f"There is no style {shorten(name)}; use default, or leave it empty.", "STYLES")
    area = _area(parameters, version)
    format_ = _required(parameters, "FORMAT", "send FORMAT=image/png").lower()
    extension = FORMATS.get(_SAME.get(format_, format_))
    if extension is None:
        raise WmsError("InvalidFormat", f"FORMAT cannot be {shorten(format_)}; use one of {', '.join(FORMATS)}.", "FORMAT")
    return MapRequest(area, extension, background(parameters), _flag(parameters, "TRANSPARENT"))


def background(parameters: Parameters) -> Colour:
    """BGCOLOR, white by default."""
    text = parameters.get("BGCOLOR")
    if not text:
        return WHITE
    found = COLOUR.fullmatch(text)
    if found is None:
        raise WmsError(INVALID, f"BGCOLOR must be such as 0xFFCC00, not {shorten(text)}.", "BGCOLOR")
    red, green, blue = bytes.fromhex(found[1])
    return red, green, blue


def side(parameters: Parameters, name: str) -> int:
    """WIDTH or HEIGHT."""
    text = _required(parameters, name, f"send {name}=256")
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII) or not 1 <= int(text) <= MAX_SIDE:
        hint = f"{name} must be a whole number of pixels from 1 to {MAX_SIDE}, not {shorten(text)}."
        raise WmsError(INVALID, hint + " Larger pictures are made by POST /exports.", name)
    return int(text)


def _required(parameters: Parameters, name: str, hint: str) -> str:
    value = parameters.get(name)
    if not value:
        raise WmsError(MISSING, f"The parameter {name} is missing; {hint}.", name)
    return value


def _flag(parameters: Parameters, name: str) -> bool:
    text = parameters.get(name).upper()
    if text not in ("", "TRUE", "FALSE"):
        raise WmsError(INVALID, f"{name} must be TRUE or FALSE, not {shorten(text)}.", name)
    return text == "TRUE"


def _area(parameters: Parameters, version: str) -> Area:
    name, code = ("CRS", "InvalidCRS") if version == "1.3.0" else ("SRS", "InvalidSRS")
    text = _required(parameters, name, f"send {name}=EPSG:3857")
    try:
        crs = MapCRS.parse(text)
    except AreaError as error:
        raise WmsError(code, str(error), name) from error
    width, height = side(parameters, "WIDTH"), side(parameters, "HEIGHT")
    corners = _required(parameters, "BBOX", "send BBOX=minx,miny,maxx,maxy")
    try:
        a, b, c, d = (float(part) for part in corners.split(","))
    except ValueError:
        raise WmsError(INVALID, f"BBOX must be minx,miny,maxx,maxy, not {shorten(corners)}.", "BBOX") from None
    # Of version 1.3.0 on, BBOX has the axes in the order of the CRS (06-042, 6.7.4): EPSG:4326 begins with the latitude.
    bounds = crs.ordered((a, b, c, d)) if version == "1.3.0" else (a, b, c, d)
    try:
        return Area(crs.crs, *bounds, width, height)
    except AreaError as error:
        raise WmsError(INVALID, str(error), "BBOX") from error
