"""kill -9 of a worker, of Redis and of the server during renders and disk writes, at random moments (issue 5)."""

from __future__ import annotations

from itertools import cycle, islice
from pathlib import Path

import pytest

from model import Planet
from server.app import create_app
from server.encode import Encoder
from server.settings import load_settings
from server.tilekey import TileKey
from tests.load.conftest import FULL, amount, with_base
from tests.load.faults import Victims, suffer
from tests.redis_server import RedisServer

pytestmark = pytest.mark.timeout(3600)
WITHIN_S = 5


def test_deaths_cost_no_tile(redis_server: RedisServer, tmp_path: Path, planet: Planet) -> None:
    killed = list(islice(cycle(("redis", "worker", "server")), amount(21, 3)))
    tiles = [f"/4/{x}/{y}.jpg" for x in range(16) for y in range(16)]
    each = len(tiles) // len(killed)
    settings = load_settings(cache_dir=tmp_path / "reference", steps=1)
    store = create_app(settings, planet).api.state.renderer.store
    encoder = Encoder.from_settings(settings)
    keys = {path: key for path in tiles if (key := TileKey.from_path(path))}
    expected = {}
    for path, key in keys.items():
        pixels = planet.read(key.zoom, key.x * key.size, key.y * key.size, key.size, key.size)
        expected[path] = encoder.encode(pixels, key.extension)
    victims = Victims(with_base(tmp_path / "cache"), redis_server)
    try:
        ordeal = suffer(
            victims,
            killed,
            expected,
            name_of=lambda path: store.name(keys[path]),
            cold=lambda number: tiles[number * each : (number + 1) * each],
            seed=5,
        )
    finally:
        victims.stop()
    assert ordeal.faults == []
    assert ordeal.answers > len(tiles)
    print(", ".join(f"{victim} {seconds:.1f} s" for victim, seconds in ordeal.recovered), f"{ordeal.cut} answers cut")
    if FULL:  # an idle machine: here the import of torch alone may take longer
        assert max(seconds for _, seconds in ordeal.recovered) <= WITHIN_S
