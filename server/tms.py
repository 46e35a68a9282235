"""Tile Map Service 1.0.0 (OSGeo, https://wiki.osgeo.org/wiki/Tile_Map_Service_Specification): the same tiles with
rows counted from the south, and the XML documents that describe them."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from fastapi import APIRouter, Path, Request
from fastapi.routing import APIRoute
from pydantic import WithJsonSchema
from starlette.responses import Response

from model import Planet
from model.errors import UnknownPlanetError
from server import links
from server.encode import EXTENSIONS, MEDIA_TYPES
from server.errors import STATUS, TileNotFoundError, error_headers, responses, status_of
from server.fastpath import Resolver
from server.renderer import TileRenderer
from server.settings import Settings
from server.tilekey import MAX_ZOOM, MIN_ZOOM, TILE_SIZE, TileKey, shorten
from server.tiles import Column, Extension, Size, Zoom, answer_tile, declared

VERSION = "1.0.0"
# Half the side of Web Mercator's square (EPSG:3857), metres: pi times the semi-major axis of WGS 84.
HALF_WORLD = math.pi * 6378137.0
FORMAT = "png"
"""The format of the map that bears the planet's name; those of the others are `earth@jpg` and so on."""
XML = "application/xml"
XML_CONTENT = {XML: {"schema": {"type": "string"}}}
SouthRow = Annotated[
    str,
    WithJsonSchema({"type": "string", "pattern": "^[0-9]+(@2x)?$"}),
    Path(description="row from the south, below 2**z; with @2x a tile of 512 px", examples=["10", "10@2x"]),
]
Version = Annotated[str, Path(description=f"of the protocol: {VERSION}", examples=[VERSION])]


def tms_resolver(planet: str) -> Resolver:
    """What `FastPath.add_alias` needs for /tms: addresses of tiles to their keys."""
    prefix = f"/tms/{VERSION}/{planet}"
    start = len(prefix)

    def resolve(path: str, query: bytes) -> TileKey | None:
        return TileKey.from_path(path[start:], query, from_south=True) if path.startswith(prefix) else None

    return resolve


def services_document(scope: Mapping[str, Any], settings: Settings) -> bytes:
    """The root resource: which versions there are."""
    root = Element("Services")
    href = links.public_url(scope, settings, f"/tms/{VERSION}/")
    SubElement(root, "TileMapService", title="MetaEarth Tiles", version=VERSION, href=href)
    return _xml(root)


def service_document(scope: Mapping[str, Any], settings: Settings, planet: Planet) -> bytes:
    """The TileMapService resource: which maps there are, one a format, for a TileMap has but one."""
    root = Element("TileMapService", version=VERSION, services=links.public_url(scope, settings, "/tms/"))
    SubElement(root, "Title").text = "MetaEarth Tiles"
    SubElement(root, "Abstract").text = settings.attribution
    maps = SubElement(root, "TileMaps")
    for extension in EXTENSIONS:
        SubElement(
            maps,
            "TileMap",
            title=_title(planet, extension),
            srs="EPSG:3857",
            profile="global-mercator",
            href=links.public_url(scope, settings, _map_path(planet, extension)),
        )
    return _xml(root)


def _map_path(planet: Planet, extension: str) -> str:
    return f"/tms/{VERSION}/{planet.name}" + ("" if extension == FORMAT else f"@{extension}")


def _title(planet: Planet, extension: str) -> str:
    return f"MetaEarth {planet.name}" + ("" if extension == FORMAT else f" ({extension})")


def map_document(scope: Mapping[str, Any], settings: Settings, planet: Planet, extension: str) -> bytes:
    """The TileMap resource: extent, format and zooms of one planet's tiles."""
    address = f"/tms/{VERSION}/{planet.name}"
    root = Element("TileMap", version=VERSION, tilemapservice=links.public_url(scope, settings, f"/tms/{VERSION}/"))
    SubElement(root, "Title").text = _title(planet, extension)
    SubElement(root, "Abstract").text = settings.attribution
    SubElement(root, "SRS").text = "EPSG:3857"
    low, high = f"{-HALF_WORLD:.17g}", f"{HALF_WORLD:.17g}"
    SubElement(root, "BoundingBox", minx=low, miny=low, maxx=high, maxy=high)
    SubElement(root, "Origin", x=low, y=low)
    side = str(TILE_SIZE)
    SubElement(
        root,
        "TileFormat",
        {"width": side, "height": side, "mime-type": MEDIA_TYPES[extension], "extension": extension},
    )
    sets = SubElement(root, "TileSets", profile="global-mercator")
    for zoom in range(MIN_ZOOM, MAX_ZOOM + 1):
        SubElement(
            sets,
            "TileSet",
            {
                "href": links.public_url(scope, settings, f"{address}/{zoom}"),
                "units-per-pixel": f"{2 * HALF_WORLD / (TILE_SIZE << zoom):.17g}",
                "order": str(zoom),
            },
        )
    return _xml(root)


