"""WMS 1.1.1 and 1.3.0 at /wms (OGC 01-068r3, 06-042): GetCapabilities and GetMap; every error is a ServiceExceptionReport."""

from __future__ import annotations

import asyncio
import hashlib
import io
import textwrap
from typing import Any

from fastapi import APIRouter, Request
from PIL import Image, ImageDraw
from starlette.responses import Response, StreamingResponse

from model import Planet
from model.grid import EARTH_CIRCUMFERENCE
from server import links
from server.bbox import in_chunks
from server.box_files import FORMATS as MEDIA
from server.box_files import check_side, encode_picture, signature
from server.encode import Encoder
from server.errors import METHODS, STATUS, OwsError, RenderError, WmsError, error_headers, status_of
from server.ows import MISSING, TEMPLATES, Parameters, xml_text
from server.painter import paint_area
from server.render_queue import STOPPING
from server.renderer import TileRenderer
from server.settings import Settings
from server.tilejson import MAX_LATITUDE
from server.tilekey import shorten
from server.tiles import while_connected
from server.wms_request import (
    EXCEPTIONS,
    FORMATS,
    MAX_SIDE,
    VERSIONS,
    MapRequest,
    background,
    negotiate,
    parse_map,
    side,
)

PATH = "/wms"
CAPABILITIES_TYPE = {"1.1.1": "application/vnd.ogc.wms_xml", "1.3.0": "text/xml"}
EXCEPTION_TYPE = {"1.1.1": "application/vnd.ogc.se_xml", "1.3.0": "text/xml"}
OPERATIONS = ("GetCapabilities", "GetMap")
# Those of whole continents and the polar ones by name; any other EPSG code is taken too.
CRS_NAMES = (
    ["EPSG:3857", "EPSG:4326", "CRS:84", "EPSG:900913", "EPSG:3395", "EPSG:3035", "EPSG:3413", "EPSG:3031"]
    + [f"EPSG:{32600 + zone}" for zone in range(1, 61)]
    + [f"EPSG:{32700 + zone}" for zone in range(1, 61)]
)
HALF = EARTH_CIRCUMFERENCE / 2
_REPORT = TEMPLATES.get_template("wms_exception.xml.j2")
TEXT = {"schema": {"type": "string"}}
BINARY = {"schema": {"type": "string", "format": "binary"}}
MAP_TYPES = {MEDIA[extension]: BINARY for extension in FORMATS.values()}
REPORTS = dict.fromkeys(EXCEPTION_TYPE.values(), TEXT)
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The map, or the capabilities; with EXCEPTIONS=INIMAGE or BLANK, a picture in place of a report.",
        "content": {**dict.fromkeys(CAPABILITIES_TYPE.values(), TEXT), **MAP_TYPES},
    },
    304: {"description": "The map has the ETag of If-None-Match; nothing was rendered."},
    400: {"description": "A parameter is missing or wrong: a ServiceExceptionReport.", "content": REPORTS},
    405: {"description": "Only GET, HEAD and OPTIONS are answered: a ServiceExceptionReport.", "content": REPORTS},
    503: {"description": "The map could not be rendered now: a ServiceExceptionReport.", "content": REPORTS},
}
PARAMETERS = {
    "SERVICE": "always WMS",
    "REQUEST": " or ".join(OPERATIONS),
    "VERSION": " or ".join(VERSIONS),
    "LAYERS": "the planet's name",
    "STYLES": "empty or default",
    "CRS": "of version 1.3.0: EPSG:n or CRS:84",
    "SRS": "of version 1.1.1: EPSG:n",
    "BBOX": "four numbers; in version 1.3.0 in the order of the CRS's axes",
    "WIDTH": f"pixels, at most {MAX_SIDE}",
    "HEIGHT": f"pixels, at most {MAX_SIDE}",
    "FORMAT": ", ".join(FORMATS),
    "TRANSPARENT": "TRUE or FALSE: where there is no planet, towards the poles",
    "BGCOLOR": "0xRRGGBB: the same, where it is not transparent",
    "EXCEPTIONS": "XML, INIMAGE or BLANK, of version 1.1.1 application/vnd.ogc.se_xml and so on",
}


