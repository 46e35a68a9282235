"""TIFF 6.0 and BigTIFF directories of a cloud-optimized GeoTIFF (OGC 21-026): directories first, then tiles, coarse to fine."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from server.export_plan import COG_TILE

ASCII, SHORT, LONG, DOUBLE, LONG8 = 2, 3, 4, 12, 16
CODES = {SHORT: "H", LONG: "I", DOUBLE: "d", LONG8: "Q"}
# Adobe's DEFLATE with horizontal differencing; JPEG as of TIFF Technical Note 2; WebP as libtiff has it.
COMPRESSION = {"png": 8, "jpg": 7, "webp": 50001}
WEB_MERCATOR = 3857
# What GDAL calls LAYOUT=COG: https://gdal.org/en/stable/drivers/raster/cog.html, "Header ghost area".
_LAYOUT = b"LAYOUT=IFDS_BEFORE_DATA\nBLOCK_ORDER=ROW_MAJOR\nKNOWN_INCOMPATIBLE_EDITION=NO\n "
GHOST = b"GDAL_STRUCTURAL_METADATA_SIZE=%06d bytes\n" % len(_LAYOUT) + _LAYOUT
CLASSIC_LIMIT = (1 << 32) - 1

Tag = tuple[int, int, Sequence[float] | bytes]
"""Number, type and values of a TIFF tag."""


@dataclass(frozen=True)
class Level:
    """One picture of the file in pixels: the full resolution or an overview."""

    width: int
    height: int

    @property
    def columns(self) -> int:
        """Tiles across."""
        return math.ceil(self.width / COG_TILE)

    @property
    def rows(self) -> int:
        """Tiles down."""
        return math.ceil(self.height / COG_TILE)


def levels_of(width: int, height: int) -> list[Level]:
    """The full resolution and its overviews, each half as large (rounded up), down to 128 px or less."""
    levels = [Level(width, height)]
    while max(levels[-1].width, levels[-1].height) > COG_TILE // 4:
        levels.append(Level((levels[-1].width + 1) // 2, (levels[-1].height + 1) // 2))
    return levels


class Directories:
    """Header and directories of a file whose tiles have the byte counts `counts[level]`, row by row.

    `origin`: x and y of the top left corner in EPSG:3857, metres; `resolution`: metres per pixel.
    """

    def __init__(
        self,
        levels: Sequence[Level],
        counts: Sequence[Sequence[int]],
        origin: tuple[float, float],
        resolution: float,
        tile_format: str,
        attribution: str,
    ) -> None:
        self._levels, self._counts = levels, counts
        self._origin, self._resolution = origin, resolution
        self._tile_format, self._attribution = tile_format, attribution
        total = sum(map(sum, counts))
        tiles = sum(map(len, counts))
        self._big = total + 16 * tiles + 65536 > CLASSIC_LIMIT

    def to_bytes(self) -> bytes:
        """All that comes before the first tile: the tiles follow, of the coarsest level first, each level row by row."""
        start = (16 if self._big else 8) + len(GHOST)
        start += start % 2
        zero = [[0] * len(counts) for counts in self._counts]
        places, end = [], start
        for level in range(len(self._levels)):
            places.append(end)
            end += len(self._directory(level, end, 0, zero[level]))
        offsets, position = zero, end
        for level in reversed(range(len(self._levels))):
            for index, count in enumerate(self._counts[level]):
                offsets[level][index] = position
                position += count
        header = struct.pack("<2sHHHQ", b"II", 43, 8, 0, start) if self._big else struct.pack("<2sHI", b"II", 42, start)
        parts = [(header + GHOST).ljust(start, b"\0")]
        for level, place in enumerate(places):
            following = places[level + 1] if level + 1 < len(places) else 0
            parts.append(self._directory(level, place, following, offsets[level]))
        return b"".join(parts)

    def _directory(self, level: int, place: int, following: int, offsets: Sequence[int]) -> bytes:
        """One image file directory at the byte `place`, with its values that do not fit into it behind it."""
        tags = sorted(self._tags(level, offsets))
        word, entry = ("Q", 20) if self._big else ("I", 12)
        room = struct.calcsize("<" + word)
        head = struct.pack("<Q" if self._big else "<H", len(tags))
        behind = place + len(head) + entry * len(tags) + room
        entries, values = b"", b""
        for number, kind, content in tags:
            value = content if isinstance(content, bytes) else struct.pack(f"<{len(content)}{CODES[kind]}", *content)
            entries += struct.pack("<HH" + word, number, kind, len(content))
            if len(value) <= room:
                entries += value.ljust(room, b"\0")
            else:
                entries += struct.pack("<" + word, behind + len(values))
                values += value + b"\0" * (-len(value) % 8)
        return head + entries + struct.pack("<" + word, following) + values

    def _tags(self, level: int, offsets: Sequence[int]) -> list[Tag]:
        size = self._levels[level]
        jpeg = self._tile_format == "jpg"
        tags: list[Tag] = [
            (254, LONG, [1 if level else 0]),  # NewSubfileType: 1 for a reduced picture
            (256, LONG, [size.width]),
            (257, LONG, [size.height]),
            (258, SHORT, [8, 8, 8]),  # BitsPerSample
            (259, SHORT, [COMPRESSION[self._tile_format]]),
            (262, SHORT, [6 if jpeg else 2]),  # PhotometricInterpretation: YCbCr or RGB
            (277, SHORT, [3]),  # SamplesPerPixel
            (284, SHORT, [1]),  # PlanarConfiguration: pixel by pixel
            (322, LONG, [COG_TILE]),
            (323, LONG, [COG_TILE]),
            (324, LONG8 if self._big else LONG, offsets),
            (325, LONG, self._counts[level]),
            (339, SHORT, [1, 1, 1]),  # SampleFormat: unsigned
        ]
        if self._tile_format == "png":
            tags.append((317, SHORT, [2]))  # Predictor: horizontal differencing
        if jpeg:
            tags.append((530, SHORT, [2, 2]))  # YCbCrSubSampling, as Pillow has it
        if level == 0:
            x, y = self._origin
            tags += [
                (305, ASCII, b"MetaEarth Tiles\0"),
                (33432, ASCII, self._attribution.encode("ascii", "replace") + b"\0"),
                (33550, DOUBLE, [self._resolution, self._resolution, 0.0]),  # ModelPixelScale
                (33922, DOUBLE, [0.0, 0.0, 0.0, x, y, 0.0]),  # ModelTiepoint
                # GeoKeys (OGC 19-008r4): projected, pixel is area, the CRS, metres.
                (34735, SHORT, [1, 1, 0, 4, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, WEB_MERCATOR, 3076, 0, 1, 9001]),
            ]
        return tags
