"""Which tile a WMTS request means: strictly, with OGC's errors, and by the fast path at the price of a few look-ups."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from server.errors import OwsError, OwsResourceError
from server.ows import INVALID, Parameters
from server.tilekey import TileKey, shorten
from server.wmts_capabilities import KVP_PATH, REST_PATH, VERSION, tile_formats
from server.wmts_grids import MATRIX_SETS

T = TypeVar("T")

TILE_PARAMETERS = {
    "layer": "the planet",
    "style": "always default",
    "format": "media type",
    "TileMatrixSet": "WebMercatorQuad or WorldCRS84Quad",
    "TileMatrix": "zoom, as the set counts it",
    "TileRow": "row from the north",
    "TileCol": "column from 180 W",
}
STYLE = "default"
# Addresses whose tile the fast path remembers, about as many as there are tiles in memory; longer ones than any client
# writes are for the routes, so that these take some 4 MB at most.
REMEMBERED, LONGEST = 8192, 512
INTEGER = re.compile(r"-?\d+", re.ASCII)


class WmtsTiles:
    """The addresses of the tiles of one planet, which is one layer."""

    def __init__(self, planet: str) -> None:
        self._planet = planet
        self._known = functools.lru_cache(REMEMBERED)(self._parse)
        self._formats = {media_type: extension for extension, media_type in tile_formats().items()}
        # As clients write them into a query string, of which the fast path decodes nothing.
        self._raw_formats = {
            spelling.encode(): extension
            for media_type, extension in self._formats.items()
            for spelling in (media_type, media_type.replace("/", "%2F"), media_type.replace("/", "%2f"))
        }
        self._raw_grids = {name.encode(): grid for name, grid in MATRIX_SETS.items()}
        fixed = {"service": "WMTS", "request": "GetTile", "version": VERSION, "layer": planet, "style": STYLE}
        self._fixed = {name.encode(): value.encode() for name, value in fixed.items()}.items()
        self._rest = re.compile(
            re.escape(f"{REST_PATH}{planet}/{STYLE}/")
            + rf"({'|'.join(MATRIX_SETS)})/(0|[1-9]\d?)/(0|[1-9]\d{{0,6}})/(0|[1-9]\d{{0,6}})\.({'|'.join(tile_formats())})",
            re.ASCII,
        )

    def resolve(self, path: str, query: bytes) -> TileKey | None:
        """The tile of an address below /wmts, KVP or RESTful, or None where the routes know better; never raises."""
        return self._known(path, query) if len(path) + len(query) <= LONGEST else None

    def _parse(self, path: str, query: bytes) -> TileKey | None:
        if path == KVP_PATH:
            return self._from_query(query)
        match = self._rest.fullmatch(path)
        if match is None:
            return None
        return _within(match[1], int(match[2]), int(match[3]), int(match[4]), match[5])

    def _from_query(self, query: bytes) -> TileKey | None:
        pairs = query.split(b"&")
        values: dict[bytes, bytes] = {}
        for pair in pairs:
            name, _, value = pair.partition(b"=")
            values[name.lower()] = value
        # A name that occurs twice is for `Parameters` to judge.
        if len(values) != len(pairs) or not self._fixed <= values.items():
            return None
        try:
            extension, grid = self._raw_formats[values[b"format"]], self._raw_grids[values[b"tilematrixset"]]
            matrix, row, column = values[b"tilematrix"], values[b"tilerow"], values[b"tilecol"]
        except KeyError:
            return None
        if not (matrix.isdigit() and row.isdigit() and column.isdigit()) or len(matrix) + len(row) + len(column) > 20:
            return None
        zoom = int(matrix)
        if matrix[0] == 48 and zoom:  # "04" is not the name of a matrix
            return None
        return _within(grid.name, zoom, int(row), int(column), extension)

    def from_parameters(self, parameters: Parameters) -> TileKey:
        """The tile of a GetTile request; raises `OwsError` with the parameter's name as locator."""
        hints = {
            "layer": self._planet,
            "style": STYLE,
            "format": next(iter(self._formats)),
            "TileMatrixSet": next(iter(MATRIX_SETS)),
        }
        values = {name: parameters.need(name, f"send such as {name}={hints.get(name, '0')}") for name in TILE_PARAMETERS}
        extension = _one_of("format", values["format"], self._formats)
        return self._key(values, extension)

    def from_path(self, parts: Mapping[str, Any]) -> TileKey:
        """The tile of a RESTful address; raises `OwsResourceError` with the template's variable as locator."""
        names = {"TileMatrixSet": "tile_matrix_set", "TileMatrix": "tile_matrix", "TileRow": "tile_row", "TileCol": "tile_col"}
        values = {name: parts[names.get(name, name)] for name in TILE_PARAMETERS if name != "format"}
        try:
            extension = _one_of("format", parts["extension"], {name: name for name in tile_formats()})
            return self._key(values, extension)
        except OwsError as error:
            raise OwsResourceError(error.code, str(error), error.locator) from error

    def _key(self, values: Mapping[str, str], extension: str) -> TileKey:
        _one_of("layer", values["layer"], {self._planet: self._planet})
        _one_of("style", values["style"], {STYLE: STYLE})
        grid = _one_of("TileMatrixSet", values["TileMatrixSet"], MATRIX_SETS)
        matrices = {str(matrix.zoom): matrix for matrix in grid.matrices}
        name = values["TileMatrix"]
        if name not in matrices:
            text = f"{grid.name} has no TileMatrix {shorten(name)}; use 0 to {len(matrices) - 1}."
            raise OwsError(INVALID, text, "TileMatrix")
        matrix = matrices[name]
        row = _index("TileRow", values["TileRow"], matrix.first_row, matrix.last_row, name)
        column = _index("TileCol", values["TileCol"], 0, matrix.width - 1, name)
        return TileKey(matrix.zoom, column, row, extension, grid=grid.name)


def _within(grid: str, zoom: int, row: int, column: int, extension: str) -> TileKey | None:
    matrices = MATRIX_SETS[grid].matrices
    if zoom >= len(matrices):
        return None
    matrix = matrices[zoom]
    if not (matrix.first_row <= row <= matrix.last_row and column < matrix.width):
        return None
    return TileKey(zoom, column, row, extension, grid=grid)


def _one_of(name: str, value: str, allowed: Mapping[str, T]) -> T:
    if value not in allowed:
        raise OwsError(INVALID, f"There is no {name} {shorten(value)}; use {' or '.join(allowed)}.", name)
    return allowed[value]


def _index(name: str, value: str, first: int, last: int, matrix: str) -> int:
    if not INTEGER.fullmatch(value):
        raise OwsError(INVALID, f"{name} must be an integer, not {shorten(value)}.", name)
    # Longer than any index: outside in any case, and int() refuses thousands of digits.
    number = int(value) if len(value) < 20 else -1
    if not first <= number <= last:
        text = f"{name} {shorten(value)} is outside of {first} to {last}, the limits of TileMatrix {matrix}."
        raise OwsError("TileOutOfRange", text, name)
    return number
