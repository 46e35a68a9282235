"""What is to be seeded: an area in degrees, and the tiles that touch it, depth-first."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import mercantile
import shapely
from shapely.geometry.base import BaseGeometry

from model.grid import MAX_LATITUDE, lonlat_to_pixel, pixel_to_lonlat
from server.clip import parse_clip
from server.errors import ParameterError
from server.export_box import lonlat_box
from server.export_errors import ExportRequestError
from server.failures import BadOptionError
from server.tilekey import MAX_ZOOM, TILE_SIZE

Place = tuple[int, int, int]
"""zoom, x and y of a tile, XYZ in Web Mercator."""
# Of a tile's side: an area that ends on the border of a tile touches the one beyond by rounding only.
MARGIN = 1e-6
WORLD = shapely.box(-180, -MAX_LATITUDE, 180, MAX_LATITUDE)
# As the viewer writes it, #8.5/46.5/8.05 or #8.5/46.5/8.05/flat, and as openstreetmap.org and Leaflet do, #map=8/46.5/8.05.
HASH = re.compile(r"#?(?:map=)?(-?[\d.]+)/(-?[\d.]+)/(-?[\d.]+)(?:/(?:globe|flat))?", re.ASCII)
SIZE = re.compile(r"(\d{1,5})[x×,](\d{1,5})", re.ASCII)


@dataclass(frozen=True)
class View:
    """What a map shows: `zoom` of 256 px tiles, fractions too, and its size in CSS pixels."""

    longitude: float
    latitude: float
    zoom: float
    width: int
    height: int

    @classmethod
    def parse(cls, address: str, size: str) -> View:
        """From the viewer's address or its part after #, and WIDTHxHEIGHT; raises `BadOptionError`."""
        found = HASH.fullmatch(urlsplit(address).fragment or address)
        try:
            zoom, latitude, longitude = (float(part) for part in found.groups()) if found else (math.nan,) * 3
        except ValueError:
            zoom = math.nan
        if not math.isfinite(zoom):
            raise BadOptionError(f"--view must be the viewer's address, or #zoom/latitude/longitude of it, not {address!r}.")
        return cls._checked(longitude, latitude, zoom, size)

    @classmethod
    def from_center(cls, center: str, zoom: float | None, size: str) -> View:
        """From LON,LAT, a zoom and WIDTHxHEIGHT; raises `BadOptionError`."""
        if zoom is None:
            raise BadOptionError("--center needs --zoom-view, the zoom that the map shows.")
        try:
            longitude, latitude = (float(part) for part in center.split(","))
        except ValueError as error:
            raise BadOptionError(f"--center must be two numbers LON,LAT, not {center!r}.") from error
        return cls._checked(longitude, latitude, zoom, size)

    @classmethod
    def _checked(cls, longitude: float, latitude: float, zoom: float, size: str) -> View:
        sides = SIZE.fullmatch(size)
        if sides is None or "0" in sides.groups():
            raise BadOptionError(f"--size must be WIDTHxHEIGHT in pixels such as 1280x800, not {size!r}.")
        if not (abs(longitude) <= 180 and abs(latitude) <= 90):
            raise BadOptionError(f"The view's centre {longitude:g},{latitude:g} is no longitude and latitude in degrees.")
        if not -1 <= zoom <= MAX_ZOOM + 1:
            raise BadOptionError(f"The view's zoom must be 0 to {MAX_ZOOM}, not {zoom:g}.")
        return cls(longitude, latitude, zoom, int(sides[1]), int(sides[2]))

    @property
    def tile_zoom(self) -> int:
        """The zoom of the tiles that maps show then."""
        return min(MAX_ZOOM, max(0, round(self.zoom)))

    @property
    def geometry(self) -> BaseGeometry:
        """What of the flat world is in view, degrees; the globe shows no more from as near."""
        scale = 2.0 ** (MAX_ZOOM - self.zoom)
        x, y = lonlat_to_pixel(self.longitude, self.latitude, MAX_ZOOM)
        across, down = self.width * scale / 2, self.height * scale / 2
        world = float(TILE_SIZE << MAX_ZOOM)
        across = min(across, world / 2)
        west, north = pixel_to_lonlat(x - across, max(0.0, y - down), MAX_ZOOM)
        east, south = pixel_to_lonlat(x + across, min(world, y + down), MAX_ZOOM)
        return _in_world(shapely.box(west, south, east, north))


