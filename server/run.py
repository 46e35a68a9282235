"""uvicorn around the application: its options, what it looks after while it runs, and how it stops."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import uvicorn

from server.fastpath import FastPath
from server.health import Readiness
from server.limits_connections import GuardedProtocol, allow_connections, sweep
from server.renderer import TileRenderer
from server.settings import MIB, Settings

# For the rendering that has begun when the server is told to stop; everything queued is given up at once.
STOP_SECONDS = 5
# Longer than proxies keep a connection (nginx: 60 s), so that it is they who close it, and never just as they use it.
KEEP_ALIVE_SECONDS = 65
SWITCH_S = 0.0005
# uvicorn's main loop ticks every 0.1 s.
SWEEP_TICKS, MEMORY_TICKS = 10, 50


class TileServer(uvicorn.Server):
    """Serves, closes slow connections, and tells `grown` when its memory is above `max_memory` bytes.

    When it stops it gives up queued renderings before it waits for open requests, which would otherwise wait for them.
    `warm` is called once the model has been evaluated.
    """

    def __init__(self, config: uvicorn.Config, application: FastPath) -> None:
        super().__init__(config)
        state = application.api.state
        self._renderer: TileRenderer = state.renderer
        self._readiness: Readiness = state.readiness
        self._settings: Settings = state.settings
        self._warming: asyncio.Task[None] | None = None
        self.warm: Callable[[], None] | None = None
        self.grown: Callable[[], None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Called by uvicorn before it serves."""
        # How long a thread that renders may keep Python to itself while the event loop has a hit to answer.
        sys.setswitchinterval(SWITCH_S)
        await super().startup(sockets)
        self._warming = asyncio.create_task(self._warm_up())

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn ten times a second; whether to stop."""
        if counter % SWEEP_TICKS == 0:
            sweep(self.server_state.connections, asyncio.get_running_loop().time(), self._settings.head_seconds)
        bound = self._settings.max_memory_mb
        if counter % MEMORY_TICKS == 0 and self.grown and bound and resident_bytes() > bound * MIB:
            self.grown()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Called by uvicorn when a signal has come."""
        self._renderer.stop()
        if self._warming is not None:
            self._warming.cancel()
        await super().shutdown(sockets)

    async def _warm_up(self) -> None:
        await self._readiness.warm_up()
        if self.warm is not None:
            self.warm()


def tile_server(application: FastPath) -> TileServer:
    """uvicorn around `application`, not yet running. Logging is the caller's."""
    connections = allow_connections(application.api.state.settings.max_connections)
    protocol = type("TileProtocol", (GuardedProtocol,), {"max_connections": connections})
    config = uvicorn.Config(
        application,
        log_config=None,
        access_log=False,
        server_header=False,
        # `server.proxies` reads these headers itself and must know the true peer to tell whom to believe.
        proxy_headers=False,
        lifespan="on",
        http=protocol,
        ws="none",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    return TileServer(config, application)


def run_server(application: FastPath, listener: socket.socket) -> None:
    """Serves `application` on `listener` until SIGINT or SIGTERM."""
    tile_server(application).run(sockets=[listener])


def what_serves(application: FastPath) -> str:
    """One line: the planet, what it computes on, and with how many steps."""
    info = application.api.state.planet.info()
    return f"{info.name}, seed {info.seed}: {info.device}; {info.steps} sampler steps"


def resident_bytes() -> int:
    """Memory of this process that is in use at the moment, shared libraries included."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
