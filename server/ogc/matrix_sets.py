"""The two tile matrix sets of 17-083r4 that tiles are served in, as morecantile has them."""

from __future__ import annotations

from functools import lru_cache
from math import floor
from typing import Annotated

import morecantile
from fastapi import APIRouter, Path, Request
from pydantic import WithJsonSchema
from starlette.responses import Response

from server.errors import ResourceNotFoundError
from server.ogc.errors import OgcRoute
from server.ogc.models import Limits, MatrixSet, MatrixSetItem, MatrixSets
from server.ogc.negotiation import DOCUMENT, DocumentFormat, choose
from server.ogc.site import Pages, Site, add_document
from server.tilejson import MAX_LATITUDE
from server.tilekey import MAX_ZOOM, shorten

# By name: the number of its last matrix. A cell of WorldCRS84Quad is half as wide as WebMercatorQuad's of equal number.
LAST_MATRIX = {"WebMercatorQuad": MAX_ZOOM, "WorldCRS84Quad": MAX_ZOOM - 1}
MATRIX_SETS = tuple(LAST_MATRIX)
MatrixSetId = Annotated[
    str, WithJsonSchema({"type": "string", "enum": list(MATRIX_SETS)}), Path(description="tile matrix set of 17-083r4")
]


@lru_cache(64)
def matrix_set(name: str) -> MatrixSet:
    """The definition of a tile matrix set.

    Raises:
        ResourceNotFoundError: if no tiles are served in it.
    """
    if name not in LAST_MATRIX:
        known = " or ".join(LAST_MATRIX)
        raise ResourceNotFoundError(f"The tile matrix set {shorten(name)} is not served; use {known}.")
    definition = morecantile.tms.get(name).model_dump(mode="json", exclude_none=True)
    return MatrixSet.model_validate(definition)


@lru_cache(64)
def limits(name: str) -> tuple[Limits, ...]:
    """The tiles there are in each matrix: all columns, and the rows that reach into Web Mercator's world."""
    found = []
    for matrix in matrix_set(name).tileMatrices[: LAST_MATRIX[name] + 1]:
        rows, columns = matrix["matrixHeight"], matrix["matrixWidth"]
        # Rows above the northern end of Web Mercator; there are as many in the south.
        empty = floor((90 - MAX_LATITUDE) / 180 * rows) if name == "WorldCRS84Quad" else 0
        found.append(
            Limits(
                tileMatrix=matrix["id"],
                minTileRow=empty,
                maxTileRow=rows - 1 - empty,
                minTileCol=0,
                maxTileCol=columns - 1,
            )
        )
    return tuple(found)


@lru_cache(64)
def limit_of(name: str, matrix: str) -> Limits | None:
    """The limits of one matrix, None if no tiles are served in it; raises `ResourceNotFoundError` as `matrix_set` does."""
    return next((limit for limit in limits(name) if limit.tileMatrix == matrix), None)


def matrix_set_router(site: Site, pages: Pages) -> APIRouter:
    """`/tileMatrixSets` and `/tileMatrixSets/{tileMatrixSetId}`."""
    router = APIRouter(tags=["OGC API"], route_class=OgcRoute)

    async def matrix_sets(request: Request, f: DocumentFormat = None) -> Response:
        """The tile matrix sets that tiles are served in."""
        chosen = choose(request, f, DOCUMENT)
        items = [
            MatrixSetItem(
                **matrix_set(name).model_dump(include={"id", "title", "uri", "crs"}),
                links=site.selves(request, f"/tileMatrixSets/{name}", "json"),
            )
            for name in MATRIX_SETS
        ]
        document = MatrixSets(tileMatrixSets=items, links=site.selves(request, "/tileMatrixSets", chosen))
        return pages.answer(request, site, chosen, "tile_matrix_sets", document)

    async def one(request: Request, tileMatrixSetId: MatrixSetId, f: DocumentFormat = None) -> Response:
        """A tile matrix set's definition after 17-083r4."""
        return pages.answer(request, site, choose(request, f, DOCUMENT), "tile_matrix_set", matrix_set(tileMatrixSetId))

    add_document(router, "/tileMatrixSets", matrix_sets, MatrixSets, "getTileMatrixSetsList")
    add_document(router, "/tileMatrixSets/{tileMatrixSetId}", one, MatrixSet, "getTileMatrixSet", 404)
    return router
