"""What the base picture tells of places: mountains are rugged, plains level, and large cities are where they are on Earth."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from model.base import load_base
from model.context import Context
from model.grid import lonlat_to_pixel, world_size

PLAINS = {"Iowa": (-93.5, 42.1), "Ukraine": (32, 48.5), "Congo": (22, 0), "Amazon": (-62, -4.5)}
MOUNTAINS = {"Alps": (7.62, 45.95), "Himalaya": (86.9, 28), "Norway": (7, 61), "Rockies": (-116, 51)}
CITIES = {
    "Paris": (2.35, 48.86),
    "London": (-0.1, 51.5),
    "New York": (-74, 40.72),
    "Tokyo": (139.7, 35.7),
    "Moscow": (37.6, 55.75),
    "Milan": (9.19, 45.46),
    "Sao Paulo": (-46.63, -23.55),
}
WILD = PLAINS | MOUNTAINS | {"Sahara": (9, 24.5), "Pacific": (-150, 10), "Greenland": (-40, 72), "Andes": (-69, -18)}


@cache
def context() -> Context:
    """Earth's, made once."""
    return load_base().context


def told(place: tuple[float, float], zoom: int = 14) -> tuple[float, float]:
    """How rugged it is there, and how far there is a city."""
    x, y = (int(at) for at in lonlat_to_pixel(*place, zoom))
    rugged, city = context().at(zoom, np.array([y]), np.array([x]))[:, 0, 0]
    return float(rugged), float(city)


def test_mountains_are_more_rugged_than_plains() -> None:
    assert max(told(place)[0] for place in PLAINS.values()) < -0.1
    assert min(told(place)[0] for place in MOUNTAINS.values()) > 0.5


@pytest.mark.parametrize("name", CITIES)
def test_large_cities_are_where_they_are(name: str) -> None:
    assert told(CITIES[name])[1] > 0.8


@pytest.mark.parametrize("name", WILD)
def test_there_are_none_in_the_wild(name: str) -> None:
    assert told(WILD[name])[1] < 0.1


def test_it_is_the_same_at_every_zoom_and_in_every_window() -> None:
    for zoom in (6, 12):
        at = np.arange(2000) % world_size(zoom)
        whole = context().at(zoom, at, at)
        assert np.array_equal(context().at(zoom, at[700:900], at[300:400]), whole[:, 700:900, 300:400])
        finer = context().at(zoom + 2, 4 * at + 1, 4 * at + 1)
        assert np.abs(finer - whole).max() < 0.2
    assert np.abs(np.diff(context().at(12, np.arange(4096) + 400_000, np.arange(300) + 500_000), axis=1)).max() < 0.01


def test_it_goes_on_across_the_antimeridian() -> None:
    size, rows = world_size(8), np.arange(20_000, 20_100)
    across = context().at(8, rows, np.arange(size - 40, size + 40) % size)
    assert np.abs(np.diff(across, axis=2)).max() < 0.05
    assert np.array_equal(across[:, :, 40:], context().at(8, rows, np.arange(40)))


def test_the_sea_has_no_context_and_coasts_that_of_their_land() -> None:
    sea = np.zeros((4096, 4096, 3), np.uint8) + np.array([10, 30, 60], np.uint8)
    at_sea = Context(sea)
    assert at_sea.rugged.min() == at_sea.rugged.max() < 0 and not at_sea.cities.any()
    coast = sea.copy()
    coast[:, 2048:] = (80, 95, 55)
    assert np.array_equal(Context(coast).rugged, at_sea.rugged)
