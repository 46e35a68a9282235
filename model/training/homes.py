"""Where on Earth held-out pictures lie: what the planet shows at the very places stands beside them."""

from __future__ import annotations

import math

from model.grid import EARTH_CIRCUMFERENCE, TILE_SIZE, pixel_to_lonlat
from model.training.heldout import TILE_NAME, WIDE, Crop, region_of
from model.training.places import Place

_MIDDLES = {
    "rockymountains-usa": (-105.7, 40.35),
    "danube-T33UVP": (14.4, 48.3),
    "villarrica-chile": (-71.9, -39.4),
    "liverpool-uk": (-3.0, 53.4),
    "lencois-brazil": (-43.0, -2.55),
    "beirut-lebanon": (35.55, 33.85),
    "farmland-chrieke": (9.24, 56.35),
    "kitsap11": (-122.7, 47.6),
    "az-farmland-330": (-112.8, 33.0),
    "va-forest-lake": (-78.5, 36.7),
    "bellingham1": (-122.5, 48.75),
    "sjer-forest-plots": (-119.73, 37.11),
    "kampala-suburb": (32.6, 0.33),
}
"""Longitude and latitude of an image's middle by its region, as its source says or names it; a base pixel is some 10 km."""
_METRES_A_DEGREE = EARTH_CIRCUMFERENCE / 360


def home_of(crop: Crop) -> Place | None:
    """The place that a picture shows, north up; None if nobody said where its image lies."""
    name, half = crop.picture.name, WIDE * crop.reduction / 2
    across, down = crop.left + half, crop.top + half
    if tile := TILE_NAME.search(name):
        zoom, x, y = (int(text) for text in tile.groups())
        lon, lat = pixel_to_lonlat(x * TILE_SIZE + across, y * TILE_SIZE + down, zoom)
        return Place(name, lon, lat, crop.land)
    middle = _MIDDLES.get(region_of(name))
    if middle is None:
        return None
    height, width = crop.picture.pixels.shape[1:]
    east, south = ((at - size / 2) * crop.picture.gsd / _METRES_A_DEGREE for at, size in ((across, width), (down, height)))
    lat = middle[1] - south
    return Place(name, middle[0] + east / math.cos(math.radians(lat)), lat, crop.land)


def place_for(crop: Crop, places: list[Place], turn: int) -> Place:
    """`home_of` a picture or, if that is not known, one of ``places`` of its land type, in turns: towns, which the base picture
    does not show, are looked for among fields; a type without a place takes any."""
    if home := home_of(crop):
        return home
    land = "fields" if crop.land == "urban" else crop.land
    alike = [place for place in places if place.land == land] or places
    return alike[turn % len(alike)]


def zoom_like(crop: Crop, place: Place) -> int:
    """The zoom, odd ones included, whose ground resolution at ``place`` is nearest to the picture's."""
    return 8 + round(math.log2(place.metres(8) / crop.gsd))
