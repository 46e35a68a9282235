"""The promises of the planet: one picture whatever is asked for first, zooming never contradicts, seeds, processes, errors."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys

import numpy as np
import pytest

from model import PLANETS, DeviceError, Planet, UnknownPlanetError, WindowError, open_planet
from model.grid import lonlat_to_pixel, world_size
from model.store import BLOCK, Blocks

DEVICE = os.environ.get("TEST_DEVICE", "cpu")

PLACES = [(8.2, 46.4), (-60.5, -3.2), (179.99, -16.8), (31.2, 30.6), (-50.0, 69.5), (146.5, -18.5), (100.0, 62.0)]


class DictStore:
    """A `BlockStore` that remembers everything, and may be told to corrupt."""

    def __init__(self) -> None:
        self.entries: dict[str, bytes] = {}

    def get(self, key: str) -> bytes | None:
        return self.entries.get(key)

    def put(self, key: str, value: bytes) -> None:
        self.entries[key] = value


def fresh(store: DictStore | None = None, seed: int = 0) -> Planet:
    return open_planet("earth", seed, steps=1, device=DEVICE, store=store)


@pytest.fixture(scope="module")
def planet() -> Planet:
    return fresh()


@pytest.mark.parametrize("zoom", range(6, 19))
def test_every_window_shows_the_same_pixels(planet: Planet, zoom: int) -> None:
    lon, lat = PLACES[zoom % len(PLACES)]
    x, y = (int(v) for v in lonlat_to_pixel(lon, lat, zoom))
    # Wider than a block: of an odd zoom are rendered the pixels of the next, twice as many.
    width, height = (80, 60) if zoom % 2 else (150, 110)
    whole = planet.read(zoom, x, y, width, height)
    assert whole.shape == (height, width, 3) and whole.dtype == np.uint8
    cold = fresh()
    # Split, asked for bottom right first, on a planet that has nothing.
    cut_x, cut_y = width // 3, height // 2
    parts = {
        (top, left): cold.read(zoom, x + left, y + top, (width - left) if left else cut_x, (height - top) if top else cut_y)
        for top, left in [(cut_y, cut_x), (0, cut_x), (cut_y, 0), (0, 0)]
    }
    joined = np.concatenate([np.concatenate([parts[t, 0], parts[t, cut_x]], 1) for t in (0, cut_y)], 0)
    assert np.array_equal(joined, whole)
    # Shifted and larger, on both.
    for other in (cold, planet):
        larger = other.read(zoom, x - 13, y - 7, width + 29, height + 16)
        assert np.array_equal(larger[7 : 7 + height, 13 : 13 + width], whole)


@pytest.mark.parametrize("zoom", [6, 9, 14])
def test_the_antimeridian_is_no_edge(planet: Planet, zoom: int) -> None:
    size = world_size(zoom)
    y = int(lonlat_to_pixel(0, -16.8, zoom)[1])
    across = planet.read(zoom, size - 40, y, 80, 60)
    assert np.array_equal(across[:, :40], planet.read(zoom, size - 40, y, 40, 60))
    assert np.array_equal(across[:, 40:], planet.read(zoom, 0, y, 40, 60))
    assert np.array_equal(across, planet.read(zoom, -40 - 3 * size, y, 80, 60))


@pytest.mark.parametrize("zoom", [2, 4, 6, 7])
def test_rows_are_mirrored_beyond_the_poles(planet: Planet, zoom: int) -> None:
    size = world_size(zoom)
    north = planet.read(zoom, 100, -20, 30, 40)
    assert np.array_equal(north[:20], north[20:][::-1])
    south = planet.read(zoom, 100, size - 20, 30, 40)
    assert np.array_equal(south[:20], south[20:][::-1])


def test_a_window_may_be_wider_than_the_world(planet: Planet) -> None:
    wide = planet.read(1, -100, 5, 1300, 3)
    assert np.array_equal(wide[:, :512], wide[:, 512:1024])


def amid_blocks(rng: random.Random) -> float:
    """A share of the world's side, at random but for this: with its halo, its block at any even zoom lies in one block of two
    zooms above, so that each window takes but one of every zoom. Of four blocks side by side below one, it is in the second or
    third."""
    share = sum(rng.choice((1, 2)) * 4.0**-digit for digit in range(1, 13))
    return (rng.choice((0, 1)) + share) / 2  # blocks have 128 px: at zoom 0 the world is two of them wide


def test_pixels_are_the_means_of_their_descendants(planet: Planet) -> None:
    """Even zooms: the 4x4 mean two zooms deeper; odd zooms: the 2x2 mean of the next; at 20 random places, within rounding."""
    rng = random.Random(7)
    for place in range(20):
        anywhere = place % 4 == 0  # each block that a window cuts, and each of its ancestors, is to be generated
        fx, fy = (rng.random(), rng.uniform(0.1, 0.9)) if anywhere else (amid_blocks(rng), amid_blocks(rng))
        for zoom in range(4, 19):
            depth = 1 if zoom % 2 else 2
            size, times = world_size(zoom), 1 << depth
            x, y, side = int(fx * size), int(fy * size), 6
            if not anywhere:
                x, y = x - x % 32 + 8, y - y % 32 + 8
            here = planet.read(zoom, x, y, side, side).astype(np.float64)
            deeper = planet.read(zoom + depth, x * times, y * times, side * times, side * times).astype(np.float64)
            mean = deeper.reshape(side, times, side, times, 3).mean((1, 3))
            assert np.abs(mean - here).max() <= 1, f"zoom {zoom}, x {x}, y {y}"


def test_generated_zooms_add_detail(planet: Planet) -> None:
    """Below the base every even zoom holds more than its enlarged parent: energy that 4x4 averaging removes."""
    for zoom in range(6, 21, 2):
        x, y = (int(v) for v in lonlat_to_pixel(8.2, 46.4, zoom))
        pixels = planet.read(zoom, x - x % 4, y - y % 4, 64, 64).astype(np.float64)
        blocks = pixels.reshape(16, 4, 16, 4, 3)
        assert (blocks - blocks.mean((1, 3), keepdims=True)).std() > 0.5, f"zoom {zoom}"


def test_panning_at_a_warm_place_costs_one_stage_and_cold_ones_at_most_eight() -> None:
    planet = fresh()
    x, y = (int(v) // 256 * 256 for v in lonlat_to_pixel(31.2, 30.6, 18))
    planet.read(18, x, y, 256, 256)
    cold = planet.evaluations
    planet.read(18, x, y, 256, 256)
    assert planet.evaluations == cold
    # A canonical tile is 4 blocks; no more than 2 x 2 ancestors at each of the 7 levels can lie above it, wherever it is.
    warm = (256 // BLOCK) ** 2
    assert cold <= 7 * warm
    # A neighbour inside the same ancestors costs its own blocks only.
    other = x + 256 if (x // 256) % 4 < 2 else x - 256
    planet.read(18, other, y, 256, 256)
    panned = planet.evaluations - cold
    planet.read(18, other, y + 1, 256, 254)
    assert planet.evaluations - cold == panned <= 2 * warm


def test_two_processes_agree_and_seeds_differ(planet: Planet) -> None:
    window = (10, 135_000, 92_000, 96, 64)
    code = (
        "import hashlib; from model import open_planet; "
        f"print(hashlib.sha256(open_planet('earth', steps=1, device='{DEVICE}').read(*{window}).tobytes()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert other == hashlib.sha256(planet.read(*window).tobytes()).hexdigest()
    reseeded = fresh(seed=1)
    assert reseeded.identity != planet.identity
    assert np.array_equal(reseeded.read(4, 1000, 1000, 64, 64), planet.read(4, 1000, 1000, 64, 64))
    assert (reseeded.read(*window) != planet.read(*window)).mean() > 0.2


def test_blocks_come_back_from_the_store_and_broken_ones_are_made_anew(planet: Planet) -> None:
    store, window = DictStore(), (8, 34_000, 23_000, 100, 100)
    first = fresh(store)
    pixels = first.read(*window)
    again = fresh(store)
    assert np.array_equal(again.read(*window), pixels) and again.evaluations == 0
    for key in store.entries:
        store.entries[key] = store.entries[key][:-1]
    third = fresh(store)
    assert np.array_equal(third.read(*window), pixels) and third.evaluations == first.evaluations


def test_memory_of_blocks_is_bounded() -> None:
    blocks = Blocks(3 * BLOCK * BLOCK * 3)
    for i in range(5):
        blocks.put(str(i), np.full((BLOCK, BLOCK, 3), i, np.uint8))
    kept = [i for i in range(5) if blocks.get_many([str(i)])]
    assert kept == [2, 3, 4]


@pytest.mark.parametrize(
    "window",
    [(21, 0, 0, 1, 1), (-1, 0, 0, 1, 1), (3, 0, 0, 0, 5), (3, 0, 0, 5, -1), (3, 0.5, 0, 1, 1), (3, 0, 0, 1 << 20, 1 << 20)],
)
def test_bad_windows_are_refused_with_a_sentence(planet: Planet, window: tuple[int, int, int, int, int]) -> None:
    with pytest.raises(WindowError, match=r"\.$"):
        planet.read(*window)


def test_unknown_planets_and_settings_are_refused() -> None:
    assert PLANETS == ("earth",)
    with pytest.raises(UnknownPlanetError, match="earth"):
        open_planet("krypton")
    for options in ({"steps": 0}, {"steps": 17}, {"device": "abacus"}, {"precision": "fp8"}, {"device": "mps"}):
        with pytest.raises(DeviceError):
            open_planet("earth", **options)
