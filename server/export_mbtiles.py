"""MBTiles 1.3 (https://github.com/mapbox/mbtiles-spec/blob/master/1.3/spec.md) of raster tiles, piece by piece."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from server.export_pieces import Piece
from server.export_plan import ExportPlan

SCHEMA = """
CREATE TABLE IF NOT EXISTS metadata (name text, value text);
CREATE TABLE IF NOT EXISTS tiles (zoom_level integer, tile_column integer, tile_row integer, tile_data blob);
CREATE UNIQUE INDEX IF NOT EXISTS tile_index ON tiles (zoom_level, tile_column, tile_row);
"""
MPBX = 0x4D504258
"""SQLite's application_id that the specification asks for."""


class MBTilesSink:
    """Writes the archive itself; while it grows, its `user_version` counts the pieces, in their own transactions."""

    def __init__(self, plan: ExportPlan, folder: Path) -> None:
        self._plan = plan
        self._path = folder / "growing.mbtiles"
        self._connection = sqlite3.connect(self._path, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.executescript(SCHEMA)
        self.pieces: int = self._connection.execute("PRAGMA user_version").fetchone()[0]

    @property
    def size(self) -> int:
        """Bytes written so far."""
        pages, page = (self._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
        return int(pages * page)

    def put(self, piece: Piece, tiles: Sequence[tuple[int, int, bytes]]) -> None:
        """Commits the tiles (column, row from the north, bytes) of the next piece."""
        top = (1 << piece.zoom) - 1  # rows count from the south, as in TMS
        rows = [(piece.zoom, column, top - row, body) for column, row, body in tiles]
        with self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO tiles VALUES (?, ?, ?, ?)", rows)
            self._connection.execute(f"PRAGMA user_version = {self.pieces + 1}")
        self.pieces += 1

    def finish(self) -> Path:
        """Writes the metadata and gives the archive, which is whole and in one file."""
        with self._connection:
            self._connection.execute("DELETE FROM metadata")
            self._connection.executemany("INSERT INTO metadata VALUES (?, ?)", archive_metadata(self._plan).items())
            self._connection.execute(f"PRAGMA application_id = {MPBX}")
        self._connection.execute("PRAGMA journal_mode = DELETE")
        self.close()
        with self._path.open("rb") as file:
            os.fsync(file.fileno())
        return self._path

    def close(self) -> None:
        """Closes the archive."""
        self._connection.close()


def archive_metadata(plan: ExportPlan) -> dict[str, str]:
    """The rows of the table `metadata`; `bounds` and `center` in degrees, longitudes of -180 to 180."""
    west, south, east, north = plan.bounds
    if east > 180:
        # The specification has no box across the antimeridian: the whole girdle holds it.
        west, east = -180.0, 180.0
    middle = (sum(plan.bounds[0::2]) / 2 + 180) % 360 - 180
    return {
        "name": "MetaEarth",
        "format": plan.tile_format,
        "bounds": f"{west:.7f},{south:.7f},{east:.7f},{north:.7f}",
        "center": f"{middle:.7f},{(south + north) / 2:.7f},{plan.minzoom}",
        "minzoom": str(plan.minzoom),
        "maxzoom": str(plan.maxzoom),
        "attribution": plan.attribution,
        "description": "A synthetic planet: no record of any real place beyond zoom 4.",
        "type": "baselayer",
        "version": "1",
    }
