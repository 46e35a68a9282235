"""The tile matrix sets of WMTS: WebMercatorQuad and WorldCRS84Quad (OGC 17-083r4), their matrices and limits."""

from __future__ import annotations

import math
from dataclasses import dataclass

import morecantile

from server.tilejson import MAX_LATITUDE
from server.tilekey import CRS84, MAX_ZOOM, MERCATOR, TILE_SIZE

# Level 0 is two tiles wide, so that its columns are those of Web Mercator at zoom 1; and so on down to zoom 20.
CRS84_MAX_ZOOM = MAX_ZOOM - 1


@dataclass(frozen=True, slots=True)
class Matrix:
    """One tile matrix: numbers as they are written into capabilities, and the rows that have imagery.

    `scale` is the scale denominator at 0.28 mm per pixel; `left` and `top` are in units of the CRS; `first_row` and
    `last_row` are both inclusive.
    """

    zoom: int
    scale: float
    left: float
    top: float
    width: int
    height: int
    first_row: int
    last_row: int


@dataclass(frozen=True, slots=True)
class MatrixSet:
    """A tile matrix set: `crs` and `well_known` (or None) are URNs, matrix N stands at index N and is called N."""

    name: str
    title: str
    crs: str
    well_known: str | None
    box: tuple[float, float, float, float]
    matrices: tuple[Matrix, ...]


def _mercator() -> MatrixSet:
    standard = morecantile.tms.get(MERCATOR)
    half = -standard.matrix(0).pointOfOrigin[0]
    matrices = tuple(
        Matrix(
            zoom,
            matrix.scaleDenominator,
            *matrix.pointOfOrigin,
            matrix.matrixWidth,
            matrix.matrixHeight,
            0,
            matrix.matrixHeight - 1,
        )
        for zoom in range(MAX_ZOOM + 1)
        for matrix in [standard.matrix(zoom)]
    )
    return MatrixSet(
        MERCATOR,
        "Web Mercator, 256 px tiles",
        "urn:ogc:def:crs:EPSG::3857",
        "urn:ogc:def:wkss:OGC:1.0:GoogleMapsCompatible",
        (-half, -half, half, half),
        matrices,
    )


def _crs84() -> MatrixSet:
    """Scales are those of Web Mercator one zoom deeper, by definition the same; morecantile's own are cut after 15 digits.

    No well-known scale set is claimed: GoogleCRS84Quad begins one scale higher, and a set of WMTS 1.0.0 that claims to follow
    one has all its scales from the largest down.
    """
    standard, deeper = morecantile.tms.get(CRS84), morecantile.tms.get(MERCATOR)
    matrices = []
    for zoom in range(CRS84_MAX_ZOOM + 1):
        matrix = standard.matrix(zoom)
        left, top = matrix.pointOfOrigin
        first = math.floor((90 - MAX_LATITUDE) / (180 / matrix.matrixHeight))
        scale = deeper.matrix(zoom + 1).scaleDenominator
        height = matrix.matrixHeight
        matrices.append(Matrix(zoom, scale, float(left), float(top), matrix.matrixWidth, height, first, height - 1 - first))
    return MatrixSet(
        CRS84,
        "Longitude and latitude, 256 px tiles",
        "urn:ogc:def:crs:OGC:1.3:CRS84",
        None,
        (-180.0, -90.0, 180.0, 90.0),
        tuple(matrices),
    )


MATRIX_SETS = {grid.name: grid for grid in (_mercator(), _crs84())}
assert all(morecantile.tms.get(name).matrix(0).tileWidth == TILE_SIZE for name in MATRIX_SETS)
