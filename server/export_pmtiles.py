"""PMTiles v3 (https://github.com/protomaps/PMTiles/blob/main/spec/v3/spec.md) of raster tiles, piece by piece."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pmtiles.tile import Compression, Entry, TileType, serialize_header, zxy_to_tileid
from pmtiles.writer import optimize_directories

from server.export_log import TileLog
from server.export_mbtiles import archive_metadata
from server.export_pieces import Piece
from server.export_plan import ExportPlan

HEADER = 127
ROOM = 16384
"""Header and root directory lie in the first 16 KiB; the specification lets all else lie anywhere behind."""
TILE_TYPES = {"png": TileType.PNG, "jpg": TileType.JPEG, "webp": TileType.WEBP}


class PMTilesSink:
    """Appends tiles in Hilbert order (so the archive is clustered) behind room for header and root directory.

    Metadata and leaf directories come behind the tiles, so that nothing is ever copied. Equal tiles are kept once.
    """

    def __init__(self, plan: ExportPlan, folder: Path) -> None:
        self._plan = plan
        self._path = folder / "growing.pmtiles"
        self._log = TileLog(folder / "journal.sqlite", self._path, start=ROOM, once=True)

    @property
    def pieces(self) -> int:
        """Pieces that are committed."""
        return self._log.pieces

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._log.size

    def put(self, piece: Piece, tiles: Sequence[tuple[int, int, bytes]]) -> None:
        """Commits the tiles (column, row from the north, bytes) of the next piece, given in Hilbert order."""
        self._log.append([(zxy_to_tileid(piece.zoom, column, row), body) for column, row, body in tiles])

    def finish(self) -> Path:
        """Writes directories, metadata and header, and gives the archive."""
        plan, log = self._plan, self._log
        entries: list[Entry] = []
        addressed = 0
        for tile_id, offset, length in log.entries():
            addressed += 1
            last = entries[-1] if entries else None
            if last is not None and last.offset == offset - ROOM and tile_id == last.tile_id + last.run_length:
                last.run_length += 1
            else:
                entries.append(Entry(tile_id, offset - ROOM, length, 1))
        root, leaves, _ = optimize_directories(entries, ROOM - HEADER)
        metadata = gzip.compress(json.dumps(_metadata(plan)).encode(), mtime=0)
        west, south, east, north = plan.bounds
        if east > 180:
            west, east = -180.0, 180.0
        middle = (sum(plan.bounds[0::2]) / 2 + 180) % 360 - 180
        header: dict[str, Any] = {
            "root_offset": HEADER,
            "root_length": len(root),
            "metadata_offset": log.size,
            "metadata_length": len(metadata),
            "leaf_directory_offset": log.size + len(metadata),
            "leaf_directory_length": len(leaves),
            "tile_data_offset": ROOM,
            "tile_data_length": log.size - ROOM,
            "addressed_tiles_count": addressed,
            "tile_entries_count": len(entries),
            "tile_contents_count": log.contents(),
            "clustered": True,
            "internal_compression": Compression.GZIP,
            "tile_compression": Compression.NONE,
            "tile_type": TILE_TYPES[plan.tile_format],
            "min_zoom": plan.minzoom,
            "max_zoom": plan.maxzoom,
            "min_lon_e7": round(west * 1e7),
            "min_lat_e7": round(south * 1e7),
            "max_lon_e7": round(east * 1e7),
            "max_lat_e7": round(north * 1e7),
            "center_zoom": plan.minzoom,
            "center_lon_e7": round(middle * 1e7),
            "center_lat_e7": round((south + north) / 2 * 1e7),
        }
        file = log.file
        file.seek(log.size)
        file.write(metadata + leaves)
        file.seek(0)
        file.write(serialize_header(header) + root)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())
        log.close()
        return self._path

    def close(self) -> None:
        """Closes the files."""
        self._log.close()


def _metadata(plan: ExportPlan) -> dict[str, str]:
    """The JSON metadata: the keys that the specification names, without what the header says already."""
    rows = archive_metadata(plan)
    return {key: rows[key] for key in ("name", "description", "attribution", "type", "version")}
