"""The routes of tiles: what the fast path does not have at hand comes here."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Path, Request
from pydantic import WithJsonSchema
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from model.errors import UnknownPlanetError
from server.encode import EXTENSIONS, MEDIA_TYPES
from server.errors import error_response, responses
from server.fastpath import ReadyTile
from server.renderer import TileRenderer
from server.tilekey import MAX_ZOOM, MIN_ZOOM, TileKey, shorten

T = TypeVar("T")

# Text as it comes, so that `TileKey.parse` writes the sentence when it is no number; the documentation shows
# what it is.
Zoom = Annotated[
    str,
    WithJsonSchema({"type": "integer", "minimum": MIN_ZOOM, "maximum": MAX_ZOOM}),
    Path(description="zoom; 256 * 2**z pixels across the world"),
]
Column = Annotated[str, WithJsonSchema({"type": "integer", "minimum": 0}), Path(description="column from 180 W, below 2**z")]
Row = Annotated[str, WithJsonSchema({"type": "integer", "minimum": 0}), Path(description="row from the north, below 2**z")]
Extension = Annotated[str, WithJsonSchema({"type": "string", "enum": list(EXTENSIONS)}), Path(description="format")]

IMAGES = {media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in MEDIA_TYPES.values()}
RESPONSE_HEADERS = {
    "ETag": {"description": "strong, from the tile's key", "schema": {"type": "string"}},
    "Cache-Control": {"description": "public, max-age=seconds", "schema": {"type": "string"}},
}
GET_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The tile, 256 x 256 pixels.", "content": IMAGES, "headers": RESPONSE_HEADERS},
    304: {
        "description": "The tile has the ETag of If-None-Match; nothing was rendered.",
        "headers": RESPONSE_HEADERS,
    },
    **responses(404, 405, 422, 503),
}
# HEAD answers the same codes and headers, and never a body.
HEAD_RESPONSES: dict[int | str, dict[str, Any]] = {
    code: {name: part for name, part in answer.items() if name in ("description", "headers")}
    for code, answer in GET_RESPONSES.items()
}


class TileResponse(Response):
    """Sends a `ReadyTile`, whose headers were built when it was made."""

    def __init__(self, tile: ReadyTile) -> None:
        super().__init__()
        self.raw_headers = tile.headers
        self.body = tile.body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends headers and, unless asked by HEAD, the body."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        body = b"" if scope["method"] == "HEAD" else self.body
        await send({"type": "http.response.body", "body": body})


def tile_router(renderer: TileRenderer, planet: str) -> APIRouter:
    """`/{z}/{x}/{y}.{ext}` and `/{planet}/{z}/{x}/{y}.{ext}`, GET and HEAD."""
    router = APIRouter(tags=["tiles"])

    async def answer(request: Request, key: TileKey) -> Response:
        try:
            tile = await while_connected(request, renderer.tile(key))
        except asyncio.CancelledError:
            # The server stops and has no more time for a rendering; uvicorn itself would answer 500.
            return error_response(503, "The server is stopping; try again in a few seconds.")
        # 499 is nginx's code for a client that left; nobody is there to read it.
        return Response(status_code=499) if tile is None else TileResponse(tile)

    async def tile(request: Request, z: Zoom, x: Column, y: Row, ext: Extension) -> Response:
        """One tile of the planet served, XYZ in Web Mercator (EPSG:3857)."""
        return await answer(request, TileKey.parse(z, x, y, ext, request.scope.get("query_string", b"")))

    async def named_tile(request: Request, planet_name: str, z: Zoom, x: Column, y: Row, ext: Extension) -> Response:
        """One tile of a planet by its name."""
        if planet_name != planet:
            raise UnknownPlanetError(f"There is no planet {shorten(planet_name)} here; use {planet}.")
        return await answer(request, TileKey.parse(z, x, y, ext, request.scope.get("query_string", b"")))

    for path, endpoint in (("/{z}/{x}/{y}.{ext}", tile), ("/{planet_name}/{z}/{x}/{y}.{ext}", named_tile)):
        for method, declared in (("GET", GET_RESPONSES), ("HEAD", HEAD_RESPONSES)):
            router.add_api_route(
                path,
                endpoint,
                methods=[method],
                responses=declared,
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
