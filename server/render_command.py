"""`metaearth render`: a box or a tile to a picture file."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from server.app import planet_from_settings
from server.caches import Caches
from server.encode import EXTENSIONS, MAX_SIDE, Encoder
from server.errors import TileAddressError, TileNotFoundError
from server.failures import CommandError
from server.settings import Settings
from server.tilejson import MAX_LATITUDE
from server.tilekey import MAX_ZOOM, TILE_SIZE, TileKey

# Three gigabytes of pixels: the picture is held in memory until it is encoded.
MAX_PIXELS = 1 << 30
# Rows rendered at one go: few enough for a lively progress bar, enough for the blocks to be used well.
STRIP_ROWS = 1024
# What programs know a file by; png8 is a name for addresses only.
FILE_EXTENSIONS = tuple(extension for extension in EXTENSIONS if extension != "png8")


@dataclass(frozen=True)
class PixelBox:
    """A window in Web Mercator pixels of one zoom; x may reach beyond the antimeridian."""

    zoom: int
    x: int
    y: int
    width: int
    height: int

    @classmethod
    def from_options(cls, bbox: str | None, zoom: int | None, tile: str | None) -> PixelBox:
        """The window that either `--bbox` with `--zoom` or `--tile` names; raises `CommandError`."""
        if (bbox is None) == (tile is None) or (tile is not None and zoom is not None):
            raise CommandError("Say what to render: either --bbox W,S,E,N with --zoom Z, or --tile Z/X/Y.")
        if tile is not None:
            return cls._from_tile(tile)
        if zoom is None:
            raise CommandError("--bbox needs --zoom Z, 0 to 20.")
        assert bbox is not None
        return cls._from_bbox(bbox, zoom)

    @classmethod
    def _from_tile(cls, tile: str) -> PixelBox:
        parts = tile.split("/")
        if len(parts) != 3:
            raise CommandError(f"--tile must be Z/X/Y such as 4/8/5, not {tile!r}.")
        z, x, y = parts
        try:
            key = TileKey.parse(z, x, y, EXTENSIONS[0])
        except (TileAddressError, TileNotFoundError) as error:
            raise CommandError(f"--tile {tile}: {error}") from error
        return cls(key.zoom, key.x * TILE_SIZE, key.y * TILE_SIZE, TILE_SIZE, TILE_SIZE)

    @classmethod
    def _from_bbox(cls, bbox: str, zoom: int) -> PixelBox:
        if not 0 <= zoom <= MAX_ZOOM:
            raise CommandError(f"--zoom must be 0 to {MAX_ZOOM}, not {zoom}.")
        try:
            west, south, east, north = (float(part) for part in bbox.split(","))
        except ValueError as error:
            raise CommandError(f"--bbox must be four numbers W,S,E,N in degrees, not {bbox!r}.") from error
        if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south < north <= 90):
            raise CommandError("--bbox must have W and E within -180 to 180, and -90 <= S < N <= 90.")
        if east <= west:
            east += 360  # RFC 7946, 5.2: a box whose east is below its west crosses the antimeridian
        world = TILE_SIZE << zoom
        left, right = (_pixel((longitude + 180) / 360 * world) for longitude in (west, east))
        top, bottom = (_mercator_row(latitude, world) for latitude in (north, south))
        return cls(zoom, left, top, max(right - left, 1), max(bottom - top, 1))


def render_to_file(settings: Settings, box: PixelBox, output: Path) -> str:
    """Renders `box` strip by strip with a progress bar and writes it at once when it is whole; returns a line
    about it.

    Raises `CommandError`, `CacheError` and `ModelError`.
    """
    extension = picture_extension(output, box.width, box.height)
    caches = Caches.open(settings)
    try:
        planet = planet_from_settings(settings, caches.blocks)
        picture = np.empty((box.height, box.width, 3), np.uint8)
        with tqdm(total=box.width * box.height, unit="px", unit_scale=True, desc=str(output)) as bar:
            for top in range(0, box.height, STRIP_ROWS):
                rows = min(STRIP_ROWS, box.height - top)
                picture[top : top + rows] = planet.read(
                    box.zoom, box.x, box.y + top, box.width, rows, progress=_advance(bar, top * box.width)
                )
    finally:
        caches.close()
    write_picture(settings, picture, extension, output)
    return f"{output}: {box.width} x {box.height} pixels, zoom {box.zoom}"


def picture_extension(output: Path, width: int, height: int) -> str:
    """The format that the name of `output` asks for; raises `CommandError` if it cannot hold the picture."""
    extension = output.suffix.lower().lstrip(".").replace("jpeg", "jpg")
    if extension not in FILE_EXTENSIONS:
        raise CommandError(f"{output} must end in {', '.join('.' + known for known in FILE_EXTENSIONS)}.")
    if not output.parent.is_dir():
        raise CommandError(f"The directory {output.parent} does not exist; create it or choose another.")
    if width * height > MAX_PIXELS:
        raise CommandError(f"The picture would have {width} x {height} pixels; choose a smaller box or zoom.")
    if max(width, height) > MAX_SIDE[extension]:
        raise CommandError(f"A {extension} picture cannot have {width} x {height} pixels; write a .png instead.")
    return extension


def write_picture(settings: Settings, picture: NDArray[np.uint8], extension: str, output: Path) -> None:
    """Encodes and writes: a whole file or none."""
    partial = output.with_name(output.name + ".partial")
    partial.write_bytes(Encoder.from_settings(settings).encode(picture, extension))
    os.replace(partial, output)


def _advance(bar: tqdm[Any], before: int) -> Callable[[int, int], None]:
    """What `Planet.read` reports of one strip, added to the `before` pixels of the strips above."""

    def advance(done: int, _: int) -> None:
        bar.update(before + done - bar.n)

    return advance


def _mercator_row(latitude: float, world: int) -> int:
    """The row of a latitude, in pixels from the top of a world `world` pixels high (EPSG:3857)."""
    bounded = max(-MAX_LATITUDE, min(MAX_LATITUDE, latitude))
    row = _pixel((1 - math.asinh(math.tan(math.radians(bounded))) / math.pi) / 2 * world)
    return max(0, min(world, row))


def _pixel(position: float) -> int:
    """The pixel that holds a position; what lies on a border but for the rounding of doubles lies on it."""
    return math.floor(round(position, 6))
