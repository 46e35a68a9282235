"""OGC API - Tiles (20-057, core): the tiles themselves, the same as those of /{z}/{x}/{y}.{ext}."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import WithJsonSchema
from starlette.responses import Response

from server.encode import MEDIA_TYPES
from server.errors import TileAddressError, TileNotFoundError, responses
from server.fastpath import ReadyTiles, Resolver
from server.ogc.conditional import answer_if_known
from server.ogc.errors import OgcRoute, exception_response, exceptions
from server.ogc.matrix_sets import MATRIX_SETS, MatrixSetId, limit_of, limits
from server.ogc.negotiation import Offers, choose
from server.ogc.site import Site, collection_of
from server.render_queue import STOPPING
from server.renderer import TileRenderer
from server.tilekey import MAX_ZOOM, TileKey, shorten
from server.tiles import IMAGES, RESPONSE_HEADERS, TileResponse, while_connected

# Where tiles lie, and the beginning of their operations' names. The dataset's and the collection's are the same tiles: there
# is one collection. Both /tiles and /map/tiles are written of in 20-057 and 20-058.
TILE_BASES = {
    "/tiles": "tiles.dataset.map",
    "/map/tiles": "map.dataset.map",
    "/collections/{collectionId}/tiles": "tiles.collection.map",
    "/collections/{collectionId}/map/tiles": "map.collection.map",
}
# The extension of each format by its name in `f`.
EXTENSION = {"png": "png", "jpeg": "jpg", "webp": "webp"}
TILE_OFFERS: Offers = {name: MEDIA_TYPES[extension] for name, extension in EXTENSION.items()}
NUMBER = re.compile(r"-?\d+", re.ASCII)

TileFormat = Annotated[
    str | None,
    WithJsonSchema({"type": "string", "enum": list(EXTENSION)}),
    Query(description="format; goes before the Accept header"),
]
MatrixId = Annotated[
    str,
    WithJsonSchema({"type": "string", "enum": [str(zoom) for zoom in range(MAX_ZOOM + 1)]}),
    Path(description="identifier of a matrix of the set: its zoom"),
]
Index = WithJsonSchema({"type": "integer", "minimum": 0})
Row = Annotated[str, Index, Path(description="row of the tile, from the north")]
Column = Annotated[str, Index, Path(description="column of the tile, from 180 W")]


def tile_index(matrix_set: str, matrix: str, row: str, column: str) -> tuple[int, int, int]:
    """Matrix, row and column as numbers that lie within the limits of the tileset.

    Raises:
        TileAddressError: if row or column is no number.
        TileNotFoundError: if there is no such matrix or tile.
        ResourceNotFoundError: if there is no such tile matrix set.
    """
    inside = limit_of(matrix_set, matrix)
    if inside is None:
        known = limits(matrix_set)
        raise TileNotFoundError(
            f"{matrix_set} has no matrix {shorten(matrix)} here; use {known[0].tileMatrix} to {known[-1].tileMatrix}."
        )
    numbers = []
    for name, text, least, most in (
        ("tileRow", row, inside.minTileRow, inside.maxTileRow),
        ("tileCol", column, inside.minTileCol, inside.maxTileCol),
    ):
        if not NUMBER.fullmatch(text):
            raise TileAddressError(f"{name} must be an integer, not {shorten(text)}.")
        # Longer than any index: outside in any case, and int() refuses thousands of digits.
        number = int(text) if len(text) < 20 else -1
        if not least <= number <= most:
            raise TileNotFoundError(
                f"{name} {shorten(text)} is outside of {least} to {most} in matrix {matrix} of {matrix_set}."
            )
        numbers.append(number)
    return int(matrix), numbers[0], numbers[1]


def tile_resolver(planet: str) -> Resolver:
    """Which tile a path and query mean for the fast path; those without `f` are for the route, which reads `Accept`."""
    bases = "|".join(re.escape(base.replace("{collectionId}", planet)) for base in TILE_BASES)
    address = re.compile(rf"(?:{bases})/({'|'.join(MATRIX_SETS)})/(0|[1-9]\d?)/(0|[1-9]\d{{0,6}})/(0|[1-9]\d{{0,6}})", re.ASCII)
    formats = {f"f={name}".encode(): extension for name, extension in EXTENSION.items()}

    def resolve(path: str, query: bytes) -> TileKey | None:
        extension, match = formats.get(query), address.fullmatch(path)
        if extension is None or match is None:
            return None
        inside = limit_of(match[1], match[2])
        row, column = int(match[3]), int(match[4])
        if inside is None or not (inside.minTileRow <= row <= inside.maxTileRow and column <= inside.maxTileCol):
            return None
        return TileKey(int(match[2]), column, row, extension, grid=match[1])

    return resolve


def tile_router(site: Site, renderer: TileRenderer, ready: ReadyTiles, base: str, operation: str) -> APIRouter:
    """`base` and `/{tileMatrixSetId}/{tileMatrix}/{tileRow}/{tileCol}`, GET and HEAD."""
    router = APIRouter(tags=["OGC API"], route_class=OgcRoute, dependencies=collection_of(site, base))

    async def tile(
        request: Request,
        tileMatrixSetId: MatrixSetId,
        tileMatrix: MatrixId,
        tileRow: Row,
        tileCol: Column,
        f: TileFormat = None,
    ) -> Response:
        """A tile, 256 x 256 pixels (20-057, core)."""
        chosen = choose(request, f, TILE_OFFERS)
        zoom, row, column = tile_index(tileMatrixSetId, tileMatrix, tileRow, tileCol)
        key = TileKey(zoom, column, row, EXTENSION[chosen], grid=tileMatrixSetId)
        known = answer_if_known(request, ready.etag(key).decode(), site.settings.max_age)
        if known is not None:
            return known
        try:
            made = await while_connected(request, renderer.tile(key))
        except asyncio.CancelledError:
            return exception_response(503, STOPPING)
        # 499 is nginx's code for a client that left; nobody is there to read it.
        if made is None:
            return Response(status_code=499)
        answer = TileResponse(made)
        answer.raw_headers = [*made.headers, (b"vary", b"Accept")]
        return answer

    path = base + "/{tileMatrixSetId}/{tileMatrix}/{tileRow}/{tileCol}"
    content = {media_type: IMAGES[media_type] for media_type in TILE_OFFERS.values()}
    declared: dict[int | str, dict[str, Any]] = {
        200: {"description": "The tile, 256 x 256 pixels.", "content": content, "headers": RESPONSE_HEADERS},
        304: {"description": "The tile has the ETag of If-None-Match; nothing was rendered.", "headers": RESPONSE_HEADERS},
        **exceptions(400, 404, 406, 503),
        **responses(405),
    }
    router.add_api_route(
        path, tile, methods=["GET"], responses=declared, response_class=Response, operation_id=f"{operation}.getTile"
    )
    router.add_api_route(path, tile, methods=["HEAD"], include_in_schema=False)
    return router
