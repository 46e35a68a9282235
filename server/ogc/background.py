"""What a map shows where there is no planet (20-058, background): colours, opaque or transparent.

There is no data beyond the square of Web Mercator, towards the poles; what lies outside of the map's projection is void.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor
from pyproj import Transformer

from server.area import Area, GeoImage
from server.errors import ParameterError
from server.footprint import is_mercator
from server.tilekey import shorten

WHITE = (255, 255, 255)
HEXADECIMAL = re.compile(r"(?:0x|#)?(?:[0-9a-f]{2})?([0-9a-f]{6})", re.IGNORECASE | re.ASCII)
Colour = tuple[int, int, int]


def parse_colour(name: str, text: str) -> Colour:
    """Red, green and blue of a web colour's name or of 0xRRGGBB; of 0xAARRGGBB the alpha is not looked at.

    Raises:
        ParameterError: if the parameter `name` is neither.
    """
    found = HEXADECIMAL.fullmatch(text.strip())
    try:
        colour = ImageColor.getrgb("#" + found[1] if found else text.strip().lower())
    except ValueError:
        raise ParameterError(f"{name} must be 0xRRGGBB or a web colour's name such as navy, not {shorten(text)}.") from None
    return colour[0], colour[1], colour[2]


@dataclass(frozen=True)
class Background:
    """The colours of pixels without data and of void ones, and whether they are transparent where the format can be."""

    colour: Colour
    transparent: bool
    void_colour: Colour
    void_transparent: bool

    @classmethod
    def parse(
        cls, bgcolor: str | None, transparent: bool | None, void_color: str | None, void_transparent: bool | None
    ) -> Background:
        """The defaults of 20-058: white and transparent, opaque where a colour is given; void as without data.

        Raises:
            ParameterError: if one is no colour.
        """
        colour = WHITE if bgcolor is None else parse_colour("bgcolor", bgcolor)
        clear = bgcolor is None if transparent is None else transparent
        return cls(
            colour,
            clear,
            colour if void_color is None else parse_colour("void-color", void_color),
            clear if void_transparent is None else void_transparent,
        )

    def apply(self, area: Area, image: GeoImage, alpha: bool) -> GeoImage:
        """`image` with the colours where its mask is 0; its mask is then 0 where something is to be seen through, if the
        format has alpha, and 255 elsewhere."""
        empty = image.mask == 0
        if not empty.any():
            return image
        differs = (self.colour, self.transparent) != (self.void_colour, self.void_transparent)
        void = find_void(area, empty) if differs else np.zeros_like(empty)
        filled = np.where(empty[:, :, None], np.array(self.colour, np.uint8), image.pixels)
        filled[void] = self.void_colour
        clear = ((empty & ~void & self.transparent) | (void & self.void_transparent)) & alpha
        return GeoImage(filled, np.where(clear, 0, 255).astype(np.uint8), image.transform, image.crs)


def find_void(area: Area, empty: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of the pixels `empty` [h, w] of the area have no place on the Earth in its projection."""
    void = np.zeros_like(empty)
    if area.crs.is_geographic or is_mercator(area.crs):
        return void
    rows, columns = np.nonzero(empty)
    transformer = Transformer.from_crs(area.crs.to_wkt(), "EPSG:4326", always_xy=True)
    x, y = area.minx + (columns + 0.5) * area.xres, area.maxy - (rows + 0.5) * area.yres
    longitude, latitude = transformer.transform(x, y, errcheck=False)
    void[rows, columns] = ~(np.isfinite(longitude) & np.isfinite(latitude))
    return void
