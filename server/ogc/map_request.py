"""The parameters of a map (OGC API - Maps, 20-058) and the area that they ask for together."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from server.area import Area
from server.box_request import MAX_PIXELS, transform_bounds, unwrap
from server.errors import AreaTooLargeError, ParameterError, ResourceNotFoundError
from server.ogc.crs import GEOGRAPHIC, Box, MapCRS, metres_per_unit
from server.tilekey import shorten

MAX_SIDE = 65_500
"""Pixels along one side: what JPEG holds, the least of the formats but for WebP."""
DEFAULT_SIDE = 1024
"""Pixels of the longer side of a map whose size nobody gives."""
MM_PER_PIXEL = 0.28
# Of WebMercatorQuad's matrix 10: where a map of a mere centre has its scale from. No scale is native to the planet.
DEFAULT_SCALE = 545978.7734655447
AXIS = re.compile(r"\s*([A-Za-z][A-Za-z0-9]*)\s*\(([^()]*)\)\s*(?:,|$)")


@dataclass(frozen=True)
class MapParameters:
    """A map's parameters as they come, None for those not given; numbers and positive where they must be."""

    crs: str | None = None
    bbox: str | None = None
    bbox_crs: str | None = None
    subset: tuple[str, ...] = ()
    subset_crs: str | None = None
    center: str | None = None
    center_crs: str | None = None
    width: int | None = None
    height: int | None = None
    scale_denominator: float | None = None
    mm_per_pixel: float | None = None

    def resolve(self) -> tuple[Area, MapCRS]:
        """The area asked for, and its CRS, longitude and latitude (CRS84) by default.

        Raises:
            ParameterError: if parameters are malformed or contradict one another.
            ResourceNotFoundError: if a subset lies outside of the world.
            AreaError: if the box makes no map.
            AreaTooLargeError: if the map had more than `MAX_PIXELS`.
        """
        crs = GEOGRAPHIC if self.crs is None else MapCRS.parse(self.crs)
        self._check_together()
        box = self._box(crs)
        if box is None and (self.center is not None or self.scale_denominator is not None):
            area = self._around(self._middle(crs), crs)
        else:
            area = self._sized(crs.world if box is None else box, crs)
        area.check_within_world()
        return area, crs

    def _check_together(self) -> None:
        given = [name for name, value in (("bbox", self.bbox), ("subset", self.subset), ("center", self.center)) if value]
        if len(given) > 1:
            raise ParameterError(f"{' and '.join(given)} say the same in two ways; leave all out but one.")
        sized = self.width is not None or self.height is not None
        if self.scale_denominator is not None and sized and (self.bbox or self.subset):
            raise ParameterError("scale-denominator, a box, and width or height contradict one another; leave one out.")

    def _box(self, crs: MapCRS) -> Box | None:
        """The box of `bbox` or `subset` in `crs`, None without either."""
        if self.bbox is not None:
            of = GEOGRAPHIC if self.bbox_crs is None else MapCRS.parse(self.bbox_crs)
            return transform_bounds(unwrap(of.ordered(_four(self.bbox)), of.crs), of.crs, crs.crs)
        if self.subset:
            of = GEOGRAPHIC if self.subset_crs is None else MapCRS.parse(self.subset_crs)
            return transform_bounds(unwrap(_subset(",".join(self.subset), of), of.crs), of.crs, crs.crs)
        return None

    def _middle(self, crs: MapCRS) -> tuple[float, float]:
        """The map's middle in `crs`: `center`, or the middle of the world."""
        if self.center is None:
            minx, miny, maxx, maxy = crs.world
            return (minx + maxx) / 2, (miny + maxy) / 2
        of = GEOGRAPHIC if self.center_crs is None else MapCRS.parse(self.center_crs)
        numbers = _numbers("center", self.center, (2,))
        x, y = (numbers[1], numbers[0]) if of.swapped else (numbers[0], numbers[1])
        minx, miny, _, _ = transform_bounds((x, y, x, y), of.crs, crs.crs)
        return minx, miny

    def _metres_per_pixel(self) -> float:
        """Of the ground: 20-058, scaling, requirement scale-denominator-definition."""
        scale = DEFAULT_SCALE if self.scale_denominator is None else self.scale_denominator
        return (self.mm_per_pixel or MM_PER_PIXEL) / 1000 * scale

    def _around(self, middle: tuple[float, float], crs: MapCRS) -> Area:
        """`width` x `height` pixels at a scale; a size that nobody gave ends where the world does."""
        along = metres_per_unit(middle, crs)
        unit = [self._metres_per_pixel() / metres for metres in along]
        world, ends = crs.world, []
        sides = [self.width, self.height]
        for axis in (0, 1):
            side = sides[axis]
            if side is None:
                room = 2 * min(middle[axis] - world[axis], world[axis + 2] - middle[axis])
                side = sides[axis] = max(1, math.floor(min(DEFAULT_SIDE, room / unit[axis])))
            ends.append((middle[axis] - side * unit[axis] / 2, middle[axis] + side * unit[axis] / 2))
        (minx, maxx), (miny, maxy) = ends
        return _area(crs, (minx, miny, maxx, maxy), sides[0] or 1, sides[1] or 1)

    def _sized(self, box: Box, crs: MapCRS) -> Area:
        """A box with the size given, or that of a scale, or with square pixels."""
        across, up = box[2] - box[0], box[3] - box[1]
        if not (across > 0 and up > 0 and math.isfinite(across) and math.isfinite(up)):
            return _area(crs, box, 1, 1)  # which says what is wrong
        if self.scale_denominator is not None:
            along = metres_per_unit(((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), crs)
            metres = self._metres_per_pixel()
            return _area(crs, box, across * along[0] / metres, up * along[1] / metres)
        width, height = self.width, self.height
        if width is None and height is None:
            width, height = (DEFAULT_SIDE, None) if across >= up else (None, DEFAULT_SIDE)
        return _area(crs, box, width or (height or 1) * across / up, height or (width or 1) * up / across)


def _area(crs: MapCRS, box: Box, width: float, height: float) -> Area:
    """The area of at least one pixel a side; sizes are rounded."""
    # A number as large as that need not fit an integer; it is too large in any case.
    sides = [max(1, round(min(side, 1e12))) for side in (width, height)]
    if sides[0] * sides[1] > MAX_PIXELS or max(sides) > MAX_SIDE:
        raise AreaTooLargeError(
            f"The map would have {sides[0]} x {sides[1]} pixels; at most are answered {MAX_PIXELS:,}, and {MAX_SIDE:,} a side: "
            "ask for fewer, or start a job at POST /exports."
        )
    return Area(crs.crs, *box, *sides)


def _numbers(name: str, text: str, counts: tuple[int, ...]) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise ParameterError(f"{name} must be numbers separated by commas, not {shorten(text)}.") from None
    if len(numbers) not in counts:
        raise ParameterError(f"{name} must be {' or '.join(map(str, counts))} numbers, not {len(numbers)}.")
    if not all(math.isfinite(number) for number in numbers):
        raise ParameterError(f"{name} must be finite numbers, not {shorten(text)}.")
    return numbers


def _four(text: str) -> Box:
    """The four numbers of a bbox; of six, those of height are left out: the planet has none."""
    numbers = _numbers("bbox", text, (4, 6))
    if len(numbers) == 6:
        numbers = [numbers[0], numbers[1], numbers[3], numbers[4]]
    return numbers[0], numbers[1], numbers[2], numbers[3]


def _subset(text: str, of: MapCRS) -> Box:
    """The box of axes such as Lat(10:20),Lon(170:-170), in (minx, miny, maxx, maxy); `*` is the end of the world.

    Raises:
        ParameterError: if it is malformed or has an axis that is none of the CRS.
        ResourceNotFoundError: if an interval lies outside of the world.
    """
    box, at = list(of.world), 0
    while at < len(text):
        found = AXIS.match(text, at)
        if found is None:
            raise ParameterError(f"subset must be such as Lat(40:50),Lon(0:10), not {shorten(text)}.")
        at = found.end()
        axis = of.names.get(found[1].lower())
        if axis is None:
            raise ParameterError(f"The CRS of subset has no axis {shorten(found[1])}; use {' or '.join(of.names)}.")
        ends = [end.strip() for end in found[2].split(":")]
        if len(ends) != 2:
            raise ParameterError(f"A map is cut by an interval, {found[1]}(low:high), not by {shorten(found[2])}.")
        for side, end in zip((axis, axis + 2), ends, strict=True):
            if end != "*":
                box[side] = _numbers("subset", end, (1,))[0]
        low, high = box[axis], box[axis + 2]
        limit = 180.0 if axis == 0 else 90.0
        if of.crs.is_geographic and low <= high and (low > limit or high < -limit):
            raise ResourceNotFoundError(f"{found[1]}({found[2]}) lies outside of the world; use -{limit:g} to {limit:g}.")
        if of.crs.is_geographic and axis == 1:
            box[axis], box[axis + 2] = max(low, -limit), min(high, limit)
    return box[0], box[1], box[2], box[3]
