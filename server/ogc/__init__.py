"""OGC API: Common, Tiles, Maps and tile matrix sets, in JSON and HTML."""

from server.ogc.openapi import describe
from server.ogc.router import ogc_router
from server.ogc.tiles import tile_resolver

__all__ = ["describe", "ogc_router", "tile_resolver"]
