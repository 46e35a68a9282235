"""OGC API - Common (19-072, 20-024): landing page, conformance, and the planet as a collection."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from server.ogc.crs import COMMON_CRS
from server.ogc.errors import OgcRoute
from server.ogc.models import RELATION, Collection, Collections, Conformance, Extent, Landing, Link, SpatialExtent
from server.ogc.negotiation import DOCUMENT, VARY, DocumentFormat, choose
from server.ogc.site import CollectionId, Pages, Site, add_document
from server.tilejson import MAX_LATITUDE
from server.viewer_pages import index_page

COMMON = "http://www.opengis.net/spec/ogcapi-common-"
TILES = "http://www.opengis.net/spec/ogcapi-tiles-1/1.0/conf/"
MAPS = "http://www.opengis.net/spec/ogcapi-maps-1/1.0/conf/"
CONFORMS_TO = [
    *(f"{COMMON}1/1.0/conf/{name}" for name in ("core", "landing-page", "json", "html")),
    f"{COMMON}2/1.0/conf/collections",
    *(TILES + name for name in ("core", "tileset", "tilesets-list", "dataset-tilesets", "geodata-tilesets", "png", "jpeg")),
    *(MAPS + name for name in ("core", "scaling", "display-resolution", "spatial-subsetting", "crs", "background")),
    *(MAPS + name for name in ("collection-map", "dataset-map", "png", "jpeg", "tiff", "cors")),
]
OPENAPI = "application/vnd.oai.openapi+json;version=3.1"
# Of WebMercatorQuad's matrices 0 and 20 (17-083r4, annex D): the whole world in a tile, and the last zoom.
SCALES = (533.1823959624461, 559082264.0287178)
EXTENT = Extent(spatial=SpatialExtent(bbox=[[-180.0, -MAX_LATITUDE, 180.0, MAX_LATITUDE]]))


class Common:
    """The documents of OGC API - Common about one planet."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._title = f"MetaEarth {site.planet.name}"
        self._description = (
            f"A synthetic planet, seed {site.planet.seed}: no tile beyond zoom 4 is a record of any real place. "
            "Maps of it come in any coordinate reference system that PROJ knows by an EPSG code."
        )

    def landing(self, request: Request, path: str, chosen: str) -> Landing:
        """The landing page, reached at `path`."""
        link = self.site.link
        return Landing(
            title=self._title,
            description=self._description,
            attribution=self.site.settings.attribution,
            extent=EXTENT,
            crs=COMMON_CRS,
            links=[
                *self.site.selves(request, path, chosen),
                link(request, "/openapi.json", "service-desc", OPENAPI, "The API as OpenAPI"),
                link(request, "/docs", "service-doc", "text/html", "The API as a page"),
                link(request, "/conformance", "conformance", "application/json", "Conformance classes"),
                link(request, "/conformance", RELATION + "conformance", "application/json", "Conformance classes"),
                link(request, "/collections", "data", "application/json", "Collections"),
                link(request, "/collections", RELATION + "data", "application/json", "Collections"),
                link(request, "/tileMatrixSets", RELATION + "tiling-schemes", "application/json", "Tile matrix sets"),
                *self._renderings(request, ""),
                link(request, "/tilejson.json", "alternate", "application/vnd.mapbox.tilejson+json", "Tiles as TileJSON"),
                link(request, "/", "related", "text/html", "The viewer"),
            ],
        )

    def collection(self, request: Request, chosen: str) -> Collection:
        """The planet as a collection."""
        name = self.site.planet.name
        return Collection(
            id=name,
            title=self._title,
            description=self._description,
            attribution=self.site.settings.attribution,
            extent=EXTENT,
            crs=COMMON_CRS,
            minScaleDenominator=SCALES[0],
            maxScaleDenominator=SCALES[1],
            links=[
                *self.site.selves(request, f"/collections/{name}", chosen),
                *self._renderings(request, f"/collections/{name}"),
            ],
        )

    def collections(self, request: Request, chosen: str) -> Collections:
        """All collections: the one planet."""
        return Collections(
            links=self.site.selves(request, "/collections", chosen),
            numberMatched=1,
            numberReturned=1,
            collections=[self.collection(request, "json")],
        )

    def _renderings(self, request: Request, base: str) -> list[Link]:
        """Links to the map and the tiles of what lies at `base`; each media type of the map has its own."""
        formats = (("png", "image/png"), ("jpeg", "image/jpeg"), ("tiff", "image/tiff; application=geotiff"))
        link = self.site.link
        return [
            link(request, f"{base}/map/tiles", RELATION + "tilesets-map", "application/json", "Tilesets"),
            *(
                link(request, f"{base}/map?f={name}", RELATION + "map", media_type, f"Map as {name.upper()}")
                for name, media_type in formats
            ),
        ]


