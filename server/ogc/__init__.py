"""OGC API: Common, Tiles, Maps and tile matrix sets, in JSON and HTML."""

from server.ogc.router import ogc_router

__all__ = ["ogc_router"]
