"""OGC API - Tiles (20-057): lists of tilesets, tilesets and tiles, of the dataset and of its one collection."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from server.errors import ParameterError
from server.ogc.errors import OgcRoute
from server.ogc.matrix_sets import LAST_MATRIX, MATRIX_SETS, MatrixSetId, limits, matrix_set
from server.ogc.models import CRS84, RELATION, BoundingBox, CenterPoint, Layer, Link, Tileset, TilesetItem, Tilesets
from server.ogc.negotiation import DOCUMENT, TILESET, VARY, DocumentFormat, TilesetFormat, choose
from server.ogc.site import Pages, Site, add_document, collection_of
from server.ogc.tiles import TILE_BASES, TILE_OFFERS
from server.tilejson import MAX_LATITUDE, VERSION, TileJSON, tilejson

SCHEME = RELATION + "tiling-scheme"


class TilesetDocuments:
    """The tilesets below one base path, such as /map/tiles."""

    def __init__(self, site: Site, base: str) -> None:
        self.site = site
        self.base = base.replace("{collectionId}", site.planet.name)

    def all(self, request: Request, chosen: str) -> Tilesets:
        """All tilesets, one for each tile matrix set."""
        return Tilesets(
            tilesets=[
                TilesetItem(
                    title=self._title(name),
                    crs=matrix_set(name).crs,
                    tileMatrixSetURI=matrix_set(name).uri,
                    links=[*self.site.selves(request, f"{self.base}/{name}", "json"), self._scheme(request, name)],
                )
                for name in MATRIX_SETS
            ],
            links=self.site.selves(request, self.base, chosen),
        )

    def one(self, request: Request, name: str, chosen: str) -> Tileset:
        """A tileset's metadata; raises `ResourceNotFoundError` if `name` is no tile matrix set served."""
        definition, planet = matrix_set(name), self.site.planet
        offers = TILESET if name == "WebMercatorQuad" else DOCUMENT
        corners = BoundingBox(
            lowerLeft=(-180.0, -MAX_LATITUDE), upperRight=(180.0, MAX_LATITUDE), crs=CRS84, orderedAxes=["Lon", "Lat"]
        )
        collection = self.site.link(
            request, f"/collections/{planet.name}?f=json", RELATION + "geodata", "application/json", "The collection"
        )
        return Tileset(
            title=self._title(name),
            description=f"Tiles of a synthetic planet, seed {planet.seed}; no record of any real place beyond zoom 4.",
            attribution=self.site.settings.attribution,
            version=VERSION,
            mediaTypes=list(TILE_OFFERS.values()),
            crs=definition.crs,
            tileMatrixSetURI=definition.uri,
            tileMatrixSetLimits=list(limits(name)),
            boundingBox=corners,
            centerPoint=CenterPoint(coordinates=(0.0, 20.0), crs=CRS84, tileMatrix="2"),
            layers=[
                Layer(id=planet.name, title=f"MetaEarth {planet.name}", crs=definition.crs, links=[collection]),
            ],
            links=[
                *self.site.selves(request, f"{self.base}/{name}", chosen, offers),
                self._scheme(request, name),
                *self._templates(request, name),
                collection,
            ],
        )

    def tilejson(self, request: Request, name: str) -> TileJSON:
        """The same tileset as TileJSON 3.0.0, which knows Web Mercator only.

        Raises:
            ParameterError: for any other tile matrix set.
        """
        if name != "WebMercatorQuad":
            raise ParameterError(f"TileJSON has Web Mercator tiles only; ask for f=json of {name}, or for WebMercatorQuad.")
        document = tilejson(request.scope, self.site.settings, self.site.planet, "png")
        template = self.site.url(request, f"{self.base}/{name}/{{z}}/{{y}}/{{x}}?f=png")
        return document.model_copy(update={"tiles": [template]})

    def _title(self, name: str) -> str:
        return f"MetaEarth {self.site.planet.name} in {name}, matrices 0 to {LAST_MATRIX[name]}"

    def _scheme(self, request: Request, name: str) -> Link:
        return self.site.link(request, f"/tileMatrixSets/{name}?f=json", SCHEME, "application/json", name)

    def _templates(self, request: Request, name: str) -> list[Link]:
        path = f"{self.base}/{name}/{{tileMatrix}}/{{tileRow}}/{{tileCol}}"
        return [
            Link(
                href=self.site.url(request, f"{path}?f={offer}"),
                rel="item",
                type=media_type,
                title=f"Tiles as {offer.upper()}",
                templated=True,
            )
            for offer, media_type in TILE_OFFERS.items()
        ]


def tileset_router(site: Site, pages: Pages) -> APIRouter:
    """Each of `TILE_BASES`, and `/{tileMatrixSetId}` below it."""
    router = APIRouter(tags=["OGC API"], route_class=OgcRoute)
    for base, operation in TILE_BASES.items():
        _add(router, site, pages, base, operation)
    return router


def _add(router: APIRouter, site: Site, pages: Pages, base: str, operation: str) -> None:
    """The two routes of one base."""
    documents, needs = TilesetDocuments(site, base), collection_of(site, base)

    async def tilesets(request: Request, f: DocumentFormat = None) -> Response:
        """The tilesets, one for each tile matrix set (20-057, tilesets-list)."""
        chosen = choose(request, f, DOCUMENT)
        return pages.answer(request, site, chosen, "tilesets", documents.all(request, chosen))

    async def tileset(request: Request, tileMatrixSetId: MatrixSetId, f: TilesetFormat = None) -> Response:
        """A tileset's metadata (17-083r4), with the templates of its tiles' addresses."""
        chosen = choose(request, f, TILESET)
        document = documents.one(request, tileMatrixSetId, chosen)
        if chosen == "tilejson":
            content = documents.tilejson(request, tileMatrixSetId).model_dump(mode="json")
            return JSONResponse(content, headers=VARY, media_type=TILESET["tilejson"])
        return pages.answer(request, site, chosen, "tileset", document)

    codes = (404,) if needs else ()
    add_document(router, base, tilesets, Tilesets, f"{operation}.getTileSetsList", *codes, needs=needs)
    add_document(
        router,
        base + "/{tileMatrixSetId}",
        tileset,
        Tileset,
        f"{operation}.getTileSet",
        404,
        needs=needs,
        content={TILESET["tilejson"]: {"schema": TileJSON.model_json_schema()}},
    )