def landing_router(site: Site, pages: Pages) -> APIRouter:
    """`/` (the viewer for browsers), `/ogc`, with and without a slash, and redirections from all below."""
    router = APIRouter(tags=["OGC API"], route_class=OgcRoute)
    common = Common(site)
    viewer = index_page()

    async def root(request: Request, f: DocumentFormat = None) -> Response:
        """The viewer for browsers; the landing page of OGC API for whoever asks for JSON, or by `f`."""
        chosen = choose(request, f, {"html": DOCUMENT["html"], "json": DOCUMENT["json"]})
        if f is None and chosen == "html":
            return HTMLResponse(viewer, headers={"cache-control": "no-cache", **VARY})
        return pages.answer(request, site, chosen, "landing", common.landing(request, "/", chosen))

    async def landing(request: Request, f: DocumentFormat = None) -> Response:
        """The landing page of OGC API (19-072, 8.2): links to all else."""
        chosen = choose(request, f, DOCUMENT)
        return pages.answer(request, site, chosen, "landing", common.landing(request, "/ogc", chosen))

    async def below(request: Request, path: str) -> Response:
        # For clients that append paths to the landing page's address, which is not `/`: there is the viewer.
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(site.url(request, f"/{path}{query}"))

    add_document(router, "/", root, Landing, "getViewerOrLandingPage")
    add_document(router, "/ogc", landing, Landing, "getLandingPage")
    router.add_api_route("/ogc/", landing, methods=["GET", "HEAD"], include_in_schema=False)
    router.add_api_route("/ogc/{path:path}", below, methods=["GET", "HEAD"], include_in_schema=False)
    return router


def common_router(site: Site, pages: Pages) -> APIRouter:
    """`/conformance`, `/collections` and `/collections/{collectionId}`."""
    router = APIRouter(tags=["OGC API"], route_class=OgcRoute)
    common = Common(site)

    async def conformance(request: Request, f: DocumentFormat = None) -> Response:
        """The conformance classes that hold here (19-072, 8.4)."""
        document = Conformance(conformsTo=CONFORMS_TO)
        return pages.answer(request, site, choose(request, f, DOCUMENT), "conformance", document)

    async def collections(request: Request, f: DocumentFormat = None) -> Response:
        """The collections: one for each planet (20-024, 8.1)."""
        chosen = choose(request, f, DOCUMENT)
        return pages.answer(request, site, chosen, "collections", common.collections(request, chosen))

    async def collection(request: Request, collectionId: CollectionId, f: DocumentFormat = None) -> Response:
        """A planet: extent, coordinate reference systems, links to its maps and tiles (20-024, 8.2)."""
        chosen = choose(request, f, DOCUMENT)
        site.check_collection(collectionId)
        return pages.answer(request, site, chosen, "collection", common.collection(request, chosen))

    add_document(router, "/conformance", conformance, Conformance, "getConformance")
    add_document(router, "/collections", collections, Collections, "getCollections")
    add_document(router, "/collections/{collectionId}", collection, Collection, "getCollection", 404)
    return router
