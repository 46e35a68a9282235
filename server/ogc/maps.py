"""OGC API - Maps (20-058): any box of the planet in any CRS, as one picture."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import WithJsonSchema
from starlette.responses import Response, StreamingResponse

from model import Planet
from server.area import Area
from server.bbox import in_chunks
from server.box_files import FORMATS, check_side, encode_picture, signature
from server.encode import Encoder
from server.errors import responses
from server.ogc.background import Background
from server.ogc.conditional import answer_if_known, validators
from server.ogc.crs import MapCRS
from server.ogc.errors import OgcRoute, exception_response, exceptions
from server.ogc.map_request import DEFAULT_SIDE, MAX_SIDE, MM_PER_PIXEL, MapParameters
from server.ogc.negotiation import Offers, choose
from server.ogc.site import Site, collection_of
from server.painter import paint_area
from server.render_queue import STOPPING
from server.renderer import TileRenderer
from server.tiles import while_connected

# The extension of each format by its name in `f`.
EXTENSION = {"png": "png", "jpeg": "jpg", "tiff": "tif", "webp": "webp"}
MAP_OFFERS: Offers = {name: FORMATS[extension] for name, extension in EXTENSION.items()}
WITH_ALPHA = frozenset({"png", "tif", "webp"})
BASES = {"/map": "dataset", "/collections/{collectionId}/map": "collection"}

MapFormat = Annotated[
    str | None,
    WithJsonSchema({"type": "string", "enum": list(EXTENSION)}),
    Query(description="format; goes before the Accept header"),
]
CrsName = Annotated[str | None, Query(description="URI, CURIE such as [EPSG:3857] or EPSG code of a CRS; CRS84 by default")]
# Lists of numbers come as text, so that one sentence says what is wrong with them.
Corners = {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 6}
Point = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
Box = Annotated[str | None, WithJsonSchema(Corners), Query(description="the box in bbox-crs, in the order of its axes")]
Center = Annotated[str | None, WithJsonSchema(Point), Query(description="the map's middle, in center-crs")]
Subset = Annotated[list[str], Query(description="intervals of axes: Lat(40:50),Lon(0:10), or N and E")]
Side = Annotated[int | None, Query(gt=0, le=MAX_SIDE, description=f"pixels; {DEFAULT_SIDE} along the longer side by default")]
Scale = Annotated[float | None, Query(ge=1, le=1e12, description="metres on the ground to a metre of the map")]
PixelSize = Annotated[float | None, Query(ge=1e-3, le=1e3, description=f"millimetres; {MM_PER_PIXEL} by default")]
Colour = Annotated[str | None, Query(description="0xRRGGBB or a web colour's name")]
Flag = Annotated[bool | None, Query()]

HEADERS = {
    "Content-Crs": {"description": "the URI of the map's CRS, in <>", "schema": {"type": "string"}},
    "Content-Bbox": {"description": "the map's box in that CRS, in the order of its axes", "schema": {"type": "string"}},
    "ETag": {"description": "strong, from the parameters", "schema": {"type": "string"}},
    "Cache-Control": {"description": "public, max-age=seconds", "schema": {"type": "string"}},
}
BINARY = {"schema": {"type": "string", "format": "binary"}}
DECLARED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The map.",
        "content": dict.fromkeys(MAP_OFFERS.values(), BINARY),
        "headers": HEADERS,
    },
    304: {"description": "The map has the ETag of If-None-Match; nothing was rendered."},
    **exceptions(400, 404, 406, 413, 503),
    **responses(405),
}


class MapPainter:
    """Paints maps by the thread that renders and encodes them in others."""

    def __init__(self, renderer: TileRenderer, encoder: Encoder) -> None:
        self._renderer = renderer
        self._encoder = encoder

    def etag(self, planet: Planet, area: Area, extension: str, background: Background) -> str:
        """Names all that the map's bytes depend on, in quotes."""
        place = (area.crs.to_wkt(), area.bounds, area.width, area.height)
        parts = (planet.identity, *place, signature(self._encoder, extension), background)
        return f'"{hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()}"'

    async def file(self, area: Area, extension: str, background: Background) -> bytes:
        """The map's file; raises `RenderError`, and what the planet raises."""
        image = await paint_area(self._renderer, area)

        def finish() -> bytes:
            shown = background.apply(area, image, extension in WITH_ALPHA)
            return encode_picture(self._encoder, shown, extension, background.colour)

        return await asyncio.to_thread(finish)