def bbox_geometry(text: str) -> BaseGeometry:
    """The box W,S,E,N in degrees, which crosses the antimeridian where E is below W; raises `BadOptionError`."""
    try:
        box = lonlat_box([float(part) for part in text.split(",")])
    except ValueError as error:
        raise BadOptionError(f"--bbox must be four numbers W,S,E,N in degrees, not {text!r}.") from error
    except ExportRequestError as error:
        raise BadOptionError(str(error).replace("The bbox", f"--bbox {text}", 1)) from error
    return _in_world(shapely.box(*box))


def geojson_geometry(path: Path) -> BaseGeometry:
    """The polygons of a GeoJSON file (RFC 7946); raises `BadOptionError`."""
    try:
        document: Any = json.loads(path.read_bytes())
        polygons = parse_clip(document)
    except OSError as error:
        raise BadOptionError(f"--geojson {path}: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise BadOptionError(f"--geojson {path} is no valid JSON: {error}.") from error
    except ParameterError as error:
        raise BadOptionError(str(error).replace("The clip", f"--geojson {path}", 1)) from error
    shapes = [shapely.make_valid(shapely.Polygon(rings[0], rings[1:])) for rings in polygons]
    geometry = _in_world(shapely.union_all(shapes))
    if geometry.is_empty:
        raise BadOptionError(f"--geojson {path} lies beyond latitude {MAX_LATITUDE:.4f}, where Web Mercator ends.")
    return geometry


def _in_world(geometry: BaseGeometry) -> BaseGeometry:
    """What leaves the world at one side comes in at the other."""
    west, _, east, _ = geometry.bounds
    turns = range(math.floor((west + 180) / 360), math.floor((east + 180) / 360) + 1)
    moved = [shapely.transform(geometry, lambda points, by=360 * turn: points - (by, 0)) for turn in turns]
    return shapely.union_all([shapely.intersection(part, WORLD) for part in moved])


@dataclass(frozen=True)
class SeedArea:
    """The tiles of zooms `minzoom` to `maxzoom` that have ground in common with `geometry`, in degrees, lines straight there.

    A tile is a rectangle in degrees too, so that nothing need be projected.
    """

    geometry: BaseGeometry
    minzoom: int
    maxzoom: int

    def __post_init__(self) -> None:
        shapely.prepare(self.geometry)

    def tiles(self) -> Iterator[Place]:
        """All tiles, each before its children and these before its neighbours, so that what they are made from is at hand."""
        stack: list[tuple[Place, bool]] = [((0, 0, 0), False)]
        while stack:
            place, within = stack.pop()
            touched = within or self._touches(place)
            if touched is False:
                continue
            zoom, x, y = place
            if zoom >= self.minzoom:
                yield place
            if zoom < self.maxzoom:
                below = ((zoom + 1, 2 * x + i, 2 * y + j) for j in (1, 0) for i in (1, 0))
                stack += [(child, touched is True) for child in below]

    def counts(self) -> list[int]:
        """How many tiles of each zoom from 0 to `maxzoom` touch it; what lies within is not visited to be counted."""
        total = [0] * (self.maxzoom + 1)
        stack: list[Place] = [(0, 0, 0)]
        while stack:
            place = stack.pop()
            touched = self._touches(place)
            zoom, x, y = place
            if touched is None:
                total[zoom] += 1
                if zoom < self.maxzoom:
                    stack += [(zoom + 1, 2 * x + i, 2 * y + j) for j in (0, 1) for i in (0, 1)]
            elif touched:
                for deeper in range(zoom, self.maxzoom + 1):
                    total[deeper] += 4 ** (deeper - zoom)
        return total

    def _touches(self, place: Place) -> bool | None:
        """True: lies within the area; False: outside; None: partly within."""
        zoom, x, y = place
        west, south, east, north = mercantile.bounds(x, y, zoom)
        across, down = (east - west) * MARGIN, (north - south) * MARGIN
        tile = shapely.box(west + across, south + down, east - across, north - down)
        if not self.geometry.intersects(tile):
            return False
        return True if self.geometry.contains(tile) else None
