"""The documents of OGC API, named as in the standards' schemas: Common (19-072, 20-024), Tiles (20-057) and the
Tile Set Metadata of 17-083r4."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, WithJsonSchema

CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
RELATION = "http://www.opengis.net/def/rel/ogc/1.0/"

# Without `prefixItems`, which schemathesis and others do not know.
Point = Annotated[
    tuple[float, float], WithJsonSchema({"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2})
]


class Link(BaseModel):
    """A link after RFC 8288; `templated` where `href` is a URI template."""

    href: str
    rel: str
    type: str | None = None
    title: str | None = None
    templated: bool | None = None


class SpatialExtent(BaseModel):
    """The boxes of a resource, the first around all others."""

    bbox: list[list[float]]
    crs: str = CRS84


class Extent(BaseModel):
    """Where a resource is."""

    spatial: SpatialExtent


class Landing(BaseModel):
    """landingPage.yaml of Common - Part 1, with the extent and CRS list that Maps asks for (dataset-map)."""

    title: str
    description: str
    attribution: str
    extent: Extent
    crs: list[str]
    links: list[Link]


class Conformance(BaseModel):
    """confClasses.yaml of Common - Part 1."""

    conformsTo: list[str]


class Collection(BaseModel):
    """collectionDesc.yaml of Common - Part 2."""

    id: str
    title: str
    description: str
    attribution: str
    extent: Extent
    crs: list[str] = Field(description="CRSs of its maps; any other EPSG code that PROJ knows is taken too")
    dataType: Literal["map"] = "map"
    minScaleDenominator: float
    maxScaleDenominator: float
    links: list[Link]


class Collections(BaseModel):
    """collections.yaml of Common - Part 2."""

    links: list[Link]
    numberMatched: int
    numberReturned: int
    collections: list[Collection]


class MatrixSetItem(BaseModel):
    """An entry of the list of tile matrix sets."""

    id: str
    title: str
    uri: str
    crs: str
    links: list[Link]


class MatrixSets(BaseModel):
    """The list of tile matrix sets (20-057, annex; 17-083r4)."""

    tileMatrixSets: list[MatrixSetItem]
    links: list[Link]


class MatrixSet(BaseModel):
    """tileMatrixSet.json of 17-083r4, as morecantile writes it."""

    id: str
    title: str
    uri: str
    crs: str
    orderedAxes: list[str]
    wellKnownScaleSet: str
    tileMatrices: list[dict[str, Any]]


class TilesetItem(BaseModel):
    """An entry of a list of tilesets."""

    title: str
    dataType: Literal["map"] = "map"
    crs: str
    tileMatrixSetURI: str
    links: list[Link]


class Tilesets(BaseModel):
    """The list of tilesets (20-057, tilesets-list)."""

    tilesets: list[TilesetItem]
    links: list[Link]


class Limits(BaseModel):
    """tileMatrixLimits.json of 17-083r4: the tiles of one matrix that there are."""

    tileMatrix: str
    minTileRow: int
    maxTileRow: int
    minTileCol: int
    maxTileCol: int


class BoundingBox(BaseModel):
    """2DBoundingBox.json of 17-083r4."""

    lowerLeft: Point
    upperRight: Point
    crs: str
    orderedAxes: list[str]


class CenterPoint(BaseModel):
    """tilePoint.json of 17-083r4: where a client may start."""

    coordinates: Point
    crs: str
    tileMatrix: str


class Layer(BaseModel):
    """geospatialData.json of 17-083r4."""

    id: str
    title: str
    dataType: Literal["map"] = "map"
    crs: str
    links: list[Link]


class Tileset(BaseModel):
    """tileSet.json of 17-083r4."""

    title: str
    description: str
    attribution: str
    version: str
    dataType: Literal["map"] = "map"
    mediaTypes: list[str]
    crs: str
    tileMatrixSetURI: str
    tileMatrixSetLimits: list[Limits]
    boundingBox: BoundingBox
    centerPoint: CenterPoint
    layers: list[Layer]
    links: list[Link]