def map_headers(area: Area, crs: MapCRS) -> dict[str, str]:
    """Content-Crs, and Content-Bbox in the order of its axes (20-058, core, map-response)."""
    box = ",".join(f"{value:.17g}" for value in crs.ordered(area.bounds))
    return {"content-bbox": box, "content-crs": f"<{crs.uri}>"}


def map_router(site: Site, renderer: TileRenderer, encoder: Encoder) -> APIRouter:
    """`/map` and `/collections/{collectionId}/map`, GET and HEAD."""
    router = APIRouter(tags=["OGC API"], route_class=OgcRoute)
    painter = MapPainter(renderer, encoder)

    async def get_map(
        request: Request,
        f: MapFormat = None,
        crs: CrsName = None,
        bbox: Box = None,
        bbox_crs: Annotated[CrsName, Query(alias="bbox-crs")] = None,
        subset: Subset = [],  # noqa: B006
        subset_crs: Annotated[CrsName, Query(alias="subset-crs")] = None,
        center: Center = None,
        center_crs: Annotated[CrsName, Query(alias="center-crs")] = None,
        width: Side = None,
        height: Side = None,
        scale_denominator: Annotated[Scale, Query(alias="scale-denominator")] = None,
        mm_per_pixel: Annotated[PixelSize, Query(alias="mm-per-pixel")] = None,
        bgcolor: Colour = None,
        transparent: Flag = None,
        void_color: Annotated[Colour, Query(alias="void-color")] = None,
        void_transparent: Annotated[Flag, Query(alias="void-transparent")] = None,
    ) -> Response:
        """A map of the planet (20-058: core, scaling, display resolution, spatial subsetting, crs, background)."""
        chosen = choose(request, f, MAP_OFFERS)
        background = Background.parse(bgcolor, transparent, void_color, void_transparent)
        parameters = MapParameters(
            crs,
            bbox,
            bbox_crs,
            tuple(subset),
            subset_crs,
            center,
            center_crs,
            width,
            height,
            scale_denominator,
            mm_per_pixel,
        )
        area, of = parameters.resolve()
        extension = EXTENSION[chosen]
        check_side(extension, area)
        etag = painter.etag(site.planet, area, extension, background)
        known = answer_if_known(request, etag, site.settings.max_age)
        if known is not None:
            return known
        headers = {**map_headers(area, of), **validators(etag, site.settings.max_age)}
        if request.method == "HEAD":
            # Everything but the length, which only the map itself would tell.
            return StreamingResponse(in_chunks(b""), headers=headers, media_type=MAP_OFFERS[chosen])
        try:
            body = await while_connected(request, painter.file(area, extension, background))
        except asyncio.CancelledError:
            return exception_response(503, STOPPING)
        # 499 is nginx's code for a client that left; nobody is there to read it.
        return Response(status_code=499) if body is None else Response(body, headers=headers, media_type=MAP_OFFERS[chosen])

    for base, origin in BASES.items():
        needs = collection_of(site, base)
        router.add_api_route(
            base,
            get_map,
            methods=["GET"],
            dependencies=needs,
            responses=DECLARED,
            response_class=Response,
            operation_id=f"{site.planet.name}.{origin}.getMap",
        )
        router.add_api_route(base, get_map, methods=["HEAD"], dependencies=needs, include_in_schema=False)
    return router