def capabilities(scope: Any, settings: Settings, planet: Planet, version: str) -> str:
    """The capabilities document of `version`."""
    latitude, half = f"{MAX_LATITUDE:.13f}", f"{HALF:.17g}"
    mercator = (f"-{half}", f"-{half}", half, half)
    degrees = ("-180", f"-{latitude}", "180", latitude)
    swapped = (f"-{latitude}", "-180", latitude, "180")
    old = version == "1.1.1"
    boxes = [("EPSG:3857", mercator), ("EPSG:4326", degrees if old else swapped)]
    # CRS:84 is a name of version 1.3.0 only.
    names = [name for name in CRS_NAMES if not (old and name == "CRS:84")]
    return TEMPLATES.get_template(f"wms_{version.replace('.', '_')}.xml.j2").render(
        abstract=f"A synthetic planet, seed {planet.seed}: no record of any real place beyond zoom 4.",
        home=links.public_url(scope, settings, "/"),
        address=links.public_url(scope, settings, PATH + "?"),
        formats=list(FORMATS),
        exceptions=[name if old else name.upper() for name in EXCEPTIONS[version]],
        layer=planet.name,
        title=f"MetaEarth {planet.name}",
        crs=names,
        latitude=latitude,
        boxes=boxes if old else [*boxes, ("CRS:84", degrees)],
        attribution=settings.attribution,
        max_side=MAX_SIDE,
    )


def report(error: Exception, version: str) -> Response:
    """The ServiceExceptionReport of a domain error."""
    status = status_of(error)
    code, locator = (error.code, error.locator) if isinstance(error, WmsError | OwsError) else ("", None)
    headers = {**error_headers(status), "cache-control": "no-store"}
    text = _REPORT.render(version=version, code=code, locator=locator, text=xml_text(str(error)))
    # Not by media_type: Starlette would add a charset to text/xml, and to that alone.
    return Response(text, status, {**headers, "content-type": EXCEPTION_TYPE[version]})


