"""Coordinate reference systems as OGC API names them, and the order that each has its axes in."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pyproj import CRS as ProjCRS
from pyproj import Transformer
from pyproj.exceptions import CRSError
from rasterio.crs import CRS

from server.area import parse_crs
from server.box_request import transform_bounds
from server.errors import AreaError
from server.footprint import is_mercator
from server.ogc.models import CRS84
from server.tilejson import MAX_LATITUDE

Box = tuple[float, float, float, float]
EPSG = "http://www.opengis.net/def/crs/EPSG/0/"
COMMON_CRS = [CRS84, EPSG + "4326", EPSG + "3857", EPSG + "3395"]
"""What descriptions list: those that clients ask for; any other EPSG code is taken as well."""
_CRS84_NAMES = ("CRS84", "CRS:84")


@dataclass(frozen=True)
class MapCRS:
    """A CRS with its `uri`; `swapped` where the first axis is the northing or latitude, as in EPSG:4326."""

    crs: CRS
    uri: str
    swapped: bool

    @classmethod
    def parse(cls, text: str) -> MapCRS:
        """The CRS of a URI, a CURIE such as [EPSG:3857], a URN or an EPSG code.

        Raises:
            AreaError: if there is no such CRS.
        """
        crs = parse_crs(text)
        if text.strip().strip("[]").upper().endswith(_CRS84_NAMES):
            return cls(crs, CRS84, False)
        try:
            code = crs.to_epsg()
            first = ProjCRS.from_epsg(code).axis_info[0].direction.lower()
        except (CRSError, IndexError) as error:
            raise AreaError(f"The axes of {text[:40]} are not known; use another CRS, such as EPSG:3857.") from error
        return cls(crs, f"{EPSG}{code}", first in ("north", "south"))

    def ordered(self, box: Box) -> Box:
        """A box with its axes swapped if this CRS has them so: from or to (minx, miny, maxx, maxy)."""
        a, b, c, d = box
        return (b, a, d, c) if self.swapped else box

    @property
    def names(self) -> dict[str, int]:
        """Which axis, 0 for x and 1 for y, each name of the parameter `subset` means, in lower case."""
        return {"lon": 0, "long": 0, "lat": 1} if self.crs.is_geographic else {"e": 0, "x": 0, "n": 1, "y": 1}

    @property
    def world(self) -> Box:
        """What a map without a box shows: the world as far as this CRS and Web Mercator's square have it.

        Raises:
            AreaError: if PROJ cannot say where the CRS is used.
        """
        if self.crs.is_geographic:
            return (-180.0, -MAX_LATITUDE, 180.0, MAX_LATITUDE)
        # By its code: a WKT has lost the area.
        where = ProjCRS.from_epsg(self.crs.to_epsg()).area_of_use
        if is_mercator(self.crs) or where is None:
            return transform_bounds((-180.0, -MAX_LATITUDE, 180.0, MAX_LATITUDE), GEOGRAPHIC.crs, self.crs)
        east = where.east if where.east > where.west else where.east + 360
        return transform_bounds((where.west, where.south, east, where.north), GEOGRAPHIC.crs, self.crs)


GEOGRAPHIC = MapCRS(CRS.from_epsg(4326), CRS84, False)


def metres_per_unit(at: tuple[float, float], crs: MapCRS) -> tuple[float, float]:
    """How many metres on the ground a unit along x and along y is, at a point of `crs`; on the sphere of WGS 84's equator.

    Raises:
        AreaError: if the point has no place on the ground.
    """
    x, y = at
    transformer = Transformer.from_crs(crs.crs.to_wkt(), GEOGRAPHIC.crs.to_wkt(), always_xy=True)
    step = 1e-4 if crs.crs.is_geographic else 10.0
    radius, found = 6378137.0, []
    for dx, dy in ((step, 0.0), (0.0, step)):
        lon0, lat0 = transformer.transform(x - dx / 2, y - dy / 2)
        lon1, lat1 = transformer.transform(x + dx / 2, y + dy / 2)
        east = math.radians((lon1 - lon0 + 180) % 360 - 180) * math.cos(math.radians((lat0 + lat1) / 2))
        found.append(radius * math.hypot(east, math.radians(lat1 - lat0)) / step)
    if not all(math.isfinite(value) and value > 0 for value in found):
        raise AreaError("The map's middle has no place on the ground; choose another box, center or crs.")
    return found[0], found[1]
