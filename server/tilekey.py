"""The name of a tile: its address in the grid, its format, and the ETag and cache key that follow from
both."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from urllib.parse import parse_qs

from server.encode import EXTENSIONS
from server.errors import ParameterError, TileAddressError, TileNotFoundError

TILE_SIZE = 256
# Names of grids, as the OGC's Two Dimensional Tile Matrix Set standard (17-083r4) has them.
MERCATOR, CRS84 = "WebMercatorQuad", "WorldCRS84Quad"
# Sides of the pictures served, pixels: the second has the ground of the first, with the pixels of the next zoom.
TILE_SIZES = (TILE_SIZE, 2 * TILE_SIZE)
MIN_ZOOM = 0
MAX_ZOOM = 20
# Other spellings of an extension.
SPELLINGS = {"jpeg": "jpg"}
# Canonical numbers only (no sign, no leading zero), so that a tile has one address: what the fast path may take on
# its own.
CANONICAL = re.compile(
    r"/(0|[1-9]\d?)/(0|[1-9]\d{0,6})/(0|[1-9]\d{0,6})(@2x)?\.(" + "|".join((*EXTENSIONS, *SPELLINGS)) + ")", re.ASCII
)
INTEGER = re.compile(r"-?\d+", re.ASCII)
SCALED = re.compile(r"(.*)@(\d+x)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class TileKey:
    """One tile in one format, within the grid: zoom 0 to 20, 0 <= x, y < 2**zoom, y from the north (XYZ).

    `scale` 2 is the same ground in 512 x 512 pixels, those of zoom + 1; it ends at zoom 19.
    In the `grid` `CRS84` zoom is 0 to 19, and x is below 2**(zoom + 1).
    """

    zoom: int
    x: int
    y: int
    extension: str
    scale: int = 1
    grid: str = MERCATOR

    @classmethod
    def parse(cls, zoom: str, x: str, y: str, extension: str, query: bytes = b"", *, from_south: bool = False) -> TileKey:
        """The key that the parts of an address name; `y` may end in @2x, `query` may hold tilesize=256 or 512.

        `from_south` counts y as TMS does, from the southernmost row up.

        Raises:
            TileAddressError: if z, x or y is no integer.
            TileNotFoundError: if the tile is outside the grid, the extension is not served, or @2x and the tilesize
                contradict each other.
            ParameterError: if the tilesize is none of `TILE_SIZES`.
        """
        y, scale = _scale(y, tile_size(query))
        numbers = []
        for name, text in (("z", zoom), ("x", x), ("y", y)):
            if not INTEGER.fullmatch(text):
                raise TileAddressError(f"{name} must be an integer, not {shorten(text)}.")
            # Longer than any coordinate: outside in any case, and int() refuses thousands of digits.
            numbers.append(int(text) if len(text) < 20 else -1)
        z, column, row = numbers
        extension = served_extension(extension)
        if not MIN_ZOOM <= z <= MAX_ZOOM:
            raise TileNotFoundError(f"Zoom {shorten(zoom)} is outside of {MIN_ZOOM} to {MAX_ZOOM}.")
        for name, text, number in (("x", x, column), ("y", y, row)):
            if not 0 <= number < 1 << z:
                raise TileNotFoundError(f"{name} {shorten(text)} is outside of 0 to {(1 << z) - 1} at zoom {z}.")
        if scale > 1 and z == MAX_ZOOM:
            raise TileNotFoundError(
                f"Tiles of {TILE_SIZES[1]} px end at zoom {MAX_ZOOM - 1}, for there is nothing finer than zoom {MAX_ZOOM}; "
                f"ask for {TILE_SIZE} px."
            )
        return cls(z, column, (1 << z) - 1 - row if from_south else row, extension, scale)

    @classmethod
    def from_path(cls, path: str, query: bytes = b"", *, from_south: bool = False) -> TileKey | None:
        """The key that a path such as /4/3/2.png or /4/3/2@2x.jpeg names, where `parse` would give the same; or None.

        Never raises.
        """
        match = CANONICAL.fullmatch(path)
        if match is None:
            return None
        zoom, x, y, extension = int(match[1]), int(match[2]), int(match[3]), match[5]
        if zoom > MAX_ZOOM or x >> zoom or y >> zoom:
            return None
        scale = 2 if match[4] else 1
        if query:
            size = tile_size(query)
            if size is not None:
                if size == "512":
                    scale = 2
                elif size != "256" or scale == 2:
                    return None
        if scale == 2 and zoom == MAX_ZOOM:
            return None
        return cls(zoom, x, (1 << zoom) - 1 - y if from_south else y, SPELLINGS.get(extension, extension), scale)

    @property
    def path(self) -> str:
        """The canonical path, which is also the key of the tile in memory; in other grids a key that is no path."""
        name = f"{self.zoom}/{self.x}/{self.y}{'@2x' if self.scale == 2 else ''}.{self.extension}"
        return "/" + name if self.grid == MERCATOR else f"{self.grid}/{name}"

    @property
    def size(self) -> int:
        """The side of the picture, pixels."""
        return TILE_SIZE * self.scale

    @property
    def window(self) -> tuple[int, int, int]:
        """What `planet.read` is asked for: the zoom of the pixels, and x and y of the north-west one there."""
        return self.zoom + self.scale - 1, self.x * self.size, self.y * self.size

    def digest(self, seeds: Mapping[str, bytes]) -> str:
        """32 hexadecimal digits that name the bytes of this tile: what ETag and caches go by.

        `seeds` is `Encoder.etag_seed` of the planet's identity.
        """
        return blake2b(seeds[self.extension] + self.path.encode(), digest_size=16).hexdigest()

    def store_name(self, identity: str, seeds: Mapping[str, bytes]) -> str:
        """What the tile is kept under beyond memory: planet, place and digest.

        A Redis cluster keeps together what has the same part in braces: tiles of one metatile (at most 8 a side).
        """
        return f"{identity}/{{{self.zoom}/{self.x >> 3}/{self.y >> 3}}}/{self.digest(seeds)}"


def served_extension(extension: str) -> str:
    """The canonical spelling of `extension`; raises `TileNotFoundError` if it is not served."""
    canonical = SPELLINGS.get(extension, extension)
    if canonical not in EXTENSIONS:
        raise TileNotFoundError(f"The format {shorten(extension)} is not served; use one of {', '.join(EXTENSIONS)}.")
    return canonical


def tile_size(query: bytes) -> str | None:
    """The text of the parameter tilesize in a query string; the last one counts. None without it."""
    # Most queries are none of ours: those that break caches, keys that people append.
    if not query or (b"tilesize" not in query and b"%" not in query):
        return None
    try:
        return parse_qs(query.decode("latin-1"), keep_blank_values=True).get("tilesize", [None])[-1]
    except ValueError:  # more parameters than parse_qs takes
        return None


def _scale(y: str, size: str | None) -> tuple[str, int]:
    """The row without @2x, and the scale that it and `size` ask for together."""
    scaled = SCALED.fullmatch(y)
    if scaled is not None:
        y = scaled[1]
        if scaled[2] != "2x":
            raise TileNotFoundError(f"The scale @{shorten(scaled[2])[1:-1]} is not served; use @2x, or none for 256 px.")
    if size is None:
        return y, 1 if scaled is None else 2
    if size not in {str(side) for side in TILE_SIZES}:
        raise ParameterError(f"tilesize must be {TILE_SIZES[0]} or {TILE_SIZES[1]}, not {shorten(size)}.")
    if scaled is not None and size != str(TILE_SIZES[1]):
        raise TileNotFoundError(f"@2x is a tile of {TILE_SIZES[1]} px; leave out either @2x or tilesize={size}.")
    return y, int(size) // TILE_SIZE


def shorten(text: str, length: int = 40) -> str:
    """`text` quoted for an error message, cut where a client sends more than anybody wants to read."""
    return repr(text if len(text) <= length else text[:length] + "...")
