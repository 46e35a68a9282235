"""What several test files share: one real planet at one sampler step, and the application around it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from cache import DiskCache
from model import Planet, open_planet
from model.base import default_cache_dir
from server.app import create_app
from server.fastpath import FastPath
from server.settings import MODEL_VARIABLES, PREFIX, Settings, load_settings
from tests.cli_runs import Run, invoke
from tests.redis_server import RedisServer


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have METAEARTH_ variables of their own."""
    for variable in list(os.environ):
        if variable.startswith(PREFIX) and variable not in MODEL_VARIABLES:
            monkeypatch.delenv(variable)


@pytest.fixture(scope="session")
def planet(tmp_path_factory: pytest.TempPathFactory) -> Planet:
    """The real planet at one step, its blocks in a store of this run, so that no test pays twice for ancestors."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # each worker has a folder of its own below that of the run
        folder = folder.parent
    store = DiskCache(folder / "blocks.sqlite", 256 << 20)
    return open_planet("earth", seed=0, steps=1, store=store)


MakeSettings = Callable[..., Settings]


@pytest.fixture
def make_settings(tmp_path: Path) -> MakeSettings:
    """Settings with the caches in this test's directory, and whatever else is given."""

    def make(**values: Any) -> Settings:
        return load_settings(**{"cache_dir": tmp_path / "cache", "steps": 1, **values})

    return make


@pytest.fixture
def app(make_settings: MakeSettings, planet: Planet) -> FastPath:
    """The application around the session's planet, its tile caches empty."""
    return create_app(make_settings(), planet)


@pytest.fixture
def client(app: FastPath) -> Iterator[TestClient]:
    """A client of `app`, which is started and stopped around it."""
    with TestClient(app, raise_server_exceptions=False) as started:
        yield started


@pytest.fixture(scope="module")
def shared_client(planet: Planet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client of one application for all tests of a module, for those that do not mind what the others have cached."""
    settings = load_settings(cache_dir=tmp_path_factory.mktemp("shared"), steps=1)
    with TestClient(create_app(settings, planet), raise_server_exceptions=False) as started:
        yield started


@pytest.fixture(scope="session")
def cli_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache directory for all commands, with the base picture where there is one already."""
    folder = tmp_path_factory.mktemp("cli")
    for path in default_cache_dir().glob("base-*"):
        shutil.copy(path, folder)
    return folder


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, cli_cache: Path) -> Run:
    """Runs a command in this process, at one step."""
    monkeypatch.setenv("METAEARTH_CACHE_DIR", str(cli_cache))
    monkeypatch.setenv("METAEARTH_STEPS", "1")
    return invoke


class Readings:
    """Counts the calls of a planet's `read`, which otherwise goes on as it was."""

    def __init__(self, planet: Planet, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[Any, ...]] = []
        real = planet.read

        def read(*window: Any, **options: Any) -> Any:
            self.calls.append(window)
            return real(*window, **options)

        monkeypatch.setattr(planet, "read", read)


@pytest.fixture
def readings(planet: Planet, monkeypatch: pytest.MonkeyPatch) -> Readings:
    """How often this test had the planet read, in `calls`."""
    return Readings(planet, monkeypatch)


@pytest.fixture
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A running redis-server for this test alone."""
    server = RedisServer(tmp_path_factory.mktemp("redis")).start()
    yield server
    server.kill()
