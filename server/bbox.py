"""Any box of the planet as one picture: `GET /bbox/{minx},{miny},{maxx},{maxy}.{ext}` and `POST /bbox`."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from starlette.responses import Response, StreamingResponse

from model import Planet
from server.area import Area, GeoImage
from server.box_files import FORMATS, check_side, encode_picture, parse_format, signature
from server.box_request import MAX_PIXELS, BoxRequest
from server.clip import Polygon, bounds_of, clip_mask, clipped, parse_clip
from server.encode import Encoder
from server.errors import ParameterError, RenderError, responses
from server.painter import paint_area
from server.render_queue import STOPPING
from server.renderer import TileRenderer
from server.settings import Settings
from server.tilekey import shorten
from server.tiles import while_connected

CHUNK = 1 << 18
HEADERS = {
    "ETag": {"description": "strong, from the parameters", "schema": {"type": "string"}},
    "Cache-Control": {"description": "public, max-age=seconds", "schema": {"type": "string"}},
}
BINARY = {"schema": {"type": "string", "format": "binary"}}
PICTURE: dict[str, Any] = {
    "description": f"The picture, at most {MAX_PIXELS:,} pixels.",
    "content": dict.fromkeys(FORMATS.values(), BINARY),
}
GET_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {**PICTURE, "headers": HEADERS},
    304: {"description": "The picture has the ETag of If-None-Match; nothing was rendered.", "headers": HEADERS},
    **responses(405, 413, 422, 503),
}
POST_RESPONSES: dict[int | str, dict[str, Any]] = {200: PICTURE, **responses(405, 413, 422, 503)}

# Numbers come as text, so that one sentence says what is wrong with them.
Corner = Annotated[str, WithJsonSchema({"type": "number"}), Path(description="in bbox_crs; x before y")]
Extension = Annotated[str, WithJsonSchema({"type": "string", "enum": list(FORMATS)}), Path(description="format")]
CrsName = Annotated[str, Query(description="EPSG:n or CRS:84")]
Side = Annotated[
    str | None, WithJsonSchema({"type": "integer", "minimum": 1}), Query(description="pixels; one alone keeps the box's aspect")
]
Resolution = Annotated[
    str | None, WithJsonSchema({"type": "number", "exclusiveMinimum": 0}), Query(description="metres per pixel")
]
Zoom = Annotated[
    str | None, WithJsonSchema({"type": "integer", "minimum": 0, "maximum": 20}), Query(description="pixels of this zoom")
]
Packing = Annotated[
    str | None, WithJsonSchema({"type": "string", "enum": list(FORMATS)}), Query(description="goes before the extension")
]


class BoxBody(BaseModel):
    """`POST /bbox`: as the address and parameters of GET, and a clip."""

    model_config = ConfigDict(extra="forbid")

    bbox: tuple[float, float, float, float] | None = Field(
        None, description="minx, miny, maxx, maxy in bbox_crs; that of the clip by default"
    )
    bbox_crs: str = Field("EPSG:4326", description="EPSG:n or CRS:84")
    crs: str | None = Field(None, description="of the result; by default that of the box")
    width: int | None = Field(None, description="pixels; one alone keeps the box's aspect")
    height: int | None = Field(None, description="pixels; one alone keeps the box's aspect")
    resolution: float | None = Field(None, description="metres per pixel")
    zoom: int | None = Field(None, description="pixels of this zoom, 0 to 20")
    format: str = Field("png", description=", ".join(FORMATS))
    clip: dict[str, Any] | None = Field(
        None, description="GeoJSON polygon(s) in longitude and latitude; outside is transparent, white in jpg and png8"
    )

    def parts(self) -> tuple[BoxRequest, str, list[Polygon] | None]:
        """The request, the extension and the clip; raises `ParameterError`."""
        extension = parse_format(self.format)
        polygons = None if self.clip is None else parse_clip(self.clip)
        if self.bbox is not None:
            bounds, crs = self.bbox, self.bbox_crs
        elif polygons is not None:
            bounds, crs = bounds_of(polygons), "EPSG:4326"
        else:
            raise ParameterError("bbox is missing; send [minx, miny, maxx, maxy], or a clip, whose box it then is.")
        request = BoxRequest(bounds, crs, self.crs, self.width, self.height, self.resolution, self.zoom)
        return request, extension, polygons


def number(name: str, text: str | None) -> float | None:
    """A finite number; raises `ParameterError`."""
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        raise ParameterError(f"{name} must be a number, not {shorten(text)}.") from None
    if not math.isfinite(value):
        raise ParameterError(f"{name} must be a finite number, not {shorten(text)}.")
    return value


def integer(name: str, text: str | None) -> int | None:
    """A whole number; raises `ParameterError`."""
    value = number(name, text)
    if value is None:
        return None
    if value != int(value):
        raise ParameterError(f"{name} must be a whole number, not {shorten(str(text))}.")
    return int(value)


def bbox_router(settings: Settings, planet: Planet, renderer: TileRenderer, encoder: Encoder) -> APIRouter:
    """`/bbox/{minx},{miny},{maxx},{maxy}.{ext}`, GET and HEAD, and `POST /bbox`."""
    router = APIRouter(tags=["bbox"])

    def headers(area: Area, zoom: int | None, extension: str) -> dict[str, str]:
        parts = (planet.identity, area.crs.to_wkt(), area.bounds, area.width, area.height, zoom, signature(encoder, extension))
        etag = hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()
        return {"etag": f'"{etag}"', "cache-control": f"public, max-age={settings.max_age}"}

    async def picture(area: Area, zoom: int | None, extension: str, polygons: list[Polygon] | None) -> bytes:
        # What is wrong with the clip is said before anything is rendered.
        mask = None if polygons is None else await asyncio.to_thread(clip_mask, polygons, area)
        image = await paint_area(renderer, area, zoom)

        def finish(image: GeoImage) -> bytes:
            return encode_picture(encoder, image if mask is None else clipped(image, mask), extension)

        return await asyncio.to_thread(finish, image)

    async def answer(
        request: Request, area: Area, zoom: int | None, extension: str, polygons: list[Polygon] | None, added: dict[str, str]
    ) -> Response:
        try:
            body = await while_connected(request, picture(area, zoom, extension, polygons))
        except asyncio.CancelledError as error:
            raise RenderError(STOPPING) from error
        if body is None:  # 499 is nginx's code for a client that left; nobody is there to read it
            return Response(status_code=499)
        return StreamingResponse(
            in_chunks(body), headers={"content-length": str(len(body)), **added}, media_type=FORMATS[extension]
        )

    async def get_bbox(
        request: Request,
        minx: Corner,
        miny: Corner,
        maxx: Corner,
        maxy: Corner,
        ext: Extension,
        bbox_crs: CrsName = "EPSG:4326",
        crs: Annotated[str | None, Query(description="of the result; by default that of the box")] = None,
        width: Side = None,
        height: Side = None,
        resolution: Resolution = None,
        zoom: Zoom = None,
        format: Packing = None,
    ) -> Response:
        """A box as one picture: by width or height, resolution or zoom; 1024 pixels along the longer side by default."""
        extension = parse_format(ext if format is None else format)
        names = ("minx", "miny", "maxx", "maxy")
        a, b, c, d = (number(name, text) or 0.0 for name, text in zip(names, (minx, miny, maxx, maxy), strict=True))
        sides = integer("width", width), integer("height", height)
        asked = BoxRequest((a, b, c, d), bbox_crs, crs, *sides, number("resolution", resolution), integer("zoom", zoom))
        area, at = asked.resolve()
        check_side(extension, area)
        known = headers(area, at, extension)
        # Our ETags are unique strings in quotes, so containment finds them in lists and behind W/ alike.
        held = request.headers.getlist("if-none-match")
        if any(known["etag"] in value or value.strip() == "*" for value in held):
            return Response(status_code=304, headers=known)
        if request.method == "HEAD":
            # Everything but the length, which only the picture itself would tell.
            return StreamingResponse(in_chunks(b""), headers=known, media_type=FORMATS[extension])
        return await answer(request, area, at, extension, None, known)

    async def post_bbox(request: Request, box: BoxBody) -> Response:
        """A box as one picture, cut to a GeoJSON polygon if there is one."""
        asked, extension, polygons = box.parts()
        area, zoom = asked.resolve()
        check_side(extension, area)
        return await answer(request, area, zoom, extension, polygons, {})

    path = "/bbox/{minx},{miny},{maxx},{maxy}.{ext}"
    options: dict[str, Any] = {"response_class": Response}
    router.add_api_route(path, get_bbox, methods=["GET"], responses=GET_RESPONSES, operation_id="get_bbox", **options)
    router.add_api_route(path, get_bbox, methods=["HEAD"], include_in_schema=False)
    router.add_api_route("/bbox", post_bbox, methods=["POST"], responses=POST_RESPONSES, operation_id="post_bbox", **options)
    return router


async def in_chunks(body: bytes) -> AsyncIterator[bytes]:
    """`body` in chunks of `CHUNK`, so that no more than one waits in the socket's buffer."""
    for begin in range(0, len(body), CHUNK):
        yield body[begin : begin + CHUNK]
