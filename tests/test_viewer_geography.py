"""The viewer's arithmetic (server/viewer/geography.js and places.js), run by Node.js and held against mercantile."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from pathlib import Path
from typing import Any

import mercantile
import pytest

VIEWER = Path(__file__).parents[1] / "server" / "viewer"
NODE = shutil.which("node")

pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed")


def run(expression: str) -> Any:
    """The value of a JavaScript expression that sees the viewer's functions."""
    program = (
        f"import * as geography from {json.dumps((VIEWER / 'geography.js').as_uri())};"
        f"import * as places from {json.dumps((VIEWER / 'places.js').as_uri())};"
        f"console.log(JSON.stringify({expression}));"
    )
    command = [str(NODE), "--no-warnings", "--input-type=module", "--eval", program]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)


def test_tile_at_agrees_with_mercantile() -> None:
    """The tile under a position, over all zooms, near the poles and beyond the antimeridian."""
    latitudes, longitudes = (-84.9, -33.3, 0.01, 45.05, 85.0), (-179.9, 10.4)
    spots = [(z, lat, lon) for z in range(0, 21, 4) for lat in latitudes for lon in longitudes]
    told = run(f"{json.dumps(spots)}.map(([z, lat, lon]) => geography.tileAt(z, lat, lon, 20))")
    tiles = [mercantile.tile(lon, lat, z) for z, lat, lon in spots]
    assert told == [[tile.z, tile.x, tile.y] for tile in tiles]
    assert run("geography.tileAt(4, 10, 190, 20)") == run("geography.tileAt(4, 10, -170, 20)")
    assert run("geography.tileAt(21.4, 10, 20, 20)[0]") == 20


def test_ground_resolution() -> None:
    """Metres per pixel at the equator and at 60 degrees, where it is half, and as people read it."""
    assert run("geography.groundResolution(0, 0)") == pytest.approx(2 * math.pi * 6378137 / 256)
    assert run("geography.groundResolution(10, 60) / geography.groundResolution(10, 0)") == pytest.approx(0.5)
    written = run("[78271.5, 9783.9, 152.87, 9.97, 1.194, 0.1493].map(geography.writeResolution)")
    assert written == ["78.3 km/px", "9.78 km/px", "153 m/px", "10.0 m/px", "1.19 m/px", "14.9 cm/px"]


def test_permalinks() -> None:
    """What is written is read back to within a pixel; what is no permalink is null."""
    view = {"zoom": 16.25, "lat": -45.054321, "lon": 10.412345, "view": "flat"}
    back = run(f"geography.readHash(geography.writeHash({json.dumps(view)}))")
    assert (back["zoom"], back["view"]) == (16.25, "flat")
    assert (back["lat"], back["lon"]) == pytest.approx((-45.054321, 10.412345), abs=1e-6)
    assert run("geography.readHash('#4/30/20').view") == "globe"
    bad = ["", "#", "#4", "#4/30", "#x/30/20", "#4//20", "#4/91/20", "#4/Infinity/20"]
    assert run(f"{json.dumps(bad)}.map(geography.readHash)") == [None] * len(bad)


def test_places_are_on_the_map() -> None:
    """A dozen named places and a thousand random ones within Mercator's square and the planet's zooms."""
    named = run("places.PLACES")
    assert len({place["name"] for place in named}) == 12
    chance = run("Array.from({length: 1000}, () => places.randomPlace())")
    for place in named + chance:
        assert abs(place["lat"]) < 85
        assert abs(place["lon"]) <= 180
        assert 0 <= place["zoom"] <= 20
    assert len({place["zoom"] for place in chance}) == 9