def in_image(error: Exception, parameters: Parameters, encoder: Encoder, blank: bool) -> Response | None:
    """A picture of the size asked for in place of a report, empty or with the text; None if no size is known."""
    try:
        size, colour = (side(parameters, "WIDTH"), side(parameters, "HEIGHT")), background(parameters)
    except WmsError:
        return None
    extension = FORMATS.get(parameters.get("FORMAT").lower(), "png")
    extension = extension if extension in ("png", "jpg", "webp") else "png"
    clear = blank and parameters.get("TRANSPARENT").upper() == "TRUE" and extension != "jpg"
    image = Image.new("RGBA" if clear else "RGB", size, (*colour, 0) if clear else colour)
    if not blank:
        text = "\n".join(textwrap.wrap(str(error), max(8, size[0] // 7)))
        ink = (0, 0, 0) if sum(colour) > 382 else (255, 255, 255)
        ImageDraw.Draw(image).multiline_text((4, 4), text.encode("latin-1", "replace").decode("latin-1"), ink)
    buffer = io.BytesIO()
    image.save(buffer, **encoder.options(extension))
    return Response(buffer.getvalue(), headers={"cache-control": "no-store"}, media_type=MEDIA[extension])


def wms_router(settings: Settings, planet: Planet, renderer: TileRenderer, encoder: Encoder) -> APIRouter:
    """`/wms`, GET and HEAD."""
    router = APIRouter(tags=["WMS"])

    def version_of(parameters: Parameters) -> str:
        return negotiate(parameters.get("VERSION") or parameters.get("WMTVER"))

    async def send_map(request: Request, asked: MapRequest) -> Response:
        area, extension = asked.area, asked.extension
        check_side(extension, area)
        parts = (planet.identity, area.crs.to_wkt(), area.bounds, area.width, area.height, signature(encoder, extension))
        etag = hashlib.blake2b(repr((parts, asked.background, asked.transparent)).encode(), digest_size=16).hexdigest()
        headers = {"etag": f'"{etag}"', "cache-control": f"public, max-age={settings.max_age}"}
        held = request.headers.getlist("if-none-match")
        if any(headers["etag"] in value or value.strip() == "*" for value in held):
            return Response(status_code=304, headers=headers)
        if request.method == "HEAD":
            return StreamingResponse(in_chunks(b""), headers=headers, media_type=MEDIA[extension])

        async def paint() -> bytes:
            image = await paint_area(renderer, area)
            return await asyncio.to_thread(encode_picture, encoder, image, extension, asked.background, asked.transparent)

        try:
            body = await while_connected(request, paint())
        except asyncio.CancelledError as error:
            raise RenderError(STOPPING) from error
        if body is None:  # 499 is nginx's code for a client that left; nobody is there to read it
            return Response(status_code=499)
        headers["content-length"] = str(len(body))
        return StreamingResponse(in_chunks(body), headers=headers, media_type=MEDIA[extension])

    async def answer(request: Request, parameters: Parameters) -> Response:
        operation = parameters.get("REQUEST")
        service = parameters.get("SERVICE")
        # Of GetMap the standard does not ask for SERVICE.
        if not operation:
            raise WmsError(MISSING, "The parameter REQUEST is missing; send REQUEST=GetCapabilities.", "REQUEST")
        if service.upper() not in ("", "WMS"):
            raise WmsError("InvalidParameterValue", f"SERVICE cannot be {shorten(service)}; send SERVICE=WMS.", "SERVICE")
        name = operation.lower()
        if name in ("getcapabilities", "capabilities"):
            if not service:
                raise WmsError(MISSING, "The parameter SERVICE is missing; send SERVICE=WMS.", "SERVICE")
            version = version_of(parameters)
            body = capabilities(request.scope, settings, planet, version)
            return Response(body, headers={"content-type": CAPABILITIES_TYPE[version]})
        if name in ("getmap", "map"):
            version = parameters.get("VERSION") or parameters.get("WMTVER")
            if not version:
                raise WmsError(MISSING, "The parameter VERSION is missing; send VERSION=1.3.0.", "VERSION")
            if version not in VERSIONS:
                text = f"VERSION cannot be {shorten(version)}; use {' or '.join(VERSIONS)}."
                raise WmsError("InvalidParameterValue", text, "VERSION")
            return await send_map(request, parse_map(parameters, version, planet.name))
        text = f"The operation {shorten(operation)} is not offered; use {' or '.join(OPERATIONS)}."
        if name == "getfeatureinfo":
            text = "GetFeatureInfo is not offered, for pixels are all there is to know; use GetMap."
        raise WmsError("OperationNotSupported", text, "REQUEST")

    async def wms(request: Request) -> Response:
        """WMS 1.1.1 and 1.3.0: GetCapabilities and GetMap. Names of parameters in any case."""
        try:
            parameters = Parameters(request.scope["query_string"])
        except OwsError as error:
            return report(error, VERSIONS[-1])
        version = version_of(parameters)
        try:
            return await answer(request, parameters)
        except tuple(STATUS) as error:
            kind = EXCEPTIONS[version].get(parameters.get("EXCEPTIONS").lower(), "xml")
            image = None
            if kind != "xml" and parameters.get("REQUEST").lower() in ("getmap", "map"):
                image = in_image(error, parameters, encoder, kind == "blank")
            return image or report(error, version)

    async def elsewhere(request: Request) -> Response:
        text = f"The method {shorten(request.method)} is not answered; use GET with key-value pairs."
        response = report(WmsError("OperationNotSupported", text, None), VERSIONS[-1])
        response.status_code = 405
        response.headers["allow"] = METHODS
        return response

    queries = [
        {"name": name, "in": "query", "required": name == "REQUEST", "schema": {"type": "string"}, "description": text}
        for name, text in PARAMETERS.items()
    ]
    router.add_api_route(
        PATH,
        wms,
        methods=["GET"],
        response_class=Response,
        responses=RESPONSES,
        openapi_extra={"parameters": queries},
        operation_id="get_wms",
    )
    router.add_api_route(PATH, wms, methods=["HEAD"], include_in_schema=False)
    router.add_api_route(PATH, elsewhere, methods=["POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
    return router