def error_document(sentence: str) -> bytes:
    """The document that the specification gives to errors."""
    root = Element("TileMapServerError")
    SubElement(root, "Message").text = "".join(c if c.isprintable() else "?" for c in sentence)
    return _xml(root)


class TmsRoute(APIRoute):
    """Answers errors by the document that the specification gives to them, with the status codes of all our routes."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler of the route, with errors caught."""
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except tuple(STATUS) as error:
                status = status_of(error)
                return Response(error_document(str(error)), status, error_headers(status), XML)

        return answer


def tms_router(settings: Settings, planet: Planet, renderer: TileRenderer) -> APIRouter:
    """`/tms`, `/tms/1.0.0`, `/tms/1.0.0/{planet}`, each with and without a slash behind, and the tiles below; GET and
    HEAD."""
    router = APIRouter(tags=["TMS"], route_class=TmsRoute)

    maps = {_map_path(planet, extension).rpartition("/")[2]: extension for extension in EXTENSIONS}

    def check(version: str, name: str) -> str:
        """The format of the map of that name."""
        if version != VERSION:
            raise TileNotFoundError(f"TMS {shorten(version)} is not served; use /tms/{VERSION}/.")
        if name not in maps:
            raise UnknownPlanetError(f"There is no map {shorten(name)} here; /tms/{VERSION}/ lists {', '.join(maps)}.")
        return maps[name]

    async def get_tms_services(request: Request) -> Response:
        """The root resource of the Tile Map Service: which versions there are."""
        return Response(services_document(request.scope, settings), media_type=XML)

    async def get_tms_service(request: Request, version: Version) -> Response:
        """The TileMapService resource: which maps there are."""
        check(version, planet.name)
        return Response(service_document(request.scope, settings, planet), media_type=XML)

    async def get_tms_map(request: Request, version: Version, planet_name: str) -> Response:
        """The TileMap resource: extent, format and zooms of a planet's tiles."""
        extension = check(version, planet_name)
        return Response(map_document(request.scope, settings, planet, extension), media_type=XML)

    async def tms_tile(
        request: Request,
        version: Version,
        planet_name: str,
        z: Zoom,
        x: Column,
        y: SouthRow,
        ext: Extension,
        tilesize: Size = None,
    ) -> Response:
        """One tile, its row counted from the south."""
        check(version, planet_name)
        key = TileKey.parse(z, x, y, ext, request.scope.get("query_string", b""), from_south=True)
        return await answer_tile(request, renderer, key)

    async def nothing(request: Request) -> Response:
        raise TileNotFoundError(f"There is nothing at {request.url.path}; the maps are listed at /tms/{VERSION}/.")

    document = {"description": "The XML document.", "content": XML_CONTENT}
    for path, endpoint, codes in (
        ("/tms", get_tms_services, (405,)),
        ("/tms/{version}", get_tms_service, (404, 405, 422)),
        ("/tms/{version}/{planet_name}", get_tms_map, (404, 405, 422)),
    ):
        answers = {200: document, **_in_xml(responses(*codes))}
        router.add_api_route(path, endpoint, methods=["GET"], responses=answers, response_class=XMLResponse)
        router.add_api_route(path, endpoint, methods=["HEAD"], include_in_schema=False)
        router.add_api_route(path + "/", endpoint, methods=["GET", "HEAD"], include_in_schema=False)
    for method in ("GET", "HEAD"):
        router.add_api_route(
            "/tms/{version}/{planet_name}/{z}/{x}/{y}.{ext}",
            tms_tile,
            methods=[method],
            responses=_in_xml(declared(method, 404, 405, 422, 503)),
            response_class=Response,
            operation_id=f"{method.lower()}_tms_tile",
        )
    router.add_api_route("/tms/{rest:path}", nothing, methods=["GET", "HEAD"], include_in_schema=False)
    return router


class XMLResponse(Response):
    """For the documentation: an answer in XML."""

    media_type = XML


def _in_xml(answers: Mapping[int | str, dict[str, Any]]) -> dict[int | str, dict[str, Any]]:
    """Declarations of errors with our XML document in place of JSON; 405 comes from outside of the routes."""
    return {
        code: {"description": answer["description"], "content": XML_CONTENT} if "model" in answer and code != 405 else answer
        for code, answer in answers.items()
    }


def _xml(root: Element) -> bytes:
    indent(root)
    return bytes(tostring(root, encoding="utf-8", xml_declaration=True))
