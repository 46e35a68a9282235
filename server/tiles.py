"""The routes of tiles: what the fast path does not have at hand comes here."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, HTTPException, Path, Query, Request
from pydantic import WithJsonSchema
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from model.errors import UnknownPlanetError
from server.accept import VARY_ACCEPT, accept_header, negotiate
from server.cors import Headers
from server.encode import EXTENSIONS, MEDIA_TYPES
from server.errors import error_response, responses
from server.fastpath import ReadyTile
from server.renderer import TileRenderer
from server.tilekey import INTEGER, MAX_ZOOM, MIN_ZOOM, SPELLINGS, TILE_SIZES, TileKey, shorten

T = TypeVar("T")

# Text as it comes, so that `TileKey.parse` writes the sentence when it is no number; the documentation shows
# what it is.
Zoom = Annotated[
    str,
    WithJsonSchema({"type": "integer", "minimum": MIN_ZOOM, "maximum": MAX_ZOOM}),
    Path(description="zoom; 256 * 2**z pixels across the world"),
]
Column = Annotated[str, WithJsonSchema({"type": "integer", "minimum": 0}), Path(description="column from 180 W, below 2**z")]
Row = Annotated[
    str,
    WithJsonSchema({"type": "string", "pattern": "^[0-9]+(@2x)?$"}),
    Path(description="row from the north, below 2**z; with @2x a tile of 512 px", examples=["5", "5@2x"]),
]
Extension = Annotated[str, WithJsonSchema({"type": "string", "enum": [*EXTENSIONS, *SPELLINGS]}), Path(description="format")]
# Read by `TileKey.parse` from the query string, as the fast path does; here for the documentation.
Size = Annotated[
    str | None,
    WithJsonSchema({"type": "integer", "enum": list(TILE_SIZES)}),
    Query(alias="tilesize", description="side of the picture in pixels: 512 has the ground of 256 and twice its resolution"),
]

IMAGES = {media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in MEDIA_TYPES.values()}
RESPONSE_HEADERS = {
    "ETag": {"description": "strong, from the tile's key", "schema": {"type": "string"}},
    "Cache-Control": {"description": "public, max-age=seconds", "schema": {"type": "string"}},
}
VARY = {"Vary": {"description": "Accept", "schema": {"type": "string"}}}


def declared(method: str, *codes: int, headers: dict[str, Any] = RESPONSE_HEADERS) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of a route that answers tiles, and errors with `codes`."""
    answers: dict[int | str, dict[str, Any]] = {
        200: {"description": "The tile, 256 x 256 or 512 x 512 pixels.", "content": IMAGES, "headers": headers},
        304: {"description": "The tile has the ETag of If-None-Match; nothing was rendered.", "headers": headers},
        **responses(*codes),
    }
    if method == "GET":
        return answers
    # HEAD answers the same codes and headers, and never a body.
    return {
        code: {name: part for name, part in answer.items() if name in ("description", "headers")}
        for code, answer in answers.items()
    }


class TileResponse(Response):
    """Sends a `ReadyTile`, whose headers were built when it was made."""

    def __init__(self, tile: ReadyTile, added: Headers | None = None) -> None:
        super().__init__()
        self.raw_headers = tile.headers + (added or [])
        self.body = tile.body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends headers and, unless asked by HEAD, the body."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        body = b"" if scope["method"] == "HEAD" else self.body
        await send({"type": "http.response.body", "body": body})


async def answer_tile(request: Request, renderer: TileRenderer, key: TileKey, added: Headers | None = None) -> Response:
    """The tile `key` as soon as it is rendered, its headers with `added`; raises what `renderer.tile` raises."""
    try:
        tile = await while_connected(request, renderer.tile(key))
    except asyncio.CancelledError:
        # The server stops and has no more time for a rendering; uvicorn itself would answer 500.
        return error_response(503, "The server is stopping; try again in a few seconds.")
    # 499 is nginx's code for a client that left; nobody is there to read it.
    return Response(status_code=499) if tile is None else TileResponse(tile, added)


def tile_router(renderer: TileRenderer, planet: str) -> APIRouter:
    """`/{z}/{x}/{y}.{ext}` and `/{planet}/{z}/{x}/{y}.{ext}`, and both without extension; GET and HEAD."""
    router = APIRouter(tags=["tiles"])

    def check(planet_name: str) -> None:
        if planet_name != planet:
            raise UnknownPlanetError(f"There is no planet {shorten(planet_name)} here; use {planet}.")

    def query(request: Request) -> bytes:
        return bytes(request.scope.get("query_string", b""))

    async def negotiated(request: Request, z: str, x: str, y: str) -> Response:
        if "." in y:
            raise HTTPException(404)  # /4/8/5. and /4/8/.png have no extension, but mean to
        # Whether there is such a tile does not depend on its format, and comes first.
        key = TileKey.parse(z, x, y, EXTENSIONS[0], query(request))
        extension = negotiate(accept_header(request.scope))
        return await answer_tile(request, renderer, replace(key, extension=extension), VARY_ACCEPT)

    async def tile(request: Request, z: Zoom, x: Column, y: Row, ext: Extension, tilesize: Size = None) -> Response:
        """One tile of the planet served, XYZ in Web Mercator (EPSG:3857)."""
        return await answer_tile(request, renderer, TileKey.parse(z, x, y, ext, query(request)))

    async def named_tile(
        request: Request, planet_name: str, z: Zoom, x: Column, y: Row, ext: Extension, tilesize: Size = None
    ) -> Response:
        """One tile of a planet by its name."""
        check(planet_name)
        return await answer_tile(request, renderer, TileKey.parse(z, x, y, ext, query(request)))

    async def open_tile(request: Request, z: Zoom, x: Column, y: Row, tilesize: Size = None) -> Response:
        """One tile in the format that Accept prefers: AVIF or WebP where it names them, else PNG."""
        if not INTEGER.fullmatch(z):
            raise HTTPException(404)  # three segments of any other kind: no tile was meant
        return await negotiated(request, z, x, y)

    async def named_open_tile(
        request: Request, planet_name: str, z: Zoom, x: Column, y: Row, tilesize: Size = None
    ) -> Response:
        """One tile of a planet by its name in the format that Accept prefers."""
        check(planet_name)
        return await negotiated(request, z, x, y)

    errors, varying = (404, 405, 422, 503), RESPONSE_HEADERS | VARY
    for path, endpoint, codes, headers in (
        ("/{z}/{x}/{y}.{ext}", tile, errors, RESPONSE_HEADERS),
        ("/{planet_name}/{z}/{x}/{y}.{ext}", named_tile, errors, RESPONSE_HEADERS),
        ("/{z}/{x}/{y}", open_tile, (*errors, 406), varying),
        ("/{planet_name}/{z}/{x}/{y}", named_open_tile, (*errors, 406), varying),
    ):
        for method in ("GET", "HEAD"):
            router.add_api_route(
                path,
                endpoint,
                methods=[method],
                responses=declared(method, *codes, headers=headers),
                response_class=Response,
                operation_id=f"{method.lower()}_{endpoint.__name__}",
            )
    return router


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of `work`, or None if the client leaves first; the work is then given up on its behalf.

    ASGI servers do not cancel a handler whose client is gone, they only say so to who asks.
    """

    async def leaves() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task = asyncio.create_task(work)
    gone = asyncio.create_task(leaves())
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        task.cancel()
        gone.cancel()
