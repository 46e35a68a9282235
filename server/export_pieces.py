"""The pieces an export is made of, in an order that depends on the plan alone, so that a count of finished ones resumes it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pmtiles.tile import zxy_to_tileid

from server.export_plan import COG_TILE, ExportPlan
from server.tilekey import TILE_SIZE

Pixels = NDArray[np.uint8]

SIDE = 2048
"""Side of a piece in pixels: four COG tiles or eight map tiles. What is rendered and not written yet is at most a few."""
TILES = SIDE // TILE_SIZE


@dataclass(frozen=True)
class Piece:
    """A window of pixels of `zoom` (x may be beyond the antimeridian), and its place `row`, `column` in the plan.

    In a COG row and column count pieces from the area's top left corner; otherwise they are the window's first map tile.
    """

    zoom: int
    x: int
    y: int
    width: int
    height: int
    row: int
    column: int

    @property
    def pixels(self) -> int:
        """Pixels of the window."""
        return self.width * self.height


def pieces_of(plan: ExportPlan) -> list[Piece]:
    """All pieces of a plan: of a COG row by row; of tiles zoom by zoom along the Hilbert curve (PMTiles v3, 4.1)."""
    return list(_cog_pieces(plan)) if plan.format == "cog" else list(_tile_pieces(plan))


def _cog_pieces(plan: ExportPlan) -> Iterator[Piece]:
    for row in range(math.ceil(plan.height / SIDE)):
        for column in range(math.ceil(plan.width / SIDE)):
            x, y = column * SIDE, row * SIDE
            width, height = min(SIDE, plan.width - x), min(SIDE, plan.height - y)
            yield Piece(plan.maxzoom, plan.x + x, plan.y + y, width, height, row, column)


def _tile_pieces(plan: ExportPlan) -> Iterator[Piece]:
    for zoom in range(plan.minzoom, plan.maxzoom + 1):
        found = []
        top, rows = plan.tile_rows(zoom)
        for left, columns in _column_runs(plan, zoom):
            for square_row in range(top // TILES, (top + rows - 1) // TILES + 1):
                for square_column in range(left // TILES, (left + columns - 1) // TILES + 1):
                    first_row, first_column = max(top, square_row * TILES), max(left, square_column * TILES)
                    last_row = min(top + rows, (square_row + 1) * TILES)
                    last_column = min(left + columns, (square_column + 1) * TILES)
                    order = zxy_to_tileid(zoom, first_column, first_row)
                    window = (
                        first_column * TILE_SIZE,
                        first_row * TILE_SIZE,
                        (last_column - first_column) * TILE_SIZE,
                        (last_row - first_row) * TILE_SIZE,
                    )
                    found.append((order, Piece(zoom, *window, first_row, first_column)))
        # Aligned squares of a power of two are unbroken stretches of the curve, so any of their tiles orders them. Two
        # windows share a square where an area goes around the world and meets itself: they are told apart by their tiles.
        yield from (piece for _, piece in sorted(found, key=lambda pair: pair[0]))


def _column_runs(plan: ExportPlan, zoom: int) -> list[tuple[int, int]]:
    """The tile columns of a zoom as runs within the world: two where the area crosses the antimeridian."""
    first, count = plan.tile_columns(zoom)
    world = 1 << zoom
    if count == world:
        return [(0, world)]
    if first + count <= world:
        return [(first, count)]
    return [(0, first + count - world), (first, world - first)]


def map_tiles(piece: Piece, pixels: Pixels) -> list[tuple[int, int, Pixels]]:
    """The 256 px tiles (column, row, pixels) of a piece, in Hilbert order."""
    tiles = []
    for row in range(piece.height // TILE_SIZE):
        for column in range(piece.width // TILE_SIZE):
            top, left = row * TILE_SIZE, column * TILE_SIZE
            tile = pixels[top : top + TILE_SIZE, left : left + TILE_SIZE]
            tiles.append((piece.column + column, piece.row + row, np.ascontiguousarray(tile)))
    return sorted(tiles, key=lambda tile: zxy_to_tileid(piece.zoom, tile[0], tile[1]))


def cog_tiles(pixels: Pixels) -> list[tuple[int, int, Pixels]]:
    """The 512 px tiles (column, row, pixels) of a window, those at its edge filled by repeating its last pixels."""
    height, width = pixels.shape[:2]
    tiles = []
    for top in range(0, height, COG_TILE):
        for left in range(0, width, COG_TILE):
            tile = pixels[top : top + COG_TILE, left : left + COG_TILE]
            short = ((0, COG_TILE - tile.shape[0]), (0, COG_TILE - tile.shape[1]), (0, 0))
            tiles.append((left // COG_TILE, top // COG_TILE, np.pad(tile, short, mode="edge")))
    return tiles


def halve(pixels: Pixels) -> Pixels:
    """The 2x2 box mean, uint8 [ceil(h / 2), ceil(w / 2), 3], halves rounded up; an odd edge is the mean of what it has."""
    height, width = pixels.shape[:2]
    even = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge").astype(np.uint16)
    total = even[0::2, 0::2] + even[0::2, 1::2] + even[1::2, 0::2] + even[1::2, 1::2]
    return ((total + 2) >> 2).astype(np.uint8)


def windows_within(piece: Piece, side: int) -> Iterator[tuple[int, int, int, int]]:
    """The piece cut along the world's lattice of `side` px, so that no canonical block is cut: x, y, width, height."""
    for y in range(piece.y - piece.y % side, piece.y + piece.height, side):
        for x in range(piece.x - piece.x % side, piece.x + piece.width, side):
            left, top = max(x, piece.x), max(y, piece.y)
            right, bottom = min(x + side, piece.x + piece.width), min(y + side, piece.y + piece.height)
            yield left, top, right - left, bottom - top


ReadWindow = Callable[[int, int, int, int, int], Pixels]
"""`planet.read` or what stands for it: zoom, x, y, width, height to uint8 [height, width, 3]."""
