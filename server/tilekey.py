"""The name of a tile: its address in the grid, its format, and the ETag and cache key that follow from
both."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

from server.encode import EXTENSIONS
from server.errors import TileAddressError, TileNotFoundError

TILE_SIZE = 256
# Names of grids, as the OGC's Two Dimensional Tile Matrix Set standard (17-083r4) has them.
MERCATOR, CRS84 = "WebMercatorQuad", "WorldCRS84Quad"
MIN_ZOOM = 0
MAX_ZOOM = 20
# Canonical only (no sign, no leading zero), so that a tile has one address: what the fast path may take on
# its own.
CANONICAL = re.compile(r"/(0|[1-9]\d?)/(0|[1-9]\d{0,6})/(0|[1-9]\d{0,6})\.(png|jpg|webp)", re.ASCII)
INTEGER = re.compile(r"-?\d+", re.ASCII)


@dataclass(frozen=True, slots=True)
class TileKey:
    """One tile in one format, within the grid: zoom 0 to 20, 0 <= x, y < 2**zoom, y from the north (XYZ).

    In the `grid` `CRS84` zoom is 0 to 19, and x is below 2**(zoom + 1).
    """

    zoom: int
    x: int
    y: int
    extension: str
    grid: str = MERCATOR

    @classmethod
    def parse(cls, zoom: str, x: str, y: str, extension: str) -> TileKey:
        """The key that the parts of an address name.

        Raises:
            TileAddressError: if z, x or y is no integer.
            TileNotFoundError: if the tile is outside the grid or the extension is not served.
        """
        numbers = []
        for name, text in (("z", zoom), ("x", x), ("y", y)):
            if not INTEGER.fullmatch(text):
                raise TileAddressError(f"{name} must be an integer, not {shorten(text)}.")
            # Longer than any coordinate: outside in any case, and int() refuses thousands of digits.
            numbers.append(int(text) if len(text) < 20 else -1)
        if extension not in EXTENSIONS:
            raise TileNotFoundError(f"The format {shorten(extension)} is not served; use one of {', '.join(EXTENSIONS)}.")
        z, column, row = numbers
        if not MIN_ZOOM <= z <= MAX_ZOOM:
            raise TileNotFoundError(f"Zoom {shorten(zoom)} is outside of {MIN_ZOOM} to {MAX_ZOOM}.")
        for name, text, number in (("x", x, column), ("y", y, row)):
            if not 0 <= number < 1 << z:
                raise TileNotFoundError(f"{name} {shorten(text)} is outside of 0 to {(1 << z) - 1} at zoom {z}.")
        return cls(z, column, row, extension)

    @classmethod
    def from_path(cls, path: str) -> TileKey | None:
        """The key that a canonical path such as /4/3/2.png names, or None; never raises."""
        match = CANONICAL.fullmatch(path)
        if match is None:
            return None
        zoom, x, y = int(match[1]), int(match[2]), int(match[3])
        if zoom > MAX_ZOOM or x >> zoom or y >> zoom:
            return None
        return cls(zoom, x, y, match[4])

    @property
    def path(self) -> str:
        """The canonical path, which is also the key of the tile in memory; in other grids a key that is no path."""
        if self.grid != MERCATOR:
            return f"{self.grid}/{self.zoom}/{self.x}/{self.y}.{self.extension}"
        return f"/{self.zoom}/{self.x}/{self.y}.{self.extension}"

    def digest(self, seeds: Mapping[str, bytes]) -> str:
        """32 hexadecimal digits that name the bytes of this tile: what ETag and disk cache go by.

        `seeds` is `Encoder.etag_seed` of the planet's identity.
        """
        return blake2b(seeds[self.extension] + self.path.encode(), digest_size=16).hexdigest()


def shorten(text: str, length: int = 40) -> str:
    """`text` quoted for an error message, cut where a client sends more than anybody wants to read."""
    return repr(text if len(text) <= length else text[:length] + "...")
