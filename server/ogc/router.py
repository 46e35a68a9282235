"""All routes of OGC API, put together."""

from __future__ import annotations

from fastapi import APIRouter

from model import Planet
from server.encode import Encoder
from server.fastpath import ReadyTiles
from server.ogc.landing import common_router, landing_router
from server.ogc.maps import map_router
from server.ogc.matrix_sets import matrix_set_router
from server.ogc.site import Pages, Site
from server.ogc.tiles import TILE_BASES, tile_router
from server.ogc.tilesets import tileset_router
from server.renderer import TileRenderer
from server.settings import Settings


def ogc_router(settings: Settings, planet: Planet, renderer: TileRenderer, ready: ReadyTiles, encoder: Encoder) -> APIRouter:
    """The landing page, conformance, collections, tile matrix sets, tilesets, tiles and maps.

    To be included before the routes of XYZ tiles, which match addresses of as many parts.
    """
    site, pages = Site(settings, planet), Pages()
    parts = [
        common_router(site, pages),
        matrix_set_router(site, pages),
        tileset_router(site, pages),
        *(tile_router(site, renderer, ready, base, operation) for base, operation in TILE_BASES.items()),
        map_router(site, renderer, encoder),
    ]
    router = APIRouter()
    router.include_router(landing_router(site, pages))
    for part in parts:
        router.include_router(part)
    return router
