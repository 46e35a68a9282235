"""TileJSON 3.0.0 (https://github.com/mapbox/tilejson-spec/tree/master/3.0.0): what map clients read first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field, WithJsonSchema

from model import Planet
from server import links
from server.encode import EXTENSIONS
from server.errors import ParameterError, responses
from server.settings import Settings
from server.tilekey import MAX_ZOOM, MIN_ZOOM, TILE_SIZE, shorten

# Where Web Mercator's square ends: atan(sinh(pi)) in degrees.
MAX_LATITUDE = 85.0511287798066
VERSION = "1.0.0"


def numbers(count: int) -> WithJsonSchema:
    """The schema of so many numbers, without `prefixItems`, which many readers of OpenAPI do not know."""
    return WithJsonSchema({"type": "array", "items": {"type": "number"}, "minItems": count, "maxItems": count})


class TileJSON(BaseModel):
    """A TileJSON 3.0.0 document of raster tiles (`vector_layers` is for vector tiles only)."""

    tilejson: Literal["3.0.0"] = "3.0.0"
    name: str
    description: str
    version: str = VERSION
    attribution: str
    scheme: Literal["xyz"] = "xyz"
    tiles: list[str] = Field(min_length=1)
    minzoom: int = MIN_ZOOM
    maxzoom: int = MAX_ZOOM
    bounds: Annotated[tuple[float, float, float, float], numbers(4)] = (-180.0, -MAX_LATITUDE, 180.0, MAX_LATITUDE)
    center: Annotated[tuple[float, float, int], numbers(3)] = (0.0, 20.0, 2)
    format: str
    tileSize: int = TILE_SIZE  # MapLibre's; the specification has readers ignore what they do not know


def tilejson(scope: Mapping[str, Any], settings: Settings, planet: Planet, extension: str) -> TileJSON:
    """The document whose tiles are reached the way the request `scope` came."""
    return TileJSON(
        name=f"MetaEarth {planet.name}",
        description=f"A synthetic planet, seed {planet.seed}: no record of any real place beyond zoom 4.",
        attribution=settings.attribution,
        tiles=[links.public_url(scope, settings, "/{z}/{x}/{y}." + extension)],
        format=extension,
    )


def tilejson_router(settings: Settings, planet: Planet) -> APIRouter:
    """`/tilejson.json`, GET and HEAD."""
    router = APIRouter(tags=["metadata"])
    declared = responses(405, 422)

    async def get_tilejson(
        request: Request,
        format: Annotated[
            str,
            WithJsonSchema({"type": "string", "enum": list(EXTENSIONS)}),
            Query(description="format of the tiles"),
        ] = "png",
    ) -> TileJSON:
        """The tiles' address, extent and attribution, as TileJSON 3.0.0."""
        if format not in EXTENSIONS:
            raise ParameterError(f"The format {shorten(format)} is not served; use one of {', '.join(EXTENSIONS)}.")
        return tilejson(request.scope, settings, planet, format)

    router.add_api_route("/tilejson.json", get_tilejson, methods=["GET"], responses=declared)
    router.add_api_route("/tilejson.json", get_tilejson, methods=["HEAD"], include_in_schema=False)
    return router
