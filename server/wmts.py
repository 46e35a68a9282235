"""WMTS 1.0.0 (OGC 07-057r7): KVP at /wmts, RESTful below /wmts/1.0.0/; every error is an ows:ExceptionReport."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from model import Planet
from server.encode import MEDIA_TYPES
from server.errors import OwsError, OwsMethodError, OwsResourceError, RenderError
from server.ows import ANY_OTHER, Parameters, exception_report, or_report, report_responses
from server.render_queue import STOPPING
from server.renderer import TileRenderer
from server.settings import Settings
from server.tilekey import TileKey, shorten
from server.tiles import RESPONSE_HEADERS, TileResponse, while_connected
from server.wmts_capabilities import (
    CAPABILITIES_FORMATS,
    KVP_PATH,
    METADATA_PATH,
    REST_PATH,
    SECTIONS,
    VERSION,
    acceptable,
    capabilities,
    negotiated,
    tile_formats,
)
from server.wmts_grids import MATRIX_SETS
from server.wmts_tiles import TILE_PARAMETERS, WmtsTiles

OPERATIONS = ("GetCapabilities", "GetTile")
TEXT = {"schema": {"type": "string"}}
IMAGES = {media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in MEDIA_TYPES.values()}
DOCUMENTS = dict.fromkeys(CAPABILITIES_FORMATS, TEXT)
NOT_MODIFIED = {"description": "The tile has the ETag of If-None-Match; nothing was rendered.", "headers": RESPONSE_HEADERS}
KVP_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The service metadata, or the tile.", "content": DOCUMENTS | IMAGES},
    304: NOT_MODIFIED,
    **report_responses(400, 503),
}
METADATA_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The service metadata.", "content": DOCUMENTS},
    **report_responses(406, 503),
}
TILE_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The tile, 256 x 256 pixels.", "content": IMAGES, "headers": RESPONSE_HEADERS},
    304: NOT_MODIFIED,
    **report_responses(404, 503),
}


def _parameter(name: str, place: str, description: str, *values: str) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string", "enum": list(values)} if values else {"type": "string"}
    needed = place == "path" or name in ("service", "request")
    return {"name": name, "in": place, "required": needed, "schema": schema, "description": description}


def wmts_router(settings: Settings, planet: Planet, renderer: TileRenderer, tiles: WmtsTiles) -> APIRouter:
    """`/wmts`, `/wmts/1.0.0/WMTSCapabilities.xml` and the RESTful tiles, GET and HEAD.

    `tiles` says which tile an address means. Whatever else begins with /wmts answers an exception report too.
    """
    router = APIRouter(tags=["WMTS"])

    async def send_tile(request: Request, key: TileKey) -> Response:
        try:
            tile = await while_connected(request, renderer.tile(key))
        except asyncio.CancelledError as error:
            raise RenderError(STOPPING) from error
        # 499 is nginx's code for a client that left; nobody is there to read it.
        return Response(status_code=499) if tile is None else TileResponse(tile)

    async def answer_kvp(request: Request) -> Response:
        parameters = Parameters(request.scope["query_string"])
        parameters.choice("service", ("WMTS",))
        if parameters.get("request") == "GetFeatureInfo":
            text = "GetFeatureInfo is not offered, for pixels are all there is to know; use GetTile."
            raise OwsError("OperationNotSupported", text, "GetFeatureInfo")
        if parameters.choice("request", OPERATIONS) == "GetTile":
            parameters.choice("version", (VERSION,))
            return await send_tile(request, tiles.from_parameters(parameters))
        sections, complete, media_type = negotiated(parameters)
        body = capabilities(request.scope, settings, planet, sections, complete)
        return Response(body, media_type=media_type)

    async def wmts_kvp(request: Request) -> Response:
        """WMTS 1.0.0 by key-value pairs: GetCapabilities and GetTile. Names of parameters in any case."""
        return await or_report(answer_kvp(request))

    async def answer_metadata(request: Request) -> Response:
        media_type = acceptable(request.headers.get("accept"))
        body = capabilities(request.scope, settings, planet, frozenset(SECTIONS), complete=True)
        return Response(body, headers={"vary": "Accept"}, media_type=media_type)

    async def wmts_metadata(request: Request) -> Response:
        """The service metadata of WMTS 1.0.0."""
        return await or_report(answer_metadata(request))

    async def answer_tile(request: Request) -> Response:
        return await send_tile(request, tiles.from_path(request.path_params))

    async def wmts_tile(request: Request) -> Response:
        """One tile by its RESTful address."""
        return await or_report(answer_tile(request))

    async def elsewhere(request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            text = f"The method {shorten(request.method)} is not answered; use GET with key-value pairs or RESTful addresses."
            return exception_report(OwsMethodError("OperationNotSupported", text, request.method))
        if not request.path_params["rest"]:
            return await or_report(answer_kvp(request))
        text = f"There is nothing at this address; the resources are listed in {METADATA_PATH}."
        return exception_report(OwsResourceError(ANY_OTHER, text))

    queries = [
        _parameter("service", "query", "always WMTS", "WMTS"),
        _parameter("request", "query", "the operation", *OPERATIONS),
        _parameter("version", "query", "of GetTile: always 1.0.0", VERSION),
        _parameter("AcceptVersions", "query", "of GetCapabilities: versions separated by commas"),
        _parameter("Sections", "query", f"of GetCapabilities: All, or some of {', '.join(SECTIONS)}"),
        _parameter("AcceptFormats", "query", "of GetCapabilities: media types separated by commas"),
        _parameter("updateSequence", "query", "of GetCapabilities: that of the document the client has"),
        *(_parameter(name, "query", f"of GetTile: {text}") for name, text in TILE_PARAMETERS.items()),
    ]
    allowed = {"layer": (planet.name,), "style": ("default",), "tile_matrix_set": tuple(MATRIX_SETS)}
    path_names = ("layer", "style", "tile_matrix_set", "tile_matrix", "tile_row", "tile_col", "extension")
    parts = [_parameter(name, "path", name.replace("_", " "), *allowed.get(name, ())) for name in path_names]
    parts[-1]["schema"]["enum"] = list(tile_formats())
    tile_path = REST_PATH + "{layer}/{style}/{tile_matrix_set}/{tile_matrix}/{tile_row}/{tile_col}.{extension}"
    for path, endpoint, declared, parameters in (
        (KVP_PATH, wmts_kvp, KVP_RESPONSES, queries),
        (METADATA_PATH, wmts_metadata, METADATA_RESPONSES, []),
        (tile_path, wmts_tile, TILE_RESPONSES, parts),
    ):
        router.add_api_route(
            path,
            endpoint,
            methods=["GET"],
            response_class=Response,
            responses=declared,
            openapi_extra={"parameters": parameters},
            operation_id=f"get_{endpoint.__name__}",
        )
        router.add_api_route(path, endpoint, methods=["HEAD"], include_in_schema=False)
    others = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE"]
    router.add_api_route(KVP_PATH + "/{rest:path}", elsewhere, methods=others, include_in_schema=False)
    router.add_api_route(KVP_PATH, elsewhere, methods=others[2:], include_in_schema=False)
    return router
