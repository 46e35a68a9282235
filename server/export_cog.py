"""Cloud-optimized GeoTIFF, piece by piece: tiles and overviews go into a log as they come, and into their order at the end."""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from model.grid import EARTH_CIRCUMFERENCE
from server.encode import Encoder
from server.export_log import TileLog
from server.export_pieces import SIDE, Piece, Pixels, cog_tiles, halve
from server.export_plan import COG_TILE, ExportPlan
from server.export_tiff import Directories, Level, levels_of

PIECE_LEVELS = 3
"""Levels that a piece holds whole tiles of: the full resolution and its first two overviews."""
TILES = SIDE // COG_TILE

LevelTile = tuple[int, int, int, bytes]
"""Level, column, row and the encoded tile."""


def tile_key(level: int, column: int, row: int) -> int:
    """The log's key: by level, then row by row."""
    return level << 56 | row << 28 | column


class TiffTiles:
    """Encodes and decodes 512 px tiles: lossless DEFLATE with horizontal differencing for png, else JPEG or WebP."""

    def __init__(self, tile_format: str, encoder: Encoder) -> None:
        self._tile_format, self._encoder = tile_format, encoder

    def encode(self, pixels: Pixels) -> bytes:
        """The bytes of one tile, uint8 [512, 512, 3]."""
        if self._tile_format != "png":
            return self._encoder.encode(pixels, self._tile_format)
        differences = pixels.copy()
        differences[:, 1:] -= pixels[:, :-1]
        return zlib.compress(differences.tobytes(), self._encoder.png_level)

    def decode(self, body: bytes) -> Pixels:
        """The pixels of one tile."""
        if self._tile_format != "png":
            return np.asarray(Image.open(io.BytesIO(body)).convert("RGB"))
        differences = np.frombuffer(zlib.decompress(body), np.uint8).reshape(COG_TILE, COG_TILE, 3)
        return np.cumsum(differences, axis=1, dtype=np.uint8)

    def of_piece(self, piece: Piece, pixels: Pixels, levels: int) -> list[Callable[[], LevelTile]]:
        """What makes each tile of a piece, at full resolution and in its overviews; to be called in any thread."""
        work: list[Callable[[], LevelTile]] = []
        for level in range(min(PIECE_LEVELS, levels)):
            side = TILES >> level
            for column, row, tile in cog_tiles(pixels):
                place = (level, piece.column * side + column, piece.row * side + row)
                work.append(lambda place=place, tile=tile: (*place, self.encode(tile)))  # type: ignore[misc]
            pixels = halve(pixels)
        return work


class CogSink:
    """Logs tiles of all levels; `finish` adds the coarse overviews and writes the file in a COG's order."""

    def __init__(self, plan: ExportPlan, folder: Path, tiles: TiffTiles) -> None:
        self._plan, self._tiles = plan, tiles
        self._path = folder / "growing.tif"
        self._data = folder / "tiles.dat"
        self._log = TileLog(folder / "journal.sqlite", self._data)
        self.levels = levels_of(plan.width, plan.height)

    @property
    def pieces(self) -> int:
        """Pieces that are committed."""
        return self._log.pieces

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._log.size

    def put(self, tiles: Sequence[LevelTile]) -> None:
        """Commits the tiles of the next piece."""
        self._log.append([(tile_key(level, column, row), body) for level, column, row, body in tiles])

    def finish(self, check: Callable[[], None]) -> Path:
        """Writes the file and gives its path; `check` is called for every few tiles and may raise."""
        for level in range(PIECE_LEVELS, len(self.levels)):
            for row in range(self.levels[level].rows):
                check()
                made = [self._coarser(level, column, row) for column in range(self.levels[level].columns)]
                self._log.append(made, counts=False)
        plan, log = self._plan, self._log
        half = EARTH_CIRCUMFERENCE / 2
        origin = (plan.x * plan.resolution - half, half - plan.y * plan.resolution)
        counts = [[length for _, _, length in log.entries(*_keys(level))] for level in range(len(self.levels))]
        assert [len(found) for found in counts] == [size.columns * size.rows for size in self.levels]
        head = Directories(self.levels, counts, origin, plan.resolution, plan.tile_format, plan.attribution).to_bytes()
        with self._path.open("wb") as file:
            file.write(head)
            for level in reversed(range(len(self.levels))):
                for _, offset, length in log.entries(*_keys(level)):
                    check()
                    log.file.seek(offset)
                    file.write(log.file.read(length))
            file.flush()
            os.fsync(file.fileno())
        log.close()
        return self._path

    def close(self) -> None:
        """Closes the log."""
        self._log.close()

    def _coarser(self, level: int, column: int, row: int) -> tuple[int, bytes]:
        """A tile of an overview from the up to four of the level before, without what fills those at the edge."""
        finer = self.levels[level - 1]
        around = np.zeros((2 * COG_TILE, 2 * COG_TILE, 3), np.uint8)
        for down in range(min(2, finer.rows - 2 * row)):
            for right in range(min(2, finer.columns - 2 * column)):
                body = self._log.read(tile_key(level - 1, 2 * column + right, 2 * row + down))
                top, left = down * COG_TILE, right * COG_TILE
                around[top : top + COG_TILE, left : left + COG_TILE] = self._tiles.decode(body)
        (tile,) = cog_tiles(halve(_within(around, finer, 2 * column * COG_TILE, 2 * row * COG_TILE)))
        return tile_key(level, column, row), self._tiles.encode(tile[2])


def _within(pixels: Pixels, level: Level, left: int, top: int) -> Pixels:
    """The part of a window at (left, top) that is within the level."""
    return pixels[: level.height - top, : level.width - left]


def _keys(level: int) -> tuple[int, int]:
    return tile_key(level, 0, 0), tile_key(level + 1, 0, 0) - 1
