"""TileJSON 3.0.0 (https://github.com/mapbox/tilejson-spec/tree/master/3.0.0): what map clients read first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field, WithJsonSchema

from model import Planet
from model.errors import UnknownPlanetError
from server import links
from server.encode import EXTENSIONS
from server.errors import ParameterError, responses
from server.settings import Settings
from server.tilekey import MAX_ZOOM, MIN_ZOOM, SPELLINGS, TILE_SIZE, TILE_SIZES, shorten

# Where Web Mercator's square ends: atan(sinh(pi)) in degrees.
MAX_LATITUDE = 85.0511287798066
VERSION = "1.0.0"


Format = Annotated[
    str,
    WithJsonSchema({"type": "string", "enum": [*EXTENSIONS, *SPELLINGS]}),
    Query(description="format of the tiles"),
]
Size = Annotated[
    str,
    WithJsonSchema({"type": "integer", "enum": list(TILE_SIZES)}),
    Query(description="side of the tiles, pixels"),
]
Scheme = Annotated[
    str,
    WithJsonSchema({"type": "string", "enum": ["xyz", "tms"]}),
    Query(description="from where rows count: xyz from the north, tms from the south"),
]


class TileJSON(BaseModel):
    """A TileJSON 3.0.0 document of raster tiles (`vector_layers` is for vector tiles only)."""

    tilejson: Literal["3.0.0"] = "3.0.0"
    name: str
    description: str
    version: str = VERSION
    attribution: str
    scheme: Literal["xyz", "tms"] = "xyz"
    tiles: list[str] = Field(min_length=1)
    minzoom: int = MIN_ZOOM
    maxzoom: int = MAX_ZOOM
    bounds: list[float] = Field(default=[-180.0, -MAX_LATITUDE, 180.0, MAX_LATITUDE], min_length=4, max_length=4)
    center: list[float | int] = Field(default=[0.0, 20.0, 2], min_length=3, max_length=3)  # longitude, latitude, zoom
    format: str
    tileSize: int = TILE_SIZE  # MapLibre's; the specification has readers ignore what they do not know


def tilejson(
    scope: Mapping[str, Any],
    settings: Settings,
    planet: Planet,
    extension: str,
    *,
    size: int = TILE_SIZE,
    scheme: Literal["xyz", "tms"] = "xyz",
    named: bool = False,
) -> TileJSON:
    """The document whose tiles are reached the way the request `scope` came.

    `size` is one of `TILE_SIZES`: tiles of 512 px end one zoom earlier, having the pixels of the next. `named` puts the
    planet's name into the tiles' addresses, as TMS does anyway.
    """
    prefix = f"/tms/1.0.0/{planet.name}" if scheme == "tms" else f"/{planet.name}" if named else ""
    scale = size // TILE_SIZE
    template = f"{prefix}/{{z}}/{{x}}/{{y}}{'@2x' if scale == 2 else ''}.{extension}"
    return TileJSON(
        name=f"MetaEarth {planet.name}",
        description=f"A synthetic planet, seed {planet.seed}: no record of any real place beyond zoom 4.",
        attribution=settings.attribution,
        scheme=scheme,
        tiles=[links.public_url(scope, settings, template)],
        maxzoom=MAX_ZOOM - (scale - 1),
        format="png" if extension == "png8" else extension,
        tileSize=size,
    )


def tilejson_router(settings: Settings, planet: Planet) -> APIRouter:
    """`/tilejson.json`, `/{planet}/tilejson.json` and `/{planet}.json`, GET and HEAD."""
    router = APIRouter(tags=["metadata"])

    def answer(request: Request, format: str, tilesize: str, scheme: str, named: bool) -> TileJSON:
        extension = SPELLINGS.get(format, format)
        if extension not in EXTENSIONS:
            raise ParameterError(f"The format {shorten(format)} is not served; use one of {', '.join(EXTENSIONS)}.")
        if tilesize not in {str(size) for size in TILE_SIZES}:
            raise ParameterError(f"tilesize must be {TILE_SIZES[0]} or {TILE_SIZES[1]}, not {shorten(tilesize)}.")
        if scheme not in ("xyz", "tms"):
            raise ParameterError(f"scheme must be xyz or tms, not {shorten(scheme)}.")
        known: Literal["xyz", "tms"] = "tms" if scheme == "tms" else "xyz"
        return tilejson(request.scope, settings, planet, extension, size=int(tilesize), scheme=known, named=named)

    async def get_tilejson(
        request: Request, format: Format = "png", tilesize: Size = str(TILE_SIZE), scheme: Scheme = "xyz"
    ) -> TileJSON:
        """The tiles' address, extent and attribution, as TileJSON 3.0.0."""
        return answer(request, format, tilesize, scheme, False)

    async def get_planet_tilejson(
        request: Request, format: Format = "png", tilesize: Size = str(TILE_SIZE), scheme: Scheme = "xyz"
    ) -> TileJSON:
        """As /tilejson.json, with the planet's name in the tiles' address."""
        return answer(request, format, tilesize, scheme, True)

    async def get_named_tilejson(
        request: Request,
        planet_name: str,
        format: Format = "png",
        tilesize: Size = str(TILE_SIZE),
        scheme: Scheme = "xyz",
    ) -> TileJSON:
        """As /tilejson.json for a planet by its name, which is in the tiles' address too."""
        if planet_name != planet.name:
            raise UnknownPlanetError(f"There is no planet {shorten(planet_name)} here; use {planet.name}.")
        return answer(request, format, tilesize, scheme, True)

    for path, endpoint, codes in (
        ("/tilejson.json", get_tilejson, (405, 422)),
        ("/{planet_name}/tilejson.json", get_named_tilejson, (404, 405, 422)),
        (f"/{planet.name}.json", get_planet_tilejson, (405, 422)),
    ):
        router.add_api_route(path, endpoint, methods=["GET"], responses=responses(*codes))
        router.add_api_route(path, endpoint, methods=["HEAD"], include_in_schema=False)
    return router
